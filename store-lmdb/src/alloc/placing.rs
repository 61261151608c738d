//! Allocating in a certain place: small payloads apart from large ones, blocks behind each other.

use bigarray_core::Result;

use super::allocator::{LOOKS, split};
use super::{Bitmap, CHUNK_PAGES, Run, Space};

/// A commit of at most this many pages goes to the open chunk.
pub(super) const OPEN_CHUNK_TAKES: u16 = CHUNK_PAGES / 4;
/// A chunk in part use is opened only if at least this many of its pages are free. With fewer, the small payload could
/// outlive the pages between, and then no block would ever fit there.
const WORTH_OPENING: u16 = CHUNK_PAGES / 8;
/// Most pages that are prezeroed at a time.
const PREZEROED: u16 = 15;

impl Space<'_> {
    /// As [`allocate`](Space::allocate), but a small payload goes to the first free pages of the chunk `open`, which becomes
    /// another chunk when it is full.
    ///
    /// The changed pages of a block that is stored elsewhere live only until the block is copied. In a chunk of their own
    /// they leave the chunks of whole blocks alone, so that these become wholly free with their blocks. A file of 512 MiB
    /// grew by 34 % with 10,000 one-page commits when they filled the smallest gaps, and grows by 2 % now.
    pub(crate) fn allocate_in(&mut self, open: &mut Option<u64>, wanted: &[u16]) -> Result<Vec<Run>> {
        let total: usize = wanted.iter().map(|n| usize::from(*n)).sum();
        if !(1..=usize::from(OPEN_CHUNK_TAKES)).contains(&total) {
            return self.allocate(wanted);
        }
        // On a full disk any pages will do.
        match self.allocate_piece_in(open, total as u16)? {
            Some(all) => Ok(split(all, wanted).collect()),
            None => self.allocate(wanted),
        }
    }

    /// As [`allocate_in`](Space::allocate_in) for one request in one piece; `None` if the file cannot grow by it.
    pub(crate) fn allocate_piece_in(&mut self, open: &mut Option<u64>, pages: u16) -> Result<Option<Run>> {
        if pages > OPEN_CHUNK_TAKES {
            return self.allocate_piece(pages, pages);
        }
        let mut found = self.front_of(*open, pages)?;
        if found.is_none() {
            *open = self.chunk_to_open(pages)?;
            found = self.front_of(*open, pages)?;
        }
        if let Some(run) = &found {
            self.take(run)?;
        }
        Ok(found)
    }

    /// Allocates the pages that follow `run` in the file, in one or two runs, if they are free or the file can grow by them.
    pub(crate) fn allocate_behind(&mut self, run: &Run, pages: u16) -> Result<Option<Vec<Run>>> {
        let (mut chunk, mut first, mut missing) = (run.chunk, run.end(), pages);
        let mut runs = Vec::new();
        let mut grows = false;
        while missing > 0 {
            if first == CHUNK_PAGES {
                (chunk, first) = (chunk + 1, 0);
            }
            let run = Run { chunk, first, pages: missing.min(CHUNK_PAGES - first) };
            grows = chunk == self.table.end()?;
            if !grows && !self.table.bitmap(chunk)?.is_some_and(|free| free.has_all(&run)) {
                return Ok(None);
            }
            (first, missing) = (run.end(), missing - run.pages);
            runs.push(run);
        }
        if grows && self.chunk_if_it_can_grow()?.is_none() {
            return Ok(None);
        }
        for run in &runs {
            self.take(run)?;
        }
        Ok(Some(runs))
    }

    /// Allocates pages in one run; `None` if there is none and the file cannot grow. If `room` is more than `pages`, the run
    /// begins `room` pages before the end of a free run: small payloads do not come there soon, so other blocks can follow.
    pub(crate) fn allocate_piece(&mut self, pages: u16, room: u16) -> Result<Option<Run>> {
        let room = pages.max(room);
        let free = match self.find_free(room)? {
            Some(run) => Some(run),
            None => self.free_chunk()?.map(Run::whole),
        };
        let Some(free) = free else { return Ok(None) };
        let first = if room > pages { free.end() - room } else { free.first };
        let run = Run { first, pages, ..free };
        self.take(&run)?;
        Ok(Some(run))
    }

    /// As [`allocate_piece`](Space::allocate_piece), but in several runs where the file cannot grow.
    pub(crate) fn allocate_whole(&mut self, pages: u16, room: u16) -> Result<Vec<Run>> {
        match self.allocate_piece(pages, room)? {
            Some(run) => Ok(vec![run]),
            None => self.allocate(&[pages]),
        }
    }

    /// The free pages right behind `run`, which is in the open chunk: the pages to prezero. They are a few, and no more than
    /// are in use of that chunk, so that a small database stays small.
    pub(crate) fn prezeroed_next(&self, run: &Run) -> Result<Option<Run>> {
        let Some(free) = self.table.bitmap(run.chunk)? else { return Ok(None) };
        let most = PREZEROED.min(CHUNK_PAGES - free.count()).min(CHUNK_PAGES - run.end());
        let behind = |pages: u16| Run { chunk: run.chunk, first: run.end(), pages };
        Ok((1..=most).rev().map(behind).find(|behind| free.has_all(behind)))
    }

    /// The front of the first free run of `chunk` that has room.
    fn front_of(&self, chunk: Option<u64>, pages: u16) -> Result<Option<Run>> {
        let Some(chunk) = chunk else { return Ok(None) };
        let fit = self.table.bitmap(chunk)?.and_then(|free| free.runs().find(|(_, n)| *n >= pages));
        Ok(fit.map(|(first, _)| Run { chunk, first, pages }))
    }

    /// The chunk in part use with the most free pages that a few looks find, else a free one.
    fn chunk_to_open(&mut self, pages: u16) -> Result<Option<u64>> {
        let mut best = None;
        for class in pages.ilog2() as u8..Bitmap::WHOLE {
            for chunk in self.table.chunks_of(class).take(LOOKS) {
                let chunk = chunk?;
                let free = self.bitmap(chunk)?;
                if free.count() >= WORTH_OPENING && free.best_fit(pages).is_some() {
                    best = best.max(Some((free.count(), chunk)));
                }
            }
        }
        match best {
            Some((_, chunk)) => Ok(Some(chunk)),
            None => self.free_chunk(),
        }
    }

    /// A wholly free chunk, else a new one; `None` if the file cannot grow.
    fn free_chunk(&mut self) -> Result<Option<u64>> {
        match self.table.first_in_class(Bitmap::WHOLE, 0)? {
            Some(chunk) => Ok(Some(chunk)),
            None => self.chunk_if_it_can_grow(),
        }
    }

    fn chunk_if_it_can_grow(&mut self) -> Result<Option<u64>> {
        Ok(self.add_chunk()?.ok())
    }
}
