//! What the comparisons share: rounds that are measured in turn, and the table of what comes of them.

pub mod baseline;
pub mod machine;
pub mod rounds;
pub mod row;
pub mod table;

use std::error::Error;

/// What may fail in a measurement.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
