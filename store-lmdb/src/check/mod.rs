//! The consistency check of one committed state: every record, every reference and every page of the data file, and
//! on request every stored byte.
//!
//! What it finds is collected, so that one error names several places.

mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bigarray_core::store::DataFile;
use bigarray_core::{ArrayId, BlockNo, Descriptor, Error, ErrorKind, PAGE, Result};
use lmdb::RoTransaction;

use crate::LmdbStore;
use crate::codec::Unpacker;
use crate::data::Data;
use crate::index::{Index, ReadTxn, Tables};
use crate::record::{
    Meta, SUMS, StoredBlock, attr_name, block_key, decode_array, decode_attr, decode_block, decode_sums,
    parse_numbered_key, units_of,
};

/// What a check went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Arrays.
    pub arrays: u64,
    /// Records of blocks: holes that once were none have one, too.
    pub blocks: u64,
    /// Their segments.
    pub segments: u64,
    /// Pages of the data file that the state refers to.
    pub stored_pages: u64,
    /// Pages that only older states refer to.
    pub freed_pages: u64,
    /// Pages that are being written ahead.
    pub claimed_pages: u64,
    /// Pages that are free.
    pub free_pages: u64,
    /// Stored pages that were read and compared with their checksums.
    pub verified_pages: u64,
}

impl LmdbStore {
    /// Checks the newest committed state: records, references, and that every page of the data file is in exactly one
    /// place; with `payload` also the bytes of every stored page. Others may read and commit meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming what does not fit, the first few places of it.
    pub fn check(&self, payload: bool) -> Result<CheckReport> {
        check(&self.shared.index, &self.shared.data, payload)
            .map_err(|e| e.context(format!("check of {}", self.shared.dir.display())))
    }
}

/// As [`LmdbStore::check`].
pub(crate) fn check(index: &Arc<Index>, data: &Data, payload: bool) -> Result<CheckReport> {
    let txn = ReadTxn::begin(index)?;
    let mut check = Check {
        tables: txn.tables(),
        data,
        unpacker: Unpacker::default(),
        state: txn.version().0,
        arrays: BTreeMap::new(),
        findings: Findings::default(),
        report: CheckReport::default(),
    };
    check.arrays()?;
    check.attrs()?;
    check.places()?;
    check.fits()?;
    check.blocks(payload)?;
    check.sums()?;
    check.findings.into_result()?;
    Ok(check.report)
}

/// One check.
struct Check<'c> {
    tables: Tables<'c, RoTransaction<'static>>,
    data: &'c Data,
    unpacker: Unpacker,
    state: u64,
    arrays: BTreeMap<ArrayId, (String, Descriptor)>,
    findings: Findings,
    report: CheckReport,
}

/// What does not fit.
#[derive(Default)]
struct Findings {
    first: Vec<String>,
    more: usize,
}

impl Findings {
    /// How many are told; the rest is counted.
    const TOLD: usize = 8;

    fn note(&mut self, finding: impl Into<String>) {
        if self.first.len() < Findings::TOLD {
            self.first.push(finding.into());
        } else {
            self.more += 1;
        }
    }

    /// What was decoded. Corruption is noted; other errors end the check.
    fn take<T>(&mut self, decoded: Result<T>) -> Result<Option<T>> {
        match decoded {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.is_corrupt() => {
                self.note(e.to_string());
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn into_result(self) -> Result<()> {
        if self.first.is_empty() {
            return Ok(());
        }
        let mut text = self.first.join("; ");
        if self.more > 0 {
            text += &format!("; and {} more", self.more);
        }
        Err(Error::new(ErrorKind::Corrupt, text))
    }
}

impl<'c> Check<'c> {
    /// Arrays: ids are unique and below the next one.
    fn arrays(&mut self) -> Result<()> {
        let tables = self.tables;
        let next = tables.meta(Meta::NEXT_ARRAY)?.unwrap_or(0);
        tables.scan(tables.dbs().arrays, &[], |key, value| {
            let Some((name, descriptor)) = self.findings.take(decode_array(key, value))? else { return Ok(true) };
            let (id, changed) = (descriptor.id, descriptor.changed.0);
            if id.0 >= next {
                self.findings.note(format!("array {name:?} has id {}, and {next} is the next to be given", id.0));
            }
            if changed > self.state {
                let now = self.state;
                self.findings.note(format!("array {name:?} was changed by commit {changed}, and {now} is the last"));
            }
            self.report.arrays += 1;
            if let Some((other, _)) = self.arrays.insert(id, (name.clone(), descriptor)) {
                self.findings.note(format!("arrays {other:?} and {name:?} have the same id {}", id.0));
            }
            Ok(true)
        })
    }

    /// Attributes: of arrays that are there.
    fn attrs(&mut self) -> Result<()> {
        let tables = self.tables;
        tables.scan(tables.dbs().attrs, &[], |key, value| {
            if let Some((id, name)) = self.findings.take(attr_name(key))? {
                if !self.arrays.contains_key(&id) {
                    self.findings.note(format!("attribute {name:?} belongs to no array (id {})", id.0));
                }
                self.findings.take(decode_attr(key, value))?;
            }
            Ok(true)
        })
    }

    /// Blocks: of arrays that are there, inside them, no younger than the array's last change.
    fn blocks(&mut self, payload: bool) -> Result<()> {
        let tables = self.tables;
        tables.scan(tables.dbs().blocks, &[], |key, value| {
            // Records that do not decode were noted with the places they refer to.
            let (Ok((id, block)), Ok(stored)) = (parse_numbered_key("blocks", key), decode_block(key, value)) else {
                return Ok(true);
            };
            self.report.blocks += 1;
            self.report.segments += stored.segments.len() as u64;
            let Some((name, array)) = self.arrays.get(&id) else {
                self.findings.note(format!("block {block} belongs to no array (id {})", id.0));
                return Ok(true);
            };
            let label = format!("array {name:?}, block {block}");
            let blocks = array.block_size.blocks_for(array.nbytes());
            if block >= blocks {
                self.findings.note(format!("{label}: lies behind the end, the array has {blocks} blocks"));
            }
            if stored.pages != array.block_size.pages() {
                let pages = array.block_size.pages();
                self.findings.note(format!("{label}: has {} pages instead of {pages}", stored.pages));
            }
            if stored.version > array.changed || stored.version.0 == 0 {
                let (version, changed) = (stored.version.0, array.changed.0);
                self.findings.note(format!("{label}: of commit {version}, while the array's last is {changed}"));
            }
            self.pages_of_block(&label, id, block, &stored, payload)
        })
    }

    /// Each page of a block that is stored as it is has a checksum, with `payload` that of its bytes. What is compressed
    /// has its own, and with `payload` gives a block.
    fn pages_of_block(
        &mut self,
        label: &str,
        id: ArrayId,
        block: u64,
        stored: &StoredBlock,
        payload: bool,
    ) -> Result<bool> {
        let first = block.saturating_mul(u64::from(stored.pages));
        let mut bytes = Vec::new();
        for segment in &stored.segments {
            let Some(run) = segment.run() else { continue };
            let sums = match self.sums_of(id, first.saturating_add(u64::from(segment.first)), segment.pages) {
                // Records that do not decode are noted as such.
                Err(e) if e.is_corrupt() => continue,
                sums => sums?,
            };
            // A page whose checksum is 0 looks like one without: then its bytes tell.
            if !payload && !sums.contains(&0) {
                continue;
            }
            bytes.resize(usize::from(segment.pages) * PAGE, 0);
            let read = self.data.read_at(run.offset(), &mut bytes);
            if self.findings.take(read.map_err(|e| e.context(label)))?.is_none() {
                continue;
            }
            for ((page, bytes), sum) in (segment.first..).zip(bytes.chunks_exact(PAGE)).zip(sums) {
                let found = crc32c::crc32c(bytes);
                if found != sum {
                    self.findings.note(format!("{label}: page {page} has checksum {found:08x} instead of {sum:08x}"));
                }
                self.report.verified_pages += 1;
            }
        }
        if payload {
            for unit in units_of(&stored.segments) {
                let (data, len) = (self.data, stored.pages as usize * PAGE);
                let verified = self.unpacker.verify(&unit.packed, len, |buf| data.read_at(unit.offset(), buf));
                self.findings.take(verified.map_err(|e| e.context(label)))?;
                self.report.verified_pages += u64::from(unit.packed.pages());
            }
        }
        Ok(true)
    }

    /// The checksums of pages of an array.
    fn sums_of(&self, id: ArrayId, first: u64, pages: u16) -> Result<Vec<u32>> {
        let mut found = Vec::with_capacity(usize::from(pages));
        while found.len() < usize::from(pages) {
            let at = first.saturating_add(found.len() as u64);
            let (mib, within) = (at / SUMS as u64, at as usize % SUMS);
            let missing = usize::from(pages) - found.len();
            found.extend(self.tables.sums(id, mib)?[within..].iter().take(missing));
        }
        Ok(found)
    }

    /// Checksums: of arrays that are there, only for pages that are stored, no record for none.
    fn sums(&mut self) -> Result<()> {
        let tables = self.tables;
        tables.scan(tables.dbs().sums, &[], |key, value| {
            let Some((id, mib)) = self.findings.take(parse_numbered_key("sums", key))? else { return Ok(true) };
            let Some(sums) = self.findings.take(decode_sums(key, value))? else { return Ok(true) };
            let Some((name, array)) = self.arrays.get(&id) else {
                self.findings.note(format!("checksums of MiB {mib} belong to no array (id {})", id.0));
                return Ok(true);
            };
            let mut stored = [false; SUMS];
            let first = mib.saturating_mul(SUMS as u64);
            let pages = u64::from(array.block_size.pages());
            for block in first / pages..first.saturating_add(SUMS as u64).div_ceil(pages) {
                let key = block_key(id, BlockNo(block));
                let record = tables.get(tables.dbs().blocks, &key)?.map(|value| decode_block(&key, value));
                // Records that do not decode are noted as such.
                let Some(Ok(record)) = record else { continue };
                let plain = record.segments.iter().filter(|segment| segment.run().is_some());
                for page in plain.flat_map(|segment| segment.first..segment.end()) {
                    let at = block.saturating_mul(pages).saturating_add(u64::from(page));
                    if let Some(flag) = at.checked_sub(first).and_then(|i| stored.get_mut(i as usize)) {
                        *flag = true;
                    }
                }
            }
            if stored == [false; SUMS] {
                self.findings
                    .note(format!("array {name:?}: MiB {mib} has checksums, but nothing of it is stored as it is"));
            } else if let Some(page) = (0..SUMS).find(|i| !stored[*i] && sums[*i] != 0) {
                let at = first.saturating_add(page as u64);
                self.findings.note(format!("array {name:?}: page {at} has a checksum, but is not stored as it is"));
            }
            Ok(true)
        })
    }
}
