//! Words that must get out, whoever holds which lock.

/// Writes a line to standard error with one system call and no lock: a user's thread may hold the lock of std's handle
/// while it waits for the page that this is about.
pub(crate) fn log_raw(message: &str) {
    let _ = nix::unistd::write(std::io::stderr(), format!("bigarray: {message}\n").as_bytes());
}

/// Ends the process: going on would mean wrong data or a silent hang.
pub(crate) fn fatal(message: &str) -> ! {
    log_raw(message);
    std::process::abort()
}
