//! The threads of one memory: the monitor, the resolvers, and one for background tasks that neither may run.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bigarray_core::memory::Job;
use bigarray_core::store::DataFile;
use bigarray_core::{Result, signals};
use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::jobs::Jobs;
use crate::monitor::{self, Shared};
use crate::read_ahead;
use crate::shortage::thread_error;
use crate::signals::hold_for_good;

/// Read-aheads that may be waiting; more than that are dropped: they come too late anyway.
const READ_AHEADS: usize = 32;

/// The time after which something is reported, so that what happens within it is one report.
const REPORTED_AFTER: Duration = Duration::from_millis(100);

/// What the background thread does, one after the other.
enum Task {
    /// Reads bytes of a file into the page cache: that must not hold up the monitor or a faulting thread.
    ReadAhead(Arc<dyn DataFile>, Range<u64>),
    /// Runs what is asked for ahead, where there are too few resolvers.
    Job(Job),
}

/// The running threads. They are stopped when this is dropped.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    /// What is left of them in a forked child must not even be dropped.
    running: Option<Running>,
}

struct Running {
    handles: Vec<JoinHandle<()>>,
    background: Sender<Task>,
    /// Of the resolvers, where half of them are left to faults while others run what is asked for ahead.
    jobs: Option<Arc<Jobs>>,
}

impl Threads {
    /// Starts them; monitor and resolvers only where faults are delivered.
    pub(crate) fn start(shared: &Arc<Shared>, resolvers: usize) -> Result<Threads> {
        let (background, queue) = unbounded();
        let running = Running { handles: Vec::new(), background, jobs: None };
        // From here on an error stops those that run already.
        let mut threads = Threads { shared: shared.clone(), running: Some(running) };
        threads.spawn("bigarray-background", move |shared| run_background(shared, &queue))?;
        if shared.uffd.is_some() {
            let (feed, jobs) = Jobs::new(resolvers / 2);
            if let Some(running) = threads.running.as_mut().filter(|_| resolvers > 1) {
                running.jobs = Some(jobs.clone());
            }
            for _ in 0..resolvers {
                let jobs = jobs.clone();
                threads.spawn("bigarray-resolver", move |shared| {
                    while let Some(job) = jobs.next() {
                        monitor::resolve(shared, job);
                    }
                })?;
            }
            // The feed is the monitor's: when it ends, so do the resolvers.
            threads.spawn("bigarray-monitor", move |shared| {
                if let Some(uffd) = &shared.uffd {
                    monitor::run(shared, uffd, &feed);
                }
            })?;
        }
        Ok(threads)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce(&Shared) + Send + 'static) -> Result<()> {
        let shared = self.shared.clone();
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _held = hold_for_good();
            body(&shared);
        });
        let handle = spawned.map_err(|error| thread_error(name, error))?;
        if let Some(running) = &mut self.running {
            running.handles.push(handle);
        }
        Ok(())
    }

    pub(crate) fn read_ahead(&self, file: &Arc<dyn DataFile>, bytes: Range<u64>) {
        if let Some(running) = &self.running
            && running.background.len() < READ_AHEADS
        {
            let _ = running.background.send(Task::ReadAhead(file.clone(), bytes));
        }
    }

    /// Has a resolver run `job`, if that leaves half of them to faults, or the background thread where there is one resolver or none.
    pub(crate) fn run_ahead(&self, job: Job) {
        // The monitor puts jobs into the same queue.
        let _held = signals::hold();
        match &self.running {
            Some(Running { jobs: Some(jobs), .. }) => jobs.put_ahead(job),
            Some(running) => _ = running.background.send(Task::Job(job)),
            None => {}
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        if !self.shared.is_ours() {
            // In a forked child there are no such threads. To signal would stop the parent's, to join would wait for
            // ever, and a lock of the channel may have been held when the process forked.
            std::mem::forget(running);
            return;
        }
        self.shared.stopping.store(true, Ordering::Relaxed);
        let _ = self.shared.stop.write(1);
        drop(running.background);
        // The last reference may go on the monitor (in a fault of a pager that is dropped just then) or a resolver.
        // That one cannot wait for itself; all of them end as soon as they come back to their loops.
        let current = thread::current().id();
        if running.handles.iter().all(|handle| handle.thread().id() != current) {
            for handle in running.handles {
                let _ = handle.join();
            }
        }
    }
}

/// Runs `report` after a while, in which more may come together.
pub(crate) fn report_later(report: Job) {
    spawn_report(move || {
        thread::sleep(REPORTED_AFTER);
        report();
    });
}

/// Emits an error event at once.
pub(crate) fn report_error(message: String) {
    spawn_report(move || tracing::error!("{message}"));
}

/// A subscriber may take a lock that a faulting thread holds, or one whose holder closes the database. So the thread is not
/// one of those that a fault or closing waits for.
fn spawn_report(report: impl FnOnce() + Send + 'static) {
    // Where there is no room for a thread nothing is reported.
    let _ = thread::Builder::new().name("bigarray-report".to_owned()).spawn(move || {
        let _held = hold_for_good();
        report();
    });
}

fn run_background(shared: &Shared, queue: &Receiver<Task>) {
    let is_over = || shared.stopping.load(Ordering::Relaxed);
    for task in queue {
        match task {
            // What cannot be read, its own access finds out.
            Task::ReadAhead(file, bytes) => _ = read_ahead::read(&*file, bytes, is_over),
            Task::Job(job) if !is_over() => monitor::resolve(shared, job),
            Task::Job(_) => {}
        }
    }
}
