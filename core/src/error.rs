//! The one error type: a kind that a program can act on, a message with names and values, and the source.

use std::fmt;
use std::sync::Arc;

/// The result of everything fallible in bigarray.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as one word a program can act on. There may be more of them one day, so a `match` needs an arm for
/// the rest:
///
/// ```
/// use bigarray_core::{Error, ErrorKind};
///
/// fn what_to_do(error: &Error) -> &str {
///     match error.kind() {
///         ErrorKind::Conflict | ErrorKind::Unavailable => "try again",
///         ErrorKind::NotFound => "create it",
///         _ => "give up",
///     }
/// }
/// assert_eq!(what_to_do(&Error::new(ErrorKind::Unavailable, "s3://bucket/a: no answer within 30 s")), "try again");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another transaction changed what this one changed or depends on; nothing of this one is stored.
    Conflict,
    /// No array of that name, or no database where one was expected.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The array has another element type.
    DtypeMismatch,
    /// The array has another dimension, or a shape does not fit.
    ShapeMismatch,
    /// The disk or the index is full; the database stays as it was.
    StoreFull,
    /// Stored bytes are not what was written.
    Corrupt,
    /// More bytes than an address space, an `isize` or a limit allows.
    TooLarge,
    /// This system, file system or build cannot do it.
    Unsupported,
    /// Open elsewhere: an array opened twice, a database of a forked parent, a lock held.
    InUse,
    /// An argument that can never be right, or a handle past its use.
    Invalid,
    /// Storage beyond a network did not answer in time, or said that it cannot just now. Nothing that is stored is known
    /// to be wrong, and trying again may help.
    Unavailable,
    /// The operating system reported an error.
    Io,
}

/// Why an operation did not happen.
///
/// Opaque: ask [`kind`](Error::kind) or one of the predicates. The message names the array and the values that do
/// not fit; [`source`](std::error::Error::source) keeps what lies underneath. Clones share that source.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// The same with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into().into());
        self
    }

    /// Puts `context` in front of the message and keeps kind and source: `context: message`. A context that the message
    /// has already, as the name of an array, is not said twice.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        let context = format!("{context}: ");
        if !self.0.message.contains(&context) {
            self.0.message.insert_str(0, &context);
        }
        self
    }

    /// Wraps an error of the operating system; a full disk or quota becomes [`ErrorKind::StoreFull`].
    pub fn io(what: impl fmt::Display, source: std::io::Error) -> Error {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::StoreFull,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("{what}: {source}")).with_source(source)
    }

    /// What went wrong, as one word.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

macro_rules! predicates {
    ($($(#[$doc:meta])* $name:ident => $kind:ident,)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(&self) -> bool { self.0.kind == ErrorKind::$kind })*
        }
    };
}

predicates! {
    /// See [`ErrorKind::Conflict`].
    is_conflict => Conflict,
    /// See [`ErrorKind::NotFound`].
    is_not_found => NotFound,
    /// See [`ErrorKind::AlreadyExists`].
    is_already_exists => AlreadyExists,
    /// See [`ErrorKind::DtypeMismatch`].
    is_dtype_mismatch => DtypeMismatch,
    /// See [`ErrorKind::ShapeMismatch`].
    is_shape_mismatch => ShapeMismatch,
    /// See [`ErrorKind::StoreFull`].
    is_store_full => StoreFull,
    /// See [`ErrorKind::Corrupt`].
    is_corrupt => Corrupt,
    /// See [`ErrorKind::TooLarge`].
    is_too_large => TooLarge,
    /// See [`ErrorKind::Unsupported`].
    is_unsupported => Unsupported,
    /// See [`ErrorKind::InUse`].
    is_in_use => InUse,
    /// See [`ErrorKind::Invalid`].
    is_invalid => Invalid,
    /// See [`ErrorKind::Unavailable`].
    is_unavailable => Unavailable,
    /// See [`ErrorKind::Io`].
    is_io => Io,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
