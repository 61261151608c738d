#![deny(unsafe_code)]
//! Forks: which process made a value, and what a child of it must not keep. Files that go with the process that made them.
//!
//! | module | subject |
//! |---|---|
//! | `origin` | [`Origin`]: the process that made a value |
//! | `unshared` | [`Unshared`]: a descriptor that children of `fork` lose |
//! | `per_process` | [`PerProcess`]: a static that a child has one of its own of |
//! | `word` | a word of memory that is zero in every new child |
//! | `handlers` | what is done in `fork` |
//! | `temporary` | [`TemporaryFile`]: a file that goes with its value; [`unnamed_file_in`]: one without a name |

#[cfg(not(target_os = "linux"))]
compile_error!("bigarray needs Linux");

#[allow(unsafe_code)]
mod handlers;
mod origin;
#[allow(unsafe_code)]
mod per_process;
mod temporary;
mod unshared;
#[allow(unsafe_code)]
mod word;

pub use origin::Origin;
pub use per_process::PerProcess;
pub use temporary::{TemporaryFile, unnamed_file_in};
pub use unshared::Unshared;
