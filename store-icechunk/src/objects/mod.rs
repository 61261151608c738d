//! Object storage: what is put, got and listed, each request within a deadline.
//!
//! | module | subject |
//! |---|---|
//! | `location` | [`Location`]: what a URL says |
//! | `runtime` | [`Runtime`]: the threads that requests run on, and the wait for one |
//! | `failure` | [`Failure`]: what may be shown of an error |
//! | `local` | a directory, in which objects are replaced on a condition |
//! | `client` | the client of each kind of storage |
//! | `guarded` | deadlines, errors and counters, laid over a client |
//! | `probe` | whether a server keeps conditions |
//! | `backend` | [`Backend`]: the same client for icechunk |
//! | `payload` | [`Objects`]: chunks |

mod backend;
mod client;
mod failure;
mod guarded;
mod local;
mod location;
mod payload;
mod probe;
mod runtime;

pub use backend::Backend;
pub use failure::{Failure, explain};
pub use guarded::Requests;
pub use location::{Location, Provider};
pub use payload::{Object, Objects};
pub use runtime::Runtime;
pub(crate) use runtime::hold_signals;
