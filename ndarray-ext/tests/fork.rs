//! After `fork` the child has neither the threads nor the memory: it is refused, or ends, and the parent goes on.

mod support;

use bigarray::ndarray::Ix1;
use bigarray::{Database, Result};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use support::child::{alone, this_test};
use support::{BLOCK, TestDb, small_blocks};

/// Runs `child` in a forked process, which ends with the status that it returns.
fn forked(child: impl FnOnce() -> i32) -> WaitStatus {
    // SAFETY: nothing else of this process runs user code, see `alone`: locks that the child may need are free.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            // What it is expected to die of leaves no core behind.
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
            let status = child();
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

fn stored() -> TestDb {
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create_with::<u8, _>("A", 8 * BLOCK, &small_blocks())?.view_mut().fill(1);
        txn.create_with::<u8, _>("hole", 8 * BLOCK, &small_blocks()).map(drop)
    })
    .unwrap();
    db
}

fn parent_goes_on(db: &Database) {
    for value in 2..5 {
        db.transact(|txn| {
            txn.array::<u8, Ix1>("A")?.view_mut().fill(value);
            Ok(())
        })
        .unwrap();
        assert!(db.array::<u8, Ix1>("A").unwrap().view().iter().all(|&x| x == value));
    }
}

#[test]
fn the_forked_child_is_refused_by_every_handle() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = stored();
    let (snapshot, txn) = (db.snapshot().unwrap(), db.begin().unwrap());
    let open = txn.array::<u8, Ix1>("A").unwrap();
    let array = db.array::<u8, Ix1>("A").unwrap();
    let spare = db.begin().unwrap();
    let status = forked(|| {
        let refused = |outcome: Result<()>| outcome.is_err_and(|e| e.is_in_use() && e.to_string().contains("forked"));
        let all = [
            refused(db.begin().map(drop)),
            refused(db.snapshot().map(drop)),
            refused(db.array::<u8, Ix1>("A").map(drop)),
            refused(db.transact(|_| Ok(()))),
            refused(snapshot.array::<u8, Ix1>("A").map(drop)),
            refused(snapshot.arrays().map(drop)),
            refused(txn.array::<u8, Ix1>("hole").map(drop)),
            refused(txn.create::<u8, _>("B", 1).map(drop)),
            refused(txn.remove("hole")),
            refused(spare.commit()),
            refused(open.prefetch(..)),
            refused(array.prefetch(..)),
            refused(array.write_to(&mut Vec::new())),
        ];
        all.iter().position(|refused| !refused).map_or(0, |n| n as i32 + 1)
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}: the number of what was not refused");
    assert_eq!(open.view()[0], 1);
    drop(open);
    parent_goes_on(&db);
}

/// What the child drops at its end does not disturb the parent.
#[test]
fn handles_dropped_by_the_child_stay_whole_in_the_parent() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = stored();
    let (snapshot, txn) = (db.snapshot().unwrap(), db.begin().unwrap());
    let a = snapshot.array::<u8, Ix1>("A").unwrap();
    txn.array::<u8, Ix1>("A").unwrap().view_mut()[0] = 9;
    assert_eq!(a.view()[0], 1);
    let mut handles = Some((db.clone(), snapshot, txn, a));
    let status = forked(|| {
        drop(handles.take());
        0
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    let (_, snapshot, txn, a) = handles.unwrap();
    assert!(a.view().iter().all(|&x| x == 1));
    txn.commit().unwrap();
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().view()[0], 9);
    assert_eq!(snapshot.array::<u8, Ix1>("A").unwrap().view()[0], 1);
    parent_goes_on(&db);
}

#[test]
fn touching_the_parents_view_ends_the_child() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = stored();
    let txn = db.begin().unwrap();
    for name in ["A", "hole"] {
        let a = db.array::<u8, Ix1>(name).unwrap();
        let mut open = txn.array::<u8, Ix1>(name).unwrap();
        let expected = u8::from(name == "A");
        // Untouched, then touched, then written to.
        for touched in [false, true] {
            if touched {
                assert_eq!(a.view()[5 * BLOCK], expected);
                open.view_mut()[5 * BLOCK] = 7;
            }
            let status = forked(|| a.view()[5 * BLOCK].into());
            assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{name}, {touched}: {status:?}");
            let status = forked(|| {
                open.view_mut()[5 * BLOCK] = 9;
                0
            });
            assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{name}, {touched}: {status:?}");
        }
        assert_eq!(open.view()[5 * BLOCK], 7, "the child's write is the child's");
        assert_eq!(a.view()[5 * BLOCK], expected);
    }
    txn.commit().unwrap();
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().view()[5 * BLOCK], 7);
    parent_goes_on(&db);
}

/// The child may open the database anew.
#[test]
fn a_forked_child_opens_the_database_for_itself() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = stored();
    let a = db.array::<u8, Ix1>("A").unwrap();
    let status = forked(|| {
        let done = Database::open(db.path()).and_then(|own| {
            own.transact(|txn| {
                txn.array::<u8, Ix1>("A")?.view_mut()[0] = 9;
                Ok(())
            })
        });
        i32::from(done.is_err())
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    assert_eq!(a.view()[0], 1);
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().view()[0], 9);
    parent_goes_on(&db);
}
