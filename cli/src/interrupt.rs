//! Ctrl-C, SIGTERM and SIGHUP: the transaction is dropped, a temporary file removed, and one line says so.
//!
//! The signals are blocked in all threads but one, which waits for them. A command that has begun to make its result visible
//! cannot be taken back any more: it ends first, and a second signal ends it at once.

use std::fs;
use std::io::{self, Write};
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

/// The output under its temporary name, or a temporary folder, if there is one. While it is made an interruption
/// waits for it, and after an interruption none is made: so none is left behind.
static PART: OnceLock<Option<PathBuf>> = OnceLock::new();

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
            if let Some(part) = PART.get_or_init(|| None) {
                let _ = fs::remove_file(part).or_else(|_| fs::remove_dir_all(part));
            }
            let changes = CHANGES.load(Ordering::SeqCst);
            // A terminal that is gone is no reason to stay.
            let _ =
                writeln!(io::stderr(), "bigarray: interrupted{}", if changes { "; nothing was changed" } else { "" });
            std::process::exit(code);
        }
        if std::mem::replace(&mut warned, true) {
            std::process::exit(code);
        }
        let _ = writeln!(
            io::stderr(),
            "bigarray: interrupted while it ends, which takes a moment; once more stops it at once"
        );
    }
}

/// Says that the command changes a database.
pub(crate) fn changes() {
    CHANGES.store(true, Ordering::SeqCst);
}

/// Makes a temporary file or folder, which goes when the command is interrupted. Its path is what `path` says.
pub(crate) fn make_part<T>(make: impl FnOnce() -> io::Result<T>, path: impl Fn(&T) -> &Path) -> io::Result<T> {
    let (mut make, mut made) = (Some(make), None);
    PART.get_or_init(|| {
        let part = make.take()?();
        let path = part.as_ref().ok().map(|part| path(part).to_owned());
        made = Some(part);
        path
    });
    match (made, make) {
        (Some(made), _) => made,
        // Another was made, or could not be.
        (None, Some(make)) if STATE.load(Ordering::SeqCst) != INTERRUPTED => make(),
        // The process ends at any moment.
        _ => loop {
            thread::park();
        },
    }
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
