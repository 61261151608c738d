//! A process that waits for what another one commits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bigarray::ndarray::Ix1;
use bigarray::{Database, Result, Version};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::support::TestDb;
use crate::support::child::{Child, alone, command, hear, role, say, this_test};

/// A wait that a commit ends.
const LONG: Duration = Duration::from_secs(600);

/// Commits the numbers from 1 on, each once it was heard that it should, or all at once without `asks`.
fn count_up(asks: bool) -> ! {
    let db = Database::open(std::env::var_os("DB").unwrap()).unwrap();
    for number in 1.. {
        if asks {
            hear();
        }
        set(&db, number).unwrap();
        if asks {
            say(number);
        }
    }
    unreachable!("a test is over before");
}

fn set(db: &Database, number: u64) -> Result<()> {
    db.transact(|txn| {
        txn.open_or_create::<u64, _>("number", 1)?.view_mut()[0] = number;
        Ok(())
    })
}

fn committer(test: &str, role: &str, db: &TestDb) -> Child {
    let mut command = command(test, role);
    command.env("DB", db.path());
    Child::start(command)
}

/// The newest number, and the state that it is in, once that is later than `seen`.
fn next(db: &Database, seen: Version) -> (u64, Version) {
    let newer = db.wait_for_commit(seen, LONG).unwrap().expect("a commit");
    assert!(newer.version() > seen);
    (newer.array::<u64, Ix1>("number").unwrap().view()[0], newer.version())
}

#[test]
fn commits_of_another_process_are_seen_before_and_during_a_wait() {
    if role().is_some() {
        count_up(true);
    }
    let db = TestDb::new();
    let mut child = committer(this_test!(), "asks", &db);
    let mut seen = db.snapshot().unwrap().version();
    for number in 1..=20 {
        if number % 2 == 0 {
            // Committed between the number and the wait.
            assert_eq!(child.ask("next"), number.to_string());
        } else {
            child.say("next");
        }
        let (found, version) = next(&db, seen);
        assert_eq!(found, number);
        seen = version;
        if number % 2 == 1 {
            assert_eq!(child.hear(), number.to_string());
        }
    }
    assert!(db.wait_for_commit(seen, Duration::from_millis(20)).unwrap().is_none());
    assert_eq!(db.snapshot().unwrap().version(), seen, "what was not waited for was not committed");
}

#[test]
fn a_follower_outlives_the_committer_and_sees_all_that_it_committed() {
    match role().as_deref() {
        Some("asks") => count_up(true),
        Some(_) => count_up(false),
        None => {}
    }
    let db = TestDb::new();
    let mut seen = db.snapshot().unwrap().version();
    let mut newest = 0;
    // Killed wherever it is, over and over.
    for _ in 0..10 {
        let child = committer(this_test!(), "counts", &db);
        for _ in 0..5 {
            (newest, seen) = next(&db, seen);
        }
        child.kill();
        // What it committed last, if that was not seen yet; then there is silence, and no wait is stuck in it.
        while let Some(newer) = db.wait_for_commit(seen, Duration::from_millis(30)).unwrap() {
            (newest, seen) = (newer.array::<u64, Ix1>("number").unwrap().view()[0], newer.version());
        }
        assert_eq!(db.array::<u64, Ix1>("number").unwrap().view()[0], newest);
    }
    // The next one is followed as the first one was.
    let mut child = committer(this_test!(), "asks", &db);
    child.say("next");
    assert_eq!(next(&db, seen).0, 1);
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn counts(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_signal_is_handled_in_the_wait_and_does_not_end_it() {
    if !alone(this_test!(), |_| {}) {
        return;
    }
    // Without SA_RESTART: a system call that is interrupted ends.
    let action = SigAction::new(SigHandler::Handler(counts), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler touches an atomic.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let db = TestDb::new();
    let seen = db.snapshot().unwrap().version();
    // SAFETY: asks which thread this is.
    let me = unsafe { libc::pthread_self() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while HANDLED.load(Ordering::SeqCst) < 50 {
                // SAFETY: the thread waits for this one.
                unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
                std::thread::sleep(Duration::from_millis(1));
            }
            set(&db, 7).unwrap();
        });
        // Handlers run in the wait: the commit comes after them.
        assert_eq!(next(&db, seen).0, 7);
    });
    assert!(HANDLED.load(Ordering::SeqCst) >= 50);
}
