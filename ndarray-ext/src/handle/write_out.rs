//! Writing all elements of an array out: as raw bytes, and in NumPy's format.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bigarray_core::{Error, Prefetch, Result, signals};
use bigarray_process::TemporaryFile;

use crate::npy::header_of;
use crate::process::OfProcess;
use crate::view::{self, Source};

/// Bytes that [`write_to`] hands over at a time.
const PIECE: usize = 2 << 20;

/// Bytes that are loaded ahead of what is written, and no more than an eighth of the memory budget.
const AHEAD: usize = 8 * PIECE;

/// Writes all bytes out, each piece prefetched: an error of storage comes back as a value, and a system call never
/// meets a page that is not there.
pub(crate) fn write_to(source: &OfProcess<impl Source>, out: &mut (impl Write + ?Sized)) -> Result<()> {
    let room = if source.waits_in_system_calls() { 0 } else { PIECE.min(source.descriptor().nbytes()) };
    // A handler that touches a view must not interrupt an allocation: what loads its page allocates, too.
    let held = signals::hold();
    let mut piece = Vec::with_capacity(room);
    drop(held);
    let written = write_pieces(source, out, &mut piece);
    let _held = signals::hold();
    drop(piece);
    written
}

fn write_pieces(source: &OfProcess<impl Source>, out: &mut (impl Write + ?Sized), piece: &mut Vec<u8>) -> Result<()> {
    let end = source.descriptor().nbytes();
    let ahead = AHEAD.min(source.budget_bytes() / 8 / PIECE * PIECE);
    let mut announced = Announced::default();
    for start in (0..end).step_by(PIECE) {
        let range = start..end.min(start + PIECE);
        announced.forget_before(range.end);
        let next = announced.end.max(range.end)..end.min(range.end + ahead);
        if !next.is_empty() {
            announced.end = next.end;
            let _held = signals::hold_between_waits();
            // A failure is met where the piece is written.
            announced
                .pieces
                .extend(view::here(source)?.prefetch_ahead(next.clone()).ok().map(|loads| (next.end, loads)));
        }
        view::here(source)?.prefetch(range.clone())?;
        let bytes = view::bytes(source, range.clone())?;
        let written = if source.waits_in_system_calls() {
            signals::let_through(|| out.write_all(bytes))
        } else {
            // Where memory is short they may be gone again by the time `out` hands them to the system.
            piece.clear();
            piece.extend_from_slice(bytes);
            signals::let_through(|| out.write_all(piece))
        };
        written
            .map_err(|e| Error::io(format_args!("array {:?}: writing out its bytes {range:?}", source.name()), e))?;
    }
    Ok(())
}

/// Pieces that are loaded ahead of being written, with where they end. Those that a slow prefetch has not come to when they are
/// written, or when writing fails, would be loaded for nothing: they are cancelled.
#[derive(Default)]
struct Announced {
    pieces: VecDeque<(usize, Prefetch)>,
    end: usize,
}

impl Announced {
    fn forget_before(&mut self, start: usize) {
        while self.pieces.front().is_some_and(|(end, _)| *end <= start) {
            self.pieces.pop_front().iter().for_each(|(_, loads)| loads.cancel());
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.forget_before(usize::MAX);
    }
}

/// Writes the array to `out`, in NumPy's format.
pub(crate) fn write_npy_to(source: &OfProcess<impl Source>, out: &mut (impl Write + ?Sized)) -> Result<()> {
    let _held = signals::hold_between_waits();
    let header = header_of(source.name(), source.descriptor())?;
    let failed = |e| Error::io(format_args!("array {:?}: writing the header of NumPy's format", source.name()), e);
    out.write_all(&header).map_err(failed)?;
    write_to(source, out)
}

/// The same to a file, of another name first, so that none that is there is ever half of an array. It is synced before it
/// gets its name: some file systems tell only then that they had no room. What is no file, as a pipe, is written to.
pub(crate) fn write_npy(source: &OfProcess<impl Source>, path: &Path) -> Result<()> {
    let _held = signals::hold_between_waits();
    header_of(source.name(), source.descriptor())?; // which may be refused, before anything is made
    let failed = |e| Error::io(format_args!("array {:?}: writing {}", source.name(), path.display()), e);
    let there = fs::metadata(path).ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        let mut out = BufWriter::new(File::options().write(true).open(path).map_err(failed)?);
        write_npy_to(source, &mut out)?;
        return out.flush().map_err(failed);
    }
    // Where a link leads, and beside that: a rename moves nothing between file systems. Absolute, since the current directory
    // may change meanwhile.
    let path = fs::canonicalize(path).or_else(|_| std::path::absolute(path)).map_err(failed)?;
    let folder = path.parent().unwrap_or(&path);
    let mode = there.map_or(0o666, |there| there.permissions().mode());
    let part = TemporaryFile::new_in(folder, ".bigarray-", ".npy.part", mode).map_err(failed)?;
    let mut out = BufWriter::new(part);
    write_npy_to(source, &mut out)?;
    let part = out.into_inner().map_err(|e| failed(e.into_error()))?;
    part.as_file().sync_all().map_err(failed)?;
    part.persist(&path).map_err(failed)
}
