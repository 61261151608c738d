//! Second processes: the test binary again, running the same test in another role.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Names the role of a process that was started by [`command`].
const ROLE: &str = "BIGARRAY_TEST_ROLE";

/// What marks a line as meant for the parent, among those of the test harness.
const MARK: &str = "> ";

/// Long enough for anything but a hang: a child may run a whole test, on a machine that does a lot else.
const PATIENCE: Duration = Duration::from_secs(600);

/// The name of the test that this stands in, as the harness knows it.
#[allow(unused_macros)]
macro_rules! this_test {
    () => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here);
        let path = path.strip_suffix("::here").unwrap().trim_end_matches("::{{closure}}");
        path.split_once("::").unwrap().1
    }};
}
#[allow(unused_imports)]
pub(crate) use this_test;

/// The role of this process in its test; `None` for the one that the harness started.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Starts `test` in another process, in `role`.
pub(crate) fn command(test: &str, role: &str) -> Command {
    // By this name a user without access to its directory can start it too.
    let mut command = Command::new("/proc/self/exe");
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command
}

/// Whether this process has `test` to itself. If not, starts one that has, made as `prepare` says, waits for it, and
/// prints its lines: for tests that count or limit what a whole process has.
pub(crate) fn alone(test: &str, prepare: impl FnOnce(&mut Command)) -> bool {
    if role().is_some() {
        return true;
    }
    let mut command = command(test, "alone");
    prepare(&mut command);
    Child::start(command).finish();
    false
}

/// Says something to the parent.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    write!(out, "\n{MARK}{line}\n").unwrap();
    out.flush().unwrap();
}

/// The next line of the parent. Ends the process once there is no parent any more.
pub(crate) fn hear() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap() == 0 {
        std::process::exit(0);
    }
    line.trim_end().to_owned()
}

/// A process of ours. Killed when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    pub(crate) fn start(mut command: Command) -> Child {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix(MARK) {
                    // A test that has failed hears no more.
                    let _ = send.send(line.to_owned());
                }
            }
        });
        Child { process, stdin, lines }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What the child says next.
    pub(crate) fn hear(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the child hangs"),
            Err(RecvTimeoutError::Disconnected) => panic!("the child ended: {}", self.wait()),
        }
    }

    /// Lines of the child that were not taken yet.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    pub(crate) fn say(&mut self, line: impl std::fmt::Display) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn ask(&mut self, line: impl std::fmt::Display) -> String {
        self.say(line);
        self.hear()
    }

    /// Kills it, wherever it is, and returns what it had said until then.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // Ends when the other end of the pipe is closed.
        self.lines.iter().collect()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the child hangs");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end, which must be a good one, and prints what it had to say.
    pub(crate) fn finish(mut self) {
        let status = self.wait();
        self.lines.iter().for_each(|line| println!("{line}"));
        assert!(status.success(), "the child failed: {status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
