//! What a forked child sees of its parent's values and descriptors.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bigarray_process::{Origin, PerProcess, TemporaryFile, Unshared};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid};

/// Runs `child` in a forked process; whether it returned true there.
fn forked(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child makes system calls, and allocates as glibc permits it to.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let is_right = child();
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { libc::_exit(i32::from(!is_right)) }
        }
        ForkResult::Parent { child } => ended(child) == WaitStatus::Exited(child, 0),
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
            WaitStatus::StillAlive => thread::sleep(Duration::from_millis(1)),
            status => return status,
        }
    }
}

fn is_refused(origin: &Origin) -> bool {
    origin.check("a.bigarray").is_err_and(|e| {
        let text = e.to_string();
        e.is_in_use() && text.starts_with("a.bigarray: process ") && text.contains("forked") && text.contains("open")
    })
}

#[test]
fn children_and_their_children_are_told_from_whoever_they_were_forked_from() {
    let parent = Origin::here();
    assert!(parent.is_here() && parent == Origin::here() && parent.pid() == std::process::id());
    parent.check("a.bigarray").unwrap();
    assert!(forked(|| {
        let child = Origin::here();
        let grandchild = || {
            let own = Origin::here();
            own.is_here() && is_refused(&parent) && is_refused(&child) && own != parent && own != child
        };
        // Also one whose parent made no value before it.
        is_refused(&parent) && child.is_here() && child != parent && forked(grandchild) && child.is_here()
    }));
    assert!(forked(|| forked(|| is_refused(&parent) && Origin::here().is_here())));
    assert!(parent.is_here());
}

/// Both are process 1, each of its PID namespace.
#[test]
fn a_child_with_its_parents_number_is_told_from_it() {
    let means = forked(|| unshare(CloneFlags::CLONE_NEWPID).is_ok());
    if !means {
        skip("this process may not make PID namespaces");
        return;
    }
    // Process 1 of a namespace forks into the next.
    let first = |within: &dyn Fn() -> bool| forked(|| unshare(CloneFlags::CLONE_NEWPID).is_ok() && forked(within));
    assert!(first(&|| {
        let parent = Origin::here();
        let file = Unshared::open(tempfile::tempfile).unwrap();
        getpid().as_raw() == 1
            && unshare(CloneFlags::CLONE_NEWPID).is_ok()
            && forked(|| {
                let text = parent.check("a.bigarray").err().map(|e| e.to_string()).unwrap_or_default();
                getpid().as_raw() == 1
                    && !parent.is_here()
                    && Origin::here() != parent
                    && text.contains("PID namespace")
                    && is_empty_file(&file)
            })
            && parent.is_here()
    }));
}

fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert!(std::env::var_os("BIGARRAY_TEST_NO_SKIP").is_none(), "skipped: {why}");
}

/// Whether the descriptor is another file's than in the parent, and closed on `exec`.
fn is_empty_file(file: &File) -> bool {
    file.metadata().is_ok_and(|m| m.len() == 0)
        && fcntl(file, FcntlArg::F_GETFD).is_ok_and(|flags| flags & FdFlag::FD_CLOEXEC.bits() != 0)
}

fn lock(file: &File, kind: libc::c_int) -> nix::Result<i32> {
    let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    fcntl(file, FcntlArg::F_OFD_SETLK(&libc::flock { l_type, l_whence, l_start: 0, l_len: 1, l_pid: 0 }))
}

#[test]
fn a_child_does_not_remove_its_parents_temporary_files() {
    let dir = tempfile::tempdir().unwrap();
    let count = || std::fs::read_dir(dir.path()).unwrap().count();
    let file = Mutex::new(Some(TemporaryFile::new_in(dir.path(), "", "", 0o600).unwrap()));
    assert!(forked(|| {
        drop(file.lock().unwrap().take());
        count() == 1
    }));
    assert_eq!(count(), 1);
    drop(file);
    assert_eq!(count(), 0);
}

#[test]
fn what_a_killed_process_locked_is_free_though_its_forked_child_lives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("locked");
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let (mut told, tell) = std::io::pipe().unwrap();
    // SAFETY: as in `forked`.
    let parent = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let file = Unshared::open(open).unwrap();
            lock(&file, libc::F_WRLCK).unwrap();
            // SAFETY: as in `forked`.
            if let ForkResult::Child = unsafe { fork() }.unwrap() {
                use std::io::Write;
                (&tell).write_all(&std::process::id().to_ne_bytes()).unwrap();
            }
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
        ForkResult::Parent { child } => child,
    };
    let mut number = [0; 4];
    std::io::Read::read_exact(&mut told, &mut number).unwrap();
    let child = Pid::from_raw(i32::from_ne_bytes(number));
    let file = open().unwrap();
    let while_it_lives = lock(&file, libc::F_WRLCK);
    kill(parent, Signal::SIGKILL).unwrap();
    waitpid(parent, None).unwrap();
    let after = lock(&file, libc::F_WRLCK);
    let child_lives = kill(child, None);
    kill(child, Signal::SIGKILL).unwrap();
    assert_eq!((while_it_lives, after, child_lives), (Err(Errno::EAGAIN), Ok(0), Ok(())));
}

/// A descriptor that was closed is not taken from the file that has its number since.
#[test]
fn the_number_of_a_closed_descriptor_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "text").unwrap();
    let unshared = Unshared::open(|| File::open(&path)).unwrap();
    let number = unshared.as_raw_fd();
    assert!(forked(|| is_empty_file(&unshared)));
    drop(unshared);
    // Tests beside this one may take the number first.
    let file = File::open(&path).unwrap();
    assert!(forked(|| file.metadata().is_ok_and(|m| m.len() == 4)), "{number} {}", file.as_raw_fd());
}

/// A fork between opening a file and registering it would keep its locks alive for as long as the child lives.
#[test]
fn locks_taken_while_other_threads_fork_are_not_shared_with_the_children() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("locked");
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let locking = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let file = Unshared::open(open)?;
                lock(&file, libc::F_WRLCK)?;
                lock(&file, libc::F_UNLCK)?;
            }
            Ok::<_, std::io::Error>(())
        });
        let children: Vec<Pid> = (0..100)
            .map(|_| {
                // SAFETY: the child waits for its end.
                match unsafe { fork() }.unwrap() {
                    ForkResult::Child => loop {
                        nix::unistd::pause();
                    },
                    ForkResult::Parent { child } => child,
                }
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        let locked = locking.join().unwrap();
        for child in children {
            kill(child, Signal::SIGKILL).unwrap();
            waitpid(child, None).unwrap();
        }
        locked.unwrap();
    });
}

/// The kernel copies descriptors before memory: what is opened between the two has a free number in the child.
#[test]
fn a_child_loses_every_file_while_other_threads_open_and_close_some() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "text").unwrap();
    let open = || Unshared::open(|| File::open(&path)).unwrap();
    let is_over = AtomicBool::new(false);
    // Pages to copy: a fork that takes longer meets more of them.
    let memory = vec![1_u8; 32 << 20];
    let held = [open(), open(), open()];
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop(open());
            }
        });
        let all_lost = (0..300).all(|_| forked(|| held.iter().all(|file| is_empty_file(file))));
        is_over.store(true, Ordering::Relaxed);
        assert!(all_lost);
    });
    assert!(memory.iter().all(|&byte| byte == 1));
}

/// Another thread holds the lock when the process forks.
#[test]
fn a_static_behind_a_lock_is_anew_and_free_in_a_child() {
    static VALUES: PerProcess<Mutex<Vec<u32>>> = PerProcess::new();
    let held = VALUES.get().lock().unwrap();
    let child = || {
        VALUES.get().try_lock().is_ok_and(|mut values| {
            values.is_empty() && {
                values.push(1);
                true
            }
        })
    };
    assert!(forked(|| child() && VALUES.get().try_lock().is_ok_and(|values| *values == [1]) && forked(child)));
    assert!(held.is_empty() && VALUES.get().try_lock().is_err());
}
