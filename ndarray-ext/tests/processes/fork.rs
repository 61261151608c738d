//! After `fork` the child has neither the threads nor the memory of its parent. Its uses of the parent's handles are
//! refused or end it, and the parent goes on.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bigarray::ndarray::{ArrayView1, Axis, Ix1};
use bigarray::{BigArrayMut, Database, MemoryUse, Metrics, Pager, Result, Snapshot, Transaction};
use nix::sched::{CloneFlags, unshare};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::support::child::{alone, this_test};
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, small_blocks};

/// Runs `child` in a forked process, which ends with the status that it returns.
fn forked(child: impl FnOnce() -> i32) -> WaitStatus {
    // SAFETY: nothing else of this process runs user code, see `alone`: locks that the child may need are free. (Where
    // threads of the test do, the child needs none: that is what the test shows.)
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => ended(child),
        ForkResult::Child => {
            // The signal that it is expected to die of leaves no core behind.
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
    fill(&db);
    db
}

fn fill(db: &Database) {
    db.transact(|txn| {
        txn.create_with::<u8, _>("A", 8 * BLOCK, &small_blocks())?.view_mut().fill(1);
        txn.create_with::<u8, _>("hole", 8 * BLOCK, &small_blocks()).map(drop)
    })
    .unwrap();
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

/// The number of the first call on handles of the parent that is not refused in this process; 0 if all are.
fn not_refused(db: &Database, txn: &Transaction, snapshot: &Snapshot, open: &mut BigArrayMut<'_, u8, Ix1>) -> i32 {
    let text = |text: &str| text.contains("forked") && text.contains("open the database again here");
    let refused = |outcome: Result<()>| outcome.is_err_and(|e| e.is_in_use() && text(&e.to_string()));
    // A panic of the child says so on the parent's standard error, which is expected.
    std::panic::set_hook(Box::new(|_| ()));
    let panics = |view: &mut dyn FnMut()| {
        let panic = catch_unwind(AssertUnwindSafe(view)).err();
        panic.is_some_and(|panic| panic.downcast_ref::<String>().is_some_and(|why| text(why)))
    };
    let row = [0];
    let all = [
        refused(db.begin().map(drop)),
        refused(db.snapshot().map(drop)),
        refused(db.wait_for_commit(snapshot.version(), Duration::ZERO).map(drop)),
        refused(db.array::<u8, Ix1>("A").map(drop)),
        refused(db.transact(|_| Ok(()))),
        refused(db.describe().map(drop)),
        refused(snapshot.array::<u8, Ix1>("A").map(drop)),
        refused(snapshot.arrays().map(drop)),
        refused(txn.array::<u8, Ix1>("hole").map(drop)),
        refused(txn.create::<u8, _>("B", 1).map(drop)),
        refused(txn.remove("hole")),
        refused(open.prefetch(..)),
        refused(open.prefetch_ahead(..).map(drop)),
        refused(open.resident_bytes(..).map(drop)),
        refused(open.is_resident(..).map(drop)),
        refused(open.rows(..).map(drop)),
        refused(open.rows_mut(..).map(drop)),
        refused(open.write_to(&mut Vec::new())),
        refused(open.flush()),
        refused(open.resize(1)),
        refused(open.append(Axis(0), ArrayView1::from(&row))),
        refused(open.set_attr("a", 1.into())),
        panics(&mut || assert_eq!(open.view().len(), 0)),
        panics(&mut || open.view_mut().fill(0)),
        db.memory_use() == MemoryUse::default(),
        db.metrics() == Metrics::default(),
    ];
    all.iter().position(|refused| !refused).map_or(0, |n| n as i32 + 1)
}

#[test]
fn the_forked_child_is_refused_by_every_handle() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = stored();
    let (snapshot, txn) = (db.snapshot().unwrap(), db.begin().unwrap());
    let mut open = txn.array::<u8, Ix1>("A").unwrap();
    let array = db.array::<u8, Ix1>("A").unwrap();
    let spare = db.begin().unwrap();
    let status = forked(|| {
        let refused = |outcome: Result<()>| outcome.is_err_and(|e| e.is_in_use() && e.to_string().contains("forked"));
        let all = [
            refused(spare.commit()),
            refused(array.prefetch(..)),
            refused(array.rows(..).map(drop)),
            refused(array.write_to(&mut Vec::new())),
        ];
        match all.iter().position(|refused| !refused) {
            Some(n) => n as i32 + 100,
            None => not_refused(&db, &txn, &snapshot, &mut open),
        }
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}: the number of what was not refused");
    assert_eq!(open.view()[0], 1);
    drop(open);
    parent_goes_on(&db);
}

#[test]
fn a_prefetch_of_the_parent_is_refused_and_goes_on_in_the_parent() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = stored();
    let a = db.array::<u8, Ix1>("A").unwrap();
    for _ in 0..20 {
        let prefetch = a.prefetch_ahead(..).unwrap();
        let other = a.prefetch_ahead(..).unwrap();
        let status = forked(|| {
            let refused = [prefetch.wait(), other.wait(), a.prefetch_ahead(..).map(drop)];
            prefetch.cancel();
            i32::from(
                !(refused.iter().all(|r| r.as_ref().is_err_and(bigarray::Error::is_in_use)) && prefetch.is_done()),
            )
        });
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
        prefetch.wait().unwrap();
    }
    assert_eq!(a.view()[0], 1);
}

/// In the child the addresses of the parent's arrays are free, and soon have something else behind them.
#[test]
fn memory_of_a_child_at_an_arrays_address_is_never_taken_for_the_array() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = stored();
    let a = db.array::<u8, Ix1>("A").unwrap();
    let at = NonZeroUsize::new(a.view().as_ptr() as usize).unwrap();
    let status = forked(|| {
        let (len, flags) =
            (NonZeroUsize::new(8 * BLOCK).unwrap(), MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE);
        // SAFETY: fails where anything is mapped.
        let lies_there = unsafe { mmap_anonymous(Some(at), len, ProtFlags::PROT_READ, flags) }.is_ok();
        let refused = a.rows(..).is_err_and(|e| e.is_in_use());
        std::panic::set_hook(Box::new(|_| ()));
        let panics = catch_unwind(AssertUnwindSafe(|| a.view()[0])).is_err();
        i32::from(!(lies_there && refused && panics))
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    assert_eq!(a.view()[0], 1);
}

/// Runs `child` in a PID namespace of its own, of which it is process 1; made by `clone` itself, of which the C library
/// does not know.
fn cloned_into_a_namespace(child: impl FnOnce() -> i32) -> WaitStatus {
    let flags = nix::libc::CLONE_NEWPID | nix::libc::SIGCHLD;
    // SAFETY: as `fork`: the child goes on with a copy of this thread's stack.
    match unsafe { nix::libc::syscall(nix::libc::SYS_clone, flags, 0, 0, 0, 0) } {
        0 => {
            let status = child();
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { nix::libc::_exit(status) }
        }
        pid => {
            assert!(pid > 0, "cloning: {}", std::io::Error::last_os_error());
            ended(Pid::from_raw(pid as i32))
        }
    }
}

/// A container's program is process 1, and what it forks into a container of its own is too.
#[test]
fn a_child_with_its_parents_process_number_is_refused_and_leaves_its_parent_alone() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let WaitStatus::Exited(_, 0) = forked(|| i32::from(unshare(CloneFlags::CLONE_NEWPID).is_err())) else {
        crate::support::skip("this process may not make PID namespaces");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let status = cloned_into_a_namespace(|| {
        assert_eq!(std::process::id(), 1);
        let db = Database::open(&path).unwrap();
        fill(&db);
        for way in 0..2 {
            let (snapshot, txn) = (db.snapshot().unwrap(), db.begin().unwrap());
            let a = snapshot.array::<u8, Ix1>("A").unwrap();
            let mut open = txn.array::<u8, Ix1>("A").unwrap();
            let (first, last) = (open.view()[0], open.view()[7 * BLOCK]);
            let mut handles = Some((db.clone(), snapshot.clone(), a.clone()));
            let mut child = || {
                assert_eq!(std::process::id(), 1);
                let failed = not_refused(&db, &txn, &snapshot, &mut open);
                // Their destructors would stop the parent's threads, unmap its memory and give back its locks.
                drop(handles.take());
                failed
            };
            let status = if way == 0 {
                cloned_into_a_namespace(child)
            } else {
                // From here on this process makes no threads.
                unshare(CloneFlags::CLONE_NEWPID).unwrap();
                forked(&mut child)
            };
            assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}: the number of what was not refused");
            // Faults are still resolved, and locks held.
            open.view_mut()[3 * BLOCK] = 5;
            assert_eq!((open.view()[0], open.view()[7 * BLOCK], a.view()[5 * BLOCK]), (first, last, first));
            drop(open);
            txn.commit().unwrap();
            parent_goes_on(&db);
        }
        0
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    crate::support::check(&path);
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

/// Other threads hold locks when the process forks. No thread of the child releases them.
#[test]
fn a_child_forked_while_other_threads_load_drops_handles_without_waiting() {
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
            // Made by the parent: in the child none is to be had.
            let view = a.view();
            let status = forked(|| view[5 * BLOCK].into());
            assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{name}, {touched}: {status:?}");
            let mut view = open.view_mut();
            let status = forked(|| {
                view[5 * BLOCK] = 9;
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
