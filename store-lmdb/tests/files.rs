//! The files of a database while they are moved, replaced and removed, and while signals come.

mod outside;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bigarray_core::store::Store as _;
use bigarray_core::{BlockSize, Descriptor};
use bigarray_testing::{Edit, array_of};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use outside::*;

/// A database with an array `name` in `dir`.
fn database(dir: &Path, name: &str, tag: u64) -> PathBuf {
    let path = dir.join(format!("{name}.bigarray"));
    create(&open(&path).unwrap(), name, tag).unwrap();
    path
}

#[test]
fn a_link_that_is_switched_meanwhile_gives_one_database_and_never_parts_of_two() {
    play(|link| {
        for _ in 0..300 {
            let store = open(link).unwrap();
            let names = names(&store);
            assert!(shows_now(&store, &names[0], if names[0] == "a" { 1 } else { 2 }));
        }
        say("done");
    });
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (database(dir.path(), "a", 1), database(dir.path(), "b", 2));
    let link = dir.path().join("link");
    symlink(&a, &link).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let next = dir.path().join("next");
            for target in [&b, &a].into_iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                symlink(target, &next).unwrap();
                fs::rename(&next, &link).unwrap();
            }
        });
        let mut other = Other::start(&link);
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| other.hear()));
        done.store(true, Ordering::Relaxed);
        assert_eq!(said.unwrap(), "done");
    });
}

#[test]
fn nothing_is_committed_to_files_that_were_removed_or_replaced() {
    for name in ["index", "data", "index-lock"] {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path(), "a", 1);
        let store = open(&path).unwrap();
        let before = store.snapshot().unwrap();
        let file = path.join(name);
        // Linked elsewhere first, as by a backup.
        let kept = dir.path().join("kept");
        fs::hard_link(&file, &kept).unwrap();
        fs::remove_file(&file).unwrap();
        let refuses = || {
            let error = write(&store, "a", 2).unwrap_err();
            assert!(error.is_io() && error.to_string().contains(&format!("file {name} was re")), "{error:?}");
        };
        refuses();
        fs::write(&file, "another").unwrap();
        refuses();
        assert!(shows(&*before, "a", 1));
        drop(before);
        assert!(refused(store.snapshot()).is_io());
        fs::rename(&kept, &file).unwrap();
        write(&store, "a", 3).unwrap();
        assert!(shows_now(&store, "a", 3));
        check(&store);
    }
}

#[test]
fn nothing_is_committed_to_a_directory_that_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "a", 1);
    let store = open(&path).unwrap();
    fs::remove_dir_all(&path).unwrap();
    let error = write(&store, "a", 2).unwrap_err();
    assert!(error.is_io() && error.to_string().contains("removed"), "{error:?}");
    assert!(refused(store.snapshot()).is_io());
}

#[test]
fn a_directory_that_is_moved_stays_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "a", 1);
    let store = open(&path).unwrap();
    let moved = dir.path().join("moved.bigarray");
    fs::rename(&path, &moved).unwrap();
    write(&store, "a", 2).unwrap();
    assert!(shows_now(&store, "a", 2));
    drop(store);
    assert!(!path.exists());
    assert!(shows_now(&open(&moved).unwrap(), "a", 2));
}

#[test]
fn no_file_is_reached_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path(), "a", 1);
    let victim = dir.path().join("victim");
    fs::write(&victim, "text").unwrap();
    fs::remove_file(path.join("index-lock")).unwrap();
    symlink(&victim, path.join("index-lock")).unwrap();
    let error = refused(open(&path));
    assert!(error.to_string().contains("index-lock"), "{error:?}");
    // During creation.
    let new = dir.path().join("new.bigarray");
    fs::create_dir(&new).unwrap();
    symlink(&victim, new.join("index.bigarray-creating")).unwrap();
    open(&new).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"text");
}

/// Does `work` while signals come to this thread at these intervals, and interrupt system calls.
fn interrupted<R>(every: Duration, work: impl FnOnce() -> R) -> R {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, and the structure is whole.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let worker = pthread_self();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                pthread_kill(worker, Signal::SIGUSR1).unwrap();
                thread::sleep(every);
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        result.unwrap()
    })
}

#[test]
fn signals_interrupt_no_opening_that_waits_for_another_to_create() {
    play(|path| {
        say("ready");
        interrupted(Duration::from_millis(1), || create(&open(path).unwrap(), "a", 1).unwrap());
        say("done");
    });
    let dir = tempfile::tempdir().unwrap();
    let creating = Flock::lock(fs::File::open(dir.path()).unwrap(), FlockArg::LockExclusive).unwrap();
    let mut other = Other::start(dir.path());
    assert_eq!(other.hear(), "ready");
    // Most likely time for some signals; without one this tests nothing.
    thread::sleep(Duration::from_millis(200));
    drop(creating);
    assert_eq!(other.hear(), "done");
    other.finish();
    assert!(shows_now(&open(dir.path()).unwrap(), "a", 1));
}

#[test]
fn signals_interrupt_no_thread_among_several_that_create_and_commit() {
    play(|path| {
        say("ready");
        wait();
        interrupted(Duration::from_millis(1), || {
            for round in 0..25 {
                let path = path.join(round.to_string());
                let store = open(&path).unwrap();
                create(&store, &std::process::id().to_string(), round).unwrap();
            }
        });
        say("done");
    });
    let dir = tempfile::tempdir().unwrap();
    let mut others: Vec<Other> = (0..3).map(|_| Other::start(dir.path())).collect();
    others.iter_mut().for_each(|other| assert_eq!(other.hear(), "ready"));
    others.iter_mut().for_each(Other::go);
    others.iter_mut().for_each(|other| assert_eq!(other.hear(), "done"));
    let store = open(&dir.path().join("24")).unwrap();
    assert_eq!(names(&store).len(), 3);
    check(&store);
}

/// Commits blocks of an array until the data file is of those that are allocated when they are lengthened.
fn fill_large_file(path: &Path) {
    let store = open(path).unwrap();
    let size = BlockSize::MAX;
    let large = Descriptor { shape: vec![80 * size.bytes()], block_size: size, ..array_of(80) };
    let base = store.snapshot().unwrap();
    Edit::commit(&*store, &*base, &[Edit::create("large", large)]).unwrap();
    for block in 0..80 {
        let base = store.snapshot().unwrap();
        Edit::commit(&*store, &*base, &[Edit::of(&*base, "large").block(&*base, block, 1000 * block)]).unwrap();
    }
    check(&store);
}

#[test]
fn signals_interrupt_no_lengthening_of_a_large_data_file() {
    play(|path| {
        interrupted(Duration::from_micros(50), || fill_large_file(path));
        say("done");
    });
    // Before Linux 6.9 tmpfs reports a signal in `fallocate`.
    let Some(mount) = Mount::tmpfs(512 << 20) else { return };
    let mut other = Other::start(&mount.at.join("a.bigarray"));
    assert_eq!(other.hear(), "done");
    other.finish();
}

/// Has every `fallocate` of more than 64 KiB that this thread calls end as one that a signal interrupted, as tmpfs has where
/// signals come faster than it allocates (before Linux 6.9).
fn interrupt_large_allocations() {
    const MOST: u32 = 64 << 10;
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let end = |action| step(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let jump = |test: u32, k, jt, jf| step(libc::BPF_JMP | test | libc::BPF_K, jt, jf, k);
    let arguments = std::mem::offset_of!(libc::seccomp_data, args) as u32;
    // The length is the fourth argument, its low half first.
    let (low, high) = (arguments + 3 * 8, arguments + 3 * 8 + 4);
    let mut filter = [
        load(std::mem::offset_of!(libc::seccomp_data, nr) as u32),
        jump(libc::BPF_JEQ, libc::SYS_fallocate as u32, 0, 4),
        load(high),
        jump(libc::BPF_JGT, 0, 3, 0),
        load(low),
        jump(libc::BPF_JGT, MOST, 1, 0),
        end(libc::SECCOMP_RET_ALLOW),
        end(libc::SECCOMP_RET_ERRNO | libc::EINTR as u32),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which is whole.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
    }
}

#[test]
fn a_large_data_file_is_lengthened_however_often_that_is_interrupted() {
    play(|path| {
        interrupt_large_allocations();
        let file = tempfile::tempfile().unwrap();
        let large = nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, 1 << 20);
        assert_eq!(large, Err(nix::errno::Errno::EINTR));
        fill_large_file(path);
        say("done");
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "done");
    other.finish();
    check(&open(&path).unwrap());
}
