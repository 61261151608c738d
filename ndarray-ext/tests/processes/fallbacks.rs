//! What the system forbids: everything works without it, or an error names the limit to raise.

use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use bigarray::ndarray::parallel::prelude::*;
use bigarray::ndarray::{Array1, Axis, Ix1, Ix2};
use bigarray::{Database, Durability, Pager};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use crate::support::child::{alone, this_test};
use crate::support::process::mappings;
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, check, is_root, small_blocks};

/// A user without privileges.
const NOBODY: u32 = 65534;

/// Runs through the main job: create, change, commit, reopen, grow, abort, conflict, read in parallel, a sparse array.
fn everything_works(pager: Pager) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let open = || Database::options().pager(pager).open(&path).unwrap();
    let row = |i: usize| Array1::from_shape_fn(1000, move |j| (i * 1000 + j) as u64);
    let db = open();
    db.transact(|txn| {
        let mut a = txn.create_with::<u64, _>("A", (400, 1000), &small_blocks())?;
        a.view_mut().axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut r)| r.assign(&row(i)));
        txn.create::<f64, _>("sparse", 1 << 37)?.view_mut()[1 << 36] = 1.5;
        Ok(())
    })
    .unwrap();
    let before = db.array::<u64, Ix2>("A").unwrap();
    drop(db);

    let db = open();
    db.transact(|txn| {
        let mut a = txn.array::<u64, Ix2>("A")?;
        assert_eq!(a.view().row(399), row(399));
        a.view_mut()[[7, 7]] = 1;
        a.push(Axis(0), row(400).view())?;
        a.push(Axis(0), row(401).view())?;
        assert_eq!(a.view().row(401), row(401));
        Ok(())
    })
    .unwrap();
    let txn = db.begin().unwrap();
    txn.array::<u64, Ix2>("A").unwrap().view_mut().fill(9);
    txn.abort();
    let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
    one.array::<u64, Ix2>("A").unwrap().view_mut()[[0, 0]] = 2;
    two.array::<u64, Ix2>("A").unwrap().view_mut()[[0, 1]] = 3;
    one.commit().unwrap();
    assert!(two.commit().unwrap_err().is_conflict());

    let n: u64 = 402_000;
    let a = open().array::<u64, Ix2>("A").unwrap();
    let sum: u64 = a.blocks().into_par_iter().map(|rows| a.rows(rows).unwrap().sum()).sum();
    assert_eq!(sum, n * (n - 1) / 2 - 7007 + 1 + 2);
    let n: u64 = 400_000;
    assert_eq!(before.view().sum(), n * (n - 1) / 2);
    let sparse = db.array::<f64, Ix1>("sparse").unwrap();
    let v = sparse.view();
    assert_eq!((v[0], v[1 << 36], v[(1 << 37) - 1]), (0.0, 1.5, 0.0));
    check(&path);
}

fn everything_works_in_both_pagers() {
    everything_works(Pager::Map);
    everything_works(Pager::Copy);
}

/// Makes system calls fail: `calls`, with `errno`, in this thread and those it starts.
fn forbid(calls: &[libc::c_long], errno: i32) {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load_number = step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0);
    let fail = step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32);
    let allow = step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW);
    let mut filter = vec![load_number];
    for call in calls {
        filter.extend([step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *call as u32), fail]);
    }
    filter.push(allow);
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: plain system calls; the kernel copies the filter, which lives until they return.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(done, "{}", io::Error::last_os_error());
}

/// Makes a child one of a user that may not even open `/dev/userfaultfd`. By exec, as `setpriv` does it, no privilege is
/// kept.
fn as_ordinary_user(child: &mut Command) {
    if nix::unistd::geteuid().is_root() {
        child.uid(NOBODY).gid(NOBODY);
    }
}

#[test]
fn without_userfaultfd_arrays_are_mapped_when_they_are_opened() {
    if alone(this_test!(), |child| _ = child.env("BIGARRAY_USERFAULTFD", "none")) {
        everything_works_in_both_pagers();
    }
}

#[test]
fn with_userfaultfd_for_user_code_only_everything_works() {
    if alone(this_test!(), |child| _ = child.env("BIGARRAY_USERFAULTFD", "user")) {
        everything_works_in_both_pagers();
    }
}

#[test]
fn without_pagemap_scan_written_pages_are_found_in_the_page_map() {
    if alone(this_test!(), |child| _ = child.env("BIGARRAY_PAGEMAP", "legacy")) {
        everything_works_in_both_pagers();
    }
}

#[test]
fn without_pagemap_scan_and_userfaultfd_everything_works() {
    let old_kernel = |child: &mut Command| {
        child.env("BIGARRAY_PAGEMAP", "legacy").env("BIGARRAY_USERFAULTFD", "none");
    };
    if alone(this_test!(), old_kernel) {
        everything_works_in_both_pagers();
    }
}

#[test]
fn an_ordinary_user_can_do_everything() {
    if alone(this_test!(), as_ordinary_user) {
        assert!(!nix::unistd::geteuid().is_root());
        everything_works_in_both_pagers();
    }
}

/// A container's profile that answers EPERM, as the default ones do.
#[test]
fn a_filter_that_refuses_userfaultfd_is_no_obstacle() {
    if alone(this_test!(), |_| ()) {
        forbid(&[libc::SYS_userfaultfd], libc::EPERM);
        everything_works_in_both_pagers();
    }
}

/// The same without the device, which is not there in a container.
#[test]
fn an_ordinary_user_behind_a_filter_that_refuses_userfaultfd_can_do_everything() {
    if alone(this_test!(), as_ordinary_user) {
        forbid(&[libc::SYS_userfaultfd], libc::EPERM);
        everything_works_in_both_pagers();
    }
}

/// A kernel or sandbox that does not know the call.
#[test]
fn where_userfaultfd_does_not_exist_everything_works() {
    if alone(this_test!(), as_ordinary_user) {
        forbid(&[libc::SYS_userfaultfd], libc::ENOSYS);
        everything_works_in_both_pagers();
    }
}

/// Many blocks, none beside its neighbour in the file.
#[test]
fn scattered_blocks_stay_below_the_limit_of_mappings() {
    const BLOCKS: usize = 3000;
    const LIMIT: usize = 200;
    if !alone(this_test!(), |child| _ = child.env("BIGARRAY_MAX_MAPPINGS", LIMIT.to_string())) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    // Nothing here must survive a power loss.
    let open = |pager| Database::options().durability(Durability::NoPowerLossSafety).pager(pager).open(&path).unwrap();
    let db = open(Pager::Map);
    db.transact(|txn| txn.create_with::<u8, _>("A", BLOCKS * BLOCK, &small_blocks()).map(drop)).unwrap();
    let mut order: Vec<usize> = (0..BLOCKS).collect();
    Random::new(1).shuffle(&mut order);
    for blocks in order.chunks(10) {
        db.transact(|txn| {
            let mut a = txn.array::<u8, Ix1>("A")?;
            for block in blocks {
                a.rows_mut(block * BLOCK..block * BLOCK + BLOCK)?.fill((block % 251) as u8);
            }
            Ok(())
        })
        .unwrap();
    }
    drop(db);
    for pager in [Pager::Map, Pager::Copy] {
        let db = open(pager);
        let a = db.array::<u8, Ix1>("A").unwrap();
        for block in &order {
            assert_eq!(a.view()[block * BLOCK + 77], (block % 251) as u8);
        }
        let count = mappings();
        // The limit is kept to about, and some mappings are none of the array's.
        assert!(count < 2 * LIMIT, "{count} mappings, {pager:?}");
        let expected: u64 = (0..BLOCKS).map(|block| (block % 251 * BLOCK) as u64).sum();
        assert_eq!(a.view().iter().map(|&x| u64::from(x)).sum::<u64>(), expected);
        // Changing it needs no more of them.
        db.transact(|txn| {
            let mut a = txn.array::<u8, Ix1>("A")?;
            let mut view = a.view_mut();
            for block in order.iter().step_by(7) {
                view[block * BLOCK] += 1;
            }
            Ok(())
        })
        .unwrap();
        let a = db.array::<u8, Ix1>("A").unwrap();
        assert!(mappings() < 2 * LIMIT, "{} mappings after a change, {pager:?}", mappings());
        let changed = order.iter().step_by(7).map(|block| u64::from(a.view()[block * BLOCK]) - (block % 251) as u64);
        assert!(changed.into_iter().all(|more| more == 1));
        db.transact(|txn| {
            let mut a = txn.array::<u8, Ix1>("A")?;
            let mut view = a.view_mut();
            for block in order.iter().step_by(7) {
                view[block * BLOCK] -= 1;
            }
            Ok(())
        })
        .unwrap();
    }
}

/// What `work` panics with, which is not printed.
fn panic_of(work: impl FnOnce()) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("a panic");
    std::panic::set_hook(hook);
    *panic.downcast().expect("a message")
}

/// A login node's `ulimit -v`.
#[test]
fn under_a_limit_of_address_space_large_arrays_work_through_windows_and_whole_views_say_what_to_raise() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    setrlimit(Resource::RLIMIT_AS, 4 << 30, 4 << 30).unwrap();
    let mut db = TestDb::new();
    db.transact(|txn| {
        txn.create::<f64, _>("small", (1000, 1000))?.view_mut().fill(0.5);
        let mut large = txn.create::<u8, _>("large", 1 << 40)?;
        large.rows_mut(5..10)?.fill(7);
        let error = large.rows_mut(..1 << 39).unwrap_err();
        assert!(error.is_too_large(), "{error:?}");
        for word in ["\"large\"", "RLIMIT_AS", "ulimit -v", "4294967296"] {
            assert!(error.to_string().contains(word), "{error}");
        }
        let message = panic_of(|| large.view_mut()[0] = 1);
        assert!(message.contains("RLIMIT_AS"), "{message}");
        Ok(())
    })
    .unwrap();
    db.reopen();
    let snapshot = db.snapshot().unwrap();
    assert_eq!(snapshot.array::<f64, Ix2>("small").unwrap().view().sum(), 500_000.0);
    let large = snapshot.array::<u8, Ix1>("large").unwrap();
    assert_eq!(large.shape(), [1 << 40]);
    assert_eq!(large.rows(0..10).unwrap().sum(), 35);
    large.prefetch((1 << 40) - 10..).unwrap();
    assert!(large.rows(..1 << 39).unwrap_err().is_too_large());
    assert!(large.prefetch(..1 << 39).unwrap_err().is_too_large());
    let message = panic_of(|| _ = large.view());
    assert!(message.contains("RLIMIT_AS"), "{message}");
    // What does not need its bytes works.
    db.transact(|txn| txn.array::<u8, Ix1>("large")?.resize((1 << 40) + 5)).unwrap();
    db.transact(|txn| txn.array::<u8, Ix1>("large")?.resize(100)).unwrap();
    let now = db.array::<u8, Ix1>("large").unwrap();
    assert_eq!((now.len(), now.view()[9], now.view()[99]), (100, 7, 0));
    // Many small ones, appended to: room to grow is taken as far as there is.
    for i in 0..40 {
        db.transact(|txn| {
            let mut a = txn.create::<u64, _>(&format!("a{i}"), 0)?;
            (0..10).try_for_each(|n| a.push(Axis(0), bigarray::ndarray::arr0(n).view()))
        })
        .unwrap();
    }
    assert_eq!(db.array::<u64, Ix1>("a39").unwrap().view()[9], 9);
}

/// An append that finds no addresses, neither for its rows nor for what lies before them.
#[test]
fn an_append_that_finds_no_addresses_leaves_the_array_as_it_was() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    setrlimit(Resource::RLIMIT_AS, 4 << 30, 4 << 30).unwrap();
    let db = TestDb::new();
    let (len, txn) = ((1 << 40) - 5, db.begin().unwrap());
    let mut large = txn.create::<u8, _>("large", len).unwrap();
    large.rows_mut(len - 3..).unwrap().fill(7);
    large.flush().unwrap();
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    // Room for what the allocator may ask for, and for no window.
    setrlimit(Resource::RLIMIT_AS, pages * 4096 + (512 << 10), 4 << 30).unwrap();
    let appended = large.append(Axis(0), Array1::from_elem(9, 1).view());
    setrlimit(Resource::RLIMIT_AS, 4 << 30, 4 << 30).unwrap();
    assert!(appended.unwrap_err().is_too_large());
    assert_eq!(large.len(), len);
    assert_eq!(large.rows(len - 5..).unwrap().to_vec(), [0, 0, 7, 7, 7]);
    large.append(Axis(0), Array1::from_elem(9, 1).view()).unwrap();
    assert_eq!(large.rows(len - 1..).unwrap().to_vec(), [7, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    drop(large);
    txn.commit().unwrap();
    assert_eq!(db.array::<u8, Ix1>("large").unwrap().len(), len + 9);
}

/// Where even less is left, opening says what to raise.
#[test]
fn where_not_even_the_index_finds_addresses_opening_says_so() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    // The stacks of its threads, and little more: with a resolver for each of many CPUs it would be these that do not fit.
    let bytes = pages * 4096 + (10 << 20);
    setrlimit(Resource::RLIMIT_AS, bytes, bytes).unwrap();
    let error = Database::options().resolvers(2).open(dir.path().join("a.bigarray")).unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains("ulimit -v"), "{error:?}");
}

#[test]
fn unknown_fall_backs_are_errors_that_list_the_known_ones() {
    let wrong = |child: &mut Command| {
        child.env("BIGARRAY_USERFAULTFD", "maybe");
    };
    if alone(this_test!(), wrong) {
        let dir = tempfile::tempdir().unwrap();
        let error = Database::open(dir.path().join("a.bigarray")).unwrap_err();
        assert!(error.is_invalid(), "{error:?}");
        for word in ["BIGARRAY_USERFAULTFD", "maybe", "none"] {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

/// The kernel's own faults, where the process may receive them, and the device by which an ordinary user may.
#[test]
fn the_device_is_enough_where_the_call_is_refused() {
    if !is_root() || !std::path::Path::new("/dev/userfaultfd").exists() {
        return;
    }
    if alone(this_test!(), |child| _ = child.env_remove("BIGARRAY_USERFAULTFD")) {
        forbid(&[libc::SYS_userfaultfd], libc::EPERM);
        let mut db = TestDb::new();
        db.transact(|txn| {
            txn.create::<u8, _>("A", 4 * BLOCK)?.view_mut().fill(3);
            Ok(())
        })
        .unwrap();
        db.reopen();
        // A system call on what is not there: only a kernel fault brings it.
        let a = db.array::<u8, Ix1>("A").unwrap();
        let file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut &file, a.view().as_slice().unwrap()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 4 * BLOCK as u64);
    }
}
