//! How much memory this process takes, looked at all the time by a thread of its own.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Outcome;
use crate::ground::{MIB, ensure, figure};

/// How often it looks. What comes and goes in between takes less time than filling a few MiB.
const EVERY: Duration = Duration::from_millis(2);

/// What may be taken beyond a budget: 64 MiB.
const SLACK: usize = 64 * MIB;

#[derive(Default)]
struct Peaks {
    anonymous: AtomicUsize,
    page_tables: AtomicUsize,
    resident: AtomicUsize,
    /// Of anonymous memory and page tables together.
    own: AtomicUsize,
    looks: AtomicUsize,
    over: AtomicBool,
}

/// Watches from [`begin`](Watch::begin) to [`end_within`](Watch::end_within).
pub(crate) struct Watch {
    peaks: Arc<Peaks>,
    thread: JoinHandle<Result<(), String>>,
}

impl Watch {
    pub(crate) fn begin() -> Watch {
        let peaks = Arc::new(Peaks::default());
        let thread = std::thread::spawn({
            let peaks = peaks.clone();
            move || {
                while !peaks.over.load(Ordering::Relaxed) {
                    look(&peaks)?;
                    std::thread::sleep(EVERY);
                }
                look(&peaks)
            }
        });
        Watch { peaks, thread }
    }

    /// Prints the peaks. Fails if anonymous memory and page tables together went beyond the budget and what may be on
    /// top of it.
    pub(crate) fn end_within(self, budget_bytes: usize) -> Outcome<()> {
        self.peaks.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watch panicked")??;
        let [anonymous, page_tables, resident, own] =
            [&self.peaks.anonymous, &self.peaks.page_tables, &self.peaks.resident, &self.peaks.own]
                .map(|peak| peak.load(Ordering::Relaxed));
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        let budget = mib(budget_bytes);
        figure("peak of anonymous memory (RssAnon)", format_args!("{:.1} MiB, budget {budget} MiB", mib(anonymous)));
        figure("peak of page tables (VmPTE)", format_args!("{:.1} MiB", mib(page_tables)));
        figure("peak of resident memory, page cache included (VmRSS)", format_args!("{:.0} MiB", mib(resident)));
        ensure(self.peaks.looks.load(Ordering::Relaxed) > 10, || "memory was hardly looked at".to_owned())?;
        ensure(own <= budget_bytes + SLACK, || {
            format!("memory went to {:.1} MiB: budget {budget} MiB and 64 MiB are the limit", mib(own))
        })
    }
}

/// Bytes of anonymous memory now.
pub(crate) fn anonymous_bytes() -> Outcome<usize> {
    Ok(bytes_of(&status()?, "RssAnon:")?)
}

fn status() -> Result<String, String> {
    fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))
}

fn bytes_of(status: &str, key: &str) -> Result<usize, String> {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib: Option<usize> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| format!("no {key} in /proc/self/status"))
}

fn look(peaks: &Peaks) -> Result<(), String> {
    let status = status()?;
    let bytes = |key: &str| bytes_of(&status, key);
    let (anonymous, page_tables) = (bytes("RssAnon:")?, bytes("VmPTE:")?);
    peaks.anonymous.fetch_max(anonymous, Ordering::Relaxed);
    peaks.page_tables.fetch_max(page_tables, Ordering::Relaxed);
    peaks.own.fetch_max(anonymous + page_tables, Ordering::Relaxed);
    peaks.resident.fetch_max(bytes("VmRSS:")?, Ordering::Relaxed);
    peaks.looks.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
