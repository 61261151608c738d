//! `diff`: which rows of two arrays differ, and by how much.

use bigarray::ndarray::Order;
use bigarray::serde_json::json;

use super::How;
use crate::address::{Address, Pick};
use crate::args;
use crate::convert::Number;
use crate::dtype::Dtype;
use crate::failure::{Failure, Result};
use crate::output::print;
use crate::select::Selection;
use crate::{open, units};

/// Bytes of each array that are compared at a time.
const PIECE: usize = 4 << 20;

/// Rows that are named.
const NAMED: usize = 10;

/// How two arrays differ.
#[derive(Default)]
struct Found {
    elements: u64,
    rows: Vec<usize>,
    count_rows: u64,
    /// The largest difference of numbers, and the row.
    largest: Option<(f64, usize)>,
}

pub(crate) fn run(args: &args::Diff, how: How) -> Result<()> {
    let (one, other) = (Address::of_array(&args.one)?, Address::of_array(&args.other)?);
    let (a, b) = (open::array(&one)?, open::array(&other)?);
    let picks = (open::picks(one.slice.as_ref(), a.shape())?, open::picks(other.slice.as_ref(), b.shape())?);
    let shapes = (Selection::new(&a, picks.0.clone()).shape(), Selection::new(&b, picks.1.clone()).shape());
    if a.dtype() != b.dtype() || shapes.0 != shapes.1 {
        let told = |dtype: &str, shape: &[usize]| format!("{dtype} {}", units::shape(shape));
        let (a, b) = (told(a.dtype(), &shapes.0), told(b.dtype(), &shapes.1));
        return Err(Failure::new(format!(
            "{one} is {a}, and {other} is {b}; only arrays of one type and shape are compared"
        )));
    }
    let dtype = Dtype::parse(a.dtype())?;
    let rows = shapes.0.first().copied().unwrap_or(1);
    let row = shapes.0.iter().skip(1).fold(1_usize, |elements, len| elements.saturating_mul(*len));
    let step = (PIECE / dtype.size / row.max(1)).max(1);
    let mut found = Found::default();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for first in (0..rows).step_by(step) {
        let some = |picks: &[Pick]| part(picks, first, step.min(rows - first));
        gather(&Selection::new(&a, some(&picks.0)), &mut left)?;
        gather(&Selection::new(&b, some(&picks.1)), &mut right)?;
        if left == right {
            continue;
        }
        for (n, (a, b)) in left.chunks_exact(dtype.size).zip(right.chunks_exact(dtype.size)).enumerate() {
            if a != b {
                found.differ(&dtype, a, b, first + n / row.max(1));
            }
        }
    }
    told(&found, how)
}

/// The rows from `first` on, `count` of them, of what `picks` pick.
fn part(picks: &[Pick], first: usize, count: usize) -> Vec<Pick> {
    let mut picks = picks.to_vec();
    if let Some(pick) = picks.iter_mut().find(|pick| pick.is_kept) {
        pick.start = (pick.start as isize + first as isize * pick.step) as usize;
        pick.len = count;
    }
    picks
}

fn gather(selection: &Selection<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    selection.for_each_piece(Order::RowMajor, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
}

impl Found {
    /// Two elements whose bytes differ.
    fn differ(&mut self, dtype: &Dtype, a: &[u8], b: &[u8], row: usize) {
        if let Some(kind) = dtype.kind() {
            let (a, b) = (Number::of(kind, a), Number::of(kind, b));
            // NaN of several forms, and zeros of both signs, are the same.
            if a == b || (a.is_nan() && b.is_nan()) {
                return;
            }
            let distance = a.distance(b);
            if distance.is_some_and(|distance| self.largest.is_none_or(|(largest, _)| distance > largest)) {
                self.largest = distance.map(|distance| (distance, row));
            }
        }
        self.elements += 1;
        if self.rows.last() != Some(&row) {
            self.count_rows += 1;
            if self.rows.len() == NAMED {
                self.rows.pop();
            }
            self.rows.push(row);
        }
    }
}

fn told(found: &Found, how: How) -> Result<()> {
    let named = &found.rows[..found.rows.len().min(NAMED - usize::from(found.count_rows > NAMED as u64))];
    if how.json {
        how.json(&json!({
            "elements": found.elements, "rows": found.count_rows, "first_rows": named,
            "largest": found.largest.map(|(distance, _)| distance), "largest_row": found.largest.map(|(_, row)| row),
        }))?;
    } else if found.elements > 0 && !how.quiet {
        let rows: Vec<String> = named.iter().map(usize::to_string).collect();
        let more = if found.count_rows > NAMED as u64 { ", …" } else { "" };
        let mut text =
            format!("{} elements in {} rows differ: {}{more}\n", found.elements, found.count_rows, rows.join(", "));
        if let Some((distance, row)) = found.largest {
            text.push_str(&format!("the largest difference is {distance}, in row {row}\n"));
        }
        print(&text)?;
    }
    if found.elements == 0 { Ok(()) } else { Err(Failure::no()) }
}
