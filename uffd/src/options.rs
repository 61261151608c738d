//! How memory is to work, and the environment variables that force a fall-back.

use bigarray_core::{Error, ErrorKind, Result};

/// Where faults come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Userfaultfd {
    /// What the environment variable `BIGARRAY_USERFAULTFD` says (`auto`, `user` or `none`), `Auto` if it is unset.
    #[default]
    Environment,
    /// The best that the kernel lets this process have.
    Auto,
    /// Faults of user code only, as an unprivileged process gets them; a system call fails with EFAULT instead.
    UserMode,
    /// No faults at all: spans are eager.
    None,
}

/// How written pages are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pagemap {
    /// What the environment variable `BIGARRAY_PAGEMAP` says (`auto` or `legacy`), `Auto` if it is unset.
    #[default]
    Environment,
    /// By the ioctl PAGEMAP_SCAN where the kernel has it (6.7), else by reading `/proc/self/pagemap`.
    Auto,
    /// By reading `/proc/self/pagemap`.
    Legacy,
}

/// Options of [`UffdMemory::new`](crate::UffdMemory::new). The default asks the environment, then the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Threads that run what the pager must wait for: reading, decompressing. At least 1.
    pub resolvers: usize,
    /// Where faults come from.
    pub userfaultfd: Userfaultfd,
    /// How written pages are found.
    pub pagemap: Pagemap,
    /// Mappings the process may have before spans do without more of them. If `None`, what the environment variable
    /// `BIGARRAY_MAX_MAPPINGS` says, and without it four fifths of `vm.max_map_count`.
    pub max_mappings: Option<usize>,
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        let resolvers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
        MemoryOptions {
            resolvers,
            userfaultfd: Userfaultfd::default(),
            pagemap: Pagemap::default(),
            max_mappings: None,
        }
    }
}

impl MemoryOptions {
    /// The same with nothing left to the environment.
    pub(crate) fn resolved(mut self) -> Result<MemoryOptions> {
        if self.resolvers == 0 {
            return Err(Error::new(ErrorKind::Invalid, "0 resolver threads: at least 1 is needed"));
        }
        if self.userfaultfd == Userfaultfd::Environment {
            self.userfaultfd = match variable("BIGARRAY_USERFAULTFD")?.as_deref() {
                None | Some("auto") => Userfaultfd::Auto,
                Some("user") => Userfaultfd::UserMode,
                Some("none") => Userfaultfd::None,
                Some(other) => return Err(unknown("BIGARRAY_USERFAULTFD", other, "auto, user or none")),
            };
        }
        if self.pagemap == Pagemap::Environment {
            self.pagemap = match variable("BIGARRAY_PAGEMAP")?.as_deref() {
                None | Some("auto") => Pagemap::Auto,
                Some("legacy") => Pagemap::Legacy,
                Some(other) => return Err(unknown("BIGARRAY_PAGEMAP", other, "auto or legacy")),
            };
        }
        if self.max_mappings.is_none()
            && let Some(text) = variable("BIGARRAY_MAX_MAPPINGS")?
        {
            let unknown = |_| unknown("BIGARRAY_MAX_MAPPINGS", &text, "a number of mappings");
            self.max_mappings = Some(text.parse().map_err(unknown)?);
        }
        Ok(self)
    }
}

/// The variable's value; unset and empty are the same.
fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(text)) => Err(unknown(name, &text.to_string_lossy(), "plain text")),
    }
}

fn unknown(name: &str, value: &str, expected: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("environment variable {name}={value:?}: expected {expected}"))
}
