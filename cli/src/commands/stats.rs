//! `stats`: numbers that describe an array, found in one pass.

use bigarray::AnyArray;
use bigarray::ndarray::IxDyn;
use bigarray::serde_json::{Map, Value, json};

use super::How;
use crate::address::Address;
use crate::args;
use crate::dtype::{Dtype, Kind};
use crate::failure::{Failure, Result};
use crate::output::print;
use crate::select::Selection;
use crate::summary::{Summary, Value as Operand};
use crate::{open, units};

/// Columns that are described one by one, at most: each has a sketch of its own.
const MOST_COLUMNS: usize = 4096;

/// Quantiles that are told.
const QUANTILES: [(&str, f64); 5] = [("1%", 0.01), ("25%", 0.25), ("50%", 0.5), ("75%", 0.75), ("99%", 0.99)];

/// Runs `$body` with `$T` as the type of the numbers `$kind`.
macro_rules! with_type {
    ($kind:expr, $T:ident => $body:expr, $other:expr) => {
        with_type!(@ $kind, $T, $body, $other, Bool bigarray::Bool, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64,
            F16 bigarray::half::f16, Bf16 bigarray::half::bf16, F32 f32, F64 f64)
    };
    (@ $kind:expr, $T:ident, $body:expr, $other:expr, $($name:ident $type:ty),*) => {
        match $kind {
            $(Some(Kind::$name) => { type $T = $type; $body })*
            _ => $other,
        }
    };
}

pub(super) use with_type;

pub(crate) fn run(args: &args::Stats, how: How) -> Result<()> {
    let address = Address::of_array(&args.address)?;
    let array = open::array(&address)?;
    let selection = Selection::new(&array, open::picks(address.slice.as_ref(), array.shape())?);
    let kind = Dtype::parse(array.dtype())?.kind();
    let refused = || {
        let why = format!(
            "{address}: its elements are {}, of which there are no statistics; they are of real numbers",
            array.dtype()
        );
        Failure::new(why)
    };
    let columns = columns(&selection.shape(), args.by_column)?;
    let text =
        with_type!(kind, T => told::<T>(&selection, &array, columns, args.by_column, how)?, return Err(refused()));
    print(&text)
}

/// How many columns are described one by one: all elements are one, unless it is asked.
fn columns(shape: &[usize], by_column: bool) -> Result<usize> {
    let last = shape.last().copied().unwrap_or(1);
    match by_column {
        false => Ok(1),
        true if last > MOST_COLUMNS => Err(Failure::usage(format!(
            "there are {last} columns, and --by-column takes {MOST_COLUMNS}; pick some by a slice"
        ))),
        true => Ok(last.max(1)),
    }
}

fn told<T: Operand>(
    selection: &Selection<'_>,
    array: &AnyArray,
    columns: usize,
    by_column: bool,
    how: How,
) -> Result<String> {
    let summaries = summaries::<T>(selection, array, columns)?;
    if how.json {
        let all: Vec<Value> = summaries.iter().map(|summary| as_json(array.dtype(), summary)).collect();
        return Ok(format!("{}\n", if by_column { Value::Array(all) } else { all[0].clone() }));
    }
    let mut rows: Vec<Vec<String>> = names().map(|name| vec![name.to_owned()]).collect();
    for summary in &summaries {
        rows.iter_mut().zip(values(summary)).for_each(|(row, value)| row.push(value));
    }
    if by_column {
        let mut head = vec![String::new()];
        head.extend((0..columns).map(|column| column.to_string()));
        rows.insert(0, head);
    }
    Ok(units::table(&rows, &[&[false][..], &vec![true; columns]].concat()))
}

/// One pass over all elements: by all threads where all of an array are one column, and otherwise piece by piece.
fn summaries<T: Operand>(selection: &Selection<'_>, array: &AnyArray, columns: usize) -> Result<Vec<Summary<T>>> {
    if columns == 1 && selection.is_whole() {
        let all = array.clone().downcast::<T, IxDyn>()?.par_blocks().fold(
            Summary::default,
            |mut all, _, block| {
                match block.as_slice_memory_order() {
                    Some(elements) => all.add(elements),
                    None => all.add(&block.iter().copied().collect::<Vec<T>>()),
                }
                all
            },
            Summary::merged,
        )?;
        return Ok(vec![all]);
    }
    let mut all = vec![Summary::<T>::default(); columns];
    let mut aligned: Vec<T> = Vec::new();
    // In column-major order one column comes after the other.
    let length = selection.len() / columns;
    let mut done = 0;
    selection.for_each_piece(array.order(), |piece| {
        aligned.extend(piece.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned::<T>));
        if array.order().is_row_major() {
            let whole = aligned.len() / columns * columns;
            add(&mut all, &aligned[..whole]);
            aligned.drain(..whole);
            return Ok(());
        }
        let mut rest = &aligned[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(length - done % length));
            all[done / length].add(now);
            done += now.len();
            rest = later;
        }
        aligned.clear();
        Ok(())
    })?;
    Ok(all)
}

/// Adds whole rows, the columns of which are summed up one by one.
fn add<T: Operand>(all: &mut [Summary<T>], elements: &[T]) {
    /// Rows whose columns are gathered at a time.
    const ROWS: usize = 1024;
    let columns = all.len();
    if let [one] = all {
        return one.add(elements);
    }
    let mut gathered = Vec::with_capacity(ROWS);
    for rows in elements.chunks(ROWS * columns) {
        for (column, summary) in all.iter_mut().enumerate() {
            gathered.clear();
            gathered.extend(rows.iter().skip(column).step_by(columns));
            summary.add(&gathered);
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    let fixed = ["count", "nan", "zeros", "min", "max", "mean", "std", "sum"];
    fixed.into_iter().chain(QUANTILES.iter().map(|(name, _)| *name))
}

fn values<T: Operand>(summary: &Summary<T>) -> Vec<String> {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let float = |value: Option<f64>| or_none(value.map(|value| value.to_string()));
    let (min, max) = summary.extremes().map(|(min, max)| (min.text(), max.text())).unzip();
    let mut all = vec![summary.count().to_string(), summary.nan().to_string(), summary.zeros().to_string()];
    all.extend([or_none(min), or_none(max), float(summary.mean()), float(summary.std()), float(Some(summary.sum()))]);
    all.extend(QUANTILES.iter().map(|(_, q)| float(summary.quantile(*q))));
    all
}

fn as_json<T: Operand>(dtype: &str, summary: &Summary<T>) -> Value {
    let number = |value: T| Dtype::parse(dtype).map_or(Value::Null, |dtype| dtype.json(bytemuck::bytes_of(&value)));
    let (min, max) = summary.extremes().map(|(min, max)| (number(min), number(max))).unzip();
    let quantiles: Map<String, Value> =
        QUANTILES.iter().map(|(name, q)| ((*name).to_owned(), json!(summary.quantile(*q)))).collect();
    json!({
        "count": summary.count(), "nan": summary.nan(), "zeros": summary.zeros(), "min": min, "max": max,
        "mean": summary.mean(), "std": summary.std(), "sum": summary.sum(), "quantiles": quantiles,
    })
}
