//! What goes wrong ends in an error or loudly, never in silence: panics, poison.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex, Weak};

use bigarray_core::memory::{Faults, Job, Memory, Residency, Span};
use bigarray_testing::EventLog;
use bigarray_uffd::Userfaultfd;
use common::*;
use nix::sys::signal::Signal;

/// Panics where it should load; told of the failure, it lays zeros so that the test goes on.
struct Broken {
    span: Box<dyn Span>,
    in_job: bool,
    told: Mutex<Vec<String>>,
}

impl Faults for Broken {
    fn missing(&self, _: usize) -> Vec<Job> {
        assert!(self.in_job, "broken in the monitor");
        vec![Box::new(|| panic!("broken in a job"))]
    }

    fn protected(&self, _: usize) {}

    fn fail(&self, why: &str) {
        self.told.lock().unwrap().push(why.to_owned());
        let _ = self.span.zero(0..2 * MIB);
        self.span.wake(0..2 * MIB);
    }
}

#[test]
fn a_panic_while_a_page_is_loaded_fails_every_pager_and_later_reservations() {
    let _dog = watchdog();
    for in_job in [false, true] {
        // One that fails is done for, so each round has its own.
        for memory in lazy_memories() {
            let broken = || {
                let span = memory.reserve(0..2 * MIB, Residency::Lazy).unwrap();
                let broken = Arc::new(Broken { span, in_job, told: Mutex::default() });
                let faults: Weak<Broken> = Arc::downgrade(&broken);
                broken.span.attach(faults);
                broken
            };
            let (touched, other) = (broken(), broken());
            // Waits, and goes on once the pager is told.
            assert_eq!(bytes(&*touched.span, 0..1), [0]);
            for pager in [&touched, &other] {
                eventually("the pager is told", || !pager.told.lock().unwrap().is_empty());
                let told = pager.told.lock().unwrap();
                assert_eq!(told.len(), 1);
                assert!(told[0].contains(if in_job { "broken in a job" } else { "broken in the monitor" }), "{told:?}");
            }
            let error = memory.reserve(0..2 * MIB, Residency::Lazy).err().unwrap();
            assert!(error.is_io() && error.to_string().contains("panicked"), "{error:?}");
        }
    }
}

#[test]
fn a_panic_ends_a_waiting_process_with_sigbus_instead_of_hanging_it() {
    for (role, how) in [("monitor", How::Panic), ("job", How::PanicInJob)] {
        if is_child(role) {
            let _dog = watchdog();
            let fake = Fake::new(&*memory(Userfaultfd::Auto), 2 * MIB, how);
            println!("read {}", fake.read(0));
            return;
        }
    }
    if std::env::var_os("BIGARRAY_UFFD_TEST_ROLE").is_none() && !lazy_memories().is_empty() {
        for role in ["monitor", "job"] {
            let output = child(role, &[]);
            assert_eq!(output.status.signal(), Some(Signal::SIGBUS as i32), "{output:?}");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("panicked: as the test asks"), "{stderr}");
        }
    }
}

#[test]
fn an_access_to_poisoned_pages_ends_the_process_with_sigbus_and_says_why() {
    if is_child("lazy") {
        let _dog = watchdog();
        let fake = Fake::new(&*memory(Userfaultfd::Auto), 2 * MIB, How::Poison);
        // Formatting an element into standard error holds its lock while the page is loaded.
        let _lock = std::io::stderr().lock();
        println!("read {}", fake.read(0));
        return;
    }
    if is_child("eager") {
        let span = memory(Userfaultfd::None).reserve(0..2 * MIB, Residency::Eager).unwrap();
        span.poison(0..BLOCK, "array \"a\": block 0 cannot be read: as the test asks");
        assert_eq!(bytes(&*span, BLOCK..BLOCK + 1), [0]);
        println!("read {:?}", bytes(&*span, BLOCK - 1..BLOCK));
        return;
    }
    for role in ["lazy", "eager"] {
        if role == "lazy" && lazy_memories().is_empty() {
            continue;
        }
        let output = child(role, &[]);
        assert_eq!(output.status.signal(), Some(Signal::SIGBUS as i32), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("bigarray: array \"a\": block 0 cannot be read: as the test asks\n"), "{stderr}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("read "));
    }
}

#[test]
fn poison_is_also_traced_but_by_a_thread_that_may_wait_for_locks() {
    if !is_child("traced") {
        child_succeeds("traced", &[]);
        return;
    }
    let _dog = watchdog();
    let events = EventLog::default();
    tracing::subscriber::set_global_default(events.clone()).unwrap();
    let span = memory(Userfaultfd::Auto).reserve(0..2 * MIB, Residency::Eager).unwrap();
    span.poison(0..BLOCK, "as the test asks");
    eventually("the event", || {
        let thread = Some("bigarray-report".to_owned());
        events.events().iter().any(|event| event.level == tracing::Level::ERROR && event.thread == thread)
    });
}

/// The kernel holds the pipe's lock while `write` waits for the page, and the message is to go to the same pipe.
#[test]
fn poison_reaches_a_thread_that_waits_inside_a_write_to_where_the_message_goes() {
    if !is_child("same-pipe") {
        if lazy_memories().is_empty() {
            return;
        }
        let output = child_succeeds("same-pipe", &[]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("as the test asks"), "{output:?}");
        return;
    }
    let _dog = watchdog();
    let fake = Fake::new(&*memory(Userfaultfd::Auto), 2 * MIB, How::Poison);
    let start = fake.span.base().as_ptr();
    // SAFETY: the kernel reads from the span, or refuses.
    let written = unsafe { nix::libc::write(2, start.cast(), bigarray_core::PAGE) };
    assert_eq!(written, -1, "a page that cannot be loaded was written out");
}
