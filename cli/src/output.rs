//! Where a command's result goes: standard output, or a file that gets its name at the end.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;

use crate::failure::{Failure, Result};
use crate::interrupt;

/// An output that is being written.
pub(crate) enum Output {
    Stdout(BufWriter<io::Stdout>),
    /// A file under a temporary name beside its own.
    Part {
        file: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
    /// What is no file: a pipe or a device.
    Device {
        file: BufWriter<File>,
        path: PathBuf,
    },
    /// One of these, compressed by gzip.
    Gzip(Box<GzEncoder<Output>>),
}

/// Bytes that are written together.
const BUFFER: usize = 1 << 16;

impl Output {
    /// The output `path`; `-` is standard output.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn create(path: &Path) -> Result<Output> {
        if path == Path::new("-") {
            return Ok(Output::Stdout(BufWriter::with_capacity(BUFFER, io::stdout())));
        }
        let failed = |e: &io::Error| Failure::io(path.display(), e);
        let there = fs::metadata(path).ok();
        if there.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(Failure::new(format!("{}: it is a directory; give the name of a file", path.display())));
        }
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(path).map_err(|e| failed(&e))?;
            return Ok(Output::Device { file: BufWriter::with_capacity(BUFFER, file), path: path.to_owned() });
        }
        // Where a link leads, and beside that: a rename moves nothing between file systems.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let permissions = there.map_or_else(|| Permissions::from_mode(0o666), |there| there.permissions());
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(".bigarray-").suffix(".part").permissions(permissions);
        let part = interrupt::make_part(|| builder.tempfile_in(folder), |part| part.path()).map_err(|e| failed(&e))?;
        Ok(Output::Part { file: BufWriter::with_capacity(BUFFER, part), path })
    }

    /// The same, compressed by gzip on the way.
    pub(crate) fn compressed(self) -> Output {
        Output::Gzip(Box::new(GzEncoder::new(self, Compression::default())))
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Output::Stdout(_) => "standard output".to_owned(),
            Output::Part { path, .. } | Output::Device { path, .. } => path.display().to_string(),
            Output::Gzip(file) => file.get_ref().name(),
        }
    }

    /// Writes out what is left. A file is synced, since some file systems tell only then that they had no room, and gets its
    /// name.
    ///
    /// # Errors
    /// Whatever the system reports. A file that was there is as it was.
    pub(crate) fn finish(self) -> Result<()> {
        let name = self.name();
        let failed = |e: io::Error| Failure::io(&name, &e);
        match self {
            Output::Stdout(mut file) => file.flush().map_err(failed),
            Output::Device { mut file, .. } => file.flush().map_err(failed),
            Output::Gzip(file) => file.finish().map_err(failed)?.finish(),
            Output::Part { file, path } => {
                let part = file.into_inner().map_err(|e| failed(e.into_error()))?;
                part.as_file().sync_all().map_err(failed)?;
                interrupt::finish();
                part.persist(path).map(drop).map_err(|e| failed(e.error))
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stdout(file) => file.write(bytes),
            Output::Part { file, .. } => file.write(bytes),
            Output::Device { file, .. } => file.write(bytes),
            Output::Gzip(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stdout(file) => file.flush(),
            Output::Part { file, .. } => file.flush(),
            Output::Device { file, .. } => file.flush(),
            Output::Gzip(file) => file.flush(),
        }
    }
}

/// Prints a text on standard output.
///
/// # Errors
/// If its reader is gone.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Failure::io("standard output", &e))
}
