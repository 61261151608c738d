//! Messages to standard error that take no lock of the process.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// How long a message may take to get out before what it is about happens all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes a line to standard error with one system call and no lock: a user's thread may hold the lock of std's handle
/// while it waits for the page that this is about.
///
/// It may hold the kernel's own lock of that file, too: a `write(fd, view)` that waits for a page, to the pipe or
/// terminal that standard error is as well. So the line is written by a thread of its own and waited for only so long;
/// once the page is resolved, one way or the other, it gets out.
pub(crate) fn log_raw(message: &str) {
    let line = format!("bigarray: {message}\n");
    let (done, written) = sync_channel(1);
    let write = move || {
        let _ = nix::unistd::write(std::io::stderr(), line.as_bytes());
        let _ = done.send(());
    };
    if thread::Builder::new().name("bigarray-stderr".to_owned()).spawn(write).is_ok() {
        let _ = written.recv_timeout(PATIENCE);
    }
}

/// Ends the process: going on would mean wrong data or a silent hang.
pub(crate) fn fatal(message: &str) -> ! {
    log_raw(message);
    std::process::abort()
}
