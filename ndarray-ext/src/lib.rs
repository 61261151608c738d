#![cfg_attr(docsrs, feature(doc_cfg))]
//! Out-of-core, transactional [`ndarray`]: an array lives in a database on disk, may be larger than RAM, and is used as
//! a plain `ArrayView` or `ArrayViewMut` by any ndarray or rayon code. Pages are loaded when they are touched, the kernel
//! tells which ones were written to, and a transaction commits them all or drops them.
//!
//! ```
//! use bigarray::ndarray::{Array2, Axis, Ix2};
//! use bigarray::{Database, Result};
//!
//! fn main() -> Result<()> {
//! #   let dir = tempfile::tempdir().unwrap();
//! #   std::env::set_current_dir(&dir).unwrap();
//!     let db = Database::open("climate.bigarray")?; // a directory; created if there is none
//!
//!     // Change: what a transaction does becomes visible all at once, or not at all.
//!     let txn = db.begin()?;
//!     let mut sst = txn.open_or_create::<f64, _>("sst", (0, 12))?; // `_`: the shape's type. One that is there keeps its shape
//!     sst.append(Axis(0), Array2::from_elem((60, 12), 20.0).view())?;
//!     sst.view_mut().row_mut(59).mapv_inplace(|celsius| celsius + 1.5);
//!     drop(sst); // an open array borrows its transaction
//!     txn.commit()?;
//!
//!     // Read: an array owns its snapshot, and later commits do not change it.
//!     let sst = db.array::<f64, Ix2>("sst")?;
//!     println!("{:?}, mean of the last year {}", sst.shape(), sst.view().mean_axis(Axis(1)).unwrap()[59]);
//! #   assert_eq!((sst.shape(), sst.view().mean_axis(Axis(1)).unwrap()[59]), (&[60, 12][..], 21.5));
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! [60, 12], mean of the last year 21.5
//! ```
//!
//! | handle | what it is |
//! |---|---|
//! | [`Database`] | an open directory; `Clone`, shared by threads |
//! | [`Snapshot`] | one committed state, to read |
//! | [`BigArray`] | an array of a snapshot, to read; owns it, `Clone`, `'static` |
//! | [`Transaction`] | a snapshot with private changes; [`commit`](Transaction::commit) makes them visible together, dropping it forgets them |
//! | [`BigArrayMut`] | an array in a transaction, to read and write; borrows it |
//! | [`AnyArray`], [`AnyArrayMut`] | the two kinds of arrays where the program does not know the type of the elements |
//! | [`Bool`], [`impl_element!`] | elements for `bool`, and for structs of your own |
//!
//! Where another transaction has changed the same block first, `commit` returns an error for which
//! [`is_conflict`](Error::is_conflict) is true. [`Database::transact`] runs a closure, commits, and runs it again after a
//! conflict. The [words](guide#words) page, block, row and hole are used throughout.
//!
//! # Where to go on
//!
//! The [`guide`] has one page a subject, with whole programs: [open](guide::open), [create](guide::create),
//! [view](guide::view), [change](guide::change), [commit](guide::commit), [conflict](guide::conflict),
//! [append](guide::append), [more data than RAM](guide::larger_than_ram), [threads and processes](guide::processes),
//! [compression](guide::compression), [sums of `f32`](guide::reductions), [`.npy` and other files](guide::files),
//! [object storage](guide::object_storage), [what to set when](guide::options), [metrics, events, what is in memory](guide::observe).
//! If you know NumPy's memmap, memmap2, HDF5 or Zarr, read [their call, and ours](guide::coming_from). There are a
//! [list of limits](guide::limits) and a [FAQ](guide::faq).
//!
//! # What it needs
//!
//! 64-bit Linux with pages of 4 KiB, a local file system, Rust 1.88 or later and a C compiler. Pages are loaded on touch by
//! the kernel's *userfaultfd*. Where a process may not use it, as in many containers, arrays are
//! [mapped whole when they are opened](guide::safety#what-linux-lets-a-process-do). It works
//! with **ndarray 0.17**, re-exported as [`bigarray::ndarray`](crate::ndarray): a view of another version of ndarray is
//! another type.
//!
//! | feature | adds |
//! |---|---|
//! | `lz4`, `zstd` (default) | compression of arrays with LZ4 and Zstandard ([which to take](guide::compression)) |
//! | `half` | elements of the types `f16` and `bf16` |
//! | `icechunk` | [object storage](guide::object_storage); takes Rust 1.95 |
//!
//! # Safety
//!
//! The interface is safe Rust under one assumption, the usual one for files that are mapped: **nothing but bigarray writes
//! to a database's files while they are in use.** Where storage fails inside a view, the access ends the process by a signal
//! after a message; [`prefetch`](BigArray::prefetch) finds the same failure as an error. [More](guide::safety).

mod aliases;
mod any_array;
mod any_array_mut;
mod array;
mod array_mut;
mod array_options;
mod blocks;
mod boolean;
mod bools;
mod budget;
mod compute;
mod database;
mod description;
mod dtype;
mod element;
mod follow;
mod from_npy;
mod grow;
pub mod guide;
mod handle;
mod history;
mod home;
mod info;
mod layout;
mod npy;
mod options;
mod prefetch;
mod process;
mod python;
#[cfg(feature = "icechunk")]
mod remote;
mod removal;
mod snapshot;
mod space;
mod transact;
mod transaction;
mod view;

pub use aliases::{
    BigArray1, BigArray2, BigArray3, BigArray4, BigArray5, BigArray6, BigArrayD, BigArrayMut1, BigArrayMut2,
    BigArrayMut3, BigArrayMut4, BigArrayMut5, BigArrayMut6, BigArrayMutD,
};
pub use any_array::AnyArray;
pub use any_array_mut::AnyArrayMut;
pub use array::BigArray;
pub use array_mut::BigArrayMut;
pub use array_options::ArrayOptions;
pub use bigarray_core::store::{Commit, Compacted, OldestSnapshot, Space};
pub use bigarray_core::{
    Access, Codec, Damage, Error, ErrorKind, MemoryUse, Metrics, Progress, Report, Result, Savepoint, Version,
};
#[cfg(feature = "icechunk")]
pub use bigarray_store_icechunk::Credentials;
pub use bigarray_store_lmdb::Durability;
pub use bigarray_uffd::FaultMode;
pub use blocks::{Blocks, ParBlocks};
pub use boolean::Bool;
pub use compute::{BlockViews, Histogram, Number};
pub use database::Database;
pub use description::Description;
pub use dtype::{DtypeField, dtype_fields};
pub use element::Element;
#[doc(hidden)]
pub use element::{Field, describe_field};
#[cfg(feature = "half")]
pub use half;
pub use info::ArrayInfo;
pub use npy::NpyHeader;
pub use options::{OpenOptions, Pager};
pub use prefetch::Prefetch;
pub use snapshot::Snapshot;
pub use transaction::Transaction;
pub use {bytemuck, ndarray, num_complex, serde_json};

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The examples of the page about object storage, compiled.
#[cfg(all(doctest, feature = "icechunk"))]
#[doc = include_str!("../../docs/cluster.md")]
struct Cluster;
