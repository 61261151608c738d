//! Ctrl-C and SIGTERM: the transaction is dropped, a temporary file removed, and one line says so.
//!
//! The signals are blocked in all threads but one, which waits for them. A command that has begun to make its result visible
//! cannot be taken back any more: it ends first, and a second signal ends it at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

const RUNNING: u8 = 0;
const FINISHING: u8 = 1;
const INTERRUPTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(RUNNING);

/// Whether the command changes a database.
static CHANGES: AtomicBool = AtomicBool::new(false);

/// The output under its temporary name, if there is one.
static PART: OnceLock<PathBuf> = OnceLock::new();

/// Begins to wait for signals. Called before any thread is started, which takes over what is blocked here.
pub(crate) fn watch() {
    let ignored = ignored_signals();
    let mut signals = SigSet::empty();
    // What the parent ignores, as a shell does for a command in the background, stays ignored.
    let wanted = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    wanted.into_iter().filter(|signal| ignored & 1 << (*signal as u32 - 1) == 0).for_each(|signal| signals.add(signal));
    if signals.thread_block().is_err() {
        return;
    }
    // Without the thread a signal would be lost.
    if thread::Builder::new().name("signals".into()).spawn(move || wait(&signals)).is_err() {
        let _ = signals.thread_unblock();
    }
}

/// The mask of signals that are ignored.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn wait(signals: &SigSet) {
    let mut warned = false;
    while let Ok(signal) = signals.wait() {
        let code = 128 + signal as i32;
        if STATE.compare_exchange(RUNNING, INTERRUPTED, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            if let Some(part) = PART.get() {
                let _ = fs::remove_file(part);
            }
            let changes = CHANGES.load(Ordering::SeqCst);
            eprintln!("bigarray: interrupted{}", if changes { "; nothing was changed" } else { "" });
            std::process::exit(code);
        }
        if std::mem::replace(&mut warned, true) {
            std::process::exit(code);
        }
        eprintln!("bigarray: interrupted while it ends, which takes a moment; once more stops it at once");
    }
}

/// Says that the command changes a database.
pub(crate) fn changes() {
    CHANGES.store(true, Ordering::SeqCst);
}

/// Tells of a temporary file, which goes when the command is interrupted.
pub(crate) fn remember(part: &Path) {
    let _ = PART.set(part.to_owned());
}

/// From here on the command ends as if there was no signal: called before a commit, and before a file gets its name.
pub(crate) fn finish() {
    if STATE.compare_exchange(RUNNING, FINISHING, Ordering::SeqCst, Ordering::SeqCst) == Err(INTERRUPTED) {
        // The process ends at any moment.
        loop {
            thread::park();
        }
    }
}
