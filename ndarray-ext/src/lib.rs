#![cfg_attr(docsrs, feature(doc_cfg))]
//! Out-of-core, transactional [`ndarray`]: arrays live in a database, are larger than RAM if they like, and are used as
//! plain `ArrayView`s and `ArrayViewMut`s by any ndarray or rayon code. Pages arrive when they are touched, changed
//! pages are found by the hardware, and a transaction commits them atomically or drops them.
//!
//! Works with **ndarray 0.17**, re-exported as [`bigarray::ndarray`](crate::ndarray): a view of another version of
//! ndarray is another type.
//!
//! ```
//! use bigarray::Database;
//! use bigarray::ndarray::{Array2, Axis, Ix2};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path();
//! let db = Database::open(dir.join("climate.bigarray"))?;
//!
//! // Change: what a transaction does becomes visible all at once, or not at all.
//! let txn = db.begin()?;
//! let mut sst = txn.create::<f64, _>("sst", (0, 12))?; // a row a year, grows along axis 0
//! sst.append(Axis(0), Array2::from_elem((60, 12), 20.0).view())?;
//! sst.view_mut().row_mut(59).mapv_inplace(|t| t + 1.5);
//! drop(sst);
//! txn.commit()?;
//!
//! // Read: an array owns its snapshot, and is not disturbed by what others commit.
//! let sst = db.array::<f64, Ix2>("sst")?;
//! assert_eq!(sst.view().mean_axis(Axis(1)).unwrap()[59], 21.5);
//! # Ok::<(), bigarray::Error>(())
//! ```
//!
//! # Handles
//!
//! | | |
//! |---|---|
//! | [`Database`] | a directory; `Clone`, shared by threads |
//! | [`Transaction`] | a snapshot with private changes; [`commit`](Transaction::commit) or nothing |
//! | [`BigArrayMut`] | an array open in a transaction; borrows it |
//! | [`Snapshot`] | a committed state, for reading |
//! | [`BigArray`] | an array of a snapshot; owns it, `Clone`, `'static` |
//!
//! # Isolation
//!
//! Isolation is *snapshot isolation*. A transaction sees the state it began with, and its own changes. Of two
//! transactions that change the same block of an array (2 MiB of it, or what
//! [`block_size`](ArrayOptions::block_size) says), the first to commit wins and the other gets
//! [`is_conflict`](Error::is_conflict); different blocks both land. One rule says what a change is:
//!
//! **A store counts as a change, whatever was stored.** Storing the value that was there is a change. Changing
//! something and changing it back is a change, too: a block that is all zeros again, an attribute with its old value,
//! an array with its old length or name. Reading is none. (A database on object storage need not count a store of the
//! bytes that were there.)
//!
//! | a transaction that | conflicts if another one has since |
//! |---|---|
//! | stores to a block | stored to that block; resized, reshaped, renamed or removed the array |
//! | shrinks the array | the same of any block that it cuts off or ends in |
//! | grows or reshapes it | resized, reshaped, renamed or removed it |
//! | sets an attribute | set that attribute; renamed or removed the array |
//! | removes or renames it | changed anything of it: elements, shape, attributes, name |
//! | gives a name to an array | given it to another, which still has it |
//! | [depends](BigArrayMut::depend_on) on rows | stored to their blocks; shrunk, reshaped, renamed or removed the array |
//!
//! This holds however blocks come into memory and are stored, with two exceptions, in which a store cannot be told from
//! a read: where zeros are stored to a block that was never anything but zeros, and the system keeps memory in larger
//! pieces than the block ([`block_size`](ArrayOptions::block_size) less than 2 MiB), merged or swapped the pages, or
//! gives readers memory of their own (`use_zero_page` of its huge pages is 0); and where a process without kernel
//! faults ([below](#linux)) [`prefetch`]ed a copied block to write to and stored the bytes that were there. Such a
//! store counts as a read.
//!
//! Elements that a transaction only *read* do not count, so two of them can each rely on what the other changes. This
//! is called write skew:
//!
//! ```
//! # use bigarray::{Database, ndarray::Ix1};
//! # let dir = tempfile::tempdir().unwrap();
//! # let db = Database::open(dir.path().join("a.bigarray"))?;
//! # db.transact(|txn| {
//! #     txn.create::<u8, _>("alice_on_call", 1)?.view_mut()[0] = 1;
//! #     txn.create::<u8, _>("bob_on_call", 1)?.view_mut()[0] = 1;
//! #     Ok(())
//! # })?;
//! // Two doctors are on call, and each may leave as long as the other stays.
//! let (alice, bob) = (db.begin()?, db.begin()?);
//! if alice.array::<u8, Ix1>("bob_on_call")?.view()[0] == 1 {
//!     alice.array::<u8, Ix1>("alice_on_call")?.view_mut()[0] = 0;
//! }
//! if bob.array::<u8, Ix1>("alice_on_call")?.view()[0] == 1 {
//!     bob.array::<u8, Ix1>("bob_on_call")?.view_mut()[0] = 0;
//! }
//! alice.commit()?;
//! bob.commit()?; // No conflict: they changed different arrays. No doctor is on call now.
//! # Ok::<(), bigarray::Error>(())
//! ```
//!
//! [`depend_on`](BigArrayMut::depend_on) makes a read count:
//!
//! ```
//! # use bigarray::{Database, ndarray::Ix1};
//! # let dir = tempfile::tempdir().unwrap();
//! # let db = Database::open(dir.path().join("a.bigarray"))?;
//! # db.transact(|txn| {
//! #     txn.create::<u8, _>("alice_on_call", 1)?.view_mut()[0] = 1;
//! #     txn.create::<u8, _>("bob_on_call", 1)?.view_mut()[0] = 1;
//! #     Ok(())
//! # })?;
//! let (alice, bob) = (db.begin()?, db.begin()?);
//! for (txn, mine, other) in [(&alice, "alice_on_call", "bob_on_call"), (&bob, "bob_on_call", "alice_on_call")] {
//!     let mut colleague = txn.array::<u8, Ix1>(other)?;
//!     colleague.depend_on(..)?;
//!     if colleague.view()[0] == 1 {
//!         txn.array::<u8, Ix1>(mine)?.view_mut()[0] = 0;
//!     }
//! }
//! alice.commit()?;
//! assert!(bob.commit().unwrap_err().is_conflict()); // Alice has left.
//! # assert_eq!(db.array::<u8, Ix1>("bob_on_call")?.view()[0], 1);
//! # Ok::<(), bigarray::Error>(())
//! ```
//!
//! # Order and cost
//!
//! A row-major array (the default) grows along its first axis, a column-major one along its last. A read costs the
//! blocks that it touches: with [`Access::Random`] these are loaded, and of them the touched pages come from the disk
//! (whole blocks with [`Pager::Copy`]). Of an array of shape `(i, j, k)`:
//!
//! | plane | row-major | column-major | example |
//! |---|---|---|---|
//! | `[n, .., ..]` | one run of `j × k` elements | single elements, all over the array | 32 / 8192 pages, 2 / 512 blocks |
//! | `[.., n, ..]` | `i` runs of `k` elements | `k` runs of `i` elements | 256 pages, 256 blocks either way |
//! | `[.., .., n]` | single elements, all over the array | one run of `i × j` elements | 8192 / 32 pages, 512 / 2 blocks |
//!
//! (The example: `f32`, shape `(256, 128, 256)`, which is 32 MiB, in blocks of 64 KiB; row-major / column-major.)
//! Planes of single elements less than a page apart cost as much as the whole array. If most reads are of such planes,
//! store the array in the other order; if both kinds are needed, store it twice.
//!
//! Without a hint a first touch maps the 64 MiB around it, as far as they lie together in the file, and reads them
//! ahead: right for sequential reads, much too much for rows here and there. [`advise`](BigArray::advise) says which.
//! [`blocks`](BigArray::blocks) gives ranges of rows that match the blocks.
//!
//! # Beyond memory
//!
//! Arrays may be larger than memory, and so may what one transaction changes: beyond the
//! [`memory_budget`](OpenOptions::memory_budget) changes are spilled: they go to the data file before the commit, where
//! no snapshot shows them, and come back when they are touched. A subset of a large matrix, copied in batches:
//!
//! ```
//! use bigarray::Database;
//! use bigarray::ndarray::{Axis, Ix2, s};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("a.bigarray");
//! let db = Database::options().memory_budget(64 << 20).open(path)?;
//! # db.transact(|txn| { txn.create::<f32, _>("cells", (20_000, 50))?.view_mut().fill(0.5); Ok(()) })?;
//! let txn = db.begin()?;
//! let cells = txn.array::<f32, Ix2>("cells")?;
//! let mut subset = txn.create::<f32, _>("subset", (0, cells.shape()[1]))?;
//! const BATCH: usize = 3 * 4096;
//! for start in (0..cells.shape()[0]).step_by(BATCH) {
//!     let window = cells.rows(start..cells.shape()[0].min(start + BATCH))?;
//!     subset.append(Axis(0), window.slice(s![..;3, ..]))?; // every third row
//! }
//! assert_eq!(subset.shape(), [20_000_usize.div_ceil(3), 50]);
//! drop((cells, subset));
//! txn.commit()?;
//! # Ok::<(), bigarray::Error>(())
//! ```
//!
//! [`flush`](BigArrayMut::flush) spills at once; [`savepoint`](Transaction::savepoint) does, too, and gives a
//! state to go back to.
//!
//! # Codecs
//!
//! Blocks are stored as they are unless [`ArrayOptions::codec`] says otherwise:
//!
//! | codec | when |
//! |---|---|
//! | [`Codec::None`] | the default: stored blocks are mapped, so reading them costs no memory and no copy, and a change of a page stores a page |
//! | [`Codec::Lz4`] | the disk is slower than a processor: more than a GB/s a core is decompressed |
//! | [`Codec::Zstd`] | room matters most: smaller, several times slower to read; level 3 is common, higher ones are slow to write |
//! | either with `shuffle: true` | numbers that vary slowly from one to the next: bytes are first sorted by their place in the number, so that nearly equal ones lie together |
//!
//! Compressed blocks are decompressed when they are touched, into memory that counts against the
//! [`memory_budget`](OpenOptions::memory_budget), and every byte is compared with its checksum. For a sequential reader
//! the next ones are decompressed meanwhile. A block that does not shrink by an eighth is stored plain and mapped, and
//! so is one of which less than 32 KiB, or less than a quarter, has been written. So are pages that change later: a
//! transaction that changes one page of a compressed block stores that page.
//!
//! LZ4 and Zstandard are the cargo features `lz4` and `zstd`, both on by default.
//!
//! ```
//! use bigarray::{ArrayOptions, Codec, Database};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let db = Database::open(dir.path().join("a.bigarray"))?;
//! let smooth = ArrayOptions::new().codec(Codec::Lz4 { shuffle: true });
//! db.transact(|txn| {
//!     let mut a = txn.create_with::<f32, _>("temperature", (100, 1000), &smooth)?;
//!     a.view_mut().indexed_iter_mut().for_each(|((y, x), t)| *t = 10.0 + (y + x) as f32 * 0.01);
//!     Ok(())
//! })?;
//! # Ok::<(), bigarray::Error>(())
//! ```
//!
//! # Safety
//!
//! All of this is safe Rust, under one assumption, the usual one for files that are mapped: **nothing but bigarray
//! writes to a database's files while they are in use.** A program that overwrites or truncates them changes memory
//! under live references.
//!
//! Where storage fails inside a view there is no `Result` to return: the access ends the process with a signal
//! (SIGBUS), after a message that names array, block and cause; without one where the disk fails to read what is mapped
//! already, which the kernel finds by itself. It never sees other bytes than were stored, as far as the disk gives back
//! what it was given: mapped pages are compared with their checksums only if [`verify`](OpenOptions::verify) says so.
//! [`prefetch`] finds the same failures as errors. Storage beyond a network that does not answer is asked again for as
//! long as [`patience`](OpenOptions::patience) says before the access ends the process.
//!
//! After `fork` a database is refused in the child, and touching a view of the parent's ends it (SIGSEGV).
//!
//! # Linux
//!
//! Needs userfaultfd to load lazily. A process that may use it only in *user mode* (unprivileged, without access to
//! `/dev/userfaultfd`) cannot have the kernel itself load pages: a system call that is handed a view's memory fails
//! with EFAULT unless those rows were [`prefetch`]ed. [`write_to`](BigArray::write_to) does that by itself. A process
//! that may not use it at all maps arrays whole when they are opened.
//!
//! [`prefetch`]: BigArray::prefetch

mod aliases;
mod array;
mod array_mut;
mod blocks;
mod budget;
mod database;
mod element;
mod from_npy;
mod grow;
mod handle;
mod history;
mod home;
mod info;
mod layout;
mod npy;
mod options;
mod process;
mod python;
#[cfg(feature = "icechunk")]
mod remote;
mod snapshot;
mod transact;
mod transaction;
mod view;

pub use aliases::{
    BigArray1, BigArray2, BigArray3, BigArray4, BigArray5, BigArray6, BigArrayD, BigArrayMut1, BigArrayMut2,
    BigArrayMut3, BigArrayMut4, BigArrayMut5, BigArrayMut6, BigArrayMutD,
};
pub use array::BigArray;
pub use array_mut::BigArrayMut;
pub use bigarray_core::store::{Commit, Compacted};
pub use bigarray_core::{
    Access, Codec, Damage, Error, ErrorKind, MemoryUse, Progress, Report, Result, Savepoint, Version,
};
#[cfg(feature = "icechunk")]
pub use bigarray_store_icechunk::Credentials;
pub use bigarray_store_lmdb::Durability;
pub use blocks::{Blocks, ParBlocks};
pub use database::Database;
pub use element::Element;
#[doc(hidden)]
pub use element::{Field, describe_field};
#[cfg(feature = "half")]
pub use half;
pub use info::ArrayInfo;
pub use options::{ArrayOptions, OpenOptions, Pager};
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
