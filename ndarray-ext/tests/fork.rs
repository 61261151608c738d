//! After `fork` the child has neither the threads nor the memory: it is refused, or ends, and the parent goes on.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bigarray::ndarray::Ix1;
use bigarray::{Database, Pager, Result};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use support::child::{alone, this_test};
use support::random::Random;
use support::{BLOCK, TestDb, small_blocks};

/// Runs `child` in a forked process, which ends with the status that it returns.
fn forked(child: impl FnOnce() -> i32) -> WaitStatus {
    // SAFETY: nothing else of this process runs user code, see `alone`: locks that the child may need are free. (Where
    // threads of the test do, the child needs none: that is what the test shows.)
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => ended(child),
        ForkResult::Child => {
            // What it is expected to die of leaves no core behind.
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
            let status = child();
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

/// How the child ended; one that hangs is killed.
fn ended(child: Pid) -> WaitStatus {
    let start = Instant::now();
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::StillAlive if start.elapsed() > Duration::from_secs(30) => {
                kill(child, Signal::SIGKILL).unwrap();
                return waitpid(child, None).unwrap();
            }
            WaitStatus::StillAlive => std::thread::sleep(Duration::from_micros(500)),
            status => return status,
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

/// Other threads hold locks when the process forks, which nobody in the child gives back.
#[test]
fn handles_dropped_by_a_child_that_was_forked_while_others_load_do_not_hold_it_up() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = TestDb::with(Database::options().pager(Pager::Copy).memory_budget(4 << 20));
    let blocks = 128;
    db.transact(|txn| {
        txn.create_with::<u8, _>("A", blocks * BLOCK, &small_blocks())?.view_mut().fill(1);
        Ok(())
    })
    .unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (db, is_over) = (&db, &is_over);
            scope.spawn(move || {
                let mut random = Random::new(thread);
                let a = db.array::<u8, Ix1>("A").unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(a.view()[random.below(blocks) * BLOCK], 1);
                }
            });
        }
        let _over = Over(&is_over);
        for round in 0..100 {
            let (txn, spare) = (db.begin().unwrap(), db.begin().unwrap());
            let mut open = txn.array::<u8, Ix1>("A").unwrap();
            (0..4).for_each(|block| open.view_mut()[block * BLOCK] = 2);
            drop(open);
            let mut handles = Some((db.clone(), db.snapshot().unwrap(), db.array::<u8, Ix1>("A").unwrap(), txn));
            let mut spare = Some(spare);
            let status = forked(|| {
                drop(handles.take());
                spare.take().unwrap().commit().is_ok().into()
            });
            assert!(matches!(status, WaitStatus::Exited(_, 0)), "round {round}: {status:?}");
        }
    });
}

/// Ends the threads of a test, also when it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
