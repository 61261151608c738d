#![deny(unsafe_code)]
//! bigarray's memory on Linux: [`UffdMemory`] implements [`bigarray_core::memory::Memory`].
//!
//! A span is a reserved range of addresses, registered with a userfaultfd. The first access to a missing page waits in
//! the kernel; the monitor thread reads of it and asks the pager, which lays zero memory, a file mapping or copied
//! bytes over the range and wakes. This crate is the only one that makes such calls, and unsafe code is confined to
//! two modules: `mapping` (address ranges) and `ioctl` (what neither nix nor the crate `userfaultfd` has).
//!
//! | module | subject |
//! |---|---|
//! | `options`, `memory` | what a user of the crate sees |
//! | `inner` | what a memory and its spans have in common |
//! | `span` | one reserved range |
//! | `span/install`, `span/stores`, `span/moved` | what is laid over it; stores to it; pages taken out of it |
//! | `monitor`, `threads`, `spans` | faults: the thread that reads them, those that load, the pager of an address |
//! | `jobs` | which of the pager's jobs is run next |
//! | `write_protect` | stores wait, so that memory may be taken away under its readers |
//! | `pagemap` | which pages were written |
//! | `write_tracking` | async write tracking: finding them faster |
//! | `read_ahead` | files into the page cache |
//! | `probe`, `self_test` | what this kernel lets this process do |
//! | `description` | what a memory is made of, for people |
//! | `available` | how much memory there is: the machine's, or a cgroup's |
//! | `limits` | the number of mappings |
//! | `shortage` | errors that name the limit to raise, and whether it helps to try again |
//! | `mapping`, `ioctl`, `memory_file` | system calls |
//! | `signals` | none arrives while its thread has what a fault needs |
//! | `stderr` | messages to standard error that take no lock |

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("bigarray needs Linux and 64-bit addresses");

mod aside;
mod available;
mod description;
mod inner;
#[allow(unsafe_code)]
mod ioctl;
mod jobs;
mod limits;
#[allow(unsafe_code)]
mod mapping;
mod memory;
mod memory_file;
mod monitor;
mod options;
mod pagemap;
mod probe;
mod read_ahead;
mod self_test;
mod shortage;
mod signals;
mod span;
mod spans;
mod stderr;
mod threads;
mod write_protect;
mod write_tracking;

pub use available::memory_limit_bytes;
pub use description::{FaultMode, MemoryDescription};
pub use memory::UffdMemory;
pub use options::{MemoryOptions, Pagemap, Userfaultfd};
