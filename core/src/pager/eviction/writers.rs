//! Writers of copied blocks: a store to a Clean block waits until the block is Dirty. So a Clean block is what it is
//! loaded from again.

use crate::error::Result;
use crate::pager::Pager;
use crate::pager::block::Kind;
use crate::pager::table::{Presence, Table};

impl Pager {
    /// Clean → Dirty, and lets writers through. In any other state the message came late: they are only woken. Whether
    /// one is at it, `by_store`, or may come. Whether more than waking was to be done.
    pub(crate) fn admit_writer(&self, block: u64, by_store: bool) -> Result<bool> {
        let mut table = self.lock();
        if table.spills.has(block) {
            return Ok(true); // the end of the spill wakes
        }
        if table.presence(block) == Presence::Installed(Kind::Clean) {
            return self.admit(&mut table, block, by_store).map(|()| true);
        }
        self.wake(&(block..block + 1));
        Ok(false)
    }

    /// Clean → Dirty.
    pub(crate) fn admit(&self, table: &mut Table, block: u64, by_store: bool) -> Result<()> {
        self.unprotect(block)?;
        table.let_writer_in(block, by_store);
        Ok(())
    }

    /// Lets writers through, whatever the table says.
    pub(crate) fn unprotect(&self, block: u64) -> Result<()> {
        self.eviction.span.unprotect(self.bytes_of(&(block..block + 1)))
    }

    /// Clean → Missing.
    ///
    /// # Errors
    /// As [`Protect::evict`](crate::memory::Protect::evict); the block stays Clean.
    pub(crate) fn evict_clean(&self, table: &mut Table, block: u64) -> Result<()> {
        self.eviction.span.evict(self.bytes_of(&(block..block + 1)))?;
        table.forget(block);
        Ok(())
    }
}
