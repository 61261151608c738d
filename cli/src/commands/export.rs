//! `export`: an array, or a slice of it, becomes a file.

use std::path::Path;

use bigarray::serde_json::json;

use super::How;
use crate::address::Address;
use crate::args;
use crate::failure::Result;
use crate::formats::{self, COLUMNS, Layout};
use crate::output::Output;
use crate::progress::Progress;
use crate::select::Selection;
use crate::{open, units};

pub(crate) fn run(args: &args::Export, how: How) -> Result<()> {
    let address = Address::of_array(&args.address)?;
    let format = formats::to_write(&args.file, args.format)?;
    let array = open::array(&address)?;
    let selection = Selection::new(&array, open::picks(address.slice.as_ref(), array.shape())?);
    let output = Output::create(&args.file)?;
    let output = if formats::is_gzip(&args.file) { output.compressed() } else { output };
    let mut sink = formats::sink(format, output);
    let order = sink.order(array.order());
    let layout = Layout { dtype: array.dtype().to_owned(), shape: selection.shape(), order, is_open: false };
    let mut attrs = array.attrs().clone();
    if !selection.has_all_columns() {
        attrs.remove(COLUMNS);
    }
    sink.begin(&layout, &attrs)?;
    let mut progress = Progress::new(Some(selection.nbytes() as u64), how.quiet);
    selection.for_each_piece(order, |piece| {
        sink.write(piece)?;
        progress.add(piece.len() as u64);
        Ok(())
    })?;
    sink.finish()?.finish()?;
    drop(progress);
    if args.file == Path::new("-") {
        return Ok(());
    }
    let (file, shape) = (args.file.display(), units::shape(&layout.shape));
    how.done(
        || format!("{file}: {} {shape}, {}", layout.dtype, units::bytes(selection.nbytes() as u64)),
        || json!({ "file": file.to_string(), "dtype": layout.dtype, "shape": layout.shape, "nbytes": selection.nbytes() }),
    )
}
