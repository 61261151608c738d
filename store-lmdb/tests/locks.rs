//! How LMDB's reader table is protected; see "Locks" in docs/format.md. Each test begins with its story.

mod outside;

use std::fs::{self, File};
use std::path::Path;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bigarray_core::store::Store;
use bigarray_store_lmdb::LmdbStore;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use outside::*;

fn database(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    path
}

/// Drops all of LMDB's locks, as any code of the process may do at any time, a backup for instance.
fn lose_locks(path: &Path) {
    drop(File::open(path.join("index-lock")).unwrap());
}

/// Commits so often that every page freed before is used again.
fn write_much(store: &LmdbStore) -> bigarray_core::Result<()> {
    (100..140).try_for_each(|tag| write(store, "a", tag))
}

#[track_caller]
fn assert_names_this_process(error: &str) {
    assert!(error.starts_with("InUse: ") && error.contains("lost its locks on index-lock"), "{error}");
    assert!(
        error.contains(&format!("ends: process {} (", process::id()))
            || error.contains(&format!("end it: process {} (", process::id())),
        "{error}"
    );
}

/// A reading process has lost its locks. LMDB took a process that opened the database then for the only one, initialized the
/// reader table, and overwrote pages that are read.
#[test]
fn opening_beside_a_reader_that_lost_its_locks_is_refused_until_it_takes_them_again() {
    play(|path| {
        for _ in 0..2 {
            say_result(&open(path).and_then(|store| write_much(&store)));
            wait();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    lose_locks(&path);
    let mut other = Other::start(&path);
    assert_names_this_process(&other.hear());
    assert!(shows(&*snapshot, "a", 1));
    // The next transaction takes them again.
    store.snapshot().unwrap();
    other.go();
    assert_eq!(other.hear(), "ok");
    assert!(shows(&*snapshot, "a", 1));
    other.go();
    other.finish();
    check(&store);
}

/// The other process had the database open before, and clears readers of dead processes.
#[test]
fn writing_beside_a_reader_that_lost_its_locks_is_refused_until_it_takes_them_again() {
    play(|path| {
        let store = open(path).unwrap();
        for _ in 0..3 {
            say_result(&write_much(&store));
            wait();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "ok");
    lose_locks(&path);
    other.go();
    assert_names_this_process(&other.hear());
    store.snapshot().unwrap();
    other.go();
    assert_eq!(other.hear(), "ok");
    assert!(shows(&*snapshot, "a", 1));
    other.go();
    other.finish();
    check(&store);
}

/// A place of a killed reader in the table would keep all pages freed since from being used again.
#[test]
fn a_killed_reader_does_not_hold_space_for_ever() {
    play(|path| {
        let store = open(path).unwrap();
        let _snapshot = store.snapshot().unwrap();
        say("reading");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    write_much(&store).unwrap();
    let before = store.check(true).unwrap();
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "reading");
    write_much(&store).unwrap();
    assert!(store.check(true).unwrap().freed_pages > 30, "the reader holds them");
    other.kill();
    write_much(&store).unwrap();
    let after = store.check(true).unwrap();
    assert!(after.freed_pages <= before.freed_pages + 1, "{before:?} {after:?}");
}

#[test]
fn a_forked_child_is_refused_and_leaves_its_parent_alone() {
    play(|path| {
        let store = open(path).unwrap();
        let snapshot = store.snapshot().unwrap();
        let lock = store.commit_lock().unwrap();
        // SAFETY: this process has one thread that runs; the child allocates, as glibc permits it to.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let refused = |e: bigarray_core::Error| e.is_in_use() && e.to_string().contains("forked");
                let mut page = vec![0; bigarray_core::PAGE];
                let seen = [
                    store.snapshot().err().is_some_and(refused),
                    store.commit_lock().err().is_some_and(|e| e.is_in_use()),
                    snapshot.array("a").err().is_some_and(refused),
                    snapshot.read(bigarray_core::ArrayId(0), bigarray_core::BlockNo(0), 0, &mut page).is_err(),
                ];
                drop((lock, snapshot, store));
                // It may open the database for itself.
                let own = open(path).is_ok_and(|own| shows_now(&own, "a", 1));
                std::process::exit(if seen == [true; 4] && own { 0 } else { 1 });
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
                say("forked");
                wait();
                assert!(shows(&*snapshot, "a", 1));
                drop(lock);
                say("commit lock given back");
                wait();
                // Its own commits go on.
                write(&store, "a", 7).unwrap();
                assert!(shows_now(&store, "a", 7) && shows(&*snapshot, "a", 1));
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "forked");
    // Its parent still holds its locks, the commit lock among them.
    let store = open(&path).unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(write_much(&store)).unwrap());
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "the commit lock was given away");
        other.go();
        assert_eq!(other.hear(), "commit lock given back");
        receiver.recv().unwrap().unwrap();
    });
    other.go();
    other.finish();
    check(&store);
}

/// A forked child that lives on has the open files of its parent. Locks that the parent released are free.
#[test]
fn a_forked_child_that_outlives_its_parent_holds_no_lock_of_a_closed_database() {
    play(|path| {
        let store = open(path).unwrap();
        // SAFETY: as above.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                wait();
                std::process::exit(0);
            }
            ForkResult::Parent { .. } => {
                drop(store);
                say("closed");
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "closed");
    other.child.wait().unwrap();
    write(&open(&path).unwrap(), "a", 2).unwrap();
    other.go();
}

/// A process that cannot write `index-lock` cannot show in it that it reads.
#[test]
fn a_reader_without_the_lock_file_and_writers_exclude_each_other() {
    play(|path| {
        for _ in 0..2 {
            let store = open_to_read(path);
            say_result(&store);
            if let Ok(store) = &store {
                say(shows_now(store, "a", 1));
            }
            wait();
        }
    });
    let Some(mount) = Mount::tmpfs(64 << 20) else { return };
    let path = database(&mount.at);
    let read_only = Mount::bind(&mount.at, true);
    let mut other = Other::start(&read_only.at.join("a.bigarray"));
    assert_eq!(other.hear(), "ok");
    assert_eq!(other.hear(), "true");
    // Writing is refused while it reads; other processes may read.
    let error = refused(open(&path));
    assert!(error.is_in_use() && error.to_string().contains("cannot write to index-lock"), "{error:?}");
    assert!(shows_now(&open_to_read(&path).unwrap(), "a", 1));
    let mut third = Other::start(&read_only.at.join("a.bigarray"));
    assert_eq!(third.hear(), "ok");
    third.kill();
    // It closes before it opens again.
    other.go();
    assert_eq!(other.hear(), "ok");
    other.kill();
    let store = open(&path).unwrap();
    write(&store, "a", 2).unwrap();
    // Reading without the lock file is refused while a process writes.
    let mut other = Other::start(&read_only.at.join("a.bigarray"));
    let error = other.hear();
    assert!(error.starts_with("InUse: ") && error.contains("open for writing"), "{error}");
    drop(store);
    other.go();
    assert_eq!(other.hear(), "ok");
    assert_eq!(other.hear(), "false");
    other.go();
    other.finish();
}

/// The lock table is a mapping of a file: if the disk has no room for it, touching it would be SIGBUS.
#[test]
fn a_disk_too_full_for_the_lock_file_is_store_full() {
    let Some(mount) = Mount::tmpfs(1 << 20) else { return };
    let path = database(&mount.at);
    fs::remove_file(path.join("index-lock")).unwrap();
    // Filled to the last page.
    let filler = File::create(mount.at.join("filler")).unwrap();
    let mut free = 1 << 20;
    while free >= 4096 {
        match nix::fcntl::fallocate(&filler, nix::fcntl::FallocateFlags::empty(), 0, free) {
            Ok(()) => break,
            Err(_) => free -= 4096,
        }
    }
    let error = refused(open(&path));
    assert!(error.is_store_full(), "{error:?}");
    // Truncated too: a process that another test is just starting may still have it open.
    filler.set_len(0).unwrap();
    assert!(shows_now(&open(&path).unwrap(), "a", 1));
}
