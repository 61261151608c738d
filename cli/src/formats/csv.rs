//! Text files of numbers in columns (`.csv`, `.tsv`).

use std::io::{self, Read, Write};

use bigarray::ndarray::Order;
use bigarray::serde_json::{Map, Value, json};
use csv::{ByteRecord, Reader, ReaderBuilder};

use super::{COLUMNS, Input, Layout, Reading, Sink, Source};
use crate::dtype::{Dtype, Kind};
use crate::failure::{Failure, Result};
use crate::output::Output;

/// Rows by which the type is found.
const LOOKED_AT: usize = 1000;

/// Bytes of a line, at most: a file of no lines is not held in memory.
const LONGEST_LINE: usize = 16 << 20;

/// The array of a file: a row a line.
pub(crate) struct CsvSource {
    reader: Reader<Lines>,
    name: String,
    layout: Layout,
    kind: Kind,
    columns: usize,
    names: Option<Vec<String>>,
    /// Rows that were looked at, and are not handed on yet.
    ahead: std::vec::IntoIter<ByteRecord>,
    record: ByteRecord,
    /// Rows that were handed on.
    rows: u64,
    /// Bytes of a row that did not fit.
    rest: Vec<u8>,
}

impl CsvSource {
    /// Finds the columns, their names, and the type, unless it is given.
    ///
    /// # Errors
    /// A file without numbers, and what cannot be read.
    pub(crate) fn open(input: Input, reading: &Reading, delimiter: u8) -> Result<CsvSource> {
        if reading.shape.is_some() || reading.offset > 0 || reading.order.is_some() {
            return Err(Failure::usage("a text file tells its own shape; leave out --shape, --order and --offset"));
        }
        let name = input.name();
        let lines = Lines { input, since: 0 };
        let mut builder = ReaderBuilder::new();
        let mut reader = builder.delimiter(delimiter).has_headers(false).flexible(true).from_reader(lines);
        let mut ahead = Vec::new();
        let mut record = ByteRecord::new();
        let mut bytes = 0;
        while ahead.len() <= LOOKED_AT && bytes <= LONGEST_LINE && read(&mut reader, &mut record)? {
            bytes += record.as_slice().len();
            ahead.push(record.clone());
        }
        let first = ahead.first().ok_or_else(|| Failure::new("it is empty; there are no rows to import"))?;
        let columns = first.len();
        // Names, if nothing in it is a number. A row with some numbers is a row, and what is none in it is told.
        let given = reading.dtype.as_deref().map(Dtype::parse).transpose()?.and_then(|dtype| dtype.kind());
        let is_number = |text: &str| given.unwrap_or(Kind::F64).read(text).is_ok();
        let is_row = first.iter().any(|field| text(field).is_some_and(is_number))
            || first.iter().all(|field| text(field).is_some_and(is_missing));
        let names = (!is_row)
            .then(|| first.iter().map(|field| String::from_utf8_lossy(field).trim().to_owned()).collect::<Vec<_>>());
        if names.is_some() {
            ahead.remove(0);
        }
        let dtype = match &reading.dtype {
            Some(dtype) => dtype.clone(),
            None => found(&ahead).to_owned(),
        };
        let kind = Dtype::parse(&dtype)?.kind();
        let Some(kind) = kind.filter(|_| !dtype.starts_with('>')) else {
            return Err(Failure::usage(format!("--dtype {dtype}: a column of text has numbers, as '<f8'")));
        };
        let shape = if columns == 1 { vec![0] } else { vec![0, columns] };
        let layout = Layout { dtype, shape, order: Order::RowMajor, is_open: true };
        let (ahead, rest) = (ahead.into_iter(), Vec::new());
        Ok(CsvSource { reader, name, layout, kind, columns, names, ahead, record, rows: 0, rest })
    }

    /// Reads the next row and adds its bytes to `rest`; tells whether there was one.
    fn read_row(&mut self) -> Result<bool> {
        let there = match self.ahead.next() {
            Some(record) => {
                self.record = record;
                true
            }
            None => read(&mut self.reader, &mut self.record).map_err(|failure| failure.at(&self.name))?,
        };
        if !there {
            return Ok(false);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let place = format!("{}: row {}, line {line}", self.name, self.rows);
        if self.record.len() != self.columns {
            let (has, columns) = (self.record.len(), self.columns);
            return Err(Failure::new(format!(
                "{place}: it has {has} fields, and the first row has {columns}; nothing was imported"
            )));
        }
        for (column, field) in self.record.iter().enumerate() {
            let text = match text(field) {
                None => "?",
                Some(text) if is_missing(text) => "NaN",
                Some(text) => text,
            };
            let number = self.kind.read(text).map_err(|why| {
                let help = match (self.rows, self.layout.dtype.as_str()) {
                    (0, _) if self.names.is_none() => "; a first row of names has no numbers in it",
                    (_, "<i8") => "; --dtype '<f8' takes any number, and NaN",
                    _ => "",
                };
                Failure::new(format!("{place}, column {column}: {why}{help}; nothing was imported"))
            })?;
            self.rest.extend_from_slice(&number);
        }
        self.rows += 1;
        Ok(true)
    }
}

/// The type of the numbers in these rows.
fn found(rows: &[ByteRecord]) -> &'static str {
    let is_integer = |field: &[u8]| text(field).is_some_and(|text| Kind::I64.read(text).is_ok());
    if !rows.is_empty() && rows.iter().all(|row| row.iter().all(is_integer)) { "<i8" } else { "<f8" }
}

/// A field without the blanks around it.
fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok().map(str::trim)
}

/// Whether it stands for no number.
fn is_missing(text: &str) -> bool {
    matches!(text, "" | "NA" | "N/A" | "null")
}

/// Reads the next row; tells whether there was one.
fn read(reader: &mut csv::Reader<Lines>, record: &mut ByteRecord) -> Result<bool> {
    reader.get_mut().since = 0;
    reader.read_byte_record(record).map_err(|error| Failure::new(error.to_string()))
}

impl Source for CsvSource {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn attrs(&self) -> Map<String, Value> {
        self.names.iter().map(|names| (COLUMNS.to_owned(), json!(names))).collect()
    }

    fn fill(&mut self, piece: &mut [u8]) -> Result<usize> {
        while self.rest.len() < piece.len() && self.read_row()? {}
        let count = self.rest.len().min(piece.len());
        piece[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

/// A file whose rows are of bounded length.
struct Lines {
    input: Input,
    /// Bytes that were read for the current row.
    since: usize,
}

impl Read for Lines {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(piece)?;
        self.since += count;
        if self.since > LONGEST_LINE {
            return Err(io::Error::other(format!(
                "a row is longer than {LONGEST_LINE} bytes; it is no text of numbers"
            )));
        }
        Ok(count)
    }
}

/// A file that is written.
pub(crate) struct CsvSink {
    output: Output,
    delimiter: u8,
    dtype: Option<Dtype>,
    columns: usize,
    column: usize,
    text: String,
}

impl CsvSink {
    /// Into `output`.
    pub(crate) fn new(output: Output, delimiter: u8) -> CsvSink {
        CsvSink { output, delimiter, dtype: None, columns: 1, column: 0, text: String::new() }
    }

    fn put(&mut self) -> Result<()> {
        self.output.write_all(self.text.as_bytes()).map_err(|e| Failure::io(self.output.name(), &e))?;
        self.text.clear();
        Ok(())
    }
}

impl Sink for CsvSink {
    fn order(&self, _: Order) -> Order {
        Order::RowMajor
    }

    fn begin(&mut self, layout: &Layout, attrs: &Map<String, Value>) -> Result<()> {
        let dtype = Dtype::parse(&layout.dtype)?;
        if layout.shape.len() > 2 || dtype.kind().is_none() {
            let (dtype, axes) = (&layout.dtype, layout.shape.len());
            let why = format!(
                "a text file has rows and columns of numbers, and this has {axes} axes of {dtype}; pick two by a slice, or export a .npy file"
            );
            return Err(Failure::new(why));
        }
        self.columns = layout.shape.get(1).copied().unwrap_or(1);
        self.dtype = Some(dtype);
        let names = attrs.get(COLUMNS).and_then(Value::as_array).filter(|names| names.len() == self.columns);
        if let Some(names) = names.and_then(|names| names.iter().map(Value::as_str).collect::<Option<Vec<_>>>()) {
            let mut line = csv::WriterBuilder::new().delimiter(self.delimiter).from_writer(Vec::new());
            let written = line.write_record(names).ok().and_then(|()| line.into_inner().ok());
            self.text.push_str(&String::from_utf8_lossy(&written.unwrap_or_default()));
        }
        self.put()
    }

    fn write(&mut self, elements: &[u8]) -> Result<()> {
        let Some(dtype) = &self.dtype else { return Ok(()) };
        for element in elements.chunks_exact(dtype.size) {
            dtype.write(element, &mut self.text);
            self.column += 1;
            let is_last = self.column == self.columns;
            self.text.push(if is_last { '\n' } else { self.delimiter.into() });
            self.column = if is_last { 0 } else { self.column };
        }
        self.put()
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        Ok(self.output)
    }
}
