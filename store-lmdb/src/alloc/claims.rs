//! Chunks that a transaction claims before its commit.

use std::ops::Range;

use bigarray_core::{Error, ErrorKind, Result};

use super::allocator::{push_chunks, wrong};
use super::{Bitmap, Owner, Run, Space};

impl Space<'_> {
    /// Claims `chunks` whole chunks for `owner`, to be filled before its commit: free ones, in one piece if there is such a
    /// piece, else lowest first, and the missing ones at the end of the file. They are added behind its earlier claims.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`]: nothing has changed, the transaction may go on. [`ErrorKind::Corrupt`]: a chunk is
    /// listed as free and is not.
    pub(crate) fn claim(&mut self, owner: &Owner, chunks: u64) -> Result<Vec<Range<u64>>> {
        let mut got = self.free_chunks(chunks)?;
        let missing = chunks - got.iter().map(|range| range.end - range.start).sum::<u64>();
        let end = self.table.end()?;
        if missing > 0 {
            let new_end = end.checked_add(missing).ok_or_else(|| {
                Error::new(ErrorKind::StoreFull, format!("data file: {chunks} more chunks of 2 MiB have no room"))
            })?;
            self.table.extend_file(new_end)?;
        }
        for chunk in got.iter().cloned().flatten() {
            // They are listed as free, but the bitmap decides.
            self.take(&Run::whole(chunk))?;
        }
        push_chunks(&mut got, end..end + missing);
        let mut claimed = self.table.claim(owner)?.unwrap_or_default();
        for range in &got {
            push_chunks(&mut claimed, range.clone());
        }
        if !claimed.is_empty() {
            self.table.set_claim(owner, Some(&claimed))?;
        }
        Ok(got)
    }

    /// Ends the claim of `owner`: this transaction refers to the pages of `used`, and the others become free.
    pub(crate) fn consume_claim(&mut self, owner: &Owner, used: &[Run]) -> Result<()> {
        let claimed = self.table.claim(owner)?;
        let end = self.table.end()?;
        if let Some(range) = claimed.iter().flatten().find(|range| range.start > range.end || range.end > end) {
            return Err(wrong(&Run::whole(range.end), "are claimed, but lie outside the file"));
        }
        let mut chunks: Vec<u64> = claimed.iter().flatten().cloned().flatten().collect();
        chunks.sort_unstable();
        let mut used = used.to_vec();
        used.sort_unstable();
        let mut used = used.into_iter().peekable();
        for chunk in chunks {
            let mut free = Bitmap::FULL;
            while let Some(run) = used.next_if(|run| run.chunk == chunk) {
                if !run.is_sound() || !free.has_all(&run) {
                    return Err(wrong(&run, "are used twice by one transaction"));
                }
                free.remove(&run);
            }
            if self.table.bitmap(chunk)?.is_some() {
                return Err(wrong(&Run::whole(chunk), "are claimed and at the same time free"));
            }
            self.put(chunk, Bitmap::EMPTY, free)?;
        }
        if let Some(run) = used.next() {
            return Err(wrong(&run, "are used, but were not claimed"));
        }
        if claimed.is_some() {
            self.table.set_claim(owner, None)?;
        }
        Ok(())
    }

    /// Makes all that `owner` claimed free. None of it may be mapped any more.
    pub(crate) fn release(&mut self, owner: &Owner) -> Result<()> {
        self.consume_claim(owner, &[])
    }

    /// Releases the claims of at most `max` dead owners; returns how many there were.
    pub(crate) fn sweep(&mut self, max: usize, is_alive: &mut dyn FnMut(&Owner) -> Result<bool>) -> Result<usize> {
        let mut swept = 0;
        let mut last = None;
        while swept < max
            && let Some(owner) = self.table.next_claim(last.as_ref())?
        {
            if !is_alive(&owner)? {
                self.release(&owner)?;
                swept += 1;
            }
            last = Some(owner);
        }
        Ok(swept)
    }
}
