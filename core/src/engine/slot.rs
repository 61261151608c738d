use std::sync::Arc;

use serde_json::{Map, Value};

use super::Engine;
use super::reader::or_too_large;
use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::geometry::Ranges;
use crate::pager::Pager;
use crate::store::{AttrChange, Snapshot};

/// One array in one transaction: what it was, what it is, and where its bytes are. There is one slot an array, hence
/// one span (invariant G).
pub(super) struct Slot {
    /// Name and descriptor in the snapshot; `None` if the transaction created it.
    pub(super) before: Option<(String, Descriptor)>,
    /// Name and descriptor now; `None` once removed.
    pub(super) after: Option<(String, Descriptor)>,
    /// No span for an array of no bytes, one that was not opened, or one that no addresses are left for.
    pub(super) pager: Result<Option<Arc<Pager>>>,
    /// What was handed out mutably: only there are writes looked for.
    pub(super) exposed: Ranges,
    /// The least number of blocks the array had since the snapshot; `u64::MAX` if it never shrank.
    pub(super) dropped_from: u64,
    /// Bytes at which the array ended for a while, inside a block that it had more of before.
    pub(super) ends: Vec<usize>,
    /// Attributes in the snapshot and now; loaded when the array is opened.
    pub(super) attrs_before: Map<String, Value>,
    pub(super) attrs: Map<String, Value>,
}

impl Slot {
    pub(super) fn created(name: &str, descriptor: Descriptor) -> Slot {
        Slot {
            before: None,
            after: Some((name.to_owned(), descriptor)),
            pager: Ok(None),
            exposed: Ranges::default(),
            dropped_from: u64::MAX,
            ends: Vec::new(),
            attrs_before: Map::new(),
            attrs: Map::new(),
        }
    }

    pub(super) fn stored(name: &str, descriptor: Descriptor, snapshot: &dyn Snapshot) -> Result<Slot> {
        let attrs: Map<String, Value> = snapshot.attrs(descriptor.id)?.into_iter().collect();
        let before = (name.to_owned(), descriptor);
        Ok(Slot {
            after: Some(before.clone()),
            before: Some(before),
            pager: Ok(None),
            exposed: Ranges::default(),
            dropped_from: u64::MAX,
            ends: Vec::new(),
            attrs_before: attrs.clone(),
            attrs,
        })
    }

    /// Gives the slot a span if it needs one and has none.
    pub(super) fn ensure_span(&mut self, engine: &Engine, snapshot: &Arc<dyn Snapshot>) -> Result<()> {
        let Some((name, now)) = &self.after else { return Ok(()) };
        if now.nbytes() == 0 || matches!(self.pager, Ok(Some(_))) {
            return Ok(());
        }
        let pager = match &self.before {
            Some((_, before)) => {
                // As large as it is now, showing what is stored, which may end before or behind that.
                let shown = Descriptor { shape: now.shape.clone(), ..before.clone() };
                engine.acquire(name, &shown, snapshot)
            }
            None => engine.acquire_new(name, now, snapshot),
        };
        self.pager = or_too_large(pager.map(Some))?;
        if let Ok(Some(pager)) = &self.pager
            && self.dropped_from != u64::MAX
        {
            let blocks = now.block_size.blocks_for(now.nbytes());
            // As if the array had shrunk and grown with this span: one that idled may show what was dropped since.
            pager.cut(blocks.min(self.dropped_from), self.dropped_from)?;
            pager.grow(blocks);
        }
        Ok(())
    }

    /// Attributes that were set or removed.
    pub(super) fn attr_changes(&self) -> Vec<AttrChange> {
        let names = self.attrs_before.keys().chain(self.attrs.keys().filter(|k| !self.attrs_before.contains_key(*k)));
        names
            .map(|name| AttrChange {
                name: name.clone(),
                before: self.attrs_before.get(name).cloned(),
                after: self.attrs.get(name).cloned(),
            })
            .filter(|change| change.before != change.after)
            .collect()
    }

    /// Lets go of the span without keeping anything that was written.
    pub(super) fn abandon(&mut self, engine: &Engine) {
        let exposed = std::mem::take(&mut self.exposed);
        if let Ok(Some(pager)) = std::mem::replace(&mut self.pager, Ok(None))
            && let Some((_, before)) = &self.before
            && pager.release_aborted(&exposed, Some((before.id, before.changed))).is_ok()
        {
            engine.put_idle(before.id, pager);
        }
    }
}
