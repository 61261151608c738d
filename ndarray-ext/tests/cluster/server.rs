//! The server that the machines share, and a database on it.

use std::env;
use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use bigarray_core::sync::{Mutex, MutexGuard};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{TestDb, skip};

/// Tests take turns: one of them stops the server, and others have machines with little patience.
static TURN: Mutex<()> = Mutex::new(());

/// A database of the test's own on the server. This process reaches it by loopback, which no test cuts.
pub(crate) struct Server {
    db: TestDb,
    /// Where it listens, on every address.
    pub(crate) port: String,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Server {
    /// `None`, and the test is over, where there is no server, or no network namespace can be made.
    pub(crate) fn new() -> Option<Server> {
        Server::with_machines(Some(TURN.lock()))
    }

    /// The same for a test that mostly waits, and that a stop of the server does not harm.
    pub(crate) fn out_of_turn() -> Option<Server> {
        Server::with_machines(None)
    }

    /// The same for a test without machines, which takes no network namespace.
    pub(crate) fn without_machines() -> Option<Server> {
        Server::reached(Some(TURN.lock()))
    }

    fn with_machines(turn: Option<MutexGuard<'static, ()>>) -> Option<Server> {
        let server = Server::reached(turn)?;
        let apart = Command::new("unshare").args(["--net", "ip", "link"]).output();
        if !apart.is_ok_and(|output| output.status.success()) {
            skip("network namespaces take root, and the programs unshare and ip");
            return None;
        }
        Some(server)
    }

    fn reached(turn: Option<MutexGuard<'static, ()>>) -> Option<Server> {
        let is_s3 = env::var("BIGARRAY_TEST_URL").is_ok_and(|url| url.starts_with("s3://"));
        let (true, Ok(endpoint)) = (is_s3, env::var("AWS_ENDPOINT_URL")) else {
            skip("BIGARRAY_TEST_URL and AWS_ENDPOINT_URL name no server");
            return None;
        };
        let port = endpoint.rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
        Some(Server { db: TestDb::new(), port, _turn: turn })
    }

    /// Stops the gateway, which neither answers nor ends a connection until what is returned is dropped.
    pub(crate) fn stop(&self) -> Stopped {
        let dir = env::var("BIGARRAY_TEST_GATEWAY").expect("BIGARRAY_TEST_GATEWAY names the gateway's directory");
        let pid = fs::read_to_string(Path::new(&dir).join("client.rgw.pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        Stopped(pid)
    }

    /// How many commits the log has.
    pub(crate) fn commits(&self) -> usize {
        self.log(10_000).unwrap().len()
    }
}

impl Deref for Server {
    type Target = TestDb;

    fn deref(&self) -> &TestDb {
        &self.db
    }
}

/// A stopped gateway.
pub(crate) struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGCONT).unwrap();
    }
}
