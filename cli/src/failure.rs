//! Why a command ends early: one line for people, and an exit code for scripts.

use std::fmt;
use std::io;

/// Exit code of a command that failed.
pub(crate) const FAILED: u8 = 1;

/// Exit code of a command line that makes no sense.
pub(crate) const USAGE: u8 = 2;

/// Exit code where the reader of the output is gone, as a shell has it for a process that SIGPIPE ended.
pub(crate) const PIPE_CLOSED: u8 = 141;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

/// What a command comes to.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// What was asked for cannot be done.
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { code: FAILED, message: message.into() }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { code: USAGE, message: message.into() }
    }

    /// What was asked has the answer no, which the output tells already.
    pub(crate) fn no() -> Failure {
        Failure::new("")
    }

    /// An input or output failed.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Failure {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { PIPE_CLOSED } else { FAILED };
        Failure { code, message: format!("{what}: {}", in_words(error)) }
    }

    /// The same, with where it was in front.
    pub(crate) fn at(self, place: impl fmt::Display) -> Failure {
        Failure { message: format!("{place}: {}", self.message), ..self }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// What is said on standard error: nothing where that is no mistake, as when the reader
    /// of the output is gone.
    pub(crate) fn line(&self) -> Option<String> {
        (self.code != PIPE_CLOSED && !self.message.is_empty()).then(|| one_line(&self.message))
    }
}

/// An error of the system, and what helps against it where that is known.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::StorageFull => "no space is left on the disk; make room and run the command again".to_owned(),
        _ => error.to_string(),
    }
}

/// The text with its line breaks as blanks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl From<bigarray::Error> for Failure {
    fn from(error: bigarray::Error) -> Failure {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(now) = cause {
            if now.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
                return Failure { code: PIPE_CLOSED, message: error.to_string() };
            }
            cause = now.source();
        }
        Failure::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_found_below_an_error_of_the_library() {
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        let failure = Failure::from(bigarray::Error::io("writing", pipe));
        assert_eq!((failure.code(), failure.line()), (PIPE_CLOSED, None));
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(Failure::new("a\n  b\tc").line().unwrap(), "a b c");
    }
}
