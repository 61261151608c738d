//! The command `bigarray` as people use it: the real binary, in temporary directories.

mod ending;
mod files;
mod help;
mod looking;
mod numbers;
mod pictures;
mod support;
mod text;
mod whole;
