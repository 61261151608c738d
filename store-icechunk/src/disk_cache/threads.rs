//! Threads of a disk cache's own, which wait for the disk in place of a request.
//!
//! They are started when the cache is opened, since later there may be none to be had. A disk that hangs holds them, and
//! none of those that run requests and look up names of servers.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::Builder;
use std::time::{Duration, Instant};

use bigarray_core::sync::Mutex;
use bigarray_process::Origin;
use tokio::sync::oneshot;
use tokio::time;

use crate::objects::hold_signals;

type Job = Box<dyn FnOnce() + Send>;

/// A disk that takes longer for one job hangs. It is less than the time that a caller waits beyond the deadline of its
/// request, which may follow.
const PATIENCE: Duration = Duration::from_secs(2);

/// Threads, and jobs for them.
pub(super) struct Threads {
    /// `None` while it is dropped.
    jobs: Option<SyncSender<Job>>,
    queue: Arc<Mutex<Receiver<Job>>>,
    /// When each thread began its job. After a panic in one that stays, as if its thread hung.
    began: Arc<[Mutex<Option<Instant>>]>,
    origin: Origin,
}

impl Threads {
    /// Starts so many, for which up to `waiting` jobs wait.
    ///
    /// # Errors
    /// The system grants none.
    pub(super) fn start(count: usize, waiting: usize) -> io::Result<Threads> {
        let (jobs, queue) = mpsc::sync_channel(waiting);
        let queue = Arc::new(Mutex::new(queue));
        let began: Arc<[_]> = (0..count).map(|_| Mutex::default()).collect();
        for thread in 0..count {
            let (queue, began) = (Arc::clone(&queue), Arc::clone(&began));
            Builder::new().name("bigarray-disk".to_owned()).spawn(move || {
                hold_signals();
                work(&queue, &began[thread]);
            })?;
        }
        Ok(Threads { jobs: Some(jobs), queue, began, origin: Origin::here() })
    }

    /// Has `job` done, for which no thread waits. It is dropped where the disk hangs, or too many wait.
    pub(super) fn begin(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = self.jobs.as_ref().filter(|_| !self.hangs()) {
            let _ = jobs.try_send(Box::new(job));
        }
    }

    /// What `job` gives; `None` where the disk hangs, or too many wait. To be awaited on a runtime.
    pub(super) async fn ask<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.begin(move || {
            // The caller may have given up by now.
            if !answer.is_closed() {
                let _ = answer.send(job());
            }
        });
        time::timeout(PATIENCE, answered).await.ok()?.ok()
    }

    /// Whether a thread does not come back from its job. No caller waits for the disk until it does.
    fn hangs(&self) -> bool {
        self.began.iter().any(|began| began.lock().is_some_and(|began| began.elapsed() > PATIENCE))
    }
}

fn work(queue: &Mutex<Receiver<Job>>, began: &Mutex<Option<Instant>>) {
    loop {
        // One of them waits for the job, the others for the lock.
        let job = queue.lock().recv();
        let Ok(job) = job else { return };
        *began.lock() = Some(Instant::now());
        job();
        *began.lock() = None;
    }
}

impl Drop for Threads {
    /// Waits for no job. Those that no thread has begun are dropped, also if all threads hang.
    fn drop(&mut self) {
        let jobs = self.jobs.take();
        if !self.origin.is_here() {
            // A forked child has none of the threads, and a lock that one of them held is held for ever.
            return mem::forget(jobs);
        }
        // A thread that waits for a job, with the lock, gives it back at once.
        drop(jobs);
        let queue = self.queue.lock();
        while queue.try_recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use tokio::runtime::{self, Runtime};

    use super::*;

    const QUEUE: usize = 64;

    fn runtime() -> Runtime {
        runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// Threads that are all in jobs, which last until the sender is dropped.
    fn hung(count: usize) -> (Threads, mpsc::Sender<()>) {
        let threads = Threads::start(count, QUEUE).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let (held, both) = (Arc::new(Mutex::new(held)), Arc::new(Barrier::new(count + 1)));
        for _ in 0..count {
            let (held, both) = (Arc::clone(&held), Arc::clone(&both));
            threads.begin(move || {
                both.wait();
                let _ = held.lock().recv();
            });
        }
        both.wait();
        (threads, hold)
    }

    #[test]
    fn a_disk_that_hangs_is_waited_for_once_and_asked_again_when_it_answers() {
        let (threads, hold) = hung(2);
        runtime().block_on(async {
            // Were each waited for, this would take half an hour.
            for number in 0..1000 {
                assert_eq!(threads.ask(move || number).await, None);
            }
            drop(hold);
            while threads.ask(|| 7).await != Some(7) {
                time::sleep(Duration::from_millis(1)).await;
            }
        });
    }

    #[test]
    fn what_was_not_begun_is_dropped_with_the_threads() {
        let (threads, hold) = hung(1);
        let data = Arc::new([0; 1 << 20]);
        for _ in 0..QUEUE + 5 {
            let data = Arc::clone(&data);
            threads.begin(move || drop(data));
        }
        assert_eq!(Arc::strong_count(&data), 1 + QUEUE);
        drop(threads);
        assert_eq!(Arc::strong_count(&data), 1);
        drop(hold);
    }

    #[test]
    fn a_panic_is_no_answer() {
        let threads = Threads::start(1, QUEUE).unwrap();
        runtime().block_on(async {
            assert_eq!(threads.ask(|| panic!("on purpose") as u32).await, None);
            assert_eq!(threads.ask(|| 7).await, None);
        });
    }
}
