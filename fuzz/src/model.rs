//! What should be: the oracle.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::scenario::{BLOCK, Change, pattern};

/// One commit, as far as later ones depend on it.
struct Commit {
    /// Blocks that it wrote to, or dropped.
    written: BTreeSet<usize>,
    /// The length is another.
    resized: bool,
    /// The array is another.
    recreated: bool,
}

/// The committed states.
pub(crate) struct Model {
    commits: Vec<Commit>,
    /// Bytes of the newest.
    pub(crate) newest: Arc<Vec<u8>>,
}

/// The changes of a transaction.
#[derive(Clone)]
pub(crate) struct Draft {
    base: usize,
    before: Arc<Vec<u8>>,
    pub(crate) bytes: Vec<u8>,
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
    pub(crate) fn new(bytes: Vec<u8>) -> Model {
        Model { commits: Vec::new(), newest: Arc::new(bytes) }
    }

    pub(crate) fn begin(&self) -> Draft {
        Draft {
            base: self.commits.len(),
            before: self.newest.clone(),
            bytes: self.newest.to_vec(),
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

        let differs = |block: &usize| slice(*block, &draft.before) != slice(*block, &self.newest);
        let other_layout = other_array || self.newest.len() != draft.before.len();
        if touches_surely && other_layout || changed.iter().any(differs) {
            return Verdict::Conflicts;
        }
        let dropped = |block: &usize| draft.dropped_from.is_some_and(|from| *block >= from);
        let meets = |c: &Commit| {
            c.written.iter().any(|block| draft.written.contains(block) || dropped(block))
                || touches_maybe && (c.resized || c.recreated)
        };
        if others.iter().any(meets) { Verdict::Either } else { Verdict::Lands }
    }

    /// Lays what `draft` changed over the newest state.
    pub(crate) fn commit(&mut self, draft: Draft) {
        let overlay = draft.overlay();
        let bytes = if draft.recreated {
            draft.bytes
        } else {
            let mut bytes = self.newest.to_vec();
            if draft.reshaped() {
                bytes.resize(draft.bytes.len(), 0);
            }
            for &block in &overlay {
                let range = bytes_of(block, bytes.len());
                bytes[range.clone()].copy_from_slice(&draft.bytes[range]);
            }
            bytes
        };
        let resized = bytes.len() != self.newest.len();
        let written = draft.written.union(&overlay).copied().collect();
        self.commits.push(Commit { written, resized, recreated: draft.recreated });
        self.newest = Arc::new(bytes);
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
                self.bytes = vec![0; size.bytes()];
            }
        }
    }

    fn write(&mut self, range: Range<usize>, value: u8) {
        for at in range.clone() {
            self.bytes[at] = pattern(at, value);
        }
        self.written.extend(range.start / BLOCK..range.end.div_ceil(BLOCK));
    }

    fn resize(&mut self, len: usize) {
        if len < self.bytes.len() {
            let blocks = len.div_ceil(BLOCK);
            self.dropped_from = Some(self.dropped_from.map_or(blocks, |from| from.min(blocks)));
            self.written.extend(len.checked_sub(1).map(|last| last / BLOCK));
        }
        self.bytes.resize(len, 0);
    }

    fn reshaped(&self) -> bool {
        self.recreated || self.bytes.len() != self.before.len()
    }

    /// Blocks whose bytes differ from what they were, or were dropped.
    fn overlay(&self) -> BTreeSet<usize> {
        let blocks = self.bytes.len().max(self.before.len()).div_ceil(BLOCK);
        let dropped = |block: usize| self.dropped_from.is_some_and(|from| block >= from);
        (0..blocks).filter(|&b| dropped(b) || slice(b, &self.bytes) != slice(b, &self.before)).collect()
    }
}

fn bytes_of(block: usize, len: usize) -> Range<usize> {
    (block * BLOCK).min(len)..((block + 1) * BLOCK).min(len)
}

/// The bytes of a block, without the zeros behind them: those are there or not.
fn slice(block: usize, bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[bytes_of(block, bytes.len())];
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    &bytes[..end]
}
