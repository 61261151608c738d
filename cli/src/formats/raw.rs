//! Files of elements and nothing else: the command line says what they are.

use std::io::Write;

use bigarray::ndarray::Order;
use bigarray::serde_json::{Map, Value};

use super::{Input, Layout, Reading, Sink, Source};
use crate::dtype::Dtype;
use crate::failure::{Failure, Result};
use crate::output::Output;

/// The array of a file.
pub(crate) struct RawSource {
    input: Input,
    layout: Layout,
    dtype: Dtype,
}

impl RawSource {
    /// Goes to the first element. Without a shape the array has one axis, as long as the file is.
    ///
    /// # Errors
    /// What the command line lacks, and a file that is shorter than it says.
    pub(crate) fn open(mut input: Input, reading: &Reading) -> Result<RawSource> {
        let Some(name) = &reading.dtype else {
            return Err(Failure::usage(
                "a raw file does not tell the type of its elements; give --dtype, as --dtype '<f4'",
            ));
        };
        let dtype = Dtype::parse(name)?;
        input.skip(reading.offset)?;
        let order = reading.order.unwrap_or(Order::RowMajor);
        let layout = Layout { dtype: native(name), shape: Vec::new(), order, is_open: false };
        let layout = match (&reading.shape, input.left()) {
            (Some(shape), _) => {
                check_room(&input, shape, dtype.size)?;
                Layout { shape: shape.clone(), ..layout }
            }
            (None, Some(left)) if left % dtype.size as u64 == 0 => {
                Layout { shape: vec![(left / dtype.size as u64) as usize], ..layout }
            }
            (None, Some(left)) => {
                let why = format!(
                    "its {left} bytes are no whole number of elements {name} of {} bytes; give --offset or --shape",
                    dtype.size
                );
                return Err(Failure::new(why));
            }
            (None, None) => Layout { shape: vec![0], is_open: true, ..layout },
        };
        Ok(RawSource { input, layout, dtype })
    }
}

/// Refuses a shape that overflows, or is of more elements than the file can have.
///
/// # Errors
/// Which it is.
pub(crate) fn check_room(input: &Input, shape: &[usize], item: usize) -> Result<()> {
    let bytes = shape
        .iter()
        .try_fold(item, |bytes, len| bytes.checked_mul(*len))
        .filter(|bytes| isize::try_from(*bytes).is_ok());
    let Some(bytes) = bytes.or(shape.contains(&0).then_some(0)) else {
        return Err(Failure::new(format!("its shape {shape:?} is of more elements than a machine can count")));
    };
    match input.left() {
        Some(left) if left < bytes as u64 => Err(Failure::new(format!(
            "its shape {shape:?} takes {bytes} bytes, and behind byte {} there are {left}; the file is cut short, or no such file",
            input.done()
        ))),
        _ => Ok(()),
    }
}

/// The type in the byte order of this machine.
pub(crate) fn native(dtype: &str) -> String {
    if dtype.starts_with('[') { dtype.replace("', '>", "', '<") } else { dtype.replace('>', "<") }
}

impl Source for RawSource {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn fill(&mut self, piece: &mut [u8]) -> Result<usize> {
        let filled = self.input.fill(piece)?;
        if filled % self.dtype.size != 0 {
            let (bytes, size) = (self.input.done(), self.dtype.size);
            return Err(Failure::new(format!(
                "{}: it ends at byte {bytes}, amid an element of {size} bytes",
                self.input.name()
            )));
        }
        self.dtype.turn_round(&mut piece[..filled]);
        Ok(filled)
    }
}

/// A file that is written.
pub(crate) struct RawSink {
    output: Output,
}

impl RawSink {
    /// Into `output`.
    pub(crate) fn new(output: Output) -> RawSink {
        RawSink { output }
    }
}

impl Sink for RawSink {
    fn begin(&mut self, _: &Layout, _: &Map<String, Value>) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, elements: &[u8]) -> Result<()> {
        self.output.write_all(elements).map_err(|e| Failure::io(self.output.name(), &e))
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        Ok(self.output)
    }
}
