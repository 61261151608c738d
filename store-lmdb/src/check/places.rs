//! Every page of the data file is in exactly one place: free, claimed, freed, or part of a block.

use bigarray_core::store::DataFile;
use bigarray_core::{ArrayId, Error, ErrorKind, Result};
use lmdb::RoTransaction;

use super::{Check, Findings};
use crate::alloc::{Bitmap, CHUNK, Run};
use crate::index::Tables;
use crate::record::{
    Meta, chunk_key, decode_bitmap, decode_block, decode_claim, decode_fit, decode_freed, fit_key, parse_chunk_key,
    parse_fit_key, parse_freed_key, parse_numbered_key, parse_owner, runs_of,
};

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Claimed { pid: u32 },
    Freed { txn: u64 },
    Block { array: ArrayId, block: u64 },
}

impl Check<'_> {
    /// Pages that are nowhere, in two places, or outside the file.
    pub(super) fn places(&mut self) -> Result<()> {
        let tables = self.tables;
        let chunks = self.chunks()?;
        let mut taken = vec![Bitmap::EMPTY; chunks as usize];
        let mut clashes = Vec::new();
        each_place(&tables, chunks, &mut |found| {
            let Some((place, run)) = self.findings.take(found)? else { return Ok(true) };
            *match place {
                Place::Free => &mut self.report.free_pages,
                Place::Claimed { .. } => &mut self.report.claimed_pages,
                Place::Freed { .. } => &mut self.report.freed_pages,
                Place::Block { .. } => &mut self.report.stored_pages,
            } += u64::from(run.pages);
            match taken.get_mut(run.chunk as usize) {
                Some(taken) => {
                    if taken.has_any(&run) {
                        clashes.push((place, run));
                    }
                    taken.add(&run);
                }
                None => {
                    let place = self.name_of(place);
                    self.findings.note(format!("{} are {place}, but lie outside the file", pages(&run)));
                }
            }
            if let Place::Freed { txn } = place
                && txn > self.state
            {
                self.findings.note(format!(
                    "{} are freed by {txn}, and the last commit is {}",
                    pages(&run),
                    self.state
                ));
            }
            // An index that is wrong all over need not be known in full.
            Ok(clashes.len() <= Findings::TOLD)
        })?;
        for (place, run) in clashes {
            let both = (self.name_of(self.first_place(chunks, run)?), self.name_of(place));
            self.findings.note(format!("{} are {} and {} at the same time", pages(&run), both.0, both.1));
        }
        for (chunk, taken) in (0..).zip(taken) {
            let mut nowhere = Bitmap::FULL;
            for (first, pages) in taken.runs() {
                nowhere.remove(&Run { chunk, first, pages });
            }
            for (first, n) in nowhere.runs() {
                let run = Run { chunk, first, pages: n };
                self.findings.note(format!("{} are neither free nor used", pages(&run)));
            }
        }
        Ok(())
    }

    /// How many chunks were ever handed out, no more than the file has.
    fn chunks(&mut self) -> Result<u64> {
        let end = self.tables.meta(Meta::CHUNKS_END)?.unwrap_or(0);
        let Some(file) = self.data.as_file() else { return Ok(end) };
        let bytes = file.metadata().map_err(|e| Error::io("the length of the data file", e))?.len();
        if end > bytes / CHUNK {
            self.findings.note(format!("the data file has {bytes} bytes, too few for {end} chunks of {CHUNK}"));
        }
        Ok(end.min(bytes / CHUNK))
    }

    /// The place in which a page of `run` is found first.
    fn first_place(&self, chunks: u64, run: Run) -> Result<Place> {
        let mut wanted = Bitmap::EMPTY;
        wanted.add(&run);
        let mut first = None;
        each_place(&self.tables, chunks, &mut |found| {
            if let Ok((place, other)) = found
                && other.chunk == run.chunk
                && wanted.has_any(&other)
            {
                first = Some(place);
            }
            Ok(first.is_none())
        })?;
        first.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{} were found, and then not", pages(&run))))
    }

    fn name_of(&self, place: Place) -> String {
        match place {
            Place::Free => "free".to_owned(),
            Place::Claimed { pid } => format!("claimed by process {pid}"),
            Place::Freed { txn } => format!("freed by commit {txn}"),
            Place::Block { array, block } => match self.arrays.get(&array) {
                Some((name, _)) => format!("part of array {name:?}, block {block}"),
                None => format!("part of block {block} of no array (id {})", array.0),
            },
        }
    }

    /// Chunks with free pages are listed by their longest run, and no others.
    pub(super) fn fits(&mut self) -> Result<()> {
        let tables = self.tables;
        tables.scan(tables.dbs().chunks, &[], |key, value| {
            let (Ok(chunk), Ok(bitmap)) = (parse_chunk_key(key), decode_bitmap(key, value)) else { return Ok(true) };
            match bitmap.class() {
                None => self.findings.note(format!("chunk {chunk} is recorded, but none of its pages is free")),
                Some(class) => {
                    if tables.get(tables.dbs().fits, &fit_key(class, chunk))?.is_none() {
                        self.findings.note(format!("chunk {chunk} is not listed by its longest free run"));
                    }
                }
            }
            Ok(true)
        })?;
        tables.scan(tables.dbs().fits, &[], |key, value| {
            let decoded = parse_fit_key(key).and_then(|fit| decode_fit(key, value).map(|()| fit));
            let Some((class, chunk)) = self.findings.take(decoded)? else { return Ok(true) };
            let key = chunk_key(chunk);
            let bitmap = tables.get(tables.dbs().chunks, &key)?.map(|value| decode_bitmap(&key, value)).transpose();
            // Records that do not decode are noted as such.
            if let Ok(bitmap) = bitmap
                && bitmap.and_then(|b| b.class()) != Some(class)
            {
                self.findings
                    .note(format!("chunk {chunk} is listed under {class}, where its longest free run does not belong"));
            }
            Ok(true)
        })
    }
}

/// Visits where pages are said to be, until `visit` says `false`; of chunks outside the first `chunks`, one a claim.
fn each_place(
    tables: &Tables<'_, RoTransaction<'static>>,
    chunks: u64,
    visit: &mut dyn FnMut(Result<(Place, Run)>) -> Result<bool>,
) -> Result<()> {
    let mut go_on = true;
    // One record's pages, in one kind of place.
    let mut visit_all = |decoded: Result<(Place, Vec<Run>)>| -> Result<bool> {
        match decoded {
            Ok((place, runs)) => {
                for run in runs {
                    if go_on {
                        go_on = visit(Ok((place, run)))?;
                    }
                }
            }
            Err(e) => go_on = visit(Err(e))?,
        }
        Ok(go_on)
    };
    let dbs = tables.dbs();
    tables.scan(dbs.chunks, &[], |key, value| {
        visit_all(parse_chunk_key(key).and_then(|chunk| {
            let free = decode_bitmap(key, value)?;
            Ok((Place::Free, free.runs().map(|(first, pages)| Run { chunk, first, pages }).collect()))
        }))
    })?;
    tables.scan(dbs.claims, &[], |key, value| {
        visit_all(parse_owner(key).and_then(|owner| {
            let ranges = decode_claim(key, value)?;
            let inside = ranges.iter().flat_map(|range| range.start..range.end.min(chunks));
            let outside = ranges.iter().filter(|range| range.end > chunks).map(|range| range.end - 1);
            let runs = inside.chain(outside).map(Run::whole).collect();
            Ok((Place::Claimed { pid: owner.pid() }, runs))
        }))
    })?;
    tables.scan(dbs.freed, &[], |key, value| {
        visit_all(parse_freed_key(key).and_then(|at| Ok((Place::Freed { txn: at.txn }, decode_freed(key, value)?))))
    })?;
    tables.scan(dbs.blocks, &[], |key, value| {
        visit_all(parse_numbered_key("blocks", key).and_then(|(array, block)| {
            Ok((Place::Block { array, block }, runs_of(&decode_block(key, value)?.segments)))
        }))
    })
}

fn pages(run: &Run) -> String {
    format!("pages {:?} of chunk {}", run.first..run.end(), run.chunk)
}
