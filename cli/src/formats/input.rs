//! A file that is read, or standard input.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::failure::{Failure, Result};

/// Bytes by which a format is recognized.
const START: usize = 8;

/// Whether the ending of `path` says that the file is compressed by gzip.
pub(crate) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"))
}

/// A file that is read, front to back.
pub(crate) struct Input {
    path: PathBuf,
    file: Box<dyn Read>,
    /// Its bytes, if it is a file.
    len: Option<u64>,
    /// What was looked at, and not yet read.
    start: Vec<u8>,
    done: u64,
}

impl Input {
    /// The file `path`; `-` is standard input.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Input> {
        let (file, len): (Box<dyn Read>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let failed = |e| Failure::io(path.display(), &e);
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(Failure::new(format!("{}: it is a directory; give the name of a file", path.display())));
            }
            if is_gzip(path) {
                // How much comes out of it is not known.
                (Box::new(MultiGzDecoder::new(BufReader::new(file))), None)
            } else {
                (Box::new(file), metadata.is_file().then_some(metadata.len()))
            }
        };
        Ok(Input { path: path.to_owned(), file, len, start: Vec::new(), done: 0 })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        if self.path == Path::new("-") { "standard input".to_owned() } else { self.path.display().to_string() }
    }

    /// The first bytes, without reading them.
    ///
    /// # Errors
    /// What the system reports.
    pub(crate) fn start(&mut self) -> Result<&[u8]> {
        let mut start = Vec::new();
        let failed = |e| Failure::io(self.path.display(), &e);
        self.file.by_ref().take(START as u64).read_to_end(&mut start).map_err(failed)?;
        self.start.extend(start);
        Ok(&self.start)
    }

    /// Bytes that are left, if it is a file.
    pub(crate) fn left(&self) -> Option<u64> {
        self.len.map(|len| len.saturating_sub(self.done))
    }

    /// Bytes that were read.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Reads until `piece` is full or the end comes, and returns how many bytes that were.
    ///
    /// # Errors
    /// What the system reports, with the place.
    pub(crate) fn fill(&mut self, piece: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < piece.len() {
            match self.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Failure::io(format_args!("{}: byte {}", self.name(), self.done), &e)),
            }
        }
        Ok(filled)
    }

    /// Reads over `bytes` bytes.
    ///
    /// # Errors
    /// What the system reports, and an end before that.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(bytes), &mut io::sink());
        let skipped = skipped.map_err(|e| Failure::io(self.path.display(), &e))?;
        if skipped < bytes {
            return Err(Failure::new(format!("it ends after {} bytes, before the offset {bytes}", self.done)));
        }
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let count = if self.start.is_empty() {
            self.file.read(piece)?
        } else {
            let count = self.start.len().min(piece.len());
            piece[..count].copy_from_slice(&self.start[..count]);
            self.start.drain(..count);
            count
        };
        self.done += count as u64;
        Ok(count)
    }
}
