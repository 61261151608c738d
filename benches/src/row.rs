//! What a case comes to: one line of a table.

/// One line of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is measured, as the table says it.
    pub case: &'static str,
    /// What it is measured against; empty where the figure stands for itself.
    pub baseline: &'static str,
    /// What the figure counts.
    pub unit: Unit,
    /// What the figure is to be.
    pub target: Bound,
    /// The figure.
    pub figure: Spread,
    /// Medians of the two sides in seconds, where there are two: ours first.
    pub seconds: Option<(f64, f64)>,
}

/// A limit that counts as reached.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// Whatever it is: to be known, not to be reached.
    Any,
}

impl Bound {
    /// Whether `figure` reaches it.
    pub fn is_met(&self, figure: f64) -> bool {
        match *self {
            Bound::Most(limit) => figure <= limit,
            Bound::Least(limit) => figure >= limit,
            Bound::Any => true,
        }
    }
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The least of all rounds.
    pub low: f64,
    /// The one in the middle: what is quoted.
    pub median: f64,
    /// The greatest.
    pub high: f64,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        assert!(!figures.is_empty(), "a case without a round");
        Spread { low: figures[0], median: figures[figures.len() / 2], high: figures[figures.len() - 1] }
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
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
    /// Requests that follow each other.
    RoundTrips,
    /// Requests.
    Requests,
    /// Transactions.
    Commits,
    /// 10⁶ bytes.
    Megabytes,
}
