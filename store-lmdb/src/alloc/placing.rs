//! Pages that are to lie in a certain place: small ones out of the way of large ones, blocks behind each other.

use bigarray_core::Result;

use super::{Bitmap, CHUNK_PAGES, Run, Space};

/// A commit of so many pages goes to the open chunk.
const OPEN_CHUNK_TAKES: u16 = CHUNK_PAGES / 4;
/// A chunk in part use is opened if so many of its pages are free. Fewer are left for when what lies between them goes:
/// what they would hold could outlive that, and then no block fits there any more.
const WORTH_OPENING: u16 = CHUNK_PAGES / 8;
/// Chunks looked into, a class.
const LOOKS: usize = 8;
/// Pages that are made ready at a time.
const READY: u16 = 15;

impl Space<'_> {
    /// As [`allocate`](Space::allocate), but what is little goes to the front of what is free of the chunk `open`, which
    /// becomes another one when it is full.
    ///
    /// The changed pages of a block that is stored elsewhere live only until the block is copied. Together they leave
    /// the chunks of whole blocks alone, so that these are wholly free once their blocks are, and go in one piece. A file
    /// of 512 MiB grew by 34 % with 10,000 one-page commits when they filled the smallest gaps, and by 2 % since.
    pub(crate) fn allocate_in(&mut self, open: &mut Option<u64>, wanted: &[u16]) -> Result<Vec<Run>> {
        let total: usize = wanted.iter().map(|n| usize::from(*n)).sum();
        if !(1..=usize::from(OPEN_CHUNK_TAKES)).contains(&total) {
            return self.allocate(wanted);
        }
        // On a full disk any pages will do.
        let Some(mut rest) = self.allocate_piece_in(open, total as u16)? else { return self.allocate(wanted) };
        let runs = wanted.iter().map(|&pages| {
            let run = Run { pages, ..rest };
            rest.first += pages;
            run
        });
        Ok(runs.collect())
    }

    /// The same for one request that must come in one piece; `None` if the file cannot grow by it.
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

    /// The pages that follow `run` in the file, in one or two runs, if they are free or the file can grow by them.
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

    /// Pages in one run; `None` if there is none and the file cannot grow. With `room` for more than them, that much is
    /// free from their first on, at the end of a free run: nothing small gets there soon, and others can lie behind them.
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

    /// The free pages right behind `run`, which come next if it was allocated in the open chunk: a few, and no more than
    /// are in use of that chunk, so that a small database stays small.
    pub(crate) fn next_in_line(&self, run: &Run) -> Result<Option<Run>> {
        let Some(free) = self.table.bitmap(run.chunk)? else { return Ok(None) };
        let most = READY.min(CHUNK_PAGES - free.count()).min(CHUNK_PAGES - run.end());
        let behind = |pages: u16| Run { chunk: run.chunk, first: run.end(), pages };
        Ok((1..=most).rev().map(behind).find(|behind| free.has_all(behind)))
    }

    /// The front of the first free run of `chunk` that fits.
    fn front_of(&self, chunk: Option<u64>, pages: u16) -> Result<Option<Run>> {
        let Some(chunk) = chunk else { return Ok(None) };
        let fit = self.table.bitmap(chunk)?.and_then(|free| free.runs().find(|(_, n)| *n >= pages));
        Ok(fit.map(|(first, _)| Run { chunk, first, pages }))
    }

    /// The chunk in part use with the most free pages, as far as a few looks find it, or a free one.
    fn chunk_to_open(&mut self, pages: u16) -> Result<Option<u64>> {
        let mut best = None;
        for class in pages.ilog2() as u8..Bitmap::WHOLE {
            let mut from = 0;
            for _ in 0..LOOKS {
                let Some(chunk) = self.table.first_fit(class, from)? else { break };
                let free = self.bitmap(chunk)?;
                if free.count() >= WORTH_OPENING && free.best_fit(pages).is_some() {
                    best = best.max(Some((free.count(), chunk)));
                }
                from = chunk + 1;
            }
        }
        match best {
            Some((_, chunk)) => Ok(Some(chunk)),
            None => self.free_chunk(),
        }
    }

    /// A chunk that is wholly free, a new one if there is none; `None` if the file cannot grow.
    fn free_chunk(&mut self) -> Result<Option<u64>> {
        match self.table.first_fit(Bitmap::WHOLE, 0)? {
            Some(chunk) => Ok(Some(chunk)),
            None => self.chunk_if_it_can_grow(),
        }
    }

    fn chunk_if_it_can_grow(&mut self) -> Result<Option<u64>> {
        match self.add_chunk() {
            Err(full) if full.is_store_full() => Ok(None),
            added => added.map(Some),
        }
    }
}
