//! The consistency check of one committed state: every record, every reference and every page of the data file, and
//! on request every stored byte.
//!
//! It runs inside one read transaction, so that nothing of what it compares is of another state; others read and commit
//! meanwhile. What it needs of memory does not grow with the database: arrays are gone through by their ids, so many at a
//! time ([`Limits`]), the data file by ranges of chunks, and payload by batches.

mod arrays;
mod blocks;
mod findings;
mod payload;
mod places;
mod structure;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread;

use bigarray_core::store::DataFile as _;
use bigarray_core::{ArrayId, Damage, Error, ErrorKind, PAGE, Progress, Report, Result};
use lmdb::RoTransaction;
use nix::fcntl::OFlag;

use crate::LmdbStore;
use crate::data::Data;
use crate::index::{Index, ReadTxn, Tables};
use crate::locks::files::INDEX;
use crate::record::Sums;
use crate::shared::Shared;
use findings::Findings;
use payload::{Helper, Work};
pub(crate) use structure::Structure;

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
    /// Pages that are being spilled.
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
    let (report, findings) = look(&txn, data, payload, Limits::default(), &mut |_| {})?;
    findings.into_result()?;
    Ok(report)
}

/// As [`Store::verify`](bigarray_core::store::Store::verify). LMDB follows no page of the index before it is known to bear
/// that: else the report ends with the index.
pub(crate) fn verify(shared: &Shared, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
    shared.locks.before_begin()?;
    progress(Progress::default());
    let looked = snapshot(shared, progress).and_then(|(txn, disorder)| {
        let (report, mut findings) = look(&txn, &shared.data, true, Limits::default(), progress)?;
        findings.take(disorder.map_or(Ok(()), Err), Damage::new)?;
        Ok(findings.into_report(report.verified_pages * PAGE as u64))
    });
    match looked {
        Err(e) if is_damage(&e) => Ok(Report::new(vec![Damage::new(e.to_string())], 0, 0)),
        looked => looked.map_err(|e| e.context(format!("verification of {}", shared.dir.display()))),
    }
}

/// A snapshot whose index LMDB can bear, and what is damaged of its pages nevertheless.
fn snapshot(shared: &Shared, progress: &mut dyn FnMut(Progress)) -> Result<(ReadTxn, Option<Error>)> {
    let mut before = None;
    loop {
        let txn = ReadTxn::begin(&shared.index)?;
        let state = txn.version();
        let files = &shared.locks.files;
        let file = files.open_file(INDEX, OFlag::O_RDONLY)?;
        if let Some(pages) = Structure::read_state(file, &files.dir.path.join(INDEX), state.0)? {
            return Ok((txn, pages.check_bearable(&mut || progress(Progress::default()))?));
        }
        // Two commits that come meanwhile write over its meta page, and make another state the newest.
        if before.replace(state) == Some(state) {
            let index = shared.dir.join(INDEX);
            let what = format!("{}: its page {} is not what commit {} wrote", index.display(), state.0 % 2, state.0);
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
    }
}

/// How much is kept in memory at a time. Records are gone through once more for each part.
#[derive(Clone, Copy)]
struct Limits {
    /// Arrays, of at most 255 bytes of name and a few words each.
    arrays: usize,
    /// Chunks of the data file, a bit a page.
    chunks: u64,
    /// Pieces of payload that are put in order, and read, together.
    pieces: usize,
}

impl Default for Limits {
    /// 10 MiB, 16 MiB (512 GiB of data) and 2 MiB, of which two are there at a time.
    fn default() -> Limits {
        Limits { arrays: 1 << 15, chunks: 1 << 18, pieces: 1 << 14 }
    }
}

/// Looks at all of the newest state, whatever it finds.
///
/// # Errors
/// What keeps it from looking on.
fn look(
    txn: &ReadTxn,
    data: &Data,
    payload: bool,
    limits: Limits,
    progress: &mut dyn FnMut(Progress),
) -> Result<(CheckReport, Findings)> {
    thread::scope(|scope| {
        let mut check = Check {
            tables: txn.tables(),
            data,
            state: txn.version().0,
            payload,
            limits,
            findings: Findings::default(),
            report: CheckReport::default(),
            progress,
            told: Progress::default(),
            visited: 0,
            sums: None,
            helper: Helper::start(scope),
            reading: None,
        };
        check.arrays()?;
        check.places()?;
        check.fits()?;
        check.told.total_bytes = check.report.stored_pages * PAGE as u64;
        let mut from = Some(0);
        while let Some(first) = from {
            let arrays = check.arrays_from(first)?;
            check.attrs(&arrays)?;
            check.blocks(&arrays)?;
            check.sums(&arrays)?;
            check.finish_payload(&arrays)?;
            from = arrays.end();
        }
        Ok((check.report, check.findings))
    })
}

/// One check.
struct Check<'c> {
    tables: Tables<'c, RoTransaction<'static>>,
    data: &'c Data,
    state: u64,
    payload: bool,
    limits: Limits,
    findings: Findings,
    report: CheckReport,
    progress: &'c mut dyn FnMut(Progress),
    told: Progress,
    /// Records that were looked at.
    visited: u64,
    /// The checksums that were wanted last: blocks that share a record of them follow each other.
    sums: Option<((ArrayId, u64), Sums)>,
    helper: Option<Helper<'c>>,
    /// Payload that is being read while records are looked at.
    reading: Option<Arc<Work<'c>>>,
}

impl Check<'_> {
    /// Records looked at between two words on how far it is: a few milliseconds.
    const SILENT: u64 = 4096;

    /// A record is looked at.
    fn visit(&mut self) {
        if self.visited.is_multiple_of(Check::SILENT) {
            (self.progress)(self.told);
        }
        self.visited += 1;
    }

    /// Bytes of the data file.
    fn data_bytes(&self) -> Result<u64> {
        let Some(file) = self.data.as_file() else { return Ok(u64::MAX) };
        Ok(file.metadata().map_err(|e| Error::io("the length of the data file", e))?.len())
    }
}

/// Whether a check goes on after it: what is stored is to blame, and not how it is looked at.
fn is_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt
}
