//! Waiting for other processes: no process waits for a dead one, every long wait is reported, and a limit ends it.

mod outside;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bigarray_core::store::Store;
use bigarray_store_lmdb::{LmdbStore, Options};
use bigarray_testing::EventLog;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};
use outside::*;

const SHORT: Duration = Duration::from_millis(200);

fn database(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    path
}

fn open_with_limit(path: &Path, limit: Duration) -> bigarray_core::Result<Arc<LmdbStore>> {
    LmdbStore::open(&Options { wait_timeout: Some(limit), ..Options::new(path) })
}

/// The first byte of the locks on `data`, and the bytes of two locks that processes wait for.
const OPENING: i64 = 1 << 62;
const COMMIT_LOCK: i64 = OPENING + 4;
/// The byte of a lock on `index-lock`.
const WRITING: i64 = (1 << 62) + 1;

/// Takes a lock as another process would. It is released when the file is closed.
fn hold(path: &Path, at: i64) -> File {
    let file = File::options().read(true).write(true).open(path.join("data")).unwrap();
    lock(&file, at).unwrap();
    file
}

fn lock(file: impl AsFd, at: i64) -> nix::Result<i32> {
    let (l_type, l_whence) = (libc::F_WRLCK as libc::c_short, libc::SEEK_SET as libc::c_short);
    fcntl(file, FcntlArg::F_OFD_SETLK(&libc::flock { l_type, l_whence, l_start: at, l_len: 1, l_pid: 0 }))
}

/// A server forks workers after it opened the database, and is killed while it writes. The workers live on.
#[test]
fn locks_of_a_killed_process_are_free_though_its_forked_child_lives() {
    play(|path| {
        let store = open(path).unwrap();
        let _lock = store.commit_lock().unwrap();
        // SAFETY: the child makes system calls only.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => loop {
                nix::unistd::pause();
            },
            ForkResult::Parent { child } => say(child),
        }
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    let child = Pid::from_raw(other.hear().parse().unwrap());
    let store = open_with_limit(&path, Duration::from_secs(20)).unwrap();
    other.kill();
    let written = write(&store, "a", 2);
    let again = open(&path).and_then(|store| write(&store, "a", 3));
    kill(child, None).expect("the child lives");
    kill(child, Signal::SIGKILL).unwrap();
    written.and(again).unwrap();
    assert!(shows_now(&store, "a", 3));
}

#[test]
fn a_commit_ends_at_its_limit_and_names_the_holder_of_the_commit_lock() {
    play(|path| {
        let store = open(path).unwrap();
        let lock = store.commit_lock().unwrap();
        say("holding");
        wait();
        drop(lock);
        say("given back");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "holding");
    let pid = other.child.id().to_string();
    let store = open_with_limit(&path, SHORT).unwrap();
    for _ in 0..3 {
        let error = refused(write(&store, "a", 2));
        let text = error.to_string();
        assert!(error.is_in_use(), "{error:?}");
        for named in [path.to_str().unwrap(), "the commit lock", "200ms", "wait_timeout", &pid] {
            assert!(text.contains(named), "{named} in {text}");
        }
    }
    other.go();
    assert_eq!(other.hear(), "given back");
    // The thread that still waits in the kernel passes the commit lock on to the next thread, or releases it.
    write(&store, "a", 3).unwrap();
    write(&open(&path).unwrap(), "a", 4).unwrap();
    other.go();
    other.finish();
    assert!(shows_now(&store, "a", 4));
    let held = hold(&path, COMMIT_LOCK);
    let error = refused(write(&store, "a", 5));
    assert!(error.is_in_use(), "{error:?}");
    drop(held);
    write(&store, "a", 5).unwrap();
}

/// The C library does not know of a child that was made by `clone` directly, so the child keeps its parent's open files.
#[test]
fn a_child_of_clone_that_keeps_locks_of_its_killed_parent_is_named() {
    play(|path| {
        let store = open(path).unwrap();
        let _lock = store.commit_lock().unwrap();
        // SAFETY: as `fork`: the child goes on with a copy of this thread's stack, and makes system calls only.
        match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
            0 => loop {
                nix::unistd::pause();
            },
            child => say(child),
        }
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    let child = Pid::from_raw(other.hear().parse().unwrap());
    let store = open_with_limit(&path, SHORT).unwrap();
    other.kill();
    let outcome = write(&store, "a", 2);
    kill(child, Signal::SIGKILL).unwrap();
    let error = refused(outcome);
    assert!(error.is_in_use() && error.to_string().contains(&format!("process {child}")), "{child}: {error:?}");
    // It ends soon.
    let store = open_with_limit(&path, Duration::from_secs(30)).unwrap();
    write(&store, "a", 2).or_else(|_| write(&store, "a", 2)).unwrap();
}

/// With a limit of processes, or an unshared PID namespace, no thread can be started.
#[test]
fn a_wait_ends_where_no_thread_can_be_started() {
    play(|path| {
        let store = open_with_limit(path, SHORT).unwrap();
        if let Err(e) = unshare(CloneFlags::CLONE_NEWPID) {
            return say(format_args!("skip: {e}"));
        }
        say(if thread::Builder::new().spawn(|| ()).is_err() { "no threads" } else { "threads" });
        wait();
        say_result(&write(&store, "a", 2));
        drop(store);
        let patient = Duration::from_secs(30);
        let written = open_with_limit(path, patient).and_then(|store| {
            say("opened");
            wait();
            write(&store, "a", 3)
        });
        say_result(&written);
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    let means = other.hear();
    if means != "no threads" {
        return skip(&format!("this process may not make PID namespaces: {means}"));
    }
    let held = hold(&path, COMMIT_LOCK);
    other.go();
    let error = other.hear();
    assert!(error.starts_with("InUse: ") && error.contains("the commit lock"), "{error}");
    assert_eq!(other.hear(), "opened");
    other.go();
    // It may not have begun to wait yet.
    thread::sleep(Duration::from_millis(20));
    drop(held);
    assert_eq!(other.hear(), "ok");
    other.finish();
    assert!(shows_now(&open(&path).unwrap(), "a", 3));
}

/// LMDB's own tools lock its whole table for a moment when they open it; LMDB would wait for one that is stopped just
/// then.
#[test]
fn opening_beside_a_program_that_keeps_lmdbs_lock_table_ends_at_its_limit() {
    play(|path| {
        let table = File::options().read(true).write(true).open(path.join("index-lock")).unwrap();
        let (l_type, l_whence) = (libc::F_WRLCK as libc::c_short, libc::SEEK_SET as libc::c_short);
        let all = libc::flock { l_type, l_whence, l_start: 0, l_len: 1, l_pid: 0 };
        fcntl(&table, FcntlArg::F_SETLK(&all)).unwrap();
        say("locked");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "locked");
    let error = refused(open_with_limit(&path, SHORT));
    let text = error.to_string();
    assert!(error.is_in_use() && text.contains("the lock table of LMDB"), "{error:?}");
    assert!(text.contains(&format!("process {}", other.child.id())), "{text}");
    other.go();
    other.finish();
    write(&open_with_limit(&path, Duration::from_secs(30)).unwrap(), "a", 2).unwrap();
}

/// A commit reached its limit and the database was closed, while a thread still waits in the kernel for the gate *writing*.
#[test]
fn a_wait_that_reached_its_limit_takes_no_locks_of_the_database_opened_again() {
    play(|path| {
        let table = File::options().read(true).write(true).open(path.join("index-lock")).unwrap();
        lock(&table, WRITING).unwrap();
        say("locked");
        wait();
        drop(table);
        wait();
        // Refused if it has lost its locks.
        say_result(&open(path).and_then(|store| write(&store, "a", 3)));
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "locked");
    let store = open_with_limit(&path, SHORT).unwrap();
    let error = refused(write(&store, "a", 2));
    assert!(error.is_in_use() && error.to_string().contains("the right to write"), "{error:?}");
    drop(store);
    let store = open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    other.go();
    while fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .any(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("bigarray-lock")))
    {
        thread::sleep(Duration::from_millis(5));
    }
    other.go();
    assert_eq!(other.hear(), "ok");
    other.finish();
    assert!(shows(&*snapshot, "a", 1) && shows_now(&store, "a", 3));
}

#[test]
fn opening_ends_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let held = hold(&path, OPENING);
    let error = refused(open_with_limit(&path, SHORT));
    let text = error.to_string();
    assert!(error.is_in_use() && text.contains("open the database") && text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    drop(held);
    write(&open_with_limit(&path, Duration::from_secs(30)).unwrap(), "a", 2).unwrap();
}

#[test]
fn closing_ends_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open_with_limit(&path, SHORT).unwrap();
    write(&store, "a", 2).unwrap();
    let held = hold(&path, OPENING);
    let events = EventLog::default();
    tracing::subscriber::with_default(events.clone(), || drop(store));
    assert!(events.has(&["closing the database", "wait_timeout"]), "{:?}", events.events());
    drop(held);
    let store = open_with_limit(&path, Duration::from_secs(30)).unwrap();
    assert!(shows_now(&store, "a", 2));
}

#[test]
fn creation_ends_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.bigarray");
    std::fs::create_dir(&path).unwrap();
    let held = nix::fcntl::Flock::lock(File::open(&path).unwrap(), nix::fcntl::FlockArg::LockExclusive).unwrap();
    let error = refused(open_with_limit(&path, SHORT));
    let text = error.to_string();
    assert!(error.is_in_use() && text.contains("create the database"), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    drop(held);
    create(&open_with_limit(&path, Duration::from_secs(30)).unwrap(), "a", 1).unwrap();
}

/// This is the only report of a job that waits.
#[test]
fn a_wait_without_a_limit_is_reported_with_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    let held = hold(&path, COMMIT_LOCK);
    let events = EventLog::default();
    thread::scope(|scope| {
        let writing = scope.spawn(|| tracing::subscriber::with_default(events.clone(), || write(&store, "a", 2)));
        let pid = std::process::id().to_string();
        while !events.has(&["the commit lock", &pid, path.to_str().unwrap()]) {
            assert!(!writing.is_finished(), "{:?}", writing.join());
            thread::sleep(Duration::from_millis(20));
        }
        drop(held);
        writing.join().unwrap().unwrap();
    });
    assert!(shows_now(&store, "a", 2));
}

/// A thread of the program that holds the commit lock waits for one that wants it.
#[test]
fn a_wait_for_another_thread_is_reported_with_its_name_and_ends_at_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open_with_limit(&path, Duration::from_secs(2)).unwrap();
    thread::scope(|scope| {
        let holding = thread::Builder::new().name("holds-it".to_owned());
        let holding = holding.spawn_scoped(scope, || {
            let _lock = store.commit_lock().unwrap();
            let events = EventLog::default();
            let inner = scope.spawn({
                let (events, store) = (events.clone(), &store);
                move || tracing::subscriber::with_default(events, || write(store, "a", 2))
            });
            let error = refused(inner.join().unwrap());
            assert!(error.is_in_use() && error.to_string().contains("holds-it"), "{error:?}");
            assert!(events.has(&["the commit lock", "holds-it"]), "{:?}", events.events());
        });
        holding.unwrap().join().unwrap();
    });
    write(&store, "a", 2).unwrap();
}
