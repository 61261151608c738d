//! Going over the bytes of an array by several threads: what storage has to say comes as a value, and the next bytes are
//! loaded meanwhile.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bigarray_core::sync::Mutex;
use bigarray_core::{Error, Result};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::process::OfProcess;
use crate::view::{Source, here};

/// Bytes of an array that one thread goes over at a time: a block, of the largest there are, or several of others.
pub(super) const PIECE: usize = 2 << 20;

/// Fewer pieces than this are not worth a thread that loads ahead.
const WORTH_A_THREAD: usize = 8;

/// The next bytes are loaded so many pieces before a thread comes to them.
const AHEAD: usize = 2;

/// One walk over an array.
pub(super) struct Walk<'a, S> {
    pub(super) source: &'a OfProcess<S>,
    /// Bytes that are loaded at a time: a piece, or a block where the memory budget is small.
    pub(super) step: usize,
    ahead: Option<SyncSender<Range<usize>>>,
    is_over: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl<'a, S: Source> Walk<'a, S> {
    /// Has `walk` go over the array. The first failure of storage is the outcome, whatever it returns.
    ///
    /// # Errors
    /// What [`load`](Walk::load) met.
    pub(super) fn go<R>(source: &'a OfProcess<S>, walk: impl FnOnce(&Walk<'a, S>) -> R) -> Result<R> {
        let array = here(source)?.descriptor();
        // So much is in use at once: each thread has a piece, and what is loaded for it.
        let in_use = (rayon::current_num_threads() + 1) * (1 + AHEAD) * PIECE;
        let has_room = in_use <= source.budget_bytes() / 2;
        let step = if has_room { PIECE } else { array.block_size.bytes() };
        let (ahead, requests) = match has_room && array.nbytes() >= WORTH_A_THREAD * PIECE {
            true => Some(sync_channel(in_use / PIECE)).unzip(),
            false => (None, None),
        };
        let this = Walk { source, step, ahead, is_over: AtomicBool::new(false), error: Mutex::new(None) };
        let Some(requests) = requests else { return this.outcome(walk) };
        std::thread::scope(|scope| {
            // Where there are no more threads, each piece is loaded when it is needed.
            let _ = std::thread::Builder::new()
                .name("bigarray-ahead".into())
                .spawn_scoped(scope, move || load_ahead(source, &requests));
            this.outcome(walk)
        })
    }

    fn outcome<R>(self, walk: impl FnOnce(&Walk<'a, S>) -> R) -> Result<R> {
        let outcome = walk(&self);
        match self.error.into_inner() {
            Some(error) => Err(error),
            None => Ok(outcome),
        }
    }

    /// Loads these bytes, and has those loaded that the thread comes to next. Where that fails, and once it has failed in
    /// another thread, there is nothing to go over: `false`.
    pub(super) fn load(&self, bytes: Range<usize>) -> bool {
        if self.is_over.load(Ordering::Relaxed) {
            return false;
        }
        if let Some(ahead) = &self.ahead {
            let start = bytes.start.saturating_add(AHEAD * bytes.len());
            let end = start.saturating_add(bytes.len()).min(self.source.descriptor().nbytes());
            if start < end {
                // A queue that is full has enough to do.
                let _ = ahead.try_send(start..end);
            }
        }
        match here(self.source).and_then(|source| source.prefetch(bytes)) {
            Ok(()) => true,
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Loads these bytes by several threads.
    pub(super) fn load_together(&self, bytes: Range<usize>) -> bool {
        let piece = |n| bytes.start + n * self.step..bytes.end.min(bytes.start + (n + 1) * self.step);
        (0..bytes.len().div_ceil(self.step)).into_par_iter().all(|n| self.load(piece(n)))
    }

    /// Ends the walk. The first error counts.
    pub(super) fn fail(&self, error: Error) {
        self.is_over.store(true, Ordering::Relaxed);
        self.error.lock().get_or_insert(error);
    }
}

/// Loads what is asked for, until nothing can be any more. A failure is dropped: the thread that needs the bytes meets it.
fn load_ahead<S: Source>(source: &OfProcess<S>, requests: &Receiver<Range<usize>>) {
    while let Ok(bytes) = requests.recv() {
        let _ = source.prefetch(bytes);
    }
}
