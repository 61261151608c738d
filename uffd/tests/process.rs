//! Processes: forked children, ordinary users, seccomp filters, the environment.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bigarray_core::PAGE;
use bigarray_core::memory::{Memory, Residency, WrittenTo};
use bigarray_testing::EventLog;
use bigarray_uffd::{MemoryOptions, UffdMemory, Userfaultfd};
use common::*;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, User, fork, setuid};

/// How a forked child ends that runs `body`.
fn forked(body: impl FnOnce() -> i32) -> WaitStatus {
    // SAFETY: the child calls what this crate promises to work there, the allocator (which glibc makes fit for use
    // after a fork) and _exit.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let code = body();
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
    }
}

#[test]
fn a_forked_child_has_no_part_in_spans() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 16 * MIB, How::Copy);
        for (block, how) in [How::Zero, How::Map(file.clone()), How::Copy].iter().enumerate() {
            fake.load(block, how);
            let _ = fake.read(block * BLOCK);
        }
        let to = if fake.span.track_writes(BLOCK..2 * BLOCK).unwrap() { WrittenTo::Tracked } else { WrittenTo::Mapped };
        fake.span.write(BLOCK + PAGE, &[1]);
        // Block 3 is missing. Block 4 was zero memory and is missing again, in another mapping.
        fake.load(4, &How::Zero);
        fake.span.reset(4 * BLOCK..5 * BLOCK).unwrap();
        fake.loaded.lock().remove(&4);
        let eager = memory.reserve(0..2 * MIB, Residency::Eager).unwrap();
        eager.copy(0, &contents(0..BLOCK)).unwrap();
        let addresses = (0..5)
            .map(|block| fake.span.base().as_ptr().wrapping_add(block * BLOCK))
            .chain([0, BLOCK].map(|at| eager.base().as_ptr().wrapping_add(at)));
        for (n, address) in addresses.enumerate() {
            // SAFETY: a read that is expected to end the process.
            let status = forked(|| i32::from(unsafe { address.read_volatile() }));
            assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{n}: {status:?}");
        }
        let status = forked(|| {
            let refused = [
                fake.span.zero(0..BLOCK),
                fake.span.reset(0..BLOCK),
                fake.span.copy(8 * BLOCK, &[1; BLOCK]),
                fake.span.track_writes(BLOCK..2 * BLOCK).map(drop),
                fake.span.written(BLOCK..2 * BLOCK, to, &mut Vec::new()),
                memory.reserve(0..2 * MIB, Residency::Lazy).map(drop),
                memory.reserve(0..2 * MIB, Residency::Eager).map(drop),
            ];
            i32::from(!refused.iter().all(|outcome| outcome.as_ref().is_err_and(|error| error.is_in_use())))
        });
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
        // What the child does with its copies of the handles is nothing to the parent.
        let (fake_for_child, memory_for_child) = (fake.clone(), memory.clone());
        let status = forked(move || {
            // SAFETY: gives up the references that the child's copy of the parent's stack has, which it never comes
            // back to; the last ones are this closure's.
            unsafe {
                Arc::decrement_strong_count(Arc::as_ptr(&fake_for_child));
                Arc::decrement_strong_count(Arc::as_ptr(&memory_for_child));
            }
            assert_eq!(Arc::strong_count(&fake_for_child), 1);
            drop((fake_for_child, memory_for_child));
            0
        });
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
        assert_eq!(fake.bytes(3 * BLOCK..6 * BLOCK), contents(3 * BLOCK..6 * BLOCK));
        fake.span.write(3 * BLOCK, &[1]);
        assert_eq!(fake.protected.load(Ordering::SeqCst), 1);
        fake.span.write(BLOCK + 3 * PAGE, &[1]);
        let mut found = Vec::new();
        fake.span.written(BLOCK..2 * BLOCK, to, &mut found).unwrap();
        assert_eq!(found, [1, 3].map(|page| BLOCK + page * PAGE..BLOCK + (page + 1) * PAGE));
    }
}

#[test]
fn an_ordinary_user_gets_faults_of_user_code() {
    if !is_child("nobody") {
        if Uid::effective().is_root() && !lazy_memories().is_empty() {
            child_succeeds("nobody", &[]);
        }
        return;
    }
    let _dog = watchdog();
    let nobody = User::from_name("nobody").unwrap().map_or(Uid::from_raw(65534), |user| user.uid);
    setuid(nobody).unwrap();
    // SAFETY: touches no memory. Without it `/proc/self/pagemap` stays root's.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    let memory = memory(Userfaultfd::Auto);
    if memory.delivers_kernel_faults() {
        // The machine lets everyone: vm.unprivileged_userfaultfd or the device's mode.
        return;
    }
    assert!(memory.delivers_faults(), "{}", memory.describe());
    let description = memory.describe();
    for part in ["UFFD_USER_MODE_ONLY", "Permission denied", "vm.unprivileged_userfaultfd=1"] {
        assert!(description.contains(part), "{description}");
    }
    // Both are of Linux 6.7, and need no rights.
    let tracks = description.contains("asynchronous write protection");
    assert_eq!(tracks, description.contains("PAGEMAP_SCAN"), "{description}");
    let fake = Fake::new(&*memory, 2 * MIB, How::Copy);
    assert_eq!(fake.bytes(0..2 * MIB), contents(0..2 * MIB));
    fake.span.write(0, &[1]);
    assert_eq!(fake.protected.load(Ordering::SeqCst), 1);
}

/// Makes `userfaultfd` and the ioctl that `/dev/userfaultfd` has fail with EPERM, as containers do.
fn forbid_userfaultfd() {
    let instruction = |code, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value, yes, no| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value);
    let end = |value| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let userfaultfd_ioc_new = 0xAA00;
    let mut filter = [
        load(0),
        equal(libc::SYS_userfaultfd as u32, 3, 0),
        equal(libc::SYS_ioctl as u32, 0, 3),
        load(24),
        equal(userfaultfd_ioc_new, 0, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: `program` and what it points to live through the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
    }
}

#[test]
fn a_process_that_may_not_use_userfaultfd_has_eager_spans_and_says_what_to_change() {
    if !is_child("filtered") {
        child_succeeds("filtered", &[]);
        return;
    }
    forbid_userfaultfd();
    let events = EventLog::default();
    tracing::subscriber::set_global_default(events.clone()).unwrap();
    let [memory, _] = [Userfaultfd::Auto; 2].map(memory);
    // Said once, however many memories there are.
    let warnings = events.events().iter().filter(|event| event.level == tracing::Level::WARN).count();
    assert_eq!(warnings, 1);
    assert!(!memory.delivers_faults(), "{}", memory.describe());
    let description = memory.describe();
    for part in ["/dev/userfaultfd", "Operation not permitted", "vm.unprivileged_userfaultfd=1", "seccomp"] {
        assert!(description.contains(part), "{description}");
    }
    let span = memory.reserve(0..2 * MIB, Residency::Eager).unwrap();
    span.copy(0, &contents(0..BLOCK)).unwrap();
    assert_eq!(bytes(&*span, 0..BLOCK), contents(0..BLOCK));
}

#[test]
fn the_environment_forces_each_fall_back() {
    if is_child("described") {
        println!("<{}>", UffdMemory::new(MemoryOptions::default()).unwrap().describe());
        return;
    }
    let described = |environment: &[(&str, &str)]| {
        let output = child_succeeds("described", environment);
        String::from_utf8(output.stdout).unwrap()
    };
    let none = described(&[("BIGARRAY_USERFAULTFD", "none"), ("BIGARRAY_PAGEMAP", "legacy")]);
    assert!(none.contains("no page faults, as asked for; written pages by reading /proc/self/pagemap>"), "{none}");
    if !lazy_memories().is_empty() {
        assert!(described(&[("BIGARRAY_USERFAULTFD", "user")]).contains("<userfaultfd for user code only"));
        assert!(described(&[("BIGARRAY_USERFAULTFD", "auto")]).contains("<userfaultfd"));
        assert!(described(&[("BIGARRAY_USERFAULTFD", ""), ("BIGARRAY_MAX_MAPPINGS", "100")]).contains("<userfaultfd"));
    }
}

#[test]
fn an_environment_variable_that_is_not_understood_is_named() {
    if is_child("confused") {
        let error = UffdMemory::new(MemoryOptions::default()).err().unwrap();
        assert!(error.is_invalid());
        println!("{error}");
        return;
    }
    for (name, value) in
        [("BIGARRAY_USERFAULTFD", "maybe"), ("BIGARRAY_PAGEMAP", "new"), ("BIGARRAY_MAX_MAPPINGS", "-1")]
    {
        let output = child_succeeds("confused", &[(name, value)]);
        let message = String::from_utf8(output.stdout).unwrap();
        assert!(message.contains(name) && message.contains(value), "{message}");
    }
    let options = MemoryOptions { resolvers: 0, ..MemoryOptions::default() };
    assert!(UffdMemory::new(options).err().unwrap().is_invalid());
}
