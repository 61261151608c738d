//! Several machines on one database, and what goes wrong between them and the server: links are cut, the gateway is stopped,
//! clocks differ, machines are killed.
//!
//! A machine is a process in a network namespace of its own. Takes root, and a server of S3's protocol that listens on all
//! addresses: `BIGARRAY_TEST_URL`, `AWS_ENDPOINT_URL` and the keys name it, and `BIGARRAY_TEST_GATEWAY` the directory with
//! the file of its process id. `.ci/run cluster` starts Ceph's gateway so.

mod clocks;
mod data;
mod gateway;
mod keys;
mod links;
mod machine;
mod server;
mod together;

#[path = "../support/mod.rs"]
mod support;
