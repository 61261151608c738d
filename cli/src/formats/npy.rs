//! NumPy's files (`.npy`), of versions 1 to 3, both orders of elements, both orders of bytes, and structs.

use std::io::Write;

use bigarray::NpyHeader;
use bigarray::serde_json::{Map, Value};

use super::raw::{check_room, native};
use super::{Input, Layout, Reading, Sink, Source};
use crate::dtype::Dtype;
use crate::failure::{Failure, Result};
use crate::output::Output;

/// The array of a file.
pub(crate) struct NpySource {
    input: Input,
    layout: Layout,
    dtype: Dtype,
}

impl NpySource {
    /// Reads the header.
    ///
    /// # Errors
    /// What no array can be, and a file that is shorter than its header says.
    pub(crate) fn open(mut input: Input, reading: &Reading) -> Result<NpySource> {
        if reading.dtype.is_some() || reading.shape.is_some() || reading.order.is_some() || reading.offset > 0 {
            let why =
                "a .npy file tells its own dtype, shape and order; leave out --dtype, --shape, --order and --offset";
            return Err(Failure::usage(why));
        }
        let header = NpyHeader::read(&mut input)?;
        let dtype = Dtype::parse(&header.dtype)?;
        check_room(&input, &header.shape, dtype.size)?;
        let layout = Layout { dtype: native(&header.dtype), shape: header.shape, order: header.order, is_open: false };
        Ok(NpySource { input, layout, dtype })
    }
}

impl Source for NpySource {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn fill(&mut self, piece: &mut [u8]) -> Result<usize> {
        let filled = self.input.fill(piece)?;
        self.dtype.turn_round(&mut piece[..filled]);
        Ok(filled)
    }
}

/// A file that is written.
pub(crate) struct NpySink {
    output: Output,
}

impl NpySink {
    /// Into `output`.
    pub(crate) fn new(output: Output) -> NpySink {
        NpySink { output }
    }
}

impl Sink for NpySink {
    fn begin(&mut self, layout: &Layout, _: &Map<String, Value>) -> Result<()> {
        let header = NpyHeader::new(&layout.dtype, layout.order, &layout.shape).to_bytes()?;
        self.write(&header)
    }

    fn write(&mut self, elements: &[u8]) -> Result<()> {
        self.output.write_all(elements).map_err(|e| Failure::io(self.output.name(), &e))
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        Ok(self.output)
    }
}
