//! Points of a commit at which a test kills the process.

/// Kills the process if `BIGARRAY_CRASH_AT` names this point: nothing is flushed, no destructor runs.
#[cfg(feature = "crash-points")]
pub(crate) fn point(name: &str) {
    if std::env::var_os("BIGARRAY_CRASH_AT").is_some_and(|at| at == name) {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        std::process::abort();
    }
}

/// Does nothing: crash points are for tests.
#[cfg(not(feature = "crash-points"))]
pub(crate) fn point(_name: &str) {}
