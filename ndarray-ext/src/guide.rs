//! The guide: how to use bigarray, one page a subject. Each program in it is whole, and runs as a test.
//!
//! | page | what it answers |
//! |---|---|
//! | [`open`] | How do I open a database, and look at what is in it? |
//! | [`create`] | Which types, orders and block sizes can an array have? |
//! | [`view`] | How do I read, and what does a slice cost? |
//! | [`change`] | How do I write, and go back within a transaction? |
//! | [`commit`] | When is a change visible, and what does it survive? |
//! | [`conflict`] | What happens when two writers meet? |
//! | [`append`] | How does an array grow, and how does a reader follow it? |
//! | [`larger_than_ram`] | How do I work on more data than there is memory? |
//! | [`processes`] | What do threads and processes share? |
//! | [`compression`] | Which codec do I take? |
//! | [`reductions`] | Why is the mean of my `f32` array wrong? |
//! | [`files`] | How do I get `.npy` and other files in and out? |
//! | [`object_storage`] | How do I share arrays between machines? |
//! | [`options`] | What do I set, and when? |
//! | [`observe`] | What does the database do, and what is in memory? |
//! | [`coming_from`] | What is the call that I know from NumPy, memmap2, HDF5, Zarr or wendelin.core? |
//! | [`safety`] | What can go wrong under a view? What does Linux have to allow? |
//! | [`limits`] | How large, how many, how long? |
//! | [`faq`] | The rest |
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | page | 4 KiB: the unit in which changes are found and stored |
//! | block | 64 KiB to 2 MiB of one array: the unit in which data is loaded and conflicts are found |
//! | row | a slice along the axis that the array grows along: the first axis, or the last of a column-major array |
//! | window | some rows, taken with `rows` or `rows_mut` |
//! | snapshot | one committed state, which later commits do not change |
//! | transaction | a snapshot with private changes, which become visible together or not at all |
//! | hole | a part that was never written: it reads as zeros and takes no disk |
//! | spill | changes go to disk before the commit, because memory is short; no snapshot shows them |
//! | evict | a block leaves memory, and is loaded again when it is touched |

// Names for links.
#[cfg(doc)]
use crate::*;

#[doc = include_str!("guide/open.md")]
pub mod open {}

#[doc = include_str!("guide/create.md")]
pub mod create {}

#[doc = include_str!("guide/view.md")]
pub mod view {}

#[doc = include_str!("guide/change.md")]
pub mod change {}

#[doc = include_str!("guide/commit.md")]
pub mod commit {}

#[doc = include_str!("guide/conflict.md")]
pub mod conflict {}

#[doc = include_str!("guide/append.md")]
pub mod append {}

#[doc = include_str!("guide/larger_than_ram.md")]
pub mod larger_than_ram {}

#[doc = include_str!("guide/processes.md")]
pub mod processes {}

#[doc = include_str!("guide/compression.md")]
pub mod compression {}

#[doc = include_str!("guide/reductions.md")]
pub mod reductions {}

#[doc = include_str!("guide/files.md")]
pub mod files {}

#[doc = include_str!("guide/object_storage.md")]
pub mod object_storage {}

#[doc = include_str!("guide/options.md")]
pub mod options {}

#[doc = include_str!("guide/observe.md")]
pub mod observe {}

#[doc = include_str!("guide/coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("guide/safety.md")]
pub mod safety {}

#[doc = include_str!("guide/limits.md")]
pub mod limits {}

#[doc = include_str!("guide/faq.md")]
pub mod faq {}
