//! What a case comes to: one line of the comparison.

/// One line of the comparison.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What is measured, as the table says it.
    pub(crate) case: &'static str,
    /// What it is measured against; empty where the figure stands for itself.
    pub(crate) baseline: &'static str,
    /// What the figure counts.
    pub(crate) unit: Unit,
    /// What the figure is to be.
    pub(crate) target: Bound,
    /// The figure.
    pub(crate) figure: Spread,
    /// Medians of the two sides in seconds, where there are two: ours first.
    pub(crate) seconds: Option<(f64, f64)>,
}

/// A limit that counts as reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// Whatever it is: to be known, not to be reached.
    Any,
}

impl Bound {
    /// Whether `figure` reaches it.
    pub(crate) fn is_met(&self, figure: f64) -> bool {
        match *self {
            Bound::Most(limit) => figure <= limit,
            Bound::Least(limit) => figure >= limit,
            Bound::Any => true,
        }
    }
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The least of all rounds.
    pub(crate) low: f64,
    /// The one in the middle: what is quoted.
    pub(crate) median: f64,
    /// The greatest.
    pub(crate) high: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        assert!(!figures.is_empty(), "a case without a round");
        Spread { low: figures[0], median: figures[figures.len() / 2], high: figures[figures.len() - 1] }
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Time ours / time of the baseline.
    Ratio,
    /// Microseconds.
    Micros,
    /// Milliseconds a GiB.
    MillisPerGib,
    /// Pages of 4 KiB.
    Pages,
    /// Hundredths.
    Percent,
}
