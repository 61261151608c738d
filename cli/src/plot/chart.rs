//! A figure on paper: its axes, their numbers, and what is between them.

use super::canvas::{Anchor, Canvas, Rgb};
use super::{Figure, colour, label, ticks};

/// Size of a picture in pixels.
pub(crate) const SIZE: (u32, u32) = (900, 540);

/// The frame: left, above, right, below.
const FRAME: [f64; 4] = [90.0, 30.0, 870.0, 500.0];

const BLACK: Rgb = [0; 3];
const GREY: Rgb = [225; 3];

/// Colours of series, one after the other.
const SERIES: [Rgb; 8] = [
    [31, 90, 160],
    [214, 96, 20],
    [40, 140, 70],
    [190, 40, 60],
    [120, 80, 170],
    [130, 90, 60],
    [200, 90, 160],
    [110; 3],
];

/// Draws the figure with its title.
pub(crate) fn draw(figure: &Figure, title: &str, canvas: &mut dyn Canvas) {
    let [left, above, right, below] = FRAME;
    canvas.text((left + right) / 2.0, above / 2.0, Anchor::Middle, title);
    let (low, high) = figure.range();
    match figure {
        Figure::Lines { series, length } => {
            let last = (*length as f64 - 1.0).max(1.0);
            axes(canvas, (0.0, last), (low, high));
            let parts = series.iter().map(Vec::len).max().unwrap_or(0).max(2) as f64 - 1.0;
            let place = |n: usize, value: f64| {
                (left + n as f64 / parts * (right - left), below - (value - low) / (high - low) * (below - above))
            };
            for (series, colour) in series.iter().zip(SERIES.iter().cycle()) {
                for (n, (least, greatest)) in series.iter().enumerate() {
                    if !(least.is_finite() && greatest.is_finite()) {
                        continue;
                    }
                    canvas.line(place(n, *least), place(n, *greatest), *colour);
                    let before = n.checked_sub(1).map(|n| series[n]).filter(|(_, value)| value.is_finite());
                    if let Some((_, value)) = before {
                        canvas.line(place(n - 1, value), place(n, *least), *colour);
                    }
                }
            }
        }
        Figure::Histogram { range, counts } => {
            axes(canvas, *range, (low, high));
            let width = (right - left) / counts.len().max(1) as f64;
            for (n, count) in counts.iter().enumerate() {
                let height = (*count as f64 - low) / (high - low) * (below - above);
                canvas.rectangle(left + n as f64 * width, below - height, (width - 1.0).max(1.0), height, SERIES[0]);
            }
        }
        Figure::Image { rows, shape } => {
            let columns = rows.first().map_or(0, Vec::len).max(1) as f64;
            let (width, height) = ((right - 60.0 - left) / columns, (below - above) / rows.len().max(1) as f64);
            for (y, row) in rows.iter().enumerate() {
                for (x, value) in row.iter().enumerate() {
                    let (x, y) = (left + x as f64 * width, above + y as f64 * height);
                    // No gap between rounded pixels.
                    let (right, below) = ((x + width).ceil(), (y + height).ceil());
                    canvas.rectangle(
                        x.floor(),
                        y.floor(),
                        right - x.floor(),
                        below - y.floor(),
                        colour((value - low) / (high - low)),
                    );
                }
            }
            let right = right - 60.0;
            frame(canvas, right);
            for tick in ticks((0.0, shape.1 as f64 - 1.0), 8) {
                canvas.text(
                    left + (tick + 0.5) / shape.1.max(1) as f64 * (right - left),
                    below + 14.0,
                    Anchor::Middle,
                    &label(tick),
                );
            }
            for tick in ticks((0.0, shape.0 as f64 - 1.0), 8) {
                canvas.text(
                    left - 8.0,
                    above + (tick + 0.5) / shape.0.max(1) as f64 * (below - above),
                    Anchor::End,
                    &label(tick),
                );
            }
            legend(canvas, right + 15.0, (low, high));
        }
    }
}

fn frame(canvas: &mut dyn Canvas, right: f64) {
    let [left, above, _, below] = FRAME;
    let corners = [(left, above), (right, above), (right, below), (left, below), (left, above)];
    corners.windows(2).for_each(|side| canvas.line(side[0], side[1], BLACK));
}

fn axes(canvas: &mut dyn Canvas, x: (f64, f64), y: (f64, f64)) {
    let [left, above, right, below] = FRAME;
    for tick in ticks(x, 8) {
        let at = left + (tick - x.0) / (x.1 - x.0) * (right - left);
        canvas.line((at, above), (at, below), GREY);
        canvas.text(at, below + 14.0, Anchor::Middle, &label(tick));
    }
    for tick in ticks(y, 6) {
        let at = below - (tick - y.0) / (y.1 - y.0) * (below - above);
        canvas.line((left, at), (right, at), GREY);
        canvas.text(left - 8.0, at, Anchor::End, &label(tick));
    }
    frame(canvas, right);
}

/// Which colour is which number.
fn legend(canvas: &mut dyn Canvas, x: f64, (low, high): (f64, f64)) {
    const STEPS: u32 = 100;
    let [_, above, _, below] = FRAME;
    let height = (below - above) / f64::from(STEPS);
    for n in 0..STEPS {
        let y = (below - f64::from(n + 1) * height).floor();
        canvas.rectangle(x, y, 12.0, (height + 1.0).ceil(), colour((f64::from(n) + 0.5) / f64::from(STEPS)));
    }
    for tick in ticks((low, high), 6) {
        let at = below - (tick - low) / (high - low) * (below - above);
        canvas.text(x + 16.0, at, Anchor::Start, &label(tick));
    }
}
