//! Loading without a fault: `prefetch`, and what accesses to expect.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{PAGE, page_ceil};
use crate::memory::Residency;
use crate::page_map::{PageMap, Piece};
use crate::pager::block::Kind;
use crate::pager::table::{Presence, Table};
use crate::pager::{Access, Pager};
use crate::signals;
use crate::store::Origin;

impl Pager {
    /// For what will be mapped, and for what is mapped already.
    pub(crate) fn advise(&self, access: Access) {
        let before = self.load.access.swap(access as u8, Ordering::Relaxed);
        if (before == Access::Random as u8) != (access == Access::Random) {
            // A load looks at `access` under the lock that this takes: it saw the new one, or what it mapped is here.
            for Piece { bytes, .. } in self.mapped_in(&self.bytes) {
                self.load.span.advise(bytes, access == Access::Random);
            }
        }
    }

    pub(crate) fn access(&self) -> Access {
        let access = self.load.access.load(Ordering::Relaxed);
        [Access::Sequential, Access::Random].into_iter().find(|a| *a as u8 == access).unwrap_or_default()
    }

    pub(crate) fn is_random(&self) -> bool {
        self.access() == Access::Random
    }

    /// Loads the blocks of `bytes`, with errors as values. With `for_writing` copied blocks are made writable too, so
    /// that a write meets no fault, and no failure.
    pub(crate) fn prefetch(&self, bytes: &Range<usize>, for_writing: bool) -> Result<()> {
        self.memory.check_process()?;
        let _held = signals::hold_between_waits();
        self.tell_of_missing(self.block_size.blocks_in(bytes));
        for block in self.block_size.blocks_in(bytes) {
            self.load_and_wait(block)?;
            if for_writing {
                self.admit_writer(block, false)?;
            }
        }
        let Some(file) = self.lock().shown.binding().map(|binding| binding.snapshot.file().clone()) else {
            return Ok(());
        };
        for Piece { bytes, origin } in self.mapped_in(bytes) {
            signals::let_through(|| match origin {
                Origin::Extent(offset) => self.load.span.read_in(bytes, &file, offset, self.is_random()),
                // Of files that were read whole to be mapped, and are open no more.
                Origin::Hole | Origin::Produced => self.load.span.populate(bytes),
            })?;
        }
        Ok(())
    }

    /// Why `block` is poisoned.
    pub(crate) fn why_poisoned(table: &Table, block: u64) -> Error {
        let why = table.failure().unwrap_or_else(|| Error::new(ErrorKind::Corrupt, ""));
        why.context(format_args!("block {block} could not be loaded"))
    }

    /// Tells storage of what has to be loaded of `blocks`.
    pub(crate) fn tell_of_missing(&self, blocks: Range<u64>) {
        let table = self.lock();
        if let Some(binding) = table.shown.binding().filter(|_| self.residency == Residency::Lazy) {
            table.gaps(blocks).iter().for_each(|gap| binding.will_need(gap, self.maps_cached(binding)));
        }
    }

    /// The pages of `bytes` that are mapped from a file.
    pub(crate) fn mapped_in(&self, bytes: &Range<usize>) -> Vec<Piece> {
        let wanted = bytes.start / PAGE * PAGE..page_ceil(bytes.end);
        let table = self.lock();
        let blocks = table.blocks(self.block_size.blocks_in(bytes));
        let mapped = blocks.filter(|(_, there)| there.kind() == Kind::Mapped);
        let map = PageMap::of_blocks(mapped.map(|(block, there)| (block, there.record())), self.block_size);
        map.within(&wanted).filter(|piece| piece.origin != Origin::Hole).collect()
    }

    fn load_and_wait(&self, block: u64) -> Result<()> {
        // A handler that came to need this very block would wait for its own thread to load it.
        let _held = signals::hold();
        let mut table = self.lock();
        loop {
            let load = match table.presence(block) {
                Presence::Installed(Kind::Poisoned) => return Err(Pager::why_poisoned(&table, block)),
                Presence::Installed(_) => return Ok(()),
                Presence::Loading => self.steal(&mut table, block),
                Presence::Missing => Some(
                    self.start(&mut table, block)
                        .ok_or_else(|| Error::new(ErrorKind::Invalid, "the array is not open any more"))?,
                ),
            };
            table = match load {
                Some(load) => {
                    drop(table);
                    Pager::load(load)?;
                    self.lock()
                }
                None => table.wait(&self.loaded),
            };
        }
    }
}
