//! The first failure, which sticks.

use std::fmt;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::signals;

/// The first failure of a span, a memory or a store. It sticks for as long as that lives: whatever would build on what
/// failed is refused with its kind, its text and its source.
///
/// To look at it takes no lock.
#[derive(Debug, Default)]
pub struct FirstFailure(OnceLock<Error>);

impl FirstFailure {
    /// No failure yet.
    pub const fn new() -> FirstFailure {
        FirstFailure(OnceLock::new())
    }

    /// Keeps `failure` if it is the first. Returns the first.
    pub fn set(&self, failure: Error) -> &Error {
        // A second thread waits here for the first, and may resolve the fault of a handler in that one.
        let _held = signals::hold();
        self.0.get_or_init(|| failure)
    }

    /// The first failure.
    pub fn get(&self) -> Option<&Error> {
        self.0.get()
    }

    /// Refuses after a failure.
    ///
    /// # Errors
    /// The first failure, with `context` in front.
    pub fn check(&self, context: impl fmt::Display) -> Result<()> {
        self.get().map_or(Ok(()), |first| Err(first.clone().context(context)))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;

    #[test]
    fn the_first_failure_sticks_with_kind_text_and_source() {
        let failure = FirstFailure::new();
        assert!(failure.get().is_none() && failure.check("refused").is_ok());
        failure.set(Error::io("writing", io::ErrorKind::StorageFull.into()));
        assert!(failure.set(Error::io("reading", io::ErrorKind::NotFound.into())).is_store_full());
        for _ in 0..2 {
            let error = failure.check("refused").unwrap_err();
            assert!(error.is_store_full() && error.to_string().starts_with("refused: writing: "), "{error}");
            let source: &io::Error = error.source().and_then(|source| source.downcast_ref()).unwrap();
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        }
        assert!(!failure.get().unwrap().to_string().contains("refused"));
    }
}
