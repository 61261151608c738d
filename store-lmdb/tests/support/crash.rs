//! A child process that is killed at a named point.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::Db;

const DATABASE: &str = "BIGARRAY_TEST_DATABASE";
const PAYLOAD: &str = "BIGARRAY_TEST_PAYLOAD";
const CRASH_AT: &str = "BIGARRAY_CRASH_AT";

/// The database and payload of a child; `None` in a process that is no child.
pub(crate) fn in_child() -> Option<(PathBuf, String)> {
    Some((std::env::var_os(DATABASE)?.into(), std::env::var(PAYLOAD).unwrap()))
}

/// Runs the test `child` in another process, which is killed at `point`.
#[track_caller]
pub(crate) fn kill_at(point: &str, child: &str, db: &Db, payload: &str) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture"])
        .env(DATABASE, &db.path)
        .env(PAYLOAD, payload)
        .env(CRASH_AT, point)
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(9), "{point}: {}", String::from_utf8_lossy(&child.stdout));
}

/// A test for each point (and payload), with whether the commit has succeeded by then: calls the file's `after_a_kill_at`.
macro_rules! killed {
    ($($name:ident: $point:literal, $($payload:literal,)? committed: $committed:literal;)+) => {
        $(#[test] fn $name() { after_a_kill_at($point, $($payload,)? $committed); })+
    };
}
pub(crate) use killed;
