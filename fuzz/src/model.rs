//! What should be: the oracle.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::scenario::{BLOCK, Change, pattern};

/// One commit, as far as later ones depend on it.
struct Commit {
    /// Blocks that it wrote to, or dropped.
    written: BTreeSet<usize>,
    /// The length is another, or the first byte.
    resized: bool,
    /// The array is another.
    recreated: bool,
}

/// The committed states.
pub(crate) struct Model {
    /// What is new.
    fill: u8,
    commits: Vec<Commit>,
    /// Bytes of the newest.
    pub(crate) newest: Arc<Vec<u8>>,
    /// Bytes that were dropped before its first.
    skip: usize,
}

/// The changes of a transaction.
#[derive(Clone)]
pub(crate) struct Draft {
    fill: u8,
    base: usize,
    before: Arc<Vec<u8>>,
    skip_before: usize,
    pub(crate) bytes: Vec<u8>,
    /// Bytes that were dropped before the first: blocks are counted from those.
    skip: usize,
    written: BTreeSet<usize>,
    /// The array was so short for a while, in blocks.
    dropped_from: Option<usize>,
    recreated: bool,
}

/// Whether a commit has to conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Lands,
    Conflicts,
    /// It wrote what was there already, or others did: that may count as a change.
    Either,
}

impl Model {
    pub(crate) fn new(len: usize, fill: u8) -> Model {
        let bytes = vec![fill; len];
        Model { fill, commits: Vec::new(), newest: Arc::new(bytes), skip: 0 }
    }

    pub(crate) fn begin(&self) -> Draft {
        Draft {
            fill: self.fill,
            base: self.commits.len(),
            before: self.newest.clone(),
            skip_before: self.skip,
            bytes: self.newest.to_vec(),
            skip: self.skip,
            written: BTreeSet::new(),
            dropped_from: None,
            recreated: false,
        }
    }

    pub(crate) fn verdict(&self, draft: &Draft) -> Verdict {
        let others = &self.commits[draft.base..];
        let changed = draft.overlay();
        let touches_surely = draft.reshaped() || draft.dropped_from.is_some() || !changed.is_empty();
        let touches_maybe = touches_surely || !draft.written.is_empty();
        let other_array = others.iter().any(|c| c.recreated);

        let (before, newest) = (At(&draft.before, draft.skip_before), At(&self.newest, self.skip));
        let differs = |block: &usize| before.block(*block, 0, self.fill) != newest.block(*block, 0, self.fill);
        let other_layout = other_array || self.newest.len() != draft.before.len() || self.skip != draft.skip_before;
        if touches_surely && other_layout || changed.iter().any(differs) {
            return Verdict::Conflicts;
        }
        let dropped = |block: &usize| {
            draft.dropped_from.is_some_and(|from| *block >= from) || draft.dropped_front().contains(block)
        };
        let meets = |c: &Commit| {
            c.written.iter().any(|block| draft.written.contains(block) || dropped(block))
                || touches_maybe && (c.resized || c.recreated)
        };
        if others.iter().any(meets) { Verdict::Either } else { Verdict::Lands }
    }

    /// Lays what `draft` changed over the newest state.
    pub(crate) fn commit(&mut self, draft: Draft) {
        let overlay = draft.overlay();
        let written = draft.written.union(&overlay).copied().collect();
        let (bytes, skip) = if draft.recreated || draft.dropped_from == Some(0) {
            (draft.bytes, draft.skip)
        } else {
            let (mut bytes, mut skip) = (self.newest.to_vec(), self.skip);
            if draft.reshaped() {
                bytes.drain(..(draft.skip - skip).min(bytes.len()));
                bytes.resize(draft.bytes.len(), self.fill);
                skip = draft.skip;
            }
            for &block in &overlay {
                let range = bytes_of(block, skip, bytes.len());
                bytes[range.clone()].copy_from_slice(&draft.bytes[range]);
            }
            (bytes, skip)
        };
        let resized = bytes.len() != self.newest.len() || skip != self.skip;
        self.commits.push(Commit { written, resized, recreated: draft.recreated });
        (self.newest, self.skip) = (Arc::new(bytes), skip);
    }
}

impl Draft {
    /// Does to the bytes what `change` does.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Write(place, value) => self.write(place.within(self.bytes.len()), value),
            Change::Resize(size) => self.resize(size.bytes()),
            Change::Append(len, value) => {
                let start = self.bytes.len();
                self.resize(start + usize::from(len));
                self.write(start..self.bytes.len(), value);
            }
            Change::Recreate(size) => {
                self.recreated = true;
                self.dropped_from = Some(0);
                (self.bytes, self.skip) = (vec![self.fill; size.bytes()], 0);
            }
            Change::DropFront(size) if size.bytes() >= self.bytes.len() => self.resize(0),
            Change::DropFront(size) => {
                self.bytes.drain(..size.bytes());
                self.skip += size.bytes();
            }
        }
    }

    fn write(&mut self, range: Range<usize>, value: u8) {
        for at in range.clone() {
            self.bytes[at] = pattern(at, value);
        }
        self.written.extend((self.skip + range.start) / BLOCK..(self.skip + range.end).div_ceil(BLOCK));
    }

    fn resize(&mut self, len: usize) {
        let end = if len == 0 { 0 } else { self.skip + len };
        if len < self.bytes.len() {
            let blocks = end.div_ceil(BLOCK);
            self.dropped_from = Some(self.dropped_from.map_or(blocks, |from| from.min(blocks)));
            self.written.extend(end.checked_sub(1).map(|last| last / BLOCK));
        }
        self.bytes.resize(len, self.fill);
        self.skip = end - len;
    }

    fn reshaped(&self) -> bool {
        self.recreated || self.bytes.len() != self.before.len() || self.skip != self.skip_before
    }

    /// Blocks of which all bytes were dropped at the front.
    fn dropped_front(&self) -> Range<usize> {
        self.skip_before / BLOCK..self.skip / BLOCK
    }

    /// Blocks whose bytes differ from what they were, or were dropped.
    fn overlay(&self) -> BTreeSet<usize> {
        let (now, before) = (At(&self.bytes, self.skip), At(&self.before, self.skip_before));
        let blocks = now.end().max(before.end()).div_ceil(BLOCK);
        let from = self.skip.max(self.skip_before);
        let is_changed = |block: usize| {
            self.dropped_from.is_some_and(|from| block >= from)
                || self.dropped_front().contains(&block)
                || now.block(block, from, self.fill) != before.block(block, from, self.fill)
        };
        (0..blocks).filter(|&block| is_changed(block)).collect()
    }
}

/// Bytes, and how many were dropped before the first.
struct At<'a>(&'a [u8], usize);

impl<'a> At<'a> {
    fn end(&self) -> usize {
        self.1 + self.0.len()
    }

    /// The bytes of a block that lie behind `from`, without those behind them that are what is new: these are there or not.
    fn block(&self, block: usize, from: usize, fill: u8) -> &'a [u8] {
        let At(bytes, skip) = *self;
        let range = bytes_of(block, skip, bytes.len());
        let start = range.start.max(from.saturating_sub(skip)).min(range.end);
        let bytes = &bytes[start..range.end];
        let end = bytes.iter().rposition(|&byte| byte != fill).map_or(0, |at| at + 1);
        &bytes[..end]
    }
}

/// Where the bytes of a block are among `len` that lie behind `skip` dropped ones.
fn bytes_of(block: usize, skip: usize, len: usize) -> Range<usize> {
    let at = |n: usize| (n * BLOCK).saturating_sub(skip).min(len);
    at(block)..at(block + 1)
}
