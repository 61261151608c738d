//! Errors of Icechunk as errors of bigarray: which kind, where, and what was asked for.

use std::error::Error as StdError;
use std::fmt::Display;

use bigarray_core::{Error, ErrorKind, Result};
use icechunk::error::ICError;
use icechunk::format::IcechunkFormatErrorKind;
use icechunk::repository::RepositoryErrorKind;
use icechunk::session::SessionErrorKind;
use icechunk::storage::StorageErrorKind;

use crate::objects::Failure;

/// An error of Icechunk that is told as one of bigarray.
pub(crate) trait Located<T> {
    /// The same; the error says that it is about `what` in the repository at `url`.
    ///
    /// # Errors
    /// The error, if it is one.
    fn at(self, url: &str, what: impl Display) -> Result<T>;
}

impl<T, K: Kind + StdError + 'static> Located<T> for Result<T, ICError<K>> {
    fn at(self, url: &str, what: impl Display) -> Result<T> {
        self.map_err(|error| match Failure::find(&error) {
            Some(failure) => {
                let error = Error::from(failure).context(what);
                // Neither is about what the caller asked for: what is missing is a part of a state, and a condition that
                // Icechunk does not know of is one to be tried again.
                match error.kind() {
                    ErrorKind::NotFound => Error::new(ErrorKind::Corrupt, error.to_string()),
                    ErrorKind::Conflict => Error::new(ErrorKind::Unavailable, error.to_string()),
                    _ => error,
                }
            }
            // Not the error itself: its text has the spans of a trace, line by line.
            None => Error::new(error.kind.kind(), format!("{url}: {what}: {}", error.kind)),
        })
    }
}

/// A kind of error that Icechunk has.
pub(crate) trait Kind: Display {
    /// The kind of bigarray that fits best.
    fn kind(&self) -> ErrorKind;
}

impl Kind for StorageErrorKind {
    fn kind(&self) -> ErrorKind {
        match self {
            StorageErrorKind::ObjectNotFound => ErrorKind::Corrupt,
            StorageErrorKind::BadPrefix(_) | StorageErrorKind::CannotParseUrl { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        }
    }
}

impl Kind for IcechunkFormatErrorKind {
    fn kind(&self) -> ErrorKind {
        match self {
            // The clock of this machine is behind.
            IcechunkFormatErrorKind::InvalidUpdateTimestamp { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Corrupt,
        }
    }
}

impl Kind for RepositoryErrorKind {
    fn kind(&self) -> ErrorKind {
        match self {
            RepositoryErrorKind::StorageError(error) => error.kind(),
            RepositoryErrorKind::FormatError(error) => error.kind(),
            RepositoryErrorKind::RepositoryDoesntExist => ErrorKind::NotFound,
            RepositoryErrorKind::SnapshotNotFound { .. } => ErrorKind::Corrupt,
            RepositoryErrorKind::ReadonlyStorage(_) | RepositoryErrorKind::ReadonlyRepository(_) => ErrorKind::Invalid,
            RepositoryErrorKind::EmptyPrefixCreation => ErrorKind::Invalid,
            RepositoryErrorKind::BadRepoVersion { .. } => ErrorKind::Unsupported,
            RepositoryErrorKind::IOError(_)
            | RepositoryErrorKind::RepoInfoUpdated
            | RepositoryErrorKind::RepoUpdateAttemptsLimit(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Io,
        }
    }
}

impl Kind for SessionErrorKind {
    fn kind(&self) -> ErrorKind {
        match self {
            SessionErrorKind::RepositoryError(error) => error.kind(),
            SessionErrorKind::StorageError(error) => error.kind(),
            SessionErrorKind::FormatError(error) => error.kind(),
            SessionErrorKind::SnapshotNotFound { .. } => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        }
    }
}
