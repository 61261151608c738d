//! Writing ahead where no view lives: at a safe point everything that was written can be found, also in what is mapped.

use super::ahead::WrittenAhead;
use super::plan::page_range;
use super::table::{Entry, Kind};
use super::{Pager, Residency};
use crate::error::Result;
use crate::geometry::{BlockSize, PAGE, Ranges};
use crate::store::{BlockChange, BlockRecord, Origin, PageSource, Segment};

impl Pager {
    /// Writes ahead all that was written to `exposed`, and gives back the memory of its own that the span has. Nobody
    /// may be using the span.
    ///
    /// # Errors
    /// What was written is in memory still, or written ahead, or both; it may be tried again.
    pub(crate) fn write_ahead(&self, ahead: &WrittenAhead, exposed: &Ranges) -> Result<()> {
        self.pin();
        let done = self.write_ahead_pinned(ahead, exposed);
        self.unpin();
        done
    }

    /// Writes ahead all that was written to `exposed`, and keeps it: so another span over the same blocks shows it. Nobody
    /// may be writing.
    pub(crate) fn write_ahead_and_keep(&self, ahead: &WrittenAhead, exposed: &Ranges) -> Result<()> {
        self.pin();
        let done = self
            .written(exposed)
            .and_then(|written| written.changes.iter().try_for_each(|change| self.write_change_ahead(ahead, change)));
        self.unpin();
        done
    }

    fn write_ahead_pinned(&self, ahead: &WrittenAhead, exposed: &Ranges) -> Result<()> {
        let written = self.written(exposed)?;
        for change in &written.changes {
            self.write_change_ahead(ahead, change)?;
        }
        match self.residency {
            Residency::Lazy => {
                let mut table = self.lock();
                let mut own: Vec<u64> =
                    table.blocks.iter().filter(|(_, entry)| entry.charge.is_some()).map(|(&block, _)| block).collect();
                own.extend(&written.touched);
                own.sort_unstable();
                own.dedup();
                self.forget(&mut table, &own)
            }
            Residency::Eager => {
                written.changes.iter().for_each(|change| self.map_ahead(ahead, change.block.0));
                // Zeros written to zero memory: nothing tells of it from here on.
                let mut table = self.lock();
                let bare: Vec<u64> =
                    written.touched.iter().copied().filter(|block| !table.blocks.contains_key(block)).collect();
                self.forget(&mut table, &bare)
            }
        }
    }

    /// Writes ahead one change of what is in memory.
    pub(crate) fn write_change_ahead(&self, ahead: &WrittenAhead, change: &BlockChange) -> Result<()> {
        let block = change.block.0;
        let is_hole = !ahead.has(block) && self.lock().blocks.get(&block).is_none_or(|e| e.record.is_none());
        let runs = self.write_ahead_of(ahead, &change.pages, change.block, is_hole)?;
        ahead.lay(block, change.seen, &runs);
        Ok(())
    }

    /// Maps what is written ahead of a block in place of the memory that it was written from: in an eager span nothing
    /// can be missing. The pages stay as they are until the transaction ends, and are let go of before that.
    fn map_ahead(&self, ahead: &WrittenAhead, block: u64) {
        let Some(there) = ahead.block(block) else { return };
        let mut table = self.lock();
        let Some(file) = table.binding.as_ref().map(|binding| binding.snapshot.file().clone()) else { return };
        let start = self.bytes_of(&(block..block + 1)).start;
        let entry = table.blocks.remove(&block);
        let (kind, record) = entry.map_or((Kind::Zero, None), |entry| (entry.kind, entry.record));
        let mut origins = origins_of(record.as_ref(), self.block_size);
        for run in &there.runs {
            let PageSource::Ahead(pages) = &run.source else { continue };
            let Some(offset) = pages.place.extent(run.pages.start) else { continue };
            // Where it cannot be mapped the bytes are in memory, as before.
            if self.memory.has_room_for_mappings(2)
                && self.span.remap(page_range(start, &run.pages), &file, offset).is_ok()
            {
                for (page, n) in run.pages.clone().zip(0..) {
                    origins[page as usize] = Origin::Extent(offset + n * PAGE as u64);
                }
            }
        }
        let record = BlockRecord { version: there.seen, segments: segments_of(&origins) };
        // All pages of a filed block are a file's, its own or this one.
        let kind = if kind == Kind::Filed { Kind::Filed } else { Kind::Mapped };
        table.has_ahead = true;
        table.blocks.insert(block, Entry { is_ahead: true, ..Entry::new(kind, Some(record)) });
    }
}

/// Where each page of a block comes from.
fn origins_of(record: Option<&BlockRecord>, block_size: BlockSize) -> Vec<Origin> {
    let mut origins = vec![Origin::Hole; block_size.pages() as usize];
    for segment in record.iter().flat_map(|record| &record.segments) {
        for (page, n) in segment.pages.clone().zip(0..) {
            origins[page as usize] = match segment.origin {
                Origin::Extent(offset) => Origin::Extent(offset + n * PAGE as u64),
                other => other,
            };
        }
    }
    origins
}

/// The fewest segments with these pages.
fn segments_of(origins: &[Origin]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (page, &origin) in (0..).zip(origins) {
        let joins = segments.last().is_some_and(|last| match (last.origin, origin) {
            (Origin::Extent(from), Origin::Extent(at)) => from + (last.pages.len() * PAGE) as u64 == at,
            (last, origin) => last == origin,
        });
        match segments.last_mut() {
            Some(last) if joins => last.pages.end = page + 1,
            _ => segments.push(Segment { pages: page..page + 1, origin }),
        }
    }
    segments
}
