//! What the system refuses, in words: which limit to raise, and whether it will refuse it again.

use std::fmt::Display;
use std::io;

use bigarray_core::{Error, ErrorKind};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::limits::{mappings, max_map_count};

/// Why something was not found to work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The kernel, a filter or a missing device refuses it, and will do so again.
    Refused(String),
    /// Something is short just now. That says nothing about the next time.
    Short(Error),
}

impl Failure {
    /// What `errno` says of `what`.
    pub(crate) fn of(what: &str, errno: Errno) -> Failure {
        match errno {
            // A filter or a sysctl forbids it; there is no such call, device or feature.
            Errno::EPERM
            | Errno::EACCES
            | Errno::ENOSYS
            | Errno::EINVAL
            | Errno::ENOENT
            | Errno::ENODEV
            | Errno::ENXIO
            | Errno::ENOTTY
            | Errno::EOPNOTSUPP => Failure::Refused(errno.desc().to_owned()),
            errno => Failure::Short(os_error(what, errno)),
        }
    }

    /// The same for an error of std: one that the system did not give is a look at what it did.
    pub(crate) fn of_io(what: &str, error: &io::Error) -> Failure {
        match error.raw_os_error() {
            Some(errno) => Failure::of(what, Errno::from_raw(errno)),
            None => Failure::Refused(error.to_string()),
        }
    }
}

/// An error of the operating system while `what`, with the limit to raise, if it is one. Short of addresses, mappings
/// or memory that may be locked is [`ErrorKind::TooLarge`].
pub(crate) fn os_error(what: impl Display, errno: Errno) -> Error {
    let (kind, limits) = match errno {
        Errno::ENOMEM => (ErrorKind::TooLarge, addresses()),
        // Of what is called here, only what would be locked is refused so.
        Errno::EAGAIN => (ErrorKind::TooLarge, locked()),
        Errno::EMFILE => (
            ErrorKind::Io,
            format!(
                "the process has as many descriptors as it may: RLIMIT_NOFILE (`ulimit -n`), which is {}",
                limit(Resource::RLIMIT_NOFILE, "")
            ),
        ),
        Errno::ENFILE => {
            (ErrorKind::Io, "the system has as many open files as it may: the sysctl fs.file-max".to_owned())
        }
        errno => return Error::io(what, errno.into()),
    };
    Error::new(kind, format!("{what}: {errno}: {limits}")).with_source(io::Error::from(errno))
}

/// The same for an error of std.
pub(crate) fn io_error(what: impl Display, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(errno) => os_error(what, Errno::from_raw(errno)),
        None => Error::io(what, error),
    }
}

/// An error of starting a thread. Its stack takes mappings, and the system says "try again" (EAGAIN) whichever limit is
/// reached.
pub(crate) fn thread_error(name: &str, error: io::Error) -> Error {
    let what = format!(
        "the thread {name} cannot be started. Limits that may forbid it: RLIMIT_NPROC (`ulimit -u`), which is {}; \
         kernel.threads-max; pids.max of the cgroup; for its stack {}; and, if memory is locked (mlockall), {}",
        limit(Resource::RLIMIT_NPROC, ""),
        stack_limits(),
        memlock()
    );
    Error::io(what, error)
}

fn addresses() -> String {
    let overcommit = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    format!(
        "out of addresses, memory or mappings. Limits that forbid it: {}; vm.overcommit_memory, which is {} and must not be \
         2; and the 128 TiB of addresses that a process has",
        stack_limits(),
        overcommit.trim()
    )
}

/// The limits of mappings.
fn stack_limits() -> String {
    format!(
        "RLIMIT_AS (`ulimit -v`), which is {}; RLIMIT_DATA (`ulimit -d`), which is {}; vm.max_map_count, which is {} and of \
         which this process uses {}",
        limit(Resource::RLIMIT_AS, " bytes"),
        limit(Resource::RLIMIT_DATA, " bytes"),
        max_map_count(),
        mappings()
    )
}

fn locked() -> String {
    format!("memory is locked (mlockall), and no more of it may be: {}, without CAP_IPC_LOCK", memlock())
}

fn memlock() -> String {
    format!("RLIMIT_MEMLOCK (`ulimit -l`), which is {}", limit(Resource::RLIMIT_MEMLOCK, " bytes"))
}

/// A limit of this process, in words.
fn limit(resource: Resource, unit: &str) -> String {
    match getrlimit(resource) {
        Ok((soft, _)) if soft != RLIM_INFINITY => format!("{soft}{unit}"),
        _ => "unlimited".to_owned(),
    }
}

/// The error number in an error of std.
pub(crate) fn errno_of_io(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// The error number in an error of the crate `userfaultfd`, which uses an older nix.
pub(crate) fn errno_of(error: userfaultfd::Error) -> Errno {
    match error {
        userfaultfd::Error::SystemError(errno) | userfaultfd::Error::CopyFailed(errno) => Errno::from_raw(errno as i32),
        userfaultfd::Error::OpenDevUserfaultfd(error) => errno_of_io(error),
        _ => Errno::EIO,
    }
}

/// What the self-tests do, for errors.
pub(crate) const SELF_TEST: &str = "trying out what this kernel allows";

/// An error of a self-test.
pub(crate) fn failed(errno: Errno) -> Failure {
    Failure::of(SELF_TEST, errno)
}

/// An error of a self-test.
pub(crate) fn failed_io(error: io::Error) -> Failure {
    Failure::of_io(SELF_TEST, &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(error: &Error, parts: &[&str]) {
        for part in parts {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_thread_that_cannot_be_started_names_every_limit_to_raise() {
        let error = thread_error("bigarray-monitor", Errno::EAGAIN.into());
        says(&error, &["bigarray-monitor", "RLIMIT_NPROC", "pids.max", "RLIMIT_AS (`ulimit -v`)", "vm.max_map_count"]);
        says(&error, &["RLIMIT_DATA", "RLIMIT_MEMLOCK"]);
    }

    #[test]
    fn a_shortage_names_every_limit_to_raise() {
        let error = os_error("reserving", Errno::ENOMEM);
        assert!(error.is_too_large());
        says(&error, &["reserving", "RLIMIT_AS", "RLIMIT_DATA", "vm.overcommit_memory", "vm.max_map_count"]);
        let error = os_error("reserving", Errno::EAGAIN);
        assert!(error.is_too_large());
        says(&error, &["memory is locked", "RLIMIT_MEMLOCK"]);
        says(&os_error("opening", Errno::EMFILE), &["RLIMIT_NOFILE"]);
        says(&io_error("opening", Errno::ENFILE.into()), &["fs.file-max"]);
        assert!(os_error("reserving", Errno::EIO).is_io());
    }

    #[test]
    fn only_what_will_be_refused_again_counts_as_refused() {
        for errno in [Errno::EPERM, Errno::ENOSYS, Errno::EINVAL, Errno::EACCES, Errno::ENOENT] {
            assert!(matches!(Failure::of("trying", errno), Failure::Refused(_)), "{errno}");
        }
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::EAGAIN, Errno::EINTR] {
            assert!(matches!(Failure::of("trying", errno), Failure::Short(_)), "{errno}");
        }
        assert!(matches!(Failure::of_io("trying", &io::Error::other("x")), Failure::Refused(_)));
    }
}
