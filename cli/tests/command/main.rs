//! The command `bigarray` as people use it: the real binary, in temporary directories.

mod ending;
mod files;
mod looking;
mod numbers;
mod support;
mod whole;
