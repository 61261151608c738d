//! Work over whole arrays: in parallel, block by block, within the memory budget, with errors of storage as values.

mod accumulate;
mod block_views;
mod copy;
mod fill_from;
mod histogram;
mod lanes;
mod number;
mod reduce;
mod shift;
mod transpose;
mod walk;

pub use block_views::BlockViews;
pub use histogram::Histogram;
pub use number::Number;
