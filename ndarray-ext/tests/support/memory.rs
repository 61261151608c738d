//! How much memory of its own this process has, sampled all the time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a process may have beyond its budget: 64 MiB.
pub(crate) const SLACK: usize = 64 << 20;

/// Looks from [`begin`](Watch::begin) on. Counts all of the process, so a test that uses it has one of its own.
pub(crate) struct Watch {
    peak: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn begin() -> Watch {
        let (peak, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (peak, over) = (peak.clone(), over.clone());
            move || {
                while !over.load(Ordering::Relaxed) {
                    peak.fetch_max(anonymous_bytes(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Watch { peak, over, thread: Some(thread) }
    }

    /// The most anonymous memory that was seen, that of this moment included.
    pub(crate) fn peak_bytes(&self) -> usize {
        self.peak.fetch_max(anonymous_bytes(), Ordering::Relaxed);
        self.peak.load(Ordering::Relaxed)
    }

    #[track_caller]
    pub(crate) fn stayed_within(&self, budget_bytes: usize) {
        let peak = self.peak_bytes();
        assert!(peak <= budget_bytes + SLACK, "{} MiB of memory: the budget is {} MiB", peak >> 20, budget_bytes >> 20);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// `RssAnon` of this process.
pub(crate) fn anonymous_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}
