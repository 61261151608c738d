//! All memory is locked (`mlockall`), as a program does that must not wait for a disk. Each test locks that of a process of
//! its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::child::{alone, this_test};
use crate::support::{Faults, check, faults, is_root, runs_if};
use bigarray::ndarray::{Array1, Axis, Ix1};
use bigarray::{ArrayOptions, Codec, Database, OpenOptions, Pager};
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Uid, setuid};

const LEN: usize = 2 << 20;
/// Half of an array.
const BUDGET: usize = 8 << 20;

fn value(at: usize, round: u64) -> u64 {
    (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (8 * round)
}

fn is_right(db: &Database, name: &str) {
    let array = db.array::<u64, Ix1>(name).unwrap();
    assert_eq!(array.len(), LEN + 1);
    let view = array.view();
    for (at, &found) in view.iter().enumerate().take(LEN) {
        assert_eq!(found, value(at, u64::from(at % 1000 == 7)), "{name}: {at}");
    }
    assert_eq!(view[LEN], 9, "{name}");
}

#[test]
fn arrays_are_made_changed_spilled_committed_and_read_again_in_locked_memory() {
    if !is_root() || !alone(this_test!(), |_| ()) {
        return;
    }
    if !runs_if(faults() != Faults::None, "without faults nothing leaves memory while a view lives") {
        return;
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).unwrap();
    for pager in [Pager::Map, Pager::Copy] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bigarray");
        let options = || -> OpenOptions { Database::options().pager(pager).memory_budget(BUDGET) };
        let db = options().open(&path).unwrap();
        for (name, codec) in [("plain", Codec::None), ("packed", Codec::Lz4 { shuffle: true })] {
            let spilled = db.memory_use().blocks_spilled;
            let txn = db.begin().unwrap();
            let mut array = txn.create_with::<u64, _>(name, LEN, &ArrayOptions::new().codec(codec)).unwrap();
            array.view_mut().iter_mut().enumerate().for_each(|(at, element)| *element = value(at, 0));
            drop(array);
            txn.commit().unwrap();
            assert!(db.memory_use().blocks_spilled > spilled, "{pager:?}, {name}: no block gave way");
            db.transact(|txn| {
                let mut array = txn.array::<u64, Ix1>(name)?;
                let mut view = array.view_mut();
                (7..LEN).step_by(1000).for_each(|at| view[at] = value(at, 1));
                array.append(Axis(0), Array1::from_elem(1, 9).view())
            })
            .unwrap();
            is_right(&db, name);
        }
        drop(db);
        let db = options().open(&path).unwrap();
        ["plain", "packed"].iter().for_each(|name| is_right(&db, name));
        drop(db);
        check(&path);
    }
}

/// LMDB asks for a map of 1 TiB, none of which may be locked.
#[test]
fn a_limit_of_locked_memory_is_named_where_the_index_does_not_fit() {
    if !is_root() || !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (made, new) = (dir.path().join("a.bigarray"), dir.path().join("b.bigarray"));
    setrlimit(Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20).unwrap();
    setuid(Uid::from_raw(65534)).unwrap();
    // SAFETY: touches no memory. Without it `/proc/self` stays root's.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    let create = |db: &Database| db.transact(|txn| txn.create::<u8, _>("a", 9).map(drop)).unwrap();
    create(&Database::open(&made).unwrap());
    mlockall(MlockAllFlags::MCL_FUTURE).unwrap();
    for path in [&made, &new] {
        let error = Database::open(path).err().unwrap();
        assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
    }
    // And it was of no consequence.
    nix::sys::mman::munlockall().unwrap();
    let db = Database::open(&made).unwrap();
    assert_eq!(db.array::<u8, Ix1>("a").unwrap().len(), 9);
    create(&Database::open(&new).unwrap());
}
