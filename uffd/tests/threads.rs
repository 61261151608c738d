//! What a memory leaves behind: nothing. The only test of its process, since it counts the process's threads and
//! descriptors.

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};

use bigarray_core::memory::{Faults, Job, Memory, Residency, Span};
use bigarray_uffd::Userfaultfd;
use common::*;

/// Resolves its page, then stays in `missing` (or in a job) until it is given up by everyone else.
struct Lingering {
    span: Box<dyn Span>,
    in_job: bool,
    resolved: Mutex<Sender<()>>,
    given_up: Mutex<Receiver<()>>,
    myself: Weak<Lingering>,
}

impl Lingering {
    fn linger(&self) {
        self.span.zero(0..BLOCK).unwrap();
        self.span.wake(0..BLOCK);
        self.resolved.lock().unwrap().send(()).unwrap();
        self.given_up.lock().unwrap().recv().unwrap();
    }
}

impl Faults for Lingering {
    fn missing(&self, _: usize) -> Vec<Job> {
        if !self.in_job {
            self.linger();
            return Vec::new();
        }
        let myself = self.myself.upgrade();
        vec![Box::new(move || myself.into_iter().for_each(|it| it.linger()))]
    }
    fn protected(&self, _: usize) {}
    fn fail(&self, _: &str) {}
}

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn dropping_everything_ends_all_threads_and_closes_all_descriptors() {
    let _dog = watchdog();
    // Whatever is made once a process is made now.
    drop(lazy_memories());
    drop(memory(Userfaultfd::None));
    let counts = || ["/proc/self/task", "/proc/self/fd"].map(entries);
    // Threads that were joined may be listed for a moment: the least of some looks.
    let before = (0..50).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        counts()
    });
    let before = before.reduce(|least, now| [least[0].min(now[0]), least[1].min(now[1])]).unwrap();
    let ends = |what: &str| {
        eventually(what, || counts() == before);
    };

    let memory = memory(Userfaultfd::None);
    let span = memory.reserve(0..2 * MIB, Residency::Eager).unwrap();
    span.copy(0, &contents(0..BLOCK)).unwrap();
    drop(memory);
    assert_eq!(bytes(&*span, 0..BLOCK), contents(0..BLOCK));
    drop(span);
    ends("eager memory gone");

    for memory in lazy_memories() {
        // The span outlives the memory it is of.
        let fake = Fake::new(&*memory, 2 * MIB, How::Job);
        drop(memory);
        assert_eq!(fake.read(0), content(0));
        drop(fake);
    }
    ends("lazy memory gone");

    for in_job in [false, true] {
        for memory in lazy_memories() {
            let (resolved, is_resolved) = channel();
            let (give_up, given_up) = channel();
            let span = memory.reserve(0..2 * MIB, Residency::Lazy).unwrap();
            let pager = Arc::new_cyclic(|myself| Lingering {
                span,
                in_job,
                resolved: Mutex::new(resolved),
                given_up: Mutex::new(given_up),
                myself: myself.clone(),
            });
            let faults: Weak<Lingering> = Arc::downgrade(&pager);
            pager.span.attach(faults.clone());
            drop(memory);
            assert_eq!(bytes(&*pager.span, 0..1), [0]);
            is_resolved.recv().unwrap();
            drop(pager);
            // The thread that resolved it has the last reference, to pager, span and memory.
            assert_eq!(faults.strong_count(), 1);
            give_up.send(()).unwrap();
            eventually("the pager is dropped", || faults.strong_count() == 0);
        }
    }
    ends("memory dropped by its own threads gone");
}
