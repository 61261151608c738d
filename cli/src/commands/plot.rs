//! `plot`: a picture of an array, or of a slice.

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;

use bigarray::AnyArray;
use bigarray::ndarray::Order;
use bigarray::serde_json::json;

use super::How;
use super::stats::with_type;
use crate::address::{Address, Pick};
use crate::args::{self, PlotKind};
use crate::dtype::{Dtype, Kind};
use crate::failure::{Failure, Result};
use crate::output::{Output, print};
use crate::plot::canvas::{Png, Svg};
use crate::plot::chart::{SIZE, draw};
use crate::plot::{Figure, apart, terminal};
use crate::select::Selection;
use crate::summary::Value;
use crate::{open, units};

/// Columns and rows of a picture in a terminal.
const TERMINAL: (usize, usize) = (70, 18);

/// Series of one picture, at most.
const MOST_SERIES: usize = 8;

/// Parts of a series: more than a picture has columns are not seen.
const PARTS: usize = 780;

/// Rows and columns of an image, at most.
const MOST_PIXELS: usize = 400;

/// What a plot is of.
struct Subject<'a> {
    array: &'a AnyArray,
    picks: Vec<Pick>,
    kind: Option<Kind>,
    name: String,
}

pub(crate) fn run(args: &args::Plot, how: How) -> Result<()> {
    let address = Address::of_array(&args.address)?;
    let array = open::array(&address)?;
    let picks = open::picks(address.slice.as_ref(), array.shape())?;
    let kind = Dtype::parse(array.dtype())?.kind();
    let subject = Subject { array: &array, picks, kind, name: address.to_string() };
    let figure = subject.figure(args)?;
    let Some(file) = &args.output else {
        let in_colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        return print(&terminal::draw(&figure, TERMINAL.0, TERMINAL.1, in_colour));
    };
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let written = match ending {
        "svg" => {
            let mut svg = Svg::new(SIZE.0, SIZE.1);
            draw(&figure, &subject.name, &mut svg);
            let bytes = svg.finish();
            write(file, |output| output.write_all(&bytes).map_err(|e| Failure::io(file.display(), &e)))
        }
        "png" => {
            let mut png = Png::new(SIZE.0, SIZE.1);
            // Letters are no numbers, which are all that a PNG has.
            draw(&figure, "", &mut png);
            write(file, |output| png.finish(&file.display().to_string(), output))
        }
        _ => Err(Failure::usage(format!("{}: a picture is a .png or an .svg file", file.display()))),
    };
    written?;
    let file = file.display();
    how.done(|| format!("{file}: {}", subject.name), || json!({ "file": file.to_string() }))
}

fn write(file: &Path, content: impl FnOnce(&mut Output) -> Result<()>) -> Result<()> {
    let mut output = Output::create(file)?;
    content(&mut output)?;
    output.finish()
}

impl Subject<'_> {
    fn figure(&self, args: &args::Plot) -> Result<Figure> {
        let shape = Selection::new(self.array, self.picks.clone()).shape();
        let is_terminal = args.output.is_none();
        let kind = args.kind.unwrap_or(match shape.len() {
            1 => PlotKind::Line,
            2 => PlotKind::Image,
            _ => PlotKind::Histogram,
        });
        match kind {
            PlotKind::Line => self.lines(&shape, if is_terminal { TERMINAL.0 * 2 } else { PARTS }),
            PlotKind::Histogram => self.histogram(args.bins.unwrap_or(if is_terminal { 16 } else { 60 })),
            PlotKind::Image => {
                let most =
                    if is_terminal { terminal::image_size(TERMINAL.0, TERMINAL.1) } else { (MOST_PIXELS, MOST_PIXELS) };
                self.image(&shape, most)
            }
        }
    }

    fn lines(&self, shape: &[usize], most: usize) -> Result<Figure> {
        let (length, count) = match *shape {
            [length] => (length, 1),
            [length, count @ 1..=MOST_SERIES] => (length, count),
            _ => {
                let shape = units::shape(shape);
                let why = format!(
                    "{} is {shape}, and lines are of one axis, or of up to {MOST_SERIES} columns; pick some by a slice",
                    self.name
                );
                return Err(Failure::usage(why));
            }
        };
        let parts = length.min(most);
        let mut series = vec![vec![(f64::NAN, f64::NAN); parts]; count];
        let mut n = 0;
        self.each(|values| {
            for value in values {
                let (row, column) = (n / count, n % count);
                n += 1;
                // In 128 bits it does not overflow.
                let part = (row as u128 * parts as u128 / length as u128) as usize;
                let (low, high) = &mut series[column][part];
                (*low, *high) = (low.min(*value), high.max(*value));
            }
        })?;
        Ok(Figure::Lines { series, length })
    }

    fn histogram(&self, bins: usize) -> Result<Figure> {
        if !(1..=1 << 16).contains(&bins) {
            return Err(Failure::usage("--bins takes 1 to 65536"));
        }
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        self.each(|values| {
            for value in values.iter().filter(|value| value.is_finite()) {
                (low, high) = (low.min(*value), high.max(*value));
            }
        })?;
        let range = apart((low, high));
        let mut counts = vec![0; bins];
        self.each(|values| {
            for value in values.iter().filter(|value| value.is_finite()) {
                let bin = (value - range.0) / (range.1 - range.0) * bins as f64;
                counts[(bin as usize).min(bins - 1)] += 1;
            }
        })?;
        Ok(Figure::Histogram { range, counts })
    }

    /// Of a large image every nth row and column is drawn, and only those are read.
    fn image(&self, shape: &[usize], most: (usize, usize)) -> Result<Figure> {
        let &[height, width] = shape else {
            let shape = units::shape(shape);
            return Err(Failure::usage(format!(
                "{} is {shape}, and an image is of two axes; pick two by a slice",
                self.name
            )));
        };
        let mut picks = self.picks.clone();
        for (pick, most) in picks.iter_mut().filter(|pick| pick.is_kept).zip([most.0, most.1]) {
            let every = pick.len.div_ceil(most).max(1);
            pick.len = pick.len.div_ceil(every);
            pick.step = pick.step.saturating_mul(every as isize);
        }
        let columns = picks.iter().filter(|pick| pick.is_kept).nth(1).map_or(1, |pick| pick.len).max(1);
        let fewer = Subject { array: self.array, picks, kind: self.kind, name: self.name.clone() };
        let mut all = Vec::new();
        fewer.each(|values| all.extend_from_slice(values))?;
        Ok(Figure::Image { rows: all.chunks(columns).map(<[f64]>::to_vec).collect(), shape: (height, width) })
    }

    /// All numbers, some at a time.
    fn each(&self, mut take: impl FnMut(&[f64])) -> Result<()> {
        let selection = Selection::new(self.array, self.picks.clone());
        let refused = || {
            Failure::new(format!(
                "{}: its elements are {}, of which there is no picture; it is of real numbers",
                self.name,
                self.array.dtype()
            ))
        };
        let mut values = Vec::new();
        selection.for_each_piece(Order::RowMajor, |piece| {
            values.clear();
            with_type!(self.kind, T => {
                values.extend(piece.chunks_exact(size_of::<T>()).map(|one| bytemuck::pod_read_unaligned::<T>(one).to_f64()));
            }, return Err(refused()));
            take(&values);
            Ok(())
        })
    }
}
