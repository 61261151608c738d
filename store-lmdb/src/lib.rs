//! bigarray's store: an LMDB index and a data file, format version 2.
//!
//! ```text
//! index        LMDB: all that must be atomic
//! index-lock   LMDB's lock and reader table
//! data         payload: page-aligned extents in 2 MiB chunks, nothing else
//! ```
//!
//! A commit first writes its payload, to pages of `data` to which no snapshot refers; then one LMDB transaction makes it
//! visible.
//!
//! Modules, from the top down; each uses those below it only:
//!
//! ```text
//! store                              the store as core sees it
//! opening                            opening a database
//! check                              the consistency check
//! commit                             a commit
//! spill                              pages that leave memory before the commit
//! space                              the space of a transaction: claims, reclaiming, a full disk
//! snapshot                           a committed state
//! description                        what there is to say of it
//! shared                             an open database
//! closing, dead_readers, durability  closing; killed readers; surviving a power loss
//! reading, checked                   pages of a block; arrays found complete
//! queue                              commits that wait for their turn
//! data, index                        the two files
//! record, locks                      records as bytes; files, locks and processes of a directory
//! alloc, codec                       the allocator; compression: pure
//! options, calls, crash
//! ```

mod alloc;
mod calls;
mod check;
mod checked;
mod closing;
mod codec;
mod commit;
mod crash;
mod data;
mod dead_readers;
mod description;
mod durability;
mod index;
mod locks;
mod opening;
mod options;
mod queue;
mod reading;
mod record;
mod shared;
mod snapshot;
mod space;
mod spill;
mod store;

pub use check::CheckReport;
pub use index::{is_index_full, lmdb_version};
pub use options::{Durability, Options};
pub use store::LmdbStore;
