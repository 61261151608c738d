//! How far a command is, on standard error, if it takes longer than a second and people look at it.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Before this nothing is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far a command is.
pub(crate) struct Progress {
    begun: Instant,
    total: Option<u64>,
    done: u64,
    is_wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of `total` bytes, if that is known.
    pub(crate) fn new(total: Option<u64>, quiet: bool) -> Progress {
        let is_wanted = !quiet && stderr().is_terminal();
        Progress { begun: Instant::now(), total, done: 0, is_wanted, bar: None }
    }

    /// So many bytes there are: known only now.
    pub(crate) fn of(&mut self, total: u64) {
        self.total = Some(total);
    }

    /// So many bytes more are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.set(self.done + bytes);
    }

    /// So many bytes are done.
    pub(crate) fn set(&mut self, done: u64) {
        self.done = done;
        if self.is_wanted && self.bar.is_none() && self.begun.elapsed() > PATIENCE {
            self.bar = Some(bar(self.total, self.begun.elapsed()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

fn bar(total: Option<u64>, elapsed: Duration) -> ProgressBar {
    let template = match total {
        Some(_) => "{bytes} of {total_bytes} {wide_bar} {binary_bytes_per_sec}, {eta} left",
        None => "{bytes} {spinner} {binary_bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()).with_style(style).with_elapsed(elapsed)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
