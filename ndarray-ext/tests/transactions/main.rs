//! Transactions: all or nothing, isolation, conflicts, savepoints, waiting to commit.

mod atomicity;
mod commit_lock;
mod conflicts;
mod isolation;
mod random_transactions;
mod savepoint_model;
mod savepoints;

#[path = "../support/mod.rs"]
mod support;
