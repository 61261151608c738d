//! The consistency check of one committed state: every record, every reference and every page of the data file, and
//! on request every stored byte.
//!
//! It runs inside one read transaction, so that all it compares is of one state; other threads and processes read and
//! commit meanwhile. Its memory does not grow with the database: it goes through arrays by ranges of ids ([`Limits`]),
//! through the data file by ranges of chunks, and through payload by batches.

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

use crate::data::Data;
use crate::index::{Index, ReadTxn, Tables};
use crate::locks::files::INDEX;
use crate::record::Checksums;
use crate::shared::Shared;
use findings::Findings;
use payload::{Helper, Work};
pub(crate) use structure::Structure;

/// The counts of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Arrays.
    pub arrays: u64,
    /// Records of blocks. A block that became a hole has one, too.
    pub blocks: u64,
    /// Their segments.
    pub segments: u64,
    /// Pages of the data file to which the state refers.
    pub stored_pages: u64,
    /// Pages to which only older states refer.
    pub freed_pages: u64,
    /// Pages that are being spilled.
    pub claimed_pages: u64,
    /// Pages that are free.
    pub free_pages: u64,
    /// Stored pages that were read and compared with their checksums.
    pub verified_pages: u64,
}

/// As [`LmdbStore::check`](crate::LmdbStore::check).
pub(crate) fn check(index: &Arc<Index>, data: &Data, payload: bool) -> Result<CheckReport> {
    let txn = ReadTxn::begin(index)?;
    let (report, findings) = look(&txn, data, payload, Limits::default(), &mut |_| {})?;
    findings.into_result()?;
    Ok(report)
}

/// As [`Store::verify`](bigarray_core::store::Store::verify). LMDB reads no page of the index before the index is known to
/// be safe for it. If it is not, the report has this one damage.
pub(crate) fn verify(shared: &Shared, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
    shared.locks.before_begin()?;
    progress(Progress::default());
    let checked = snapshot(shared, progress).and_then(|(txn, disorder)| {
        let (report, mut findings) = look(&txn, &shared.data, true, Limits::default(), progress)?;
        findings.take(disorder.map_or(Ok(()), Err), Damage::new)?;
        Ok(findings.into_report(report.verified_pages * PAGE as u64))
    });
    match checked {
        Err(e) if is_damage(&e) => Ok(Report::new(vec![Damage::new(e.to_string())], 0, 0)),
        checked => checked.map_err(|e| e.context(format!("verification of {}", shared.dir.display()))),
    }
}

/// A snapshot whose index is safe for LMDB, and damage of its pages that LMDB tolerates.
fn snapshot(shared: &Shared, progress: &mut dyn FnMut(Progress)) -> Result<(ReadTxn, Option<Error>)> {
    let mut before = None;
    loop {
        let txn = ReadTxn::begin(&shared.index)?;
        let state = txn.version();
        let files = &shared.locks.files;
        let file = files.open_file(INDEX, OFlag::O_RDONLY)?;
        if let Some(pages) = Structure::read_state(file, &files.dir.path.join(INDEX), state.0)? {
            return Ok((txn, pages.check_tolerable(&mut || progress(Progress::default()))?));
        }
        // Two commits meanwhile overwrite its meta page, and make another state the newest.
        if before.replace(state) == Some(state) {
            let index = shared.dir.join(INDEX);
            let what = format!("{}: its page {} is not what commit {} wrote", index.display(), state.0 % 2, state.0);
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
    }
}

/// How much is kept in memory at a time. Records are read again for each part.
#[derive(Clone, Copy)]
struct Limits {
    /// Arrays, of at most 255 bytes of name and a few words each.
    arrays: usize,
    /// Chunks of the data file, a bit a page.
    chunks: u64,
    /// Pieces of payload that are sorted and read together.
    pieces: usize,
}

impl Default for Limits {
    /// These take 10 MiB, 16 MiB (for 512 GiB of data), and twice 2 MiB.
    fn default() -> Limits {
        Limits { arrays: 1 << 15, chunks: 1 << 18, pieces: 1 << 14 }
    }
}

/// Checks all of the newest state, and collects all findings.
///
/// # Errors
/// An error that is no damage: the check cannot go on.
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
        check.database_attrs()?;
        check.places()?;
        check.size_classes()?;
        check.told.total_bytes = check.report.stored_pages * PAGE as u64;
        let mut from = Some(0);
        while let Some(first) = from {
            let arrays = check.arrays_from(first)?;
            check.attrs(&arrays)?;
            check.blocks(&arrays)?;
            check.checksums(&arrays)?;
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
    /// Records that were checked.
    visited: u64,
    /// The record of checksums that was read last: consecutive blocks share one.
    sums: Option<((ArrayId, u64), Checksums)>,
    helper: Option<Helper<'c>>,
    /// Payload that is being read while records are checked.
    reading: Option<Arc<Work<'c>>>,
}

impl Check<'_> {
    /// Records between two reports of progress: a few milliseconds.
    const REPORT_EVERY: u64 = 4096;

    /// Counts a record, and reports progress now and then.
    fn visit(&mut self) {
        if self.visited.is_multiple_of(Check::REPORT_EVERY) {
            (self.progress)(self.told);
        }
        self.visited += 1;
    }

    /// Length of the data file in bytes.
    fn data_bytes(&self) -> Result<u64> {
        let Some(file) = self.data.as_file() else { return Ok(u64::MAX) };
        Ok(file.metadata().map_err(|e| Error::io("the length of the data file", e))?.len())
    }
}

/// Whether the error is a finding, after which the check goes on: stored bytes are wrong.
fn is_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt
}
