//! Every page of the data file is in exactly one place: free, claimed, freed, part of a block, or the header.

use std::collections::BTreeMap;
use std::ops::Range;

use bigarray_core::{ArrayId, Damage, Result};
use lmdb::RoTransaction;

use super::findings::Findings;
use super::{Check, is_damage};
use crate::alloc::{Bitmap, CHUNK, CHUNK_PAGES, HEADER, Run, runs_of as runs_of_pages};
use crate::index::Tables;
use crate::record::{
    Meta, chunk_key, class_key, decode_bitmap, decode_block, decode_claim, decode_class, decode_freed, parse_chunk_key,
    parse_class_key, parse_freed_key, parse_numbered_key, parse_owner, runs_of,
};

/// The use of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageUse {
    Header,
    Free,
    Claimed { client: u32 },
    Freed { txn: u64 },
    Block { array: ArrayId, block: u64 },
}

/// Pages that lie outside the file, or have two uses.
struct Odd {
    place: PageUse,
    run: Run,
    /// They have another use too. The first one is looked up afterwards.
    clashes: bool,
    first: Option<PageUse>,
}

impl Check<'_> {
    /// Checks that no page is without a use, has two, or lies outside the file.
    pub(super) fn places(&mut self) -> Result<()> {
        let header = self.tables.id().and_then(|id| self.data.check_header(id));
        self.findings.take(header, Damage::new)?;
        let chunks = self.chunks()?;
        let mut from = 0;
        loop {
            let end = chunks.min(from + self.limits.chunks);
            self.places_of(from..end, chunks)?;
            from = end;
            if from == chunks {
                return Ok(());
            }
        }
    }

    /// The same for some of the file's `chunks`. The first part includes pages outside the file.
    fn places_of(&mut self, some: Range<u64>, chunks: u64) -> Result<()> {
        let tables = self.tables;
        let is_first = some.start == 0;
        let mut taken = vec![Bitmap::EMPTY; (some.end - some.start) as usize];
        let mut odd = Vec::new();
        each_place(&tables, &some, chunks, &mut |found| {
            self.visit();
            let (place, run) = match found {
                Ok(found) => found,
                Err(e) if is_damage(&e) => {
                    if is_first {
                        self.findings.note(Damage::new(e.to_string()));
                    }
                    return Ok(());
                }
                Err(e) => return Err(e),
            };
            let clashes = if run.chunk >= chunks {
                if !is_first {
                    return Ok(());
                }
                false
            } else {
                let Some(taken) = run.chunk.checked_sub(some.start).and_then(|i| taken.get_mut(i as usize)) else {
                    return Ok(());
                };
                let clashes = taken.has_any(&run);
                taken.add(&run);
                clashes
            };
            if clashes || run.chunk >= chunks {
                if odd.len() < Findings::KEPT {
                    odd.push(Odd { place, run, clashes, first: None });
                } else {
                    self.findings.count(1);
                }
            }
            if let PageUse::Freed { txn } = place
                && txn > self.state
            {
                let what = format!("{} are freed by {txn}, and the last commit is {}", pages(&run), self.state);
                self.findings.note(Damage::new(what));
            }
            let counted = match place {
                PageUse::Header => return Ok(()),
                PageUse::Free => &mut self.report.free_pages,
                PageUse::Claimed { .. } => &mut self.report.claimed_pages,
                PageUse::Freed { .. } => &mut self.report.freed_pages,
                PageUse::Block { .. } => &mut self.report.stored_pages,
            };
            *counted += u64::from(run.pages);
            Ok(())
        })?;
        if !odd.is_empty() {
            self.find_first(&some, chunks, &mut odd)?;
            self.note_odd(&odd)?;
        }
        for (chunk, taken) in some.zip(taken) {
            let mut nowhere = Bitmap::FULL;
            for (first, pages) in taken.runs() {
                nowhere.remove(&Run { chunk, first, pages });
            }
            for (first, n) in nowhere.runs() {
                let run = Run { chunk, first, pages: n };
                self.findings.note(Damage::new(format!("{} are neither free nor used", pages(&run))));
            }
        }
        Ok(())
    }

    /// The chunks that were ever allocated, at most those that the file has.
    fn chunks(&mut self) -> Result<u64> {
        let end = self.findings.take(self.tables.meta(Meta::CHUNKS_END), Damage::new)?.unwrap_or(0);
        let bytes = self.data_bytes()?;
        if end > bytes / CHUNK {
            let what = format!("the data file has {bytes} bytes, too few for {end} chunks of {CHUNK}");
            self.findings.note(Damage::new(what));
        }
        Ok(end.min(bytes / CHUNK))
    }

    /// Looks up the first use of pages that have two.
    fn find_first(&self, some: &Range<u64>, chunks: u64, odd: &mut [Odd]) -> Result<()> {
        let mut by_chunk: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (i, odd) in odd.iter().enumerate().filter(|(_, odd)| odd.clashes) {
            by_chunk.entry(odd.run.chunk).or_default().push(i);
        }
        each_place(&self.tables, some, chunks, &mut |found| {
            let Ok((place, run)) = found else { return Ok(()) };
            for &i in by_chunk.get(&run.chunk).into_iter().flatten() {
                let odd = &mut odd[i];
                if odd.first.is_none() && odd.run.first < run.end() && run.first < odd.run.end() {
                    odd.first = Some(place);
                }
            }
            Ok(())
        })
    }

    fn note_odd(&mut self, odd: &[Odd]) -> Result<()> {
        let ids = odd.iter().flat_map(|odd| [Some(odd.place), odd.first]).flatten().filter_map(|place| match place {
            PageUse::Block { array, .. } => Some(array),
            _ => None,
        });
        let names = self.names_of(ids.collect())?;
        let name_of = |place| match place {
            PageUse::Header => "the header of the file".to_owned(),
            PageUse::Free => "free".to_owned(),
            PageUse::Claimed { client } => format!("claimed by client {client}"),
            PageUse::Freed { txn } => format!("freed by commit {txn}"),
            PageUse::Block { array, block } => match names.get(&array) {
                Some(name) => format!("part of array {name:?}, block {block}"),
                None => format!("part of block {block} of no array (id {})", array.0),
            },
        };
        for odd in odd {
            let (pages, place) = (pages(&odd.run), name_of(odd.place));
            let what = match odd.first {
                Some(first) => format!("{pages} are {} and {place} at the same time", name_of(first)),
                None => format!("{pages} are {place}, but lie outside the file"),
            };
            // The damage is the block's, whatever the other use: it may show bytes of something else.
            let block = [Some(odd.place), odd.first].into_iter().flatten().find_map(|place| match place {
                PageUse::Block { array, block } => Some((names.get(&array)?, block)),
                _ => None,
            });
            self.findings.note(match block {
                Some((name, block)) => Damage::of_block(name, block, what),
                None => Damage::new(what),
            });
        }
        Ok(())
    }

    /// Checks that exactly the chunks with free pages are listed, each under its size class.
    pub(super) fn size_classes(&mut self) -> Result<()> {
        let tables = self.tables;
        tables.scan(tables.dbs().chunks, &[], |key, value| {
            self.visit();
            let (Ok(chunk), Ok(bitmap)) = (parse_chunk_key(key), decode_bitmap(key, value)) else { return Ok(true) };
            match bitmap.class() {
                None => {
                    let what = format!("chunk {chunk} is recorded, but none of its pages is free");
                    self.findings.note(Damage::new(what));
                }
                Some(class) => {
                    if tables.get(tables.dbs().fits, &class_key(class, chunk))?.is_none() {
                        let what = format!("chunk {chunk} is not listed by its longest free run");
                        self.findings.note(Damage::new(what));
                    }
                }
            }
            Ok(true)
        })?;
        tables.scan(tables.dbs().fits, &[], |key, value| {
            self.visit();
            let decoded = parse_class_key(key).and_then(|fit| decode_class(key, value).map(|()| fit));
            let Some((class, chunk)) = self.findings.take(decoded, Damage::new)? else { return Ok(true) };
            let key = chunk_key(chunk);
            let bitmap = tables.get(tables.dbs().chunks, &key)?.map(|value| decode_bitmap(&key, value)).transpose();
            // Records that do not decode were noted by `places`.
            if let Ok(bitmap) = bitmap
                && bitmap.and_then(|b| b.class()) != Some(class)
            {
                let what = format!("chunk {chunk} is listed under {class}, where its longest free run does not belong");
                self.findings.note(Damage::new(what));
            }
            Ok(true)
        })
    }
}

/// Visits the recorded uses of pages. Of claimed pages it visits those in `some` of the file's `chunks`, and one for each
/// range that lies outside. Records of blocks that do not decode are left to `blocks`, which knows their arrays.
fn each_place(
    tables: &Tables<'_, RoTransaction<'static>>,
    some: &Range<u64>,
    chunks: u64,
    visit: &mut dyn FnMut(Result<(PageUse, Run)>) -> Result<()>,
) -> Result<()> {
    // The pages of one record have one use.
    let mut visit_all = |decoded: Result<(PageUse, Vec<Run>)>| match decoded {
        Ok((place, runs)) => runs.into_iter().try_for_each(|run| visit(Ok((place, run)))),
        Err(e) => visit(Err(e)),
    };
    visit_all(Ok((PageUse::Header, vec![HEADER])))?;
    let dbs = tables.dbs();
    tables.scan(dbs.chunks, &[], |key, value| {
        visit_all(parse_chunk_key(key).and_then(|chunk| {
            let free = decode_bitmap(key, value)?;
            Ok((PageUse::Free, free.runs().map(|(first, pages)| Run { chunk, first, pages }).collect()))
        }))?;
        Ok(true)
    })?;
    tables.scan(dbs.claims, &[], |key, value| {
        visit_all(parse_owner(key).and_then(|owner| {
            let ranges = decode_claim(key, value)?;
            let of_chunk = u64::from(CHUNK_PAGES);
            let some = some.start.saturating_mul(of_chunk)..some.end.saturating_mul(of_chunk);
            let inside = ranges.iter().map(|range| range.start.max(some.start)..range.end.min(some.end));
            let outside = ranges
                .iter()
                .filter(|range| range.end.div_ceil(of_chunk) > chunks)
                .map(|range| range.start.max((range.end - 1) / of_chunk * of_chunk)..range.end);
            let runs = inside.chain(outside).filter(|range| !range.is_empty()).flat_map(runs_of_pages).collect();
            Ok((PageUse::Claimed { client: owner.client }, runs))
        }))?;
        Ok(true)
    })?;
    tables.scan(dbs.freed, &[], |key, value| {
        visit_all(parse_freed_key(key).and_then(|at| Ok((PageUse::Freed { txn: at.txn }, decode_freed(key, value)?))))?;
        Ok(true)
    })?;
    tables.scan(dbs.blocks, &[], |key, value| {
        let runs = parse_numbered_key("blocks", key).and_then(|(array, block)| {
            Ok((PageUse::Block { array, block }, runs_of(&decode_block(key, value)?.segments)))
        });
        match runs {
            Err(e) if is_damage(&e) => {}
            runs => visit_all(runs)?,
        }
        Ok(true)
    })
}

fn pages(run: &Run) -> String {
    format!("pages {:?} of chunk {}", run.first..run.end(), run.chunk)
}
