//! Pictures of numbers: what is drawn, and the papers that it is drawn on.
//!
//! The drawing is done here, not by a crate of charts: those take their letters from fonts of the system, which servers and
//! containers often lack. Numbers on the axes of a PNG are drawn by strokes.

pub(crate) mod canvas;
pub(crate) mod chart;
mod digits;
pub(crate) mod terminal;

/// What is drawn.
pub(crate) enum Figure {
    /// Series over their indices: of each part of a series the least and the greatest, NaN where there is nothing.
    Lines { series: Vec<Vec<(f64, f64)>>, length: usize },
    /// How many numbers lie in each part of a range.
    Histogram { range: (f64, f64), counts: Vec<u64> },
    /// Rows of numbers, the first above, and how many rows and columns they stand for.
    Image { rows: Vec<Vec<f64>>, shape: (usize, usize) },
}

impl Figure {
    /// The least and the greatest finite number that is drawn, never the same.
    pub(crate) fn range(&self) -> (f64, f64) {
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut add = |value: f64| {
            if value.is_finite() {
                (least, greatest) = (least.min(value), greatest.max(value));
            }
        };
        match self {
            Figure::Lines { series, .. } => series.iter().flatten().for_each(|(low, high)| {
                add(*low);
                add(*high);
            }),
            Figure::Histogram { counts, .. } => {
                add(0.0);
                counts.iter().for_each(|count| add(*count as f64));
            }
            Figure::Image { rows, .. } => rows.iter().flatten().for_each(|value| add(*value)),
        }
        apart((least, greatest))
    }
}

/// A range that is not empty.
pub(crate) fn apart((least, greatest): (f64, f64)) -> (f64, f64) {
    if least > greatest {
        (0.0, 1.0)
    } else if least == greatest {
        // Of a number beyond 2⁵³ half a unit more is the same.
        let half = (least.abs() * f64::EPSILON).max(0.5);
        (least - half, greatest + half)
    } else {
        (least, greatest)
    }
}

/// Round numbers in a range, about `count` of them.
pub(crate) fn ticks((from, to): (f64, f64), count: usize) -> Vec<f64> {
    let rough = (to - from) / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(10.0 * power);
    if !step.is_finite() || step <= 0.0 {
        return Vec::new();
    }
    let first = (from / step).ceil();
    let number = |n: f64| {
        // A decimal of a few digits, not the sum of rounded steps.
        let text = format!("{:.*e}", 6, (first + n) * step);
        text.parse().unwrap_or(0.0)
    };
    (0..=2 * count).map(|n| number(n as f64)).take_while(|tick| *tick <= to + step * 1e-6).collect()
}

/// A number on an axis.
pub(crate) fn label(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) { format!("{value:e}") } else { value.to_string() }
}

/// A colour between dark and bright for a part of a range from 0 to 1.
pub(crate) fn colour(part: f64) -> [u8; 3] {
    const STEPS: [[f64; 3]; 5] =
        [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];
    if part.is_nan() {
        return [255; 3];
    }
    let at = part.clamp(0.0, 1.0) * (STEPS.len() - 1) as f64;
    let step = (at as usize).min(STEPS.len() - 2);
    let mix = |n: usize| (STEPS[step][n] + (STEPS[step + 1][n] - STEPS[step][n]) * (at - step as f64)).round() as u8;
    [mix(0), mix(1), mix(2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((18.3, 29.24), 5), [20.0, 25.0]);
        assert_eq!(ticks((0.0, 1.0), 5), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(ticks((-1e-9, 1e-9), 4), [-1e-9, -5e-10, 0.0, 5e-10, 1e-9]);
        assert!(ticks((0.0, f64::MAX), 4).len() < 10);
    }

    #[test]
    fn ranges_pass_over_what_is_not_finite() {
        let series = vec![vec![(1.0, 2.0), (f64::NAN, f64::NAN), (0.5, f64::INFINITY)]];
        assert_eq!(Figure::Lines { series, length: 3 }.range(), (0.5, 2.0));
        assert_eq!(Figure::Image { rows: vec![vec![3.0]], shape: (1, 1) }.range(), (2.5, 3.5));
        assert_eq!(Figure::Image { rows: vec![], shape: (0, 0) }.range(), (0.0, 1.0));
    }
}
