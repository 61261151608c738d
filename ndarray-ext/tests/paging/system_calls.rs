//! Views handed to system calls. Where the process receives the kernel's own faults they work wherever the bytes are.
//! Elsewhere a call with missing pages is an error, never short or wrong data; prefetching cures it.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Seek, Write};
use std::path::Path;

use bigarray::ndarray::{Array1, ArrayView1, Ix1, s};
use bigarray::{BigArray, Database, Pager};

use crate::support::child::{alone, this_test};
use crate::support::random::Random;
use crate::support::{BLOCK, Faults, TestDb, faults, small_blocks};

const LEN: usize = 32 * BLOCK;

/// Half of it stored, half of it a hole, in turns of two blocks.
fn content() -> Vec<u8> {
    let mut content = Random::new(1).bytes(LEN);
    content.chunks_mut(2 * BLOCK).skip(1).step_by(2).for_each(|hole| hole.fill(0));
    content
}

fn stored(content: &[u8]) -> TestDb {
    let db = TestDb::new();
    db.transact(|txn| {
        let mut a = txn.create_with::<u8, _>("A", LEN, &small_blocks())?;
        a.view_mut().assign(&ArrayView1::from(content));
        Ok(())
    })
    .unwrap();
    db
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Cold,
    Prefetched,
}

/// Runs a system call on cold and on prefetched memory, and holds it to what was promised.
fn on_each_state(db: &TestDb, what: &str, call: impl Fn(&Database, State) -> io::Result<()>) {
    for pager in [Pager::Map, Pager::Copy] {
        for state in [State::Cold, State::Prefetched] {
            // Another opening has spans of its own, that have seen nothing yet.
            let cold = Database::options().pager(pager).open(db.path()).unwrap();
            let outcome = call(&cold, state);
            println!("{what}, {pager:?}, {state:?}: {outcome:?}");
            if let Err(error) = outcome {
                assert_eq!(faults(), Faults::UserOnly, "{what}, {pager:?}, {state:?}: {error}");
                assert_eq!(state, State::Cold, "{what}, {pager:?}: {error}");
                assert_eq!(error.raw_os_error(), Some(nix::libc::EFAULT), "{what}, {pager:?}: {error}");
            }
        }
    }
}

fn reader(db: &Database, state: State) -> BigArray<u8, Ix1> {
    let a = db.array("A").unwrap();
    if state == State::Prefetched {
        a.prefetch(..).unwrap();
    }
    a
}

fn writes_are_whole(out: &Path) {
    let content = content();
    let db = stored(&content);
    on_each_state(&db, "write_all", |db, state| {
        let a = reader(db, state);
        File::create(out)?.write_all(a.view().as_slice().unwrap())?;
        assert!(fs::read(out)? == content);
        Ok(())
    });
    on_each_state(&db, "writev, half of it resident", |db, state| {
        let a = reader(db, state);
        let view = a.view();
        assert_eq!(view.slice(s![..LEN / 2]), ArrayView1::from(&content[..LEN / 2]));
        let (touched, rest) = view.as_slice().unwrap().split_at(LEN / 2);
        let mut slices = &mut [IoSlice::new(touched), IoSlice::new(rest)][..];
        let mut file = File::create(out)?;
        let mut done = 0;
        while done < LEN {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    done += n;
                    IoSlice::advance_slices(&mut slices, n);
                    assert!(fs::read(out)? == content[..done], "what was written is right, however much it is");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    });
    on_each_state(&db, "write_npy", |db, state| {
        match ndarray_npy::write_npy(out, &reader(db, state).view()) {
            Ok(()) => assert!(ndarray_npy::read_npy::<_, Array1<u8>>(out).unwrap() == Array1::from(content.clone())),
            Err(ndarray_npy::WriteNpyError::Io(error)) => return Err(error),
            Err(other) => panic!("{other}"),
        }
        Ok(())
    });
}

fn reads_are_whole(source: &Path) {
    let db = stored(&content());
    let new = Random::new(2).bytes(LEN);
    fs::write(source, &new).unwrap();
    let mut file = File::open(source).unwrap();
    let file = std::cell::RefCell::new(&mut file);
    on_each_state(&db, "read_exact", |db, state| {
        let old = db.array::<u8, Ix1>("A").unwrap().view().to_vec();
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u8, Ix1>("A").unwrap();
        // Elements that are not read over keep their bytes.
        let inside = 5..LEN - 5;
        if state == State::Prefetched {
            a.prefetch(..).unwrap();
        }
        let mut file = file.borrow_mut();
        file.rewind()?;
        file.read_exact(a.rows_mut(inside.clone()).unwrap().as_slice_mut().unwrap())?;
        let mut expected = old.clone();
        expected[inside.clone()].copy_from_slice(&new[..inside.len()]);
        assert!(a.view().as_slice().unwrap() == expected);
        drop(a);
        txn.commit().unwrap();
        assert!(db.array::<u8, Ix1>("A").unwrap().view().as_slice().unwrap() == expected);
        // Each time over the same mixture of stored blocks and holes.
        db.transact(|txn| {
            let mut a = txn.array::<u8, Ix1>("A")?;
            a.resize(0)?;
            a.resize(LEN)?;
            a.view_mut().assign(&Array1::from(content()));
            Ok(())
        })
        .unwrap();
        Ok(())
    });
}

fn write_to_works_everywhere() {
    let content = content();
    let db = stored(&content);
    for pager in [Pager::Map, Pager::Copy] {
        let cold = Database::options().pager(pager).open(db.path()).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        cold.array::<u8, Ix1>("A").unwrap().write_to(&mut file).unwrap();
        let mut written = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut written).unwrap();
        assert!(written == content, "{pager:?}");
        // And in a transaction, what it changed included.
        let txn = cold.begin().unwrap();
        let mut a = txn.array::<u8, Ix1>("A").unwrap();
        a.view_mut()[LEN - 1] = 77;
        let mut file = tempfile::tempfile().unwrap();
        a.write_to(&mut file).unwrap();
        written.clear();
        file.rewind().unwrap();
        file.read_to_end(&mut written).unwrap();
        assert!(written[..LEN - 1] == content[..LEN - 1] && written[LEN - 1] == 77, "{pager:?}");
    }
}

fn a_place() -> tempfile::TempPath {
    tempfile::NamedTempFile::new().unwrap().into_temp_path()
}

#[test]
fn writes_from_views_are_whole_or_an_error() {
    writes_are_whole(&a_place());
}

#[test]
fn reads_into_views_are_whole_or_an_error() {
    reads_are_whole(&a_place());
}

#[test]
fn write_to_loads_what_it_writes() {
    write_to_works_everywhere();
}

#[test]
fn in_user_mode_system_calls_fail_or_are_right_and_prefetch_cures_them() {
    if !alone(this_test!(), |child| _ = child.env("BIGARRAY_USERFAULTFD", "user")) {
        return;
    }
    writes_are_whole(&a_place());
    reads_are_whole(&a_place());
    write_to_works_everywhere();
}

/// An error of storage or of the file comes back as a value.
#[test]
fn write_to_a_full_device_is_an_error_that_names_the_array() {
    let db = stored(&content());
    let a = db.array::<u8, Ix1>("A").unwrap();
    let mut full = File::options().write(true).open("/dev/full").unwrap();
    let error = a.write_to(&mut full).unwrap_err();
    assert!(error.is_store_full() || error.is_io(), "{error:?}");
    assert!(error.to_string().contains("\"A\""), "{error}");
}
