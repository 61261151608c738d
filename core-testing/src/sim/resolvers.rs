//! Threads of their own for the jobs of the pager.

use super::SimMemory;
use super::world::Shared;

impl SimMemory {
    /// Does `work` while `threads` other threads run the jobs, as resolvers do. A test whose jobs wait for each other
    /// needs that: a thread that ran the job of another thread's fault could not come to its own access meanwhile.
    ///
    /// A seed does not decide the order then. Jobs that are queued when `work` ends are run before this returns.
    ///
    /// # Panics
    /// If `work` or a job does.
    pub fn with_resolvers<T>(&self, threads: usize, work: impl FnOnce() -> T) -> T {
        let shared = &self.0;
        shared.world().resolvers = threads;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| shared.resolve());
            }
            let _ended = Ended(shared);
            work()
        })
    }
}

/// Lets the resolvers end when dropped, by a panic too.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.world().resolvers = 0;
        self.0.moved.notify_all();
    }
}

impl Shared {
    /// Runs jobs until the work that they are for has ended, and none is left.
    fn resolve(&self) {
        loop {
            if self.run_a_job() {
                continue;
            }
            let world = self.world();
            if world.resolvers == 0 {
                return;
            }
            drop(self.moved.wait_while(world, |world| world.resolvers > 0 && world.ready_jobs() == 0));
        }
    }
}
