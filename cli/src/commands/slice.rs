//! `slice`: all elements that a slice picks, as text.

use std::io::{BufWriter, Write, stdout};

use bigarray::ndarray::Order;

use super::How;
use super::head::print_json;
use crate::address::Address;
use crate::args::OfSlice;
use crate::dtype::Dtype;
use crate::failure::{Failure, Result};
use crate::open;
use crate::select::Selection;

pub(crate) fn run(args: &OfSlice, how: How) -> Result<()> {
    let address = Address::of_array(&args.address)?;
    let array = open::array(&address)?;
    let selection = Selection::new(&array, open::picks(address.slice.as_ref(), array.shape())?);
    let dtype = Dtype::parse(array.dtype())?;
    if how.json { print_json(&selection, &dtype) } else { print_rows(&selection, &dtype) }
}

/// A line for each row of the last axis, its elements parted by tabs.
pub(super) fn print_rows(selection: &Selection<'_>, dtype: &Dtype) -> Result<()> {
    let shape = selection.shape();
    let width = if shape.len() < 2 { 1 } else { shape[shape.len() - 1] };
    let mut out = BufWriter::with_capacity(1 << 16, stdout().lock());
    let (mut line, mut column) = (String::new(), 0);
    let failed = |e: &std::io::Error| Failure::io("standard output", e);
    selection.for_each_piece(Order::RowMajor, |piece| {
        for element in piece.chunks_exact(dtype.size) {
            dtype.write(element, &mut line);
            column += 1;
            line.push(if column == width { '\n' } else { '\t' });
            if column == width {
                out.write_all(line.as_bytes()).map_err(|e| failed(&e))?;
                line.clear();
                column = 0;
            }
        }
        Ok(())
    })?;
    out.flush().map_err(|e| failed(&e))
}
