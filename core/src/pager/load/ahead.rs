//! Loading that no thread waits for yet: the blocks of a range, by the threads that resolve faults, side by side.
//!
//! A prefetch has a few *turns*. Each loads a part of the range, and is queued again behind those of other prefetches. The
//! memory runs a turn where no fault needs the thread. A failure is a value, as for `prefetch`, and poisons nothing.
//!
//! A turn touches no span memory: what is mapped is read into the system's cache by its file, so a turn neither faults nor
//! waits for a page. It has the binding lent, so letting go of the span waits for a part at most. A queued turn keeps neither
//! the pager nor its snapshot.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockSize;
use crate::page_map::Piece;
use crate::pager::Pager;
use crate::pager::binding::Binding;
use crate::pager::block::Kind;
use crate::pager::eviction::budget::Share;
use crate::pager::table::Presence;
use crate::signals;
use crate::store::Origin;
use crate::sync::{Condvar, Mutex};

/// Turns of one prefetch that are queued or run at once, at most: as many as there are resolvers.
const TURNS: usize = 8;

/// Bytes that a turn loads.
const PART: usize = BlockSize::MAX.bytes();

/// A prefetch that goes on by itself, also when this is dropped.
///
/// It ends early, and without an error, when the array is closed, given back or becomes shorter, and when its share of the
/// memory budget is used up; see [`Reader::prefetch_ahead`](crate::Reader::prefetch_ahead).
pub struct Prefetch(Arc<Progress>);

#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    /// The last turn ended.
    ended: Condvar,
    is_cancelled: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Turns that are queued or run.
    turns: usize,
    /// Of these, turns that run.
    running: usize,
    failure: Option<Error>,
}

impl Prefetch {
    /// Of nothing.
    pub(crate) fn done() -> Prefetch {
        Prefetch(Arc::default())
    }

    /// Waits for its end. Signals of this thread arrive meanwhile; their handlers must not use this prefetch.
    ///
    /// # Errors
    /// The first failure to load a block; then others may not be loaded. An access to the block meets it again.
    pub fn wait(&self) -> Result<()> {
        let _held = signals::hold_between_waits();
        let mut state = self.0.state.lock();
        while !self.0.is_done(&state) {
            state = signals::let_through(|| self.0.ended.wait(state));
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// Whether [`wait`](Prefetch::wait) returns at once.
    pub fn is_done(&self) -> bool {
        // A resolver takes the lock, too.
        let _held = signals::hold();
        self.0.is_done(&self.0.state.lock())
    }

    /// Ends it early. What is being loaded just now is loaded.
    pub fn cancel(&self) {
        let _held = signals::hold();
        // Under the lock, so that a thread that is about to wait sees it.
        let _state = self.0.state.lock();
        self.0.is_cancelled.store(true, Ordering::Relaxed);
        self.0.ended.notify_all();
    }
}

impl Progress {
    /// Nothing more is loaded. Queued turns of a cancelled prefetch load nothing, whenever they come to run.
    fn is_done(&self, state: &State) -> bool {
        state.turns == 0 || self.is_cancelled() && state.running == 0
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    fn fail(&self, error: Error) {
        self.state.lock().failure.get_or_insert(error);
    }
}

impl std::fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefetch").field("is_done", &self.is_done()).finish()
    }
}

/// What the turns of a prefetch share.
struct Work {
    pager: Weak<Pager>,
    /// For messages.
    name: Arc<str>,
    bytes: Range<usize>,
    /// The binding that it is for.
    generation: u64,
    /// Where the next part begins.
    next: AtomicUsize,
    share: Share,
    progress: Arc<Progress>,
}

impl Work {
    /// Whether it is still to be done.
    fn is_wanted(&self, generation: u64) -> bool {
        generation == self.generation && !self.progress.is_cancelled()
    }
}

/// One of the turns. When it is dropped it has ended, unrun or by a panic too.
struct Turn(Arc<Work>);

impl Turn {
    fn run(self) {
        let Some(pager) = self.0.pager.upgrade() else { return };
        let loaded = {
            let _runs = Runs::begin(&self.0.progress);
            self.load_part(&pager).map_err(|error| error.context(format_args!("array {:?}", self.0.name)))
        };
        match loaded {
            Ok(true) => pager.memory.run_ahead(Box::new(move || self.run())),
            loaded => {
                let table = pager.lock();
                // Where no fault is answered any more, an access meets that.
                let failure = if table.is_dead() { table.failure() } else { None };
                // Storage may have gone with what the prefetch was for.
                let is_closed = table.generation() != self.0.generation;
                drop(table);
                if let Some(error) = failure.or(loaded.err().filter(|_| !is_closed)) {
                    self.0.progress.fail(error);
                }
                self.end();
            }
        }
    }

    /// Nothing more is loaded, by the other turns as well.
    fn end(self) {
        self.0.next.store(self.0.bytes.end, Ordering::Relaxed);
    }

    /// Loads the next part. Whether there may be more.
    fn load_part(&self, pager: &Pager) -> Result<bool> {
        let Work { bytes, generation, next, .. } = &*self.0;
        let start = next.fetch_add(PART, Ordering::Relaxed);
        if start >= bytes.end {
            return Ok(false);
        }
        let part = start.max(bytes.start)..bytes.end.min(start + PART);
        let Some(lent) = Lent::of(pager, *generation) else { return Ok(false) };
        let Some(binding) = &lent.binding else { return Ok(false) };
        for block in pager.block_size.blocks_in(&part) {
            if !self.load_block(pager, block)? {
                return Ok(false);
            }
        }
        for Piece { bytes, origin } in pager.mapped_in(&part) {
            // Other files were read whole to be mapped.
            if let Origin::Extent(offset) = origin {
                let extent = offset..offset + bytes.len() as u64;
                pager.memory.read_ahead(binding.snapshot.file(), extent, pager.is_random())?;
            }
        }
        Ok(true)
    }

    /// Loads `block`, or waits until another thread has. `false` where the prefetch is to end.
    ///
    /// A load of another thread that runs needs no resolver to end. One that waits for a resolver is taken over.
    fn load_block(&self, pager: &Pager, block: u64) -> Result<bool> {
        let mut table = pager.lock();
        loop {
            if !self.0.is_wanted(table.generation()) {
                return Ok(false);
            }
            let load = match table.presence(block) {
                Presence::Installed(Kind::Poisoned) => return Err(Pager::why_poisoned(&table, block)),
                Presence::Installed(_) => return Ok(true),
                Presence::Loading => pager.steal(&mut table, block),
                Presence::Missing => match pager.start(&mut table, block) {
                    None => return Ok(false),
                    // What is around it may be holes, which are skipped: threads that write there should not wait.
                    Some(load) if table.shown.binding().is_some_and(|binding| binding.spill_map.is_some()) => {
                        Some(load.of_block(&mut table, block))
                    }
                    load => load,
                },
            };
            if let Some(load) = load {
                drop(table);
                return load.run_within(&self.0.share);
            }
            table = table.wait(&pager.loaded);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let progress = &self.0.progress;
        if std::thread::panicking() {
            progress.fail(Error::new(
                ErrorKind::Io,
                format!("array {:?}: a thread that loads pages panicked", self.0.name),
            ));
        }
        let mut state = progress.state.lock();
        state.turns -= 1;
        if state.turns == 0 {
            progress.ended.notify_all();
        }
    }
}

/// A turn runs. When this is dropped it does not, or it has ended by a panic.
struct Runs<'p>(&'p Progress);

impl Runs<'_> {
    fn begin(progress: &Progress) -> Runs<'_> {
        progress.state.lock().running += 1;
        Runs(progress)
    }
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running -= 1;
        // So is what `wait` waits for where the prefetch was cancelled.
        if state.running == 0 && self.0.is_cancelled() {
            self.0.ended.notify_all();
        }
    }
}

/// What the span shows, for as long as a turn reads of it: letting go of the span waits for that.
struct Lent<'p> {
    pager: &'p Pager,
    /// `None` only while it is given back.
    binding: Option<Binding>,
}

impl Lent<'_> {
    /// `None` if the span shows something else by now.
    fn of(pager: &Pager, generation: u64) -> Option<Lent<'_>> {
        let mut table = pager.lock();
        if table.generation() != generation {
            return None;
        }
        let binding = table.shown.lend();
        drop(table);
        binding.is_some().then_some(Lent { pager, binding })
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let lent = self.binding.take();
        self.pager.lock().shown.take_back(lent);
        self.pager.loaded.notify_all();
    }
}

impl Pager {
    /// Begins to load the blocks of `bytes`, with errors as values of [`Prefetch::wait`].
    pub(crate) fn prefetch_ahead(&self, bytes: &Range<usize>) -> Result<Prefetch> {
        self.memory.check_process()?;
        let _held = signals::hold_between_waits();
        self.tell_of_missing(self.block_size.blocks_in(bytes));
        let table = self.lock();
        let Some(name) = table.shown.binding().map(|binding| binding.name.clone()).filter(|_| !bytes.is_empty()) else {
            return Ok(Prefetch::done());
        };
        let generation = table.generation();
        drop(table);
        let first = bytes.start / PART * PART;
        let turns = (bytes.end - first).div_ceil(PART).min(TURNS);
        let progress = Arc::new(Progress::default());
        progress.state.lock().turns = turns;
        let work = Arc::new(Work {
            pager: self.this.clone(),
            name,
            bytes: bytes.clone(),
            generation,
            next: AtomicUsize::new(first),
            share: self.budget.share(self.block_size.bytes()),
            progress: progress.clone(),
        });
        for _ in 0..turns {
            let turn = Turn(work.clone());
            self.memory.run_ahead(Box::new(move || turn.run()));
        }
        Ok(Prefetch(progress))
    }
}
