//! The space of a transaction in the data file: the allocator on the tables of a write transaction, pages that are claimed
//! before a commit, claims and freed pages that are reclaimed, room on a full disk, and what all of it is used for.

mod claim;
mod full_disk;
mod reclaim;
mod txn_space;
mod unused;
mod usage;

pub(crate) use claim::{Claim, ClaimCommit, ClaimWriter};
pub(crate) use full_disk::with_room;
pub(crate) use reclaim::{reclaim_space, sweep_at_opening};
pub(crate) use txn_space::TxnSpace;
pub(crate) use usage::usage;
