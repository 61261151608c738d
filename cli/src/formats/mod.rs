//! Formats of files, and the two things that each gives: a source of elements, and a sink for them.
//!
//! A format is one file of this folder: it implements [`Source`], [`Sink`] or both, and is entered in [`Format`], [`sources`]
//! and [`sink`]. What it reads it hands on in the byte order of this machine, in pieces, so that memory does not depend on the
//! file's size; what it is told by a header it believes no further than that.

mod csv;
mod input;
mod npy;
mod raw;

use std::path::Path;

use bigarray::ndarray::Order;
use bigarray::serde_json::{Map, Value};
use clap::ValueEnum;

pub(crate) use input::{Input, is_gzip};

use crate::failure::{Failure, Result};
use crate::output::Output;

/// The attribute with the names of the columns.
pub(crate) const COLUMNS: &str = "columns";

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// NumPy's file of one array
    Npy,
    /// Elements and nothing else
    Raw,
    /// Numbers in columns, parted by commas
    Csv,
    /// Numbers in columns, parted by tabs
    Tsv,
}

/// What is known of an array before its elements are read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    /// NumPy's name of the element type, in the byte order of this machine.
    pub(crate) dtype: String,
    /// Length of each axis. That of the growth axis is 0 where `is_open`.
    pub(crate) shape: Vec<usize>,
    /// Which axis is contiguous, and along which the array grows.
    pub(crate) order: Order,
    /// Whether only the end of the file tells how many rows there are.
    pub(crate) is_open: bool,
}

/// An array that is read, front to back.
pub(crate) trait Source {
    /// What is known of it.
    fn layout(&self) -> &Layout;

    /// Attributes that the array gets: units, names of columns.
    fn attrs(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Fills `piece`, which has room for whole elements, with the next elements in the order of the layout. Returns how many
    /// bytes it filled: fewer than there is room for only at the end of the file.
    ///
    /// # Errors
    /// What cannot be read, with the place in the file.
    fn fill(&mut self, piece: &mut [u8]) -> Result<usize>;
}

/// A file that is written, front to back.
pub(crate) trait Sink {
    /// The order in which it takes the elements of an array that has them in the order `stored`.
    fn order(&self, stored: Order) -> Order {
        stored
    }

    /// Called once, before any elements.
    ///
    /// # Errors
    /// Arrays that the format does not have, and what the system reports.
    fn begin(&mut self, layout: &Layout, attrs: &Map<String, Value>) -> Result<()>;

    /// Takes the next elements, whole ones.
    ///
    /// # Errors
    /// What the system reports.
    fn write(&mut self, elements: &[u8]) -> Result<()>;

    /// Writes what comes behind the elements, and gives the output back.
    ///
    /// # Errors
    /// What the system reports.
    fn finish(self: Box<Self>) -> Result<Output>;
}

/// What the command line says of a file that is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) format: Option<Format>,
    pub(crate) dtype: Option<String>,
    pub(crate) shape: Option<Vec<usize>>,
    pub(crate) order: Option<Order>,
    pub(crate) offset: u64,
}

impl Format {
    /// The format of the ending of `path`.
    pub(crate) fn of_ending(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let endings = [
            (".npy", Format::Npy),
            (".raw", Format::Raw),
            (".bin", Format::Raw),
            (".dat", Format::Raw),
            (".csv", Format::Csv),
            (".tsv", Format::Tsv),
        ];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| format)
    }

    /// The format of a file that begins with `start`.
    fn of_start(start: &[u8]) -> Option<Format> {
        start.starts_with(b"\x93NUMPY").then_some(Format::Npy)
    }
}

/// The array of the file `input`.
///
/// # Errors
/// A format that is not known, or what its header says that cannot be.
pub(crate) fn source(mut input: Input, reading: &Reading) -> Result<Box<dyn Source>> {
    let format = match reading.format.or_else(|| Format::of_ending(input.path())) {
        Some(format) => format,
        None => {
            // What begins as a file of another format is that, whatever is said of its elements.
            let is_raw = reading.dtype.is_some().then_some(Format::Raw);
            Format::of_start(input.start()?).or(is_raw).ok_or_else(|| unknown(&input.name()))?
        }
    };
    let name = input.name();
    let source: Result<Box<dyn Source>> = match format {
        Format::Npy => npy::NpySource::open(input, reading).map(|source| Box::new(source) as _),
        Format::Raw => raw::RawSource::open(input, reading).map(|source| Box::new(source) as _),
        Format::Csv => csv::CsvSource::open(input, reading, b',').map(|source| Box::new(source) as _),
        Format::Tsv => csv::CsvSource::open(input, reading, b'\t').map(|source| Box::new(source) as _),
    };
    source.map_err(|failure| failure.at(name))
}

/// A file of the format `format`.
pub(crate) fn sink(format: Format, output: Output) -> Box<dyn Sink> {
    match format {
        Format::Npy => Box::new(npy::NpySink::new(output)),
        Format::Raw => Box::new(raw::RawSink::new(output)),
        Format::Csv => Box::new(csv::CsvSink::new(output, b',')),
        Format::Tsv => Box::new(csv::CsvSink::new(output, b'\t')),
    }
}

/// The format in which `path` is written.
///
/// # Errors
/// An ending that is not known.
pub(crate) fn to_write(path: &Path, given: Option<Format>) -> Result<Format> {
    let on_stdout = (path == Path::new("-")).then_some(Format::Npy);
    given.or_else(|| Format::of_ending(path)).or(on_stdout).ok_or_else(|| unknown(&path.display().to_string()))
}

fn unknown(name: &str) -> Failure {
    let known: Vec<String> =
        Format::value_variants().iter().filter_map(|f| Some(f.to_possible_value()?.get_name().to_owned())).collect();
    Failure::usage(format!("{name}: its format is not known; give --format, one of {}", known.join(", ")))
}
