//! Threads of the store's own for requests that are under way, and the wait of a plain thread for one of them.

use std::fmt;
use std::future::Future;
use std::mem;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bigarray_core::{Error, ErrorKind, Result, signals};
use bigarray_process::Origin;
use nix::sys::signal::{SigSet, Signal};
use tokio::runtime::Builder;

use super::location::Location;

/// A little more time than one request has: its own error names the object, and comes first.
const GRACE: Duration = Duration::from_secs(5);

/// Requests are few bytes of work each; to copy what they bring takes some threads.
const THREADS: usize = 4;

/// A tokio runtime of the store's own.
///
/// The caller's would not do: there may be none, and a thread of one must not be blocked by `block_on`.
pub struct Runtime {
    /// `None` while it is dropped.
    inner: Option<tokio::runtime::Runtime>,
    origin: Origin,
    location: Location,
    limit: Duration,
}

impl Runtime {
    /// Threads for requests to `location`, each of which takes `deadline` at most.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the system grants no threads.
    pub fn new(location: &Location, deadline: Duration) -> Result<Runtime> {
        let inner = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("bigarray-objects")
            .on_thread_start(hold_signals)
            .enable_all()
            .build()
            .map_err(|e| Error::io(format_args!("{location}: starting threads for requests"), e))?;
        let origin = Origin::here();
        Ok(Runtime { inner: Some(inner), origin, location: location.clone(), limit: deadline + GRACE })
    }

    /// Runs `future` on these threads. The calling thread waits for it, also if it is one of another runtime.
    ///
    /// # Errors
    /// What the future fails with, and [`ErrorKind::Unavailable`] if it takes longer than one request may. It is dropped
    /// then.
    pub fn run<T, F>(&self, future: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.run_within(self.limit, future)
    }

    /// The same for what needs many requests one after the other: it may take as long as `limit`.
    ///
    /// # Errors
    /// As [`run`](Runtime::run).
    pub fn run_within<T, F>(&self, limit: Duration, future: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (answer, answered) = mpsc::sync_channel(1);
        let task = self.handle().spawn(async move {
            // The caller has given up, if it is not there.
            let _ = answer.send(future.await);
        });
        // The threads that resolve faults wait here too, each for a request of its own.
        match signals::let_through(|| answered.recv_timeout(limit)) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                task.abort();
                let text = format!("{}: no answer within {limit:?}; try again", self.location);
                Err(Error::new(ErrorKind::Unavailable, text))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::new(ErrorKind::Io, format!("{}: a request panicked", self.location)))
            }
        }
    }

    /// Starts `future`, for which no thread waits. Each request in it has a deadline of its own, by the bytes that it moves.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle().spawn(future);
    }

    /// What [`run`](Runtime::run) waits for.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        self.inner.as_ref().expect("it is there until it is dropped").handle()
    }
}

impl Drop for Runtime {
    /// Waits for no thread: a thread of another runtime must not.
    fn drop(&mut self) {
        match self.inner.take() {
            Some(inner) if self.origin.is_here() => inner.shutdown_background(),
            // A forked child has none of the threads, and a lock that one of them held is held for ever.
            inner => mem::forget(inner),
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("location", &self.location).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A handler of the program may touch a span: on these threads it would wait for itself.
pub(crate) fn hold_signals() {
    let mut signals = SigSet::all();
    use Signal::{SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    for fault in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS] {
        signals.remove(fault);
    }
    // It fails for no mask that there is.
    let _ = signals.thread_block();
}

#[cfg(test)]
mod tests {
    use std::future;
    use std::sync::{Arc, Barrier};

    use super::*;

    fn runtime(limit: Duration) -> Runtime {
        let location = Location::parse("memory://runtime").unwrap();
        let mut runtime = Runtime::new(&location, Duration::from_secs(60)).unwrap();
        runtime.limit = limit;
        runtime
    }

    async fn answer() -> Result<u32> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(7)
    }

    #[test]
    fn a_plain_thread_waits() {
        let runtime = runtime(Duration::from_secs(60));
        assert_eq!(runtime.run(answer()).unwrap(), 7);
        let error = runtime.run(async { Err::<(), _>(Error::new(ErrorKind::Corrupt, "torn")) }).unwrap_err();
        assert!(error.is_corrupt());
    }

    #[test]
    fn threads_of_other_runtimes_wait_too_and_drop_it() {
        for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let theirs = builder.worker_threads(1).enable_all().build().unwrap();
            theirs.block_on(async {
                let ours = Arc::new(runtime(Duration::from_secs(60)));
                assert_eq!(ours.run(answer()).unwrap(), 7);
                let same = ours.clone();
                assert_eq!(tokio::spawn(async move { same.run(answer()).unwrap() }).await.unwrap(), 7);
                assert_eq!(tokio::task::spawn_blocking(move || ours.run(answer()).unwrap()).await.unwrap(), 7);
            });
        }
    }

    #[test]
    fn its_own_threads_may_drop_it() {
        let runtime = Arc::new(runtime(Duration::from_secs(60)));
        let (same, both) = (runtime.clone(), Arc::new(Barrier::new(2)));
        let (there, (done, is_done)) = (both.clone(), mpsc::channel());
        runtime.spawn(async move {
            there.wait();
            drop(same);
            done.send(()).unwrap();
        });
        drop(runtime);
        both.wait();
        is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn what_never_ends_is_given_up_and_dropped() {
        struct Dropped(mpsc::Sender<()>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let runtime = runtime(Duration::from_millis(50));
        let (sender, dropped) = mpsc::channel();
        let run = Dropped(sender);
        let error = runtime
            .run(async move {
                let _run = run;
                future::pending::<Result<()>>().await
            })
            .unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert_eq!(error.to_string(), "memory://runtime: no answer within 50ms; try again");
        dropped.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_panic_is_an_error_and_the_next_request_runs() {
        let runtime = runtime(Duration::from_secs(60));
        let error = runtime.run(async { panic!("on purpose") as Result<()> }).unwrap_err();
        assert!(error.is_io() && error.to_string().contains("panicked"), "{error}");
        assert_eq!(runtime.run(answer()).unwrap(), 7);
    }
}
