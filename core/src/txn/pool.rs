//! Spans between uses, readers that can be shared, and what this process remembers of its own commits.

use std::collections::{HashMap, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};

use super::Engine;
use super::reader::ReadSpan;
use crate::descriptor::{ArrayId, Codec, Descriptor, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockSize;
use crate::memory::Residency;
use crate::pager::{Binding, Pager};

/// Spans that idle, over all arrays. Each holds addresses, and page tables of what it showed.
pub(super) const IDLE_SPANS: usize = 64;

/// Commits remembered an array, and blocks a commit: beyond, a refresh looks at every installed block.
const REMEMBERED_COMMITS: usize = 64;
const REMEMBERED_BLOCKS: usize = 4096;

/// Where system calls cannot wait for a fault, an array of at most this many segments is mapped whole when opened.
const EAGER_SEGMENTS: usize = 1024;

/// And a new one of at most this part of the budget is zero memory from the start.
const EAGER_PART: usize = 4;

/// Addresses reserved beyond the present size, so that the array can grow in place.
const ROOM_TO_GROW_BYTES: usize = 16 << 30;

/// Where addresses are short: this part of those that are left.
const SHARE_OF_SHORT_ADDRESSES: usize = 16;

/// One commit by this process: which blocks it changed between two versions of an array.
struct Step {
    from: Version,
    to: Version,
    blocks: Vec<u64>,
}

#[derive(Default)]
pub(super) struct Pool {
    /// Oldest first.
    idle: VecDeque<(ArrayId, Arc<Pager>)>,
    pub(super) readers: HashMap<(ArrayId, Version), Weak<ReadSpan>>,
    steps: HashMap<ArrayId, VecDeque<Step>>,
}

impl Pool {
    /// Remembers a commit of this process. What is not remembered breaks the chain, and binding a span compares all
    /// blocks.
    pub(super) fn remember(&mut self, array: ArrayId, from: Version, to: Version, blocks: Vec<u64>) {
        let steps = self.steps.entry(array).or_default();
        if blocks.len() > REMEMBERED_BLOCKS {
            return;
        }
        if steps.len() == REMEMBERED_COMMITS {
            steps.pop_front();
        }
        steps.push_back(Step { from, to, blocks });
    }

    /// Nothing of a removed array is needed again.
    pub(super) fn forget_array(&mut self, array: ArrayId) -> Vec<Arc<Pager>> {
        self.steps.remove(&array);
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = self.idle.drain(..).partition(|(id, _)| *id == array);
        self.idle = kept;
        gone.into_iter().map(|(_, pager)| pager).collect()
    }

    /// The blocks that changed from one version of the array to another, if all of it was done by this process.
    fn between(&self, array: ArrayId, from: Version, to: Version) -> Option<Vec<u64>> {
        let mut at = from;
        let mut blocks = Vec::new();
        for step in self.steps.get(&array)? {
            if step.from == at {
                blocks.extend(&step.blocks);
                at = step.to;
            }
            if at == to {
                blocks.sort_unstable();
                blocks.dedup();
                return Some(blocks);
            }
        }
        None
    }

    fn take_idle(&mut self, array: ArrayId, fits: impl Fn(&Pager) -> bool) -> Option<Arc<Pager>> {
        let at = self.idle.iter().rposition(|(id, pager)| *id == array && fits(pager))?;
        self.idle.remove(at).map(|(_, pager)| pager)
    }
}

impl Engine {
    /// A span that shows `binding`, of an array that is `array` now: one that idles, or a new one.
    pub(super) fn acquire(&self, array: &Descriptor, binding: Binding) -> Result<Arc<Pager>> {
        let (all, name) = (array.placed(&(0..array.nbytes())), binding.name.clone());
        let residency = self.residency(array, 0..u64::MAX, &binding)?;
        let known = |id, from, to| self.pool.lock().between(id, from, to);
        let idle = binding.array.and_then(|id| {
            self.pool.lock().take_idle(id, |pager| {
                pager.has(&all) && pager.residency == residency && pager.block_size == array.block_size
            })
        });
        if let Some(pager) = idle {
            pager.advise(crate::Access::Normal);
            match pager.bind(binding.clone(), &known) {
                Ok(()) => return Ok(pager),
                Err(_) => drop(pager), // whole; a new one takes its place
            }
        }
        let pager = self.reserve(&name, array, residency)?;
        pager.bind(binding, &known).map_err(|e| e.context(format_args!("array {name:?}")))?;
        Ok(pager)
    }

    /// A new span with room to grow, and none for what was dropped at the front. Where addresses are short idle spans go
    /// first, and then there is less room.
    pub(super) fn reserve(&self, name: &str, array: &Descriptor, residency: Residency) -> Result<Arc<Pager>> {
        let (size, end) = (array.nbytes(), array.end());
        let unit = BlockSize::MAX.bytes();
        let start = array.skip / unit * unit;
        let too_large =
            || Error::new(ErrorKind::TooLarge, format!("array {name:?}: {size} bytes are beyond the address space"));
        let least = end.checked_next_multiple_of(unit).ok_or_else(too_large)?;
        let mut room = size.max(ROOM_TO_GROW_BYTES);
        let mut is_short = false;
        loop {
            let end = end.saturating_add(room).checked_next_multiple_of(unit).unwrap_or(least).max(least);
            match self.reserve_at(start..end, residency, array.block_size) {
                Err(error) if error.is_too_large() && end > least => {
                    is_short = true;
                    room = if room < unit { 0 } else { room / 2 };
                }
                // About all that is left: other arrays need some of it, and whatever else the process maps.
                Ok(pager) if is_short && end > least => {
                    drop(pager);
                    is_short = false;
                    room /= SHARE_OF_SHORT_ADDRESSES;
                }
                result => return result.map_err(|e| e.context(format_args!("array {name:?} of {size} bytes"))),
            }
        }
    }

    /// A new span for just `bytes` of an array. Where addresses are short idle spans go first.
    pub(super) fn reserve_at(&self, bytes: Range<usize>, how: Residency, block_size: BlockSize) -> Result<Arc<Pager>> {
        loop {
            let Engine { memory, options, budget, activity, .. } = self;
            let reserved = Pager::new(memory, bytes.clone(), how, block_size, *options, budget, activity);
            let is_short = matches!(&reserved, Err(error) if error.is_too_large());
            // Unmapping them takes a while: after the lock.
            let idle = if is_short { std::mem::take(&mut self.pool.lock().idle) } else { VecDeque::new() };
            if idle.is_empty() {
                return reserved;
            }
        }
    }

    /// Gives a span back that shows nothing any more.
    pub(super) fn put_idle(&self, array: ArrayId, pager: Arc<Pager>) {
        let mut pool = self.pool.lock();
        pool.idle.push_back((array, pager));
        let surplus = if pool.idle.len() > IDLE_SPANS { pool.idle.pop_front() } else { None };
        drop(pool);
        drop(surplus); // unmapping takes a while
    }

    /// How a span over `blocks` of `array` is to be, that shows `binding`.
    pub(super) fn residency(&self, array: &Descriptor, blocks: Range<u64>, binding: &Binding) -> Result<Residency> {
        if !self.memory.delivers_faults() {
            return Ok(Residency::Eager);
        }
        // Blocks that have to be produced would all be held in memory, and spilled pages would not be compressed.
        let is_produced = array.codec != Codec::None || array.fill.is_some();
        if self.options.copy || self.memory.delivers_kernel_faults() || is_produced {
            return Ok(Residency::Lazy);
        }
        // A new array of which little fits has to give way while it is filled through one view, which takes faults.
        if binding.array.is_none() && array.nbytes() > self.budget.limit_bytes() / EAGER_PART {
            return Ok(Residency::Lazy);
        }
        let (mut segments, mut is_mappable) = (0, true);
        if let Some(array) = binding.array {
            binding.snapshot.blocks(array, blocks, &mut |_, record| {
                segments += record.segments.len();
                is_mappable &= record.is_mappable();
                if segments > EAGER_SEGMENTS || !is_mappable {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
        }
        let fits = segments <= EAGER_SEGMENTS && is_mappable && self.memory.has_room_for_mappings(2 * segments);
        Ok(if fits { Residency::Eager } else { Residency::Lazy })
    }
}
