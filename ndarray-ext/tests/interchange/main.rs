//! Python's icechunk, zarr and xarray work on the same database: `steps.py`, run by the Python that `BIGARRAY_TEST_PYTHON`
//! names, which has the packages of `store-icechunk/tests/interchange/requirements.txt`.
//!
//! In a directory, or below the URL `BIGARRAY_TEST_URL`. Python's directories compare nothing before they replace it, so
//! there it commits while nothing else does.

mod conflicts;
mod elements;
mod made_by_python;
mod python;
mod turns;
mod written_here;

#[path = "../support/mod.rs"]
mod support;
