//! One array in one transaction. All that a commit has to know of it is here, whether or not a handle is open.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Engine;
use super::reader::{is_stored, or_too_large};
use super::untracked::UntrackedWrites;
use super::windows::{WholeSpan, Windows};
use crate::descriptor::{Descriptor, Version};
use crate::error::Result;
use crate::geometry::{BlockNo, BlockSize, Ranges};
use crate::pager::{Binding, Pager, SpillMap};
use crate::store::{AttrChange, Snapshot};

/// What an array is in its transaction, its bytes aside. A savepoint keeps a copy.
#[derive(Clone, Default)]
pub(super) struct Metadata {
    /// Name and descriptor; `None` once removed.
    pub(super) after: Option<(String, Descriptor)>,
    /// The least number of blocks the array had since the snapshot, if it shrank.
    pub(super) dropped_from: Option<u64>,
    /// Attributes; loaded when the array is opened.
    pub(super) attrs: Map<String, Value>,
    /// Those of them that were set, whether or not that changed anything.
    pub(super) attrs_set: BTreeSet<String>,
    /// Blocks that others may not change, by their numbers: also those in which the array ended for a while, and had more of
    /// before.
    pub(super) depends: Ranges,
}

/// One array in one transaction: what it was, what it is, and where its bytes are. There is one of it for each array, hence
/// one span (invariant G).
pub(super) struct OpenArray {
    pub(super) engine: Arc<Engine>,
    pub(super) snapshot: Arc<dyn Snapshot>,
    /// Name and descriptor in the snapshot; `None` if the transaction created it.
    pub(super) before: Option<(String, Descriptor)>,
    pub(super) metadata: Metadata,
    /// No span for an array of no bytes, one that was not opened, or one that no addresses are left for.
    pub(super) pager: WholeSpan,
    /// Ranges that were handed out mutably, counted as blocks are: a search for writes looks there only.
    pub(super) exposed: Ranges,
    /// Its spilled pages.
    pub(super) spill_map: Arc<SpillMap>,
    pub(super) untracked: UntrackedWrites,
    /// Where it has no span: those over parts of it.
    pub(super) windows: Windows,
}

impl OpenArray {
    /// Gives the array a span if it needs one and has none.
    pub(super) fn ensure_span(&mut self) -> Result<()> {
        let is_empty = self.metadata.after.as_ref().is_none_or(|(_, now)| now.nbytes() == 0);
        if is_empty || matches!(self.pager, Ok(Some(_))) {
            return Ok(());
        }
        // A span for all of the array must show what was written to windows.
        self.spill()?;
        let Some((name, now)) = &self.metadata.after else { return Ok(()) };
        // As large as it is now, showing what is stored, which may end before or behind that.
        let pager = self.engine.acquire(now, self.binding(name, now));
        self.pager = or_too_large(pager.map(Some))?;
        Ok(())
    }

    /// In place of the span that it has, which is dropped whole.
    pub(super) fn replace_span(&mut self, new: WholeSpan) {
        if let Ok(Some(old)) = std::mem::replace(&mut self.pager, new) {
            old.unbind();
        }
    }

    /// All of the array is dropped: its span goes, with what was written to it.
    pub(super) fn close_span(&mut self) {
        self.replace_span(Ok(None));
        self.exposed = Ranges::default();
        self.untracked = UntrackedWrites::default();
    }

    /// Nothing of the blocks before `first` is stored: they are dropped.
    pub(super) fn forget_before(&mut self, first: BlockNo, block_size: BlockSize) {
        let start = block_size.start_of(first);
        self.exposed.remove_before(start);
        self.untracked.cut_front(start);
        self.spill_map.forget_before(first);
    }

    /// The array's bytes, of which there are as many as `now` says: as stored, and spilled pages over that.
    pub(super) fn binding(&self, name: &str, now: &Descriptor) -> Binding {
        let before = self.before.as_ref().map(|(_, before)| before);
        Binding {
            array: before.map(|before| before.id),
            changed: before.map_or(Version(0), |before| before.changed),
            visible: self.metadata.dropped_from.unwrap_or(u64::MAX),
            spill_map: Some(self.spill_map.clone()),
            ..Binding::stored_array(name, now, &self.snapshot)
        }
    }

    /// A span that has all of `bytes`, counted as blocks are, where the array has one, or a window over them.
    pub(super) fn span_over(&self, bytes: &Range<usize>) -> Result<Option<Arc<Pager>>> {
        let Some((name, now)) = &self.metadata.after else { return Ok(None) };
        let open = || self.engine.window(now, self.binding(name, now), bytes);
        let share = |window: &Pager| window.spill_and_keep(&self.spill_map, &self.exposed);
        self.windows.over(&self.pager, bytes, &open, &share)
    }

    /// Nothing is let go of until the transaction ends. Changes in windows are spilled.
    pub(super) fn pin(&mut self) -> Result<()> {
        match &self.pager {
            Ok(Some(pager)) => pager.pin(),
            Ok(None) => {}
            Err(_) => self.spill()?,
        }
        Ok(())
    }

    /// To be called before `bytes`, counted as blocks are, are handed out mutably.
    pub(super) fn expose(&mut self, bytes: Range<usize>) {
        if let Ok(Some(pager)) = &self.pager
            && !self.engine.sees_all_writes(pager, self.before.is_some())
        {
            self.untracked.record_exposure(&self.engine.budget, bytes.clone());
        }
        self.windows.are_written_to();
        self.exposed.insert(bytes);
    }

    /// No view lives: what was written and the budget does not see is spilled, if there may be much of it. So is
    /// what windows have.
    pub(super) fn quiescent_point(&mut self) -> Result<()> {
        let much = match &self.pager {
            Err(_) => true,
            Ok(Some(pager)) => self.untracked.should_spill(&self.engine.budget, pager)?,
            Ok(None) => false,
        };
        if much { self.spill() } else { Ok(()) }
    }

    /// Refuses more of what cannot be committed any more and has no room in memory: what was written could not be
    /// spilled, as where the disk is full.
    pub(super) fn refuse_if_hopeless(&self) -> Result<()> {
        let (Ok(Some(pager)), Some((name, _))) = (&self.pager, &self.metadata.after) else { return Ok(()) };
        pager.refuse_if_hopeless().map_err(|e| e.context(format_args!("array {name:?}")))
    }

    /// Spills what is in memory, and gives that back. No view lives.
    pub(super) fn spill(&mut self) -> Result<()> {
        let Some((name, now)) = &self.metadata.after else { return Ok(()) };
        let _span = tracing::debug_span!("spill", array = name).entered();
        let named = |e: crate::Error| e.context(format_args!("array {name:?}"));
        for window in self.windows.open() {
            window.spill(&self.spill_map, &self.exposed).map_err(named)?;
        }
        self.windows.close();
        if let Ok(Some(pager)) = &self.pager {
            pager.spill(&self.spill_map, &self.exposed).map_err(named)?;
        }
        // Pages past its end were cut off.
        self.spill_map.truncate(now.block_size.blocks_for(now.end()));
        self.exposed = Ranges::default();
        self.untracked = UntrackedWrites::default();
        Ok(())
    }

    /// Whether anything was ever stored to a block that `bytes` lie in, counted as blocks are, as far as this transaction sees.
    pub(super) fn is_written(&self, bytes: &Range<usize>) -> Result<bool> {
        let Some((_, now)) = &self.metadata.after else { return Ok(false) };
        let blocks = now.block_size.blocks_in(bytes);
        let visible = blocks.start..blocks.end.min(self.metadata.dropped_from.unwrap_or(u64::MAX));
        if let Some((_, before)) = &self.before
            && is_stored(&*self.snapshot, before, visible)?
        {
            return Ok(true);
        }
        let exposed = self
            .exposed
            .within(&(now.block_size.start_of(BlockNo(blocks.start))..now.block_size.start_of(BlockNo(blocks.end))));
        let spans = self.pager.iter().flatten().cloned().chain(self.windows.open());
        for span in spans.filter(|_| exposed.iter().next().is_some()) {
            if !span.pinned(|| span.written(&exposed))?.changes.is_empty() {
                return Ok(true);
            }
        }
        // Last: what was spilled meanwhile was in memory before.
        Ok(self.spill_map.has_any(blocks))
    }

    /// Its name, or the one it had, if anything of it was changed or handed out to be.
    pub(super) fn changed_name(&self) -> Option<&str> {
        let Metadata { after, dropped_from, attrs_set, .. } = &self.metadata;
        let is_same = *after == self.before && dropped_from.is_none() && attrs_set.is_empty();
        let is_stored_to = self.exposed.iter().next().is_some() || !self.spill_map.numbers().is_empty();
        let (name, _) = after.as_ref().or(self.before.as_ref())?;
        (!is_same || is_stored_to).then_some(name)
    }

    /// Attributes that were set.
    pub(super) fn attr_changes(&self) -> Vec<AttrChange> {
        let set = self.metadata.attrs_set.iter();
        set.map(|name| AttrChange { name: name.clone(), after: self.metadata.attrs.get(name).cloned() }).collect()
    }

    /// Lets go of the span, which will show nothing any more.
    pub(super) fn drop_span(&mut self) {
        if let Ok(Some(pager)) = std::mem::replace(&mut self.pager, Ok(None)) {
            pager.unbind();
        }
    }

    /// Lets go of the span without keeping anything that was written.
    pub(super) fn abandon(&mut self) {
        let exposed = std::mem::take(&mut self.exposed);
        self.untracked = UntrackedWrites::default();
        self.windows.close();
        let Ok(Some(pager)) = std::mem::replace(&mut self.pager, Ok(None)) else { return };
        // Nothing may be spilled for a spill map that may be about to go back to an earlier state.
        pager.pin();
        if let Some((_, before)) = &self.before
            && pager.release_aborted(&exposed, Some((before.id, before.changed))).is_ok()
        {
            self.engine.put_idle(before.id, pager);
        } else {
            pager.unbind();
        }
    }
}
