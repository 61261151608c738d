//! Measuring: the two sides in turn, and the median of the ratios of neighbours. These survive a machine that others
//! slow down for a while; a ratio of two medians, or of two minima, does not.

use std::time::Instant;

use crate::Outcome;
use crate::row::{Bound, Row, Spread, Unit};

/// Seconds of both sides, round by round.
pub struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    /// `ours` and `theirs` in turn, `n` times after one round that is not counted. Each gives the seconds it took.
    pub fn run(
        n: usize,
        mut ours: impl FnMut() -> Outcome<f64>,
        mut theirs: impl FnMut() -> Outcome<f64>,
    ) -> Outcome<Rounds> {
        let mut rounds = Vec::new();
        for _ in 0..=n {
            rounds.push((ours()?, theirs()?));
        }
        rounds.remove(0);
        Ok(Rounds(rounds))
    }

    /// Time ours / time theirs, of each round.
    pub fn ratios(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|(ours, theirs)| ours / theirs)
    }

    fn seconds(&self) -> Option<(f64, f64)> {
        let ours = Spread::of(self.0.iter().map(|(ours, _)| *ours)).median;
        let theirs = Spread::of(self.0.iter().map(|(_, theirs)| *theirs)).median;
        Some((ours, theirs))
    }

    /// The ratio of times as a line of a table.
    pub fn row(&self, case: &'static str, baseline: &'static str, at_most: f64) -> Row {
        let figure = Spread::of(self.ratios());
        Row { case, baseline, unit: Unit::Ratio, target: Bound::Most(at_most), figure, seconds: self.seconds() }
    }

    /// The same as a ratio of speeds.
    pub fn speed(&self, case: &'static str, baseline: &'static str, at_least: f64) -> Row {
        let figure = Spread::of(self.ratios().map(|ratio| 1.0 / ratio));
        Row { case, baseline, unit: Unit::Ratio, target: Bound::Least(at_least), figure, seconds: self.seconds() }
    }
}

/// A line whose figure stands for itself.
pub fn alone(case: &'static str, unit: Unit, target: Bound, figures: impl IntoIterator<Item = f64>) -> Row {
    Row { case, baseline: "", unit, target, figure: Spread::of(figures), seconds: None }
}

/// What `f` gives, and the seconds it took.
pub fn timed<R>(f: impl FnOnce() -> R) -> (R, f64) {
    let start = Instant::now();
    let result = f();
    (result, start.elapsed().as_secs_f64())
}
