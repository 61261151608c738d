//! What a verification of everything stored tells while it runs, and in the end.

use std::fmt;

/// How far a verification is, or a copy, or another call that takes long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of stored elements that were read and compared so far, as they are stored.
    pub done_bytes: u64,
    /// Bytes that there are in all. 0 while the index is looked at, whose records tell the number.
    pub total_bytes: u64,
}

impl Progress {
    /// `done_bytes` of `total_bytes`.
    pub fn new(done_bytes: u64, total_bytes: u64) -> Progress {
        Progress { done_bytes, total_bytes }
    }
}

/// Stored bytes, or a record, that are not as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Name of the array that it is part of; `None` where it is part of none, or of no single one.
    pub array: Option<String>,
    /// The array's block, counted from 0 in the order of storage; `None` where no single one is damaged.
    pub block: Option<u64>,
    /// The damage in words, with the values.
    pub what: String,
}

impl Damage {
    /// Damage of no array.
    pub fn new(what: impl Into<String>) -> Damage {
        Damage { array: None, block: None, what: what.into() }
    }

    /// Damage of an array.
    pub fn of_array(name: &str, what: impl Into<String>) -> Damage {
        Damage { array: Some(name.to_owned()), block: None, what: what.into() }
    }

    /// Damage of a block of an array.
    pub fn of_block(name: &str, block: u64, what: impl Into<String>) -> Damage {
        Damage { array: Some(name.to_owned()), block: Some(block), what: what.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.array, self.block) {
            (Some(array), Some(block)) => write!(f, "array {array:?}, block {block}: {}", self.what),
            (Some(array), None) => write!(f, "array {array:?}: {}", self.what),
            (None, _) => f.write_str(&self.what),
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it tells what is damaged"]
pub struct Report {
    damages: Vec<Damage>,
    more: u64,
    verified_bytes: u64,
}

impl Report {
    /// A report of `damages`, and of `more` that are not listed, after `verified_bytes` were read.
    pub fn new(damages: Vec<Damage>, more: u64, verified_bytes: u64) -> Report {
        Report { damages, more, verified_bytes }
    }

    /// Whether everything is as it was written.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty() && self.more == 0
    }

    /// What is not as it was written, in the order of arrays' names and blocks, after what is part of no array. At most
    /// 1,000; [`more_damages`](Report::more_damages) counts the rest.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// How many damages are not listed.
    pub fn more_damages(&self) -> u64 {
        self.more
    }

    /// Bytes of stored elements that were read and compared with their checksums, as they are stored.
    pub fn verified_bytes(&self) -> u64 {
        self.verified_bytes
    }
}
