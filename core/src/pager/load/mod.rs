//! Loading: the life of a fault, how far one reaches, and what is laid into memory.

pub(crate) mod fault;
pub(crate) mod install;
pub(crate) mod loading;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod readahead;
pub(crate) mod streams;
