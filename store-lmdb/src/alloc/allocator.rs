//! Allocating pages and freeing them, in one write transaction.

use bigarray_core::{Error, ErrorKind, Result};

use super::{Bitmap, CHUNK_PAGES, Pages, Run, SpaceTable};

/// Most pieces of one request while the file can still grow.
const PIECES: usize = 4;
/// Most chunks of a class that a request looks into.
pub(super) const LOOKS: usize = 8;

/// The space of one write transaction. After an error the transaction must be dropped, unless the function says
/// otherwise.
pub(crate) struct Space<'a> {
    pub(super) table: &'a mut dyn SpaceTable,
    /// Records of freed runs that this transaction wrote.
    pub(super) freed_parts: u32,
}

impl<'a> Space<'a> {
    /// The space of the transaction behind `table`. There is one value for all of the transaction.
    pub(crate) fn new(table: &'a mut dyn SpaceTable) -> Space<'a> {
        Space { table, freed_parts: 0 }
    }

    /// Allocates a small payload. For each of `wanted` (pages, 1 to a whole chunk) it returns one or more runs, in order,
    /// that add up to it.
    ///
    /// Requests of one call lie together as far as chunks in part use have room. A request that fits in none of them comes
    /// in a few long pieces, or else from a free chunk, or else the file grows. Only if it cannot grow, a request may come
    /// in many short pieces.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`].
    pub(crate) fn allocate(&mut self, wanted: &[u16]) -> Result<Vec<Run>> {
        debug_assert!(wanted.iter().all(|n| (1..=CHUNK_PAGES).contains(n)));
        let mut runs = Vec::with_capacity(wanted.len());
        self.allocate_together(wanted, &mut runs)?;
        Ok(runs)
    }

    /// Tries all requests at once, then each half.
    fn allocate_together(&mut self, wanted: &[u16], runs: &mut Vec<Run>) -> Result<()> {
        match wanted {
            [] => return Ok(()),
            [one] => return self.allocate_one(*one, runs),
            _ => {}
        }
        let total: usize = wanted.iter().map(|n| usize::from(*n)).sum();
        if total < usize::from(CHUNK_PAGES)
            && let Some(all) = self.find_fit(total as u16)?
        {
            self.take(&all)?;
            runs.extend(split(all, wanted));
            return Ok(());
        }
        let (left, right) = wanted.split_at(wanted.len() / 2);
        self.allocate_together(left, runs)?;
        self.allocate_together(right, runs)
    }

    fn allocate_one(&mut self, pages: u16, runs: &mut Vec<Run>) -> Result<()> {
        let pieces = match self.find_fit(pages)? {
            Some(run) => vec![run],
            None => match self.find_pieces(pages, PIECES)? {
                Some(pieces) => pieces,
                None => self.open_chunk(pages)?,
            },
        };
        for run in &pieces {
            self.take(run)?;
        }
        runs.extend(pieces);
        Ok(())
    }

    /// The front of a wholly free chunk, else of a new one. If the file is full, any free pages.
    fn open_chunk(&mut self, pages: u16) -> Result<Vec<Run>> {
        if let Some(chunk) = self.table.first_in_class(Bitmap::WHOLE, 0)? {
            return Ok(vec![Run { chunk, first: 0, pages }]);
        }
        match self.add_chunk()? {
            Ok(chunk) => Ok(vec![Run { chunk, first: 0, pages }]),
            Err(full) => self.find_pieces(pages, usize::MAX)?.ok_or(full),
        }
    }

    /// A new chunk at the end of the file, all of it free, or why the file cannot grow.
    pub(super) fn add_chunk(&mut self) -> Result<std::result::Result<u64, Error>> {
        let chunk = self.table.end()?;
        if let Err(full) = self.table.extend_file(chunk + 1)? {
            return Ok(Err(full));
        }
        self.put(chunk, Bitmap::EMPTY, Bitmap::FULL)?;
        Ok(Ok(chunk))
    }

    /// A run of `pages` in a chunk in part use, the tightest that a few looks find.
    pub(super) fn find_fit(&self, pages: u16) -> Result<Option<Run>> {
        Ok(self.find_free(pages)?.map(|run| Run { pages, ..run }))
    }

    /// The whole free run that [`find_fit`](Space::find_fit) takes its run from.
    pub(super) fn find_free(&self, pages: u16) -> Result<Option<Run>> {
        // In the class of `pages` some chunks have room and some do not. All chunks of higher classes have room.
        for class in pages.ilog2() as u8..Bitmap::WHOLE {
            for chunk in self.table.chunks_of(class).take(LOOKS) {
                let chunk = chunk?;
                if let Some((first, pages)) = self.bitmap(chunk)?.best_fit(pages) {
                    return Ok(Some(Run { chunk, first, pages }));
                }
            }
        }
        Ok(None)
    }

    /// At most `max` runs in chunks in part use that add up to `pages`, the longest there are.
    fn find_pieces(&self, pages: u16, max: usize) -> Result<Option<Vec<Run>>> {
        let mut pieces = Vec::new();
        let mut missing = pages;
        let mut looks = 0;
        for class in (0..Bitmap::WHOLE).rev() {
            for chunk in self.table.chunks_of(class) {
                let chunk = chunk?;
                let mut free: Vec<(u16, u16)> = self.bitmap(chunk)?.runs().collect();
                free.sort_unstable_by_key(|(first, n)| (CHUNK_PAGES - n, *first));
                for (first, n) in free {
                    // With runs shorter than this the rest takes too many pieces.
                    if usize::from(n) < usize::from(missing).div_ceil(max - pieces.len()) {
                        looks += 1;
                        break;
                    }
                    pieces.push(Run { chunk, first, pages: n.min(missing) });
                    missing -= n.min(missing);
                    if missing == 0 {
                        return Ok(Some(pieces));
                    }
                }
                if looks > LOOKS && max == PIECES {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// A whole free run of at least `least` pages in a chunk in part use, the longest that a few looks find.
    pub(super) fn find_part(&self, least: u16) -> Result<Option<Run>> {
        for class in (least.ilog2() as u8..Bitmap::WHOLE).rev() {
            for chunk in self.table.chunks_of(class).take(LOOKS) {
                let chunk = chunk?;
                if let Some((first, pages)) = self.bitmap(chunk)?.longest().filter(|(_, pages)| *pages >= least) {
                    return Ok(Some(Run { chunk, first, pages }));
                }
            }
        }
        Ok(None)
    }

    /// Wholly free chunks, at most `wanted`: the first piece of `wanted` chunks if there is one, else the lowest chunks.
    pub(super) fn free_chunks(&self, wanted: u64) -> Result<Vec<u64>> {
        /// More chunks than wanted that are looked at to find one piece.
        const LOOKAHEAD: u64 = 1024;
        let mut found: Vec<u64> = Vec::new();
        for chunk in self.table.chunks_of(Bitmap::WHOLE).take(wanted.saturating_add(LOOKAHEAD) as usize) {
            let chunk = chunk?;
            found.push(chunk);
            if let Some(piece) = found.len().checked_sub(wanted as usize).map(|from| &found[from..])
                && piece.first().is_some_and(|first| first + wanted == chunk + 1)
            {
                return Ok(piece.to_vec());
            }
        }
        found.truncate(wanted as usize);
        Ok(found)
    }

    /// The free pages of a chunk that is listed as having some.
    pub(super) fn bitmap(&self, chunk: u64) -> Result<Bitmap> {
        let bitmap = self.table.bitmap(chunk)?;
        bitmap.ok_or_else(|| wrong(&Run::whole(chunk), "are listed as partly free, but none is recorded as free"))
    }

    /// Takes free pages.
    pub(super) fn take(&mut self, run: &Run) -> Result<()> {
        let before = self.bitmap(run.chunk)?;
        if !before.has_all(run) {
            return Err(wrong(run, "are handed out twice"));
        }
        let mut after = before;
        after.remove(run);
        self.put(run.chunk, before, after)
    }

    /// Makes pages of one chunk free. None of them may be free already.
    pub(super) fn give_back(&mut self, runs: &[Run]) -> Result<()> {
        let Some(chunk) = runs.first().map(|run| run.chunk) else { return Ok(()) };
        let before = self.table.bitmap(chunk)?.unwrap_or(Bitmap::EMPTY);
        let mut after = before;
        for run in runs {
            if !run.is_sound() || chunk >= self.table.end()? || after.has_any(run) {
                return Err(wrong(run, "are given back, but are free or lie outside the file"));
            }
            after.add(run);
        }
        self.put(chunk, before, after)
    }

    /// Records the free pages of a chunk, and lists it under its class.
    pub(super) fn put(&mut self, chunk: u64, before: Bitmap, after: Bitmap) -> Result<()> {
        if before == after {
            return Ok(());
        }
        self.table.set_bitmap(chunk, (!after.is_empty()).then_some(&after))?;
        let (old, new) = (before.class(), after.class());
        if old != new {
            if let Some(class) = old {
                self.table.set_listed(class, chunk, false)?;
            }
            if let Some(class) = new {
                self.table.set_listed(class, chunk, true)?;
            }
        }
        Ok(())
    }
}

/// Splits a run into consecutive ones of `wanted` pages.
pub(super) fn split(mut run: Run, wanted: &[u16]) -> impl Iterator<Item = Run> {
    wanted.iter().map(move |&pages| {
        let next = Run { pages, ..run };
        run.first += pages;
        next
    })
}

/// Appends pages to a list of ranges: extends the last range if they follow it.
pub(crate) fn push_pages(ranges: &mut Vec<Pages>, pages: Pages) {
    match ranges.last_mut() {
        Some(last) if last.end == pages.start => last.end = pages.end,
        _ if pages.is_empty() => {}
        _ => ranges.push(pages),
    }
}

/// The error for records of space that contradict each other.
pub(super) fn wrong(run: &Run, what: &str) -> Error {
    let pages = run.first..run.end();
    let message = format!("data file: pages {pages:?} of chunk {} {what}; the database needs a check", run.chunk);
    Error::new(ErrorKind::Corrupt, message)
}
