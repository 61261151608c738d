//! Arrays as Zarr v3 has them: metadata, chunk grids, codecs. No input or output.

mod blosc;
mod codec;
mod dtype;
mod grid;
mod group;
mod json;
mod metadata;
mod names;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use codec::Chain;
pub(crate) use codec::DECODING;
pub(crate) use grid::{Grid, Piece};
pub(crate) use group::Group;
pub(crate) use metadata::{Metadata, check_fill};
pub(crate) use names::{check_array_name, check_attr_name, name_of, path_of};
