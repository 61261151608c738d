//! `head`: the first rows of an array, or of a slice.

use bigarray::ndarray::Order;
use bigarray::serde_json::Value;

use super::How;
use crate::address::Address;
use crate::args;
use crate::dtype::Dtype;
use crate::failure::Result;
use crate::output::print;
use crate::select::Selection;
use crate::{open, units};

/// Columns that are printed of a wide row: so many at its head, and the last.
const COLUMNS: usize = 11;

pub(crate) fn run(args: &args::Head, how: How) -> Result<()> {
    let address = Address::of_array(&args.address)?;
    let array = open::array(&address)?;
    let mut picks = open::picks(address.slice.as_ref(), array.shape())?;
    // The first rows of the result.
    let outermost = picks.iter_mut().find(|pick| pick.is_kept);
    let mut more = 0;
    if let Some(pick) = outermost {
        more = pick.len.saturating_sub(args.rows);
        pick.len -= more;
    }
    if !how.json {
        // Planes and columns between the first and the last are not read.
        let kept: Vec<usize> = (0..picks.len()).filter(|axis| picks[*axis].is_kept).collect();
        for axis in kept.iter().skip(1).rev().skip(1) {
            picks[*axis].len = picks[*axis].len.min(args.rows.max(1));
        }
    }
    let selection = Selection::new(&array, picks);
    let dtype = Dtype::parse(array.dtype())?;
    if how.json {
        return print_json(&selection, &dtype);
    }
    print_table(&selection, &dtype)?;
    if more > 0 && !how.quiet {
        print(&format!("… {more} more rows\n"))?;
    }
    Ok(())
}

fn print_table(selection: &Selection<'_>, dtype: &Dtype) -> Result<()> {
    let shape = selection.shape();
    let width = if shape.len() < 2 { 1 } else { shape[shape.len() - 1] };
    let plane = if shape.len() < 3 { usize::MAX } else { shape[shape.len() - 2] };
    let (mut rows, mut row, mut column, mut done) = (Vec::new(), Vec::new(), 0, 0);
    selection.for_each_piece(Order::RowMajor, |piece| {
        for element in piece.chunks_exact(dtype.size) {
            if width <= COLUMNS || column < COLUMNS - 2 || column == width - 1 {
                let mut text = String::new();
                dtype.write(element, &mut text);
                row.push(text);
            } else if column == COLUMNS - 2 {
                row.push("…".to_owned());
            }
            column += 1;
            if column < width {
                continue;
            }
            rows.push(std::mem::take(&mut row));
            column = 0;
            if rows.len() == plane {
                print(&(place(&shape, done) + &units::table(&rows, &[true; COLUMNS])))?;
                rows.clear();
                done += 1;
            }
        }
        Ok(())
    })?;
    print(&units::table(&rows, &[true; COLUMNS]))
}

/// Where the plane `nth` is, as a slice of the result.
fn place(shape: &[usize], nth: usize) -> String {
    let (mut rest, mut at) = (nth, Vec::new());
    for len in shape[..shape.len() - 2].iter().rev() {
        at.push((rest % len).to_string());
        rest /= len;
    }
    at.reverse();
    format!("[{}, :, :]\n", at.join(", "))
}

pub(super) fn print_json(selection: &Selection<'_>, dtype: &Dtype) -> Result<()> {
    let mut elements = Vec::new();
    selection.for_each_piece(Order::RowMajor, |piece| {
        elements.extend(piece.chunks_exact(dtype.size).map(|element| dtype.json(element)));
        Ok(())
    })?;
    let nested = nested(&selection.shape(), &mut elements.into_iter());
    print(&format!("{nested}\n"))
}

fn nested(shape: &[usize], elements: &mut impl Iterator<Item = Value>) -> Value {
    match shape {
        [] => elements.next().unwrap_or(Value::Null),
        [len, rest @ ..] => (0..*len).map(|_| nested(rest, elements)).collect(),
    }
}
