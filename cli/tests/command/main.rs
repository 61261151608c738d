//! The command `bigarray` as people use it: the real binary, in temporary directories.

mod files;
mod looking;
mod support;
