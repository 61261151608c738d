//! Signal handlers of the program that touch a view. Each waits for its page, whatever its thread was doing, and what it
//! interrupted goes on.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use bigarray::ndarray::Ix1;
use bigarray::{BigArray, Database, OpenOptions, Pager};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::support::child::{alone, this_test};
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, small_blocks};

/// Elements of a block.
const ROWS: usize = BLOCK / 8;
const BLOCKS: usize = 200;

/// What the handler touches: elements that are their own number.
static VIEW: AtomicPtr<u64> = AtomicPtr::new(std::ptr::null_mut());
/// Whether it does, and is counted.
static TOUCHES: AtomicBool = AtomicBool::new(false);
static HANDLED: AtomicUsize = AtomicUsize::new(0);
static WRONG: AtomicUsize = AtomicUsize::new(0);

extern "C" fn touches_a_view(_: libc::c_int) {
    if !TOUCHES.load(Ordering::SeqCst) {
        return;
    }
    let n = HANDLED.fetch_add(1, Ordering::SeqCst);
    // All over the array: with this little memory most of what is met is not there.
    let at = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (BLOCKS * ROWS);
    // SAFETY: within the view, which lives as long as signals are sent.
    let element = unsafe { VIEW.load(Ordering::SeqCst).add(at).read_volatile() };
    if element != at as u64 {
        WRONG.fetch_add(1, Ordering::SeqCst);
    }
}

/// Little memory, and blocks that are copied: they come and go all the time.
fn little_memory() -> OpenOptions {
    Database::options().pager(Pager::Copy).memory_budget(4 << 20)
}

fn fill(db: &Database) {
    for name in ["touched", "A"] {
        db.transact(|txn| {
            let mut a = txn.create_with::<u64, _>(name, BLOCKS * ROWS, &small_blocks())?;
            a.view_mut().iter_mut().zip(0..).for_each(|(element, n)| *element = n);
            Ok(())
        })
        .unwrap();
    }
}

/// Does something that the handler may interrupt; it must not interrupt what the test itself allocates.
fn touching<R>(f: impl FnOnce() -> R) -> R {
    TOUCHES.store(true, Ordering::SeqCst);
    let done = f();
    TOUCHES.store(false, Ordering::SeqCst);
    done
}

/// Sends signals to this thread until the handler was run `times` times while `work` was done over and over.
fn interrupted(touched: &BigArray<u64, Ix1>, times: usize, mut work: impl FnMut(usize)) {
    let view = touched.view();
    VIEW.store(view.as_ptr().cast_mut(), Ordering::SeqCst);
    let action = SigAction::new(SigHandler::Handler(touches_a_view), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler touches atomics and a view.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    // SAFETY: asks which thread this is.
    let me = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    let until = HANDLED.load(Ordering::SeqCst) + times;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(7);
            while !done.load(Ordering::SeqCst) {
                // SAFETY: the thread waits for this one.
                unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
                std::thread::sleep(Duration::from_micros(random.below(500) as u64));
            }
        });
        let mut round = 0;
        while HANDLED.load(Ordering::SeqCst) < until {
            work(round);
            round += 1;
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(WRONG.load(Ordering::SeqCst), 0);
}

/// The parent's patience ends a hang.
#[test]
fn a_handler_that_touches_a_view_interrupts_a_prefetch() {
    if alone(this_test!(), |_| ()) {
        let db = TestDb::with(little_memory());
        fill(&db);
        let touched = db.array::<u64, Ix1>("touched").unwrap();
        interrupted(&touched, 3000, |round| {
            let first = round * 7 % (BLOCKS - 8);
            touching(|| touched.prefetch(first * ROWS..(first + 8) * ROWS)).unwrap();
        });
    }
}

#[test]
fn a_handler_that_touches_a_view_interrupts_a_prefetch_that_goes_on_by_itself() {
    if alone(this_test!(), |_| ()) {
        let db = TestDb::with(little_memory());
        fill(&db);
        let touched = db.array::<u64, Ix1>("touched").unwrap();
        interrupted(&touched, 3000, |round| {
            let first = round * 7 % (BLOCKS - 64);
            let rows = first * ROWS..(first + 64) * ROWS;
            let prefetch = touching(|| touched.prefetch_ahead(rows)).unwrap();
            touching(|| prefetch.wait()).unwrap();
            assert!(prefetch.is_done());
        });
    }
}

#[test]
fn a_handler_that_touches_a_view_interrupts_writing_it_out() {
    if alone(this_test!(), |_| ()) {
        let db = TestDb::with(little_memory());
        fill(&db);
        let touched = db.array::<u64, Ix1>("touched").unwrap();
        interrupted(&touched, 3000, |_| touching(|| touched.write_to(&mut std::io::sink())).unwrap());
    }
}

#[test]
fn a_handler_that_touches_a_view_interrupts_what_lists_arrays() {
    if alone(this_test!(), |_| ()) {
        let db = TestDb::with(little_memory());
        fill(&db);
        let touched = db.array::<u64, Ix1>("touched").unwrap();
        let snapshot = db.snapshot().unwrap();
        interrupted(&touched, 3000, |_| {
            let listed = touching(|| (snapshot.arrays().unwrap(), snapshot.info("A").unwrap()));
            assert_eq!(listed.0[0], listed.1);
        });
    }
}

#[test]
fn a_handler_that_touches_a_view_interrupts_transactions() {
    if alone(this_test!(), |_| ()) {
        let db = TestDb::with(little_memory());
        fill(&db);
        let touched = db.array::<u64, Ix1>("touched").unwrap();
        interrupted(&touched, 3000, |round| {
            let mut txn = db.begin().unwrap();
            let mut a = txn.array::<u64, Ix1>("A").unwrap();
            for n in 0..20 {
                a.view_mut()[(round * 31 + n * 977) % (BLOCKS * ROWS)] += 1;
            }
            if round % 3 == 0 {
                touching(|| a.flush()).unwrap();
            }
            drop(a);
            match round % 4 {
                0 => txn.abort(),
                1 => {
                    let point = txn.savepoint().unwrap();
                    txn.rollback(point).unwrap();
                    touching(|| txn.commit()).unwrap();
                }
                _ => touching(|| txn.commit()).unwrap(),
            }
        });
    }
}
