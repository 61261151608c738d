//! Blocks and their checksums: whether the records fit their array and each other, and the bytes to which they refer.

use bigarray_core::{ArrayId, BlockNo, Damage, PAGE, Result};

use super::Check;
use super::arrays::{Arrays, Known, TalliesFound};
use super::payload::Batch;
use crate::record::{
    Checksums, PAGES_PER_RECORD, StoredBlock, block_key, decode_block, decode_checksums, parse_numbered_key, units_of,
};

impl Check<'_> {
    /// Checks blocks: each belongs to an array, lies inside it, and is no newer than its last change.
    pub(super) fn blocks(&mut self, arrays: &Arrays) -> Result<()> {
        let tables = self.tables;
        let mut batch = Batch::default();
        let mut found = TalliesFound::new();
        arrays.scan(tables, tables.dbs().blocks, |key, value| {
            self.visit();
            let parsed = parse_numbered_key("blocks", key);
            let Some((id, block)) = self.findings.take(parsed, Damage::new)? else { return Ok(()) };
            found.entry(id).or_default().add(key, value);
            let damage = |what| match arrays.get(id) {
                Some(array) => Damage::of_block(&array.name, block, what),
                None => Damage::new(what),
            };
            let Some(stored) = self.findings.take(decode_block(key, value), damage)? else { return Ok(()) };
            self.report.blocks += 1;
            self.report.segments += stored.segments.len() as u64;
            let Some(array) = arrays.get(id) else {
                self.findings.note(Damage::new(format!("block {block} belongs to no array (id {})", id.0)));
                return Ok(());
            };
            self.check_fits(array, block, &stored);
            self.add_payload(&mut batch, id, block, &stored)?;
            if batch.len() >= self.limits.pieces {
                self.read_payload(arrays, &mut batch)?;
            }
            Ok(())
        })?;
        self.tallies(arrays, &found, "blocks", |records| records.blocks);
        self.read_payload(arrays, &mut batch)
    }

    /// Checks that the record of a block fits its array.
    fn check_fits(&mut self, array: &Known, block: u64, stored: &StoredBlock) {
        let mut note = |what| self.findings.note(Damage::of_block(&array.name, block, what));
        if block >= array.blocks.end {
            note(format!("lies behind the end, the array has blocks {:?}", array.blocks));
        }
        if block < array.blocks.start {
            note(format!("lies before the first row, the array has blocks {:?}", array.blocks));
        }
        if stored.pages != array.block_size.pages() {
            note(format!("has {} pages instead of {}", stored.pages, array.block_size.pages()));
        }
        if stored.version > array.changed || stored.version.0 == 0 {
            note(format!("of commit {}, while the array's last is {}", stored.version.0, array.changed.0));
        }
    }

    /// Adds the bytes of a block to `batch`. Each uncompressed page has a checksum; a compressed block has one in its record.
    fn add_payload(&mut self, batch: &mut Batch, id: ArrayId, block: u64, stored: &StoredBlock) -> Result<()> {
        let first = block.saturating_mul(u64::from(stored.pages));
        for segment in &stored.segments {
            let Some(run) = segment.run() else { continue };
            match self.checksums_of(id, first.saturating_add(u64::from(segment.first)), segment.pages) {
                // Records that do not decode are noted by `sums`.
                Err(e) if super::is_damage(&e) => {}
                Err(e) => return Err(e),
                // A page whose checksum is 0 looks like one without a checksum: its bytes decide.
                Ok(sums) if self.payload || sums.contains(&0) => {
                    batch.add_pages((id, block), run.offset(), segment.first, &sums);
                }
                Ok(_) => {}
            }
        }
        if self.payload {
            for unit in units_of(&stored.segments) {
                batch.add_unit((id, block), unit.offset(), unit.packed, stored.pages as usize * PAGE);
            }
        }
        Ok(())
    }

    /// The checksums of pages of an array.
    fn checksums_of(&mut self, id: ArrayId, first: u64, pages: u16) -> Result<Vec<u32>> {
        let mut found = Vec::with_capacity(usize::from(pages));
        while found.len() < usize::from(pages) {
            let at = first.saturating_add(found.len() as u64);
            let (mib, within) = (at / PAGES_PER_RECORD as u64, at as usize % PAGES_PER_RECORD);
            let missing = usize::from(pages) - found.len();
            let sums = match &self.sums {
                Some((of, sums)) if *of == (id, mib) => sums,
                _ => &self.sums.insert(((id, mib), self.tables.checksums(id, mib)?)).1,
            };
            found.extend(sums[within..].iter().take(missing));
        }
        Ok(found)
    }

    /// Checksums: of arrays that are there, only for pages that are stored, no record for none.
    pub(super) fn checksums(&mut self, arrays: &Arrays) -> Result<()> {
        let tables = self.tables;
        let mut found = TalliesFound::new();
        arrays.scan(tables, tables.dbs().sums, |key, value| {
            self.visit();
            let parsed = parse_numbered_key("sums", key);
            let Some((id, mib)) = self.findings.take(parsed, Damage::new)? else { return Ok(()) };
            found.entry(id).or_default().add(key, value);
            let Some(array) = arrays.get(id) else {
                let what = format!("checksums of MiB {mib} belong to no array (id {})", id.0);
                self.findings.note(Damage::new(what));
                return self.findings.take(decode_checksums(key, value), Damage::new).map(drop);
            };
            let damage = |what: String| of_mib(array, mib, what);
            let Some(sums) = self.findings.take(decode_checksums(key, value), damage)? else { return Ok(()) };
            if let Some(what) = self.unfit_checksums(id, array, mib, &sums)? {
                self.findings.note(of_mib(array, mib, what));
            }
            Ok(())
        })?;
        self.tallies(arrays, &found, "checksums", |records| records.sums);
        Ok(())
    }

    /// Describes a checksum of a MiB that belongs to no uncompressed page.
    fn unfit_checksums(&self, id: ArrayId, array: &Known, mib: u64, sums: &Checksums) -> Result<Option<String>> {
        let tables = self.tables;
        let mut stored = [false; PAGES_PER_RECORD];
        let first = mib.saturating_mul(PAGES_PER_RECORD as u64);
        let pages = u64::from(array.block_size.pages());
        for block in first / pages..first.saturating_add(PAGES_PER_RECORD as u64).div_ceil(pages) {
            let key = block_key(id, BlockNo(block));
            let record = tables.get(tables.dbs().blocks, &key)?.map(|value| decode_block(&key, value));
            let record = match record {
                Some(Ok(record)) => record,
                // Noted by `blocks`. Its checksums cannot be checked.
                Some(Err(_)) => return Ok(None),
                None => continue,
            };
            let plain = record.segments.iter().filter(|segment| segment.run().is_some());
            for page in plain.flat_map(|segment| segment.first..segment.end()) {
                let at = block.saturating_mul(pages).saturating_add(u64::from(page));
                if let Some(flag) = at.checked_sub(first).and_then(|i| stored.get_mut(i as usize)) {
                    *flag = true;
                }
            }
        }
        if stored == [false; PAGES_PER_RECORD] {
            return Ok(Some(format!("MiB {mib} has checksums, but nothing of it is stored as it is")));
        }
        Ok((0..PAGES_PER_RECORD).find(|i| !stored[*i] && sums[*i] != 0).map(|page| {
            let at = first.saturating_add(page as u64);
            format!("page {at} of the array has a checksum, but is not stored as it is")
        }))
    }
}

/// Damage of a record of one MiB of an array: names the block, if the MiB lies in one.
fn of_mib(array: &Known, mib: u64, what: String) -> Damage {
    let pages = u64::from(array.block_size.pages());
    let first = mib.saturating_mul(PAGES_PER_RECORD as u64) / pages;
    match pages >= PAGES_PER_RECORD as u64 {
        true => Damage::of_block(&array.name, first, what),
        false => {
            let blocks = first..first.saturating_add(PAGES_PER_RECORD as u64 / pages);
            Damage::of_array(&array.name, format!("blocks {blocks:?}: {what}"))
        }
    }
}
