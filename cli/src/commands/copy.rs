//! `cp`: a copy of an array or a slice, of another name, database, type, order, codec or block size.

use bigarray::ndarray::IxDyn;
use bigarray::{AnyArray, AnyArrayMut, ArrayOptions, Transaction};

use super::How;
use super::ls::described;
use super::stats::with_type;
use crate::address::Address;
use crate::args;
use crate::convert::Number;
use crate::dtype::{Dtype, Kind};
use crate::failure::{Failure, Result};
use crate::formats::COLUMNS;
use crate::progress::Progress;
use crate::select::Selection;
use crate::{interrupt, open, units};

pub(crate) fn run(args: &args::Cp, how: How) -> Result<()> {
    interrupt::changes();
    let (from, to) = (Address::of_array(&args.from)?, Address::of_whole_array(&args.to)?);
    // A process that has a database open to read only cannot change it.
    let source = if is_same(&from.database, &to.database) {
        open::to_change(&from.database)?
    } else {
        open::to_read(&from.database)?
    };
    let array = open::array_of(&source.snapshot()?, &from)?;
    let selection = Selection::new(&array, open::picks(from.slice.as_ref(), array.shape())?);
    let db = if is_same(&from.database, &to.database) { source.clone() } else { open::or_create(&to.database)? };
    let txn = db.begin()?;
    let info = copy(&array, &selection, &txn, &to, args, how)?.info();
    interrupt::finish();
    txn.commit()?;
    how.done(
        || format!("{to}: {} {}, {}", info.dtype, units::shape(&info.shape), units::bytes(info.nbytes as u64)),
        || described(&info),
    )
}

/// Whether both are one database, by whatever path.
fn is_same(one: &str, other: &str) -> bool {
    let place = |path: &str| std::fs::canonicalize(path).ok();
    one == other || (place(one).is_some() && place(one) == place(other))
}

fn copy<'t>(
    array: &AnyArray,
    selection: &Selection<'_>,
    txn: &'t Transaction,
    to: &Address,
    args: &args::Cp,
    how: How,
) -> Result<AnyArrayMut<'t>> {
    let info = array.info();
    let order = args.order.map_or(info.order, Into::into);
    let codec = args.codec.unwrap_or(info.codec);
    let options = ArrayOptions::new().order(order).codec(codec).block_size(args.block.unwrap_or(info.block_size));
    let dtype = Dtype::parse(&info.dtype)?;
    let mut progress = Progress::new(Some(selection.nbytes() as u64), how.quiet);
    if selection.is_whole() && args.dtype.is_none() {
        // The library's copy reads by all threads, and passes over what was never written.
        with_type!(dtype.kind(), T => {
            let typed = array.clone().downcast::<T, IxDyn>()?;
            return Ok(typed.copy_to(txn, &to.name, &options, |done| progress.set(done.done_bytes))?.into());
        }, ());
    }
    let name = args.dtype.as_deref().unwrap_or(&info.dtype);
    let target = Dtype::parse(name)?;
    let kinds = match (dtype.kind(), target.kind()) {
        _ if name == info.dtype => None,
        (Some(from), Some(to)) => Some((from, to)),
        _ => return Err(Failure::new(format!("{} cannot become {name}; only numbers are converted", info.dtype))),
    };
    let fill = match kinds {
        None => Some(info.fill_value.clone()),
        Some((from, to)) => {
            let mut fill = Vec::new();
            Number::of(from, &info.fill_value).bytes(to, &mut fill).map(|()| fill)
        }
    };
    let options = fill.map_or(options.clone(), |fill| options.fill_bytes(name, &fill));
    let mut copy = txn.create_any(&to.name, name, &selection.shape(), &options)?;
    // Names of columns are those of all of them.
    let attrs = array.attrs().iter().filter(|(key, _)| *key != COLUMNS || selection.has_all_columns());
    attrs.into_iter().try_for_each(|(key, value)| copy.set_attr(key, value.clone()))?;
    let mut target = Target { copy, row: 0, rest: Vec::new() };
    let mut converted = Vec::new();
    let mut done = 0;
    selection.for_each_piece(order, |piece| {
        let elements = match kinds {
            None => piece,
            Some((from, to)) => {
                converted.clear();
                convert(piece, from, to, &mut converted).map_err(|(nth, text)| {
                    let why = format!("element {} is {text}, which {name} does not have", done + nth);
                    Failure::new(format!("{}: {why}; nothing was copied", array.name()))
                })?;
                &converted
            }
        };
        done += piece.len() / dtype.size;
        progress.add(piece.len() as u64);
        target.put(elements)
    })?;
    Ok(target.copy)
}

/// Converts elements; the first that cannot be is told by its number and its text.
fn convert(piece: &[u8], from: Kind, to: Kind, out: &mut Vec<u8>) -> Result<(), (usize, String)> {
    for (n, element) in piece.chunks_exact(from.size()).enumerate() {
        if Number::of(from, element).bytes(to, out).is_none() {
            let mut text = String::new();
            from.write(element, &mut text);
            return Err((n, text));
        }
    }
    Ok(())
}

/// An array that is filled front to back.
struct Target<'t> {
    copy: AnyArrayMut<'t>,
    row: usize,
    /// Bytes of a row that is not whole yet.
    rest: Vec<u8>,
}

impl Target<'_> {
    fn put(&mut self, elements: &[u8]) -> Result<()> {
        let rows = if self.copy.order().is_row_major() { self.copy.shape().first() } else { self.copy.shape().last() };
        let row = self.copy.nbytes() / rows.copied().unwrap_or(1).max(1);
        let mut elements = elements;
        if !self.rest.is_empty() || elements.len() < row {
            let (head, tail) = elements.split_at(elements.len().min(row - self.rest.len()));
            self.rest.extend_from_slice(head);
            elements = tail;
            if self.rest.len() == row {
                let whole = std::mem::take(&mut self.rest);
                self.put_rows(&whole, row)?;
            }
        }
        let (rows, rest) = elements.split_at(elements.len() / row * row);
        self.put_rows(rows, row)?;
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    fn put_rows(&mut self, bytes: &[u8], row: usize) -> Result<()> {
        let rows = self.row..self.row + bytes.len() / row;
        self.copy.row_bytes_mut(rows.clone())?.copy_from_slice(bytes);
        self.row = rows.end;
        Ok(())
    }
}
