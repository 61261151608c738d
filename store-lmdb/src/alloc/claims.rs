//! Pages that a transaction claims before its commit.

use bigarray_core::{Error, ErrorKind, Result};

use super::allocator::{push_pages, wrong};
use super::placing::OPEN_CHUNK_TAKES;
use super::{Bitmap, CHUNK_PAGES, Growth, Owner, Pages, Pool, Run, Space, runs_of};

/// Most chunks in part use that are looked at to tell whether they have much room.
const LOOKED_AT: usize = 1024;
/// Chunks in part use have much room if it is more than this part of the file: an eighth.
const MUCH: u64 = 8;
/// Pages of the smallest block. Fewer are placed as what changed of a block, which lives only until that is copied.
const BLOCK: u16 = 16;

impl Space<'_> {
    /// Claims `wanted` free pages for `owner`, to be written before its commit, in runs of at least `least` pages, at most a
    /// chunk: so it may be fewer than `least` pages more.
    ///
    /// Less than a chunk comes from the tightest place in chunks in part use. More comes from wholly free chunks, in one
    /// piece if there is such a piece, else lowest first. What is missing then comes from chunks in part use if they have
    /// much room, since a file would grow for ever if large payloads left that alone; else from the end of the file, where
    /// blocks lie in one piece. If the file cannot grow, any room will do.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`]: nothing has changed, the transaction may go on. [`ErrorKind::Corrupt`]: pages are listed as
    /// free and are not.
    pub(crate) fn claim(&mut self, owner: &Owner, wanted: u64, least: u16) -> Result<Vec<Pages>> {
        debug_assert!((1..=CHUNK_PAGES).contains(&least));
        let mut got = Vec::new();
        let mut missing = wanted.max(least.into());
        if missing < u64::from(CHUNK_PAGES) {
            self.take_fit(&mut missing, least, &mut got)?;
        }
        self.take_whole(&mut missing, least, &mut got)?;
        if missing > 0 && self.have_much_room(least)? {
            self.take_parts(&mut missing, least, &mut got)?;
        }
        if let Err(full) = self.take_new(missing, least, &mut got)? {
            self.take_parts(&mut missing, least, &mut got)?;
            if missing > 0 {
                got.into_iter().flat_map(runs_of).try_for_each(|run| self.give_back(&[run]))?;
                return Err(full);
            }
        }
        self.enter(owner, got.iter().cloned())?;
        Ok(got)
    }

    /// Claims `pages`, in one piece, for `owner`: few of them where [`allocate_in`](Space::allocate_in) places few pages.
    ///
    /// # Errors
    /// As [`claim`](Space::claim).
    pub(crate) fn claim_piece(&mut self, owner: &Owner, open: &mut Option<u64>, pages: u16) -> Result<Pages> {
        let run = if pages <= OPEN_CHUNK_TAKES { self.allocate_piece_in(open, pages)? } else { None };
        let Some(run) = run else {
            let claimed = self.claim(owner, pages.into(), pages)?;
            return claimed.into_iter().next().ok_or_else(|| wrong(&Run::whole(0), "are less than was claimed"));
        };
        self.enter(owner, [run.in_file()])?;
        Ok(run.in_file())
    }

    /// Claims runs of `wanted` pages, each at most a chunk, for `owner`, and returns one or more for each, in order.
    ///
    /// Each is placed where a small payload of so many pages would be: blocks in the tightest gaps, and what is shorter
    /// together, in the chunk `open`. So rewriting blocks in random places leaves no more gaps than it fills, however many
    /// of them one commit rewrites.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`]: the transaction must be dropped.
    pub(crate) fn claim_scattered(
        &mut self,
        owner: &Owner,
        open: &mut Option<u64>,
        wanted: &[u16],
    ) -> Result<Vec<Run>> {
        let short: Vec<u16> = wanted.iter().copied().filter(|pages| *pages < BLOCK).collect();
        let mut short = Pool::new(self.allocate_in(open, &short)?);
        let mut claimed = Vec::new();
        for &pages in wanted {
            claimed.extend(if pages < BLOCK { short.draw(pages.into()) } else { self.allocate(&[pages])? });
        }
        self.enter(owner, claimed.iter().map(Run::in_file))?;
        Ok(claimed)
    }

    /// Adds pages, which were free, to what `owner` claimed. What adjoins is joined: the record is written anew each time.
    fn enter(&mut self, owner: &Owner, pages: impl IntoIterator<Item = Pages>) -> Result<()> {
        let mut all = self.table.claim(owner)?.unwrap_or_default();
        all.extend(pages);
        all.sort_unstable_by_key(|pages| pages.start);
        let mut claimed = Vec::new();
        all.into_iter().for_each(|pages| push_pages(&mut claimed, pages));
        if claimed.is_empty() { Ok(()) } else { self.table.set_claim(owner, Some(&claimed)) }
    }

    /// Takes less than a chunk in one piece, if chunks in part use have it.
    fn take_fit(&mut self, missing: &mut u64, least: u16, got: &mut Vec<Pages>) -> Result<()> {
        let fit = if *missing > 0 { self.find_fit((*missing as u16).max(least))? } else { None };
        fit.map_or(Ok(()), |run| self.take_for_claim(run, missing, got))
    }

    /// Takes wholly free chunks, and of the last one what is missing.
    fn take_whole(&mut self, missing: &mut u64, least: u16, got: &mut Vec<Pages>) -> Result<()> {
        if *missing == 0 {
            return Ok(());
        }
        for chunk in self.free_chunks(missing.div_ceil(CHUNK_PAGES.into()))? {
            let pages = (*missing).clamp(least.into(), CHUNK_PAGES.into()) as u16;
            self.take_for_claim(Run { chunk, first: 0, pages }, missing, got)?;
        }
        Ok(())
    }

    /// Takes room in chunks in part use, in runs of at least `least` pages, the longest first.
    fn take_parts(&mut self, missing: &mut u64, least: u16, got: &mut Vec<Pages>) -> Result<()> {
        while *missing > 0
            && let Some(run) = self.find_part(least)?
        {
            let pages = u64::from(run.pages).min((*missing).max(least.into())) as u16;
            self.take_for_claim(Run { pages, ..run }, missing, got)?;
        }
        Ok(())
    }

    fn take_for_claim(&mut self, run: Run, missing: &mut u64, got: &mut Vec<Pages>) -> Result<()> {
        // It is listed as free, but the bitmap decides.
        self.take(&run)?;
        *missing = missing.saturating_sub(run.pages.into());
        push_pages(got, run.in_file());
        Ok(())
    }

    /// Takes pages at the end of the file, or says why it cannot grow. What is left of the last chunk is free.
    fn take_new(&mut self, missing: u64, least: u16, got: &mut Vec<Pages>) -> Result<Growth> {
        if missing == 0 {
            return Ok(Ok(()));
        }
        let missing = missing.max(least.into());
        let (end, of_chunk) = (self.table.end()?, u64::from(CHUNK_PAGES));
        let new_end = end.checked_add(missing.div_ceil(of_chunk)).filter(|end| end.checked_mul(of_chunk).is_some());
        let Some(new_end) = new_end else {
            let text = format!("data file: {missing} more pages of 4 KiB have no room");
            return Ok(Err(Error::new(ErrorKind::StoreFull, text)));
        };
        if let Err(full) = self.table.extend_file(new_end)? {
            return Ok(Err(full));
        }
        let pages = end * of_chunk..end * of_chunk + missing;
        for rest in runs_of(pages.end..new_end * of_chunk) {
            self.give_back(&[rest])?;
        }
        push_pages(got, pages);
        Ok(Ok(()))
    }

    /// Whether chunks in part use have much room in runs of at least `least` pages.
    fn have_much_room(&self, least: u16) -> Result<bool> {
        let much = self.table.end()?.saturating_mul(CHUNK_PAGES.into()) / MUCH;
        let (mut room, mut looks) = (0, 0);
        for class in (least.ilog2() as u8..Bitmap::WHOLE).rev() {
            for chunk in self.table.chunks_of(class) {
                let runs = self.bitmap(chunk?)?.runs();
                room += runs.filter(|(_, pages)| *pages >= least).map(|(_, pages)| u64::from(pages)).sum::<u64>();
                looks += 1;
                if room >= much || looks == LOOKED_AT {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Ends the claim of `owner`: this transaction refers to the pages of `used`, and the others become free.
    pub(crate) fn consume_claim(&mut self, owner: &Owner, used: &[Run]) -> Result<()> {
        let claimed = self.table.claim(owner)?;
        let end = self.table.end()?.saturating_mul(CHUNK_PAGES.into());
        let mut runs = Vec::new();
        for pages in claimed.iter().flatten() {
            if pages.start > pages.end || pages.end > end {
                let (chunk, last) = (pages.end / u64::from(CHUNK_PAGES), pages.end % u64::from(CHUNK_PAGES));
                return Err(wrong(
                    &Run { chunk, first: last as u16, pages: 1 },
                    "are claimed, but lie outside the file",
                ));
            }
            runs.extend(runs_of(pages.clone()));
        }
        runs.sort_unstable();
        let mut used = used.to_vec();
        used.sort_unstable();
        let mut used = used.into_iter().peekable();
        for runs in runs.chunk_by(|a, b| a.chunk == b.chunk) {
            let chunk = runs[0].chunk;
            let before = self.table.bitmap(chunk)?.unwrap_or(Bitmap::EMPTY);
            let mut unused = Bitmap::EMPTY;
            for run in runs {
                if before.has_any(run) || unused.has_any(run) {
                    return Err(wrong(run, "are claimed and at the same time free, or claimed twice"));
                }
                unused.add(run);
            }
            while let Some(run) = used.next_if(|run| run.chunk == chunk) {
                if !run.is_sound() || !unused.has_all(&run) {
                    return Err(wrong(&run, "are used by a transaction twice, or were not claimed"));
                }
                unused.remove(&run);
            }
            let mut after = before;
            unused.runs().for_each(|(first, pages)| after.add(&Run { chunk, first, pages }));
            self.put(chunk, before, after)?;
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
