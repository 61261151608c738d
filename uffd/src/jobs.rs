//! Which job a resolver runs next.
//!
//! A fault brings one or several jobs. Its thread waits for the first; the others are readahead. In order of arrival
//! alone, the next fault would wait for all of these. With an urgent and an idle queue, a thread that needs a block of
//! the idle one could starve behind threads that go on faulting. So each job has a number: the arrival of its fault,
//! plus [`OVERTAKING`] for each place behind the first.
//!
//! Jobs that are asked for ahead have a queue of their own, since no fault waits for them: they are run in their order where
//! there is no job of a fault, and by half of the resolvers at once, however long they take. Where there are always faults
//! they would never be run, so one goes before each [`AHEAD_AFTER`]th job of a fault.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bigarray_core::memory::Job;
use bigarray_core::sync::{Condvar, Mutex};

/// Faults that come this much later go before the next job of the same fault.
const OVERTAKING: u64 = 4;

/// So many jobs of faults in a row go before a job that was asked for ahead.
const AHEAD_AFTER: u32 = 32;

/// Jobs in the order of their numbers, and those asked for ahead. The lock is taken to put one in or to take one out, by a
/// thread of the program with its signals held back.
pub(crate) struct Jobs {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Jobs asked for ahead that may run at once.
    most_ahead: usize,
}

#[derive(Default)]
struct Queue {
    /// By number; of equal numbers the later fault's first, whose job is closer to the front of its own fault.
    waiting: BTreeMap<(u64, Reverse<u64>), Job>,
    arrivals: u64,
    ahead: VecDeque<Job>,
    /// How many of those run.
    ahead_running: usize,
    /// Jobs of faults that went before them, since the last one.
    went_before: u32,
    ended: bool,
}

/// Where jobs of faults come from. When it is dropped there will be no more.
pub(crate) struct Feed(Arc<Jobs>);

/// A job that was asked for ahead runs. When this is dropped it has ended, by a panic too.
struct RunsAhead(Arc<Jobs>);

impl Drop for RunsAhead {
    fn drop(&mut self) {
        self.0.queue.lock().ahead_running -= 1;
        self.0.changed.notify_one();
    }
}

impl Jobs {
    pub(crate) fn new(most_ahead: usize) -> (Feed, Arc<Jobs>) {
        let jobs = Arc::new(Jobs { queue: Mutex::default(), changed: Condvar::new(), most_ahead });
        (Feed(jobs.clone()), jobs)
    }

    /// The next job; waits for one. `None` when those of all faults are done and there will be no more.
    pub(crate) fn next(self: &Arc<Self>) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            let has_ahead = !queue.ahead.is_empty() && queue.ahead_running < self.most_ahead && !queue.ended;
            if !(has_ahead && queue.went_before >= AHEAD_AFTER)
                && let Some((_, job)) = queue.waiting.pop_first()
            {
                queue.went_before = if has_ahead { queue.went_before + 1 } else { 0 };
                return Some(job);
            }
            if queue.ended {
                return None;
            }
            if has_ahead && let Some(job) = queue.ahead.pop_front() {
                queue.went_before = 0;
                queue.ahead_running += 1;
                let runs = RunsAhead(self.clone());
                return Some(Box::new(move || {
                    let _runs = runs;
                    job();
                }));
            }
            queue = self.changed.wait(queue);
        }
    }

    /// A job that no fault waits for.
    pub(crate) fn put_ahead(&self, job: Job) {
        self.queue.lock().ahead.push_back(job);
        self.changed.notify_one();
    }
}

impl Feed {
    /// The jobs of one fault, the most urgent first.
    pub(crate) fn put(&self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut queue = self.0.queue.lock();
        queue.arrivals += 1;
        let arrival = queue.arrivals;
        for (place, job) in (0..).zip(jobs) {
            // Two of one number are of different faults.
            queue.waiting.insert((arrival + place * OVERTAKING, Reverse(arrival)), job);
        }
        drop(queue);
        self.0.changed.notify_all();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.queue.lock().ended = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which jobs are taken out, by fault and place.
    fn order(faults: &[usize]) -> Vec<(usize, usize)> {
        let (feed, jobs) = Jobs::new(0);
        let log = Arc::new(Mutex::new(Vec::new()));
        for (fault, &count) in faults.iter().enumerate() {
            let job = |place: usize| {
                let log = log.clone();
                Box::new(move || log.lock().push((fault, place))) as Job
            };
            feed.put((0..count).map(job).collect());
        }
        drop(feed);
        while let Some(job) = jobs.next() {
            job();
        }
        Arc::into_inner(log).unwrap().into_inner()
    }

    #[test]
    fn jobs_of_one_fault_are_run_in_their_order_and_faults_by_arrival() {
        assert_eq!(order(&[4]), [(0, 0), (0, 1), (0, 2), (0, 3)]);
        assert_eq!(order(&[1, 1, 1]), [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(order(&[0, 1, 0]), [(1, 0)]);
    }

    #[test]
    fn what_a_thread_waits_for_does_not_wait_for_what_is_only_wanted_soon() {
        assert_eq!(order(&[5, 1, 1])[..3], [(0, 0), (1, 0), (2, 0)]);
    }

    #[test]
    fn no_job_waits_for_ever_behind_later_faults() {
        let order = order(&[&[2][..], &[1; 100]].concat());
        assert_eq!(order.iter().position(|job| *job == (0, 1)), Some(1 + OVERTAKING as usize));
        assert_eq!(order.len(), 102);
    }

    #[test]
    fn a_thread_waits_for_a_job_and_for_the_end() {
        let (feed, jobs) = Jobs::new(0);
        std::thread::scope(|scope| {
            let runs = scope.spawn(|| std::iter::from_fn(|| jobs.next()).map(|job| job()).count());
            for _ in 0..3 {
                feed.put(vec![Box::new(|| ()), Box::new(|| ())]);
            }
            drop(feed);
            assert_eq!(runs.join().unwrap(), 6);
        });
    }

    #[test]
    fn jobs_asked_for_ahead_leave_a_thread_to_faults_and_go_after_their_jobs() {
        let (feed, jobs) = Jobs::new(1);
        let log = Arc::new(Mutex::new(Vec::new()));
        let job = |name: &'static str| {
            let log = log.clone();
            Box::new(move || log.lock().push(name)) as Job
        };
        ["first", "second", "third"].into_iter().for_each(|name| jobs.put_ahead(job(name)));
        feed.put(vec![job("fault")]);
        jobs.next().unwrap()();
        // It is taken and not run yet, so no other one is taken.
        let first = jobs.next().unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| jobs.next().unwrap()());
            feed.put(vec![job("a fault meanwhile")]);
            other.join().unwrap();
            first();
            jobs.next().unwrap()();
        });
        assert_eq!(*log.lock(), ["fault", "a fault meanwhile", "first", "second"]);
        drop(feed);
        assert!(jobs.next().is_none());
    }

    #[test]
    fn a_job_asked_for_ahead_does_not_wait_for_ever_behind_faults() {
        let (feed, jobs) = Jobs::new(1);
        let log = Arc::new(Mutex::new(Vec::new()));
        let job = |name: &'static str| {
            let log = log.clone();
            Box::new(move || log.lock().push(name)) as Job
        };
        jobs.put_ahead(job("ahead"));
        for _ in 0..2 * AHEAD_AFTER {
            feed.put(vec![job("fault")]);
        }
        for _ in 0..2 * AHEAD_AFTER {
            jobs.next().unwrap()();
        }
        assert_eq!(log.lock().iter().position(|name| *name == "ahead"), Some(AHEAD_AFTER as usize));
    }

    #[test]
    fn a_job_asked_for_ahead_that_panics_has_ended() {
        let (_feed, jobs) = Jobs::new(1);
        jobs.put_ahead(Box::new(|| panic!("a test says so")));
        jobs.put_ahead(Box::new(|| ()));
        let panics = jobs.next().unwrap();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
        jobs.next().unwrap()();
    }
}
