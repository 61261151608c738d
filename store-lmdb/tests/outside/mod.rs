//! Helpers for tests with other processes, users and file systems; and the small commits of such tests.

#![allow(dead_code, unused_imports, reason = "each test file uses a part")]

mod mounts;

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::{env, fs, io, process};

use bigarray_core::store::{Snapshot, Store};
use bigarray_core::{BlockNo, PAGE, Result};
use bigarray_store_lmdb::{LmdbStore, Options};
use bigarray_testing::{Edit, array_of, page_of};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

pub(crate) use mounts::Mount;

/// Opens `path` with the default options.
pub(crate) fn open(path: &Path) -> Result<Arc<LmdbStore>> {
    LmdbStore::open(&Options::new(path))
}

/// Opens `path` to read.
pub(crate) fn open_to_read(path: &Path) -> Result<Arc<LmdbStore>> {
    LmdbStore::open(&Options { read_only: true, ..Options::new(path) })
}

/// The error of opening.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T>) -> bigarray_core::Error {
    result.err().expect("an error")
}

/// Commits an array of one block, its first page `tag`.
pub(crate) fn create(store: &LmdbStore, name: &str, tag: u64) -> Result<()> {
    let base = store.snapshot()?;
    Edit::commit(store, &*base, &[Edit::create(name, array_of(1)).page(&*base, 0, 0, tag)]).map(drop)
}

/// Commits `tag` as the first page of an array.
pub(crate) fn write(store: &LmdbStore, name: &str, tag: u64) -> Result<()> {
    let base = store.snapshot()?;
    Edit::commit(store, &*base, &[Edit::of(&*base, name).page(&*base, 0, 0, tag)]).map(drop)
}

/// Whether the first page is `tag`.
pub(crate) fn shows(snapshot: &dyn Snapshot, name: &str, tag: u64) -> bool {
    let id = snapshot.array(name).expect("look-up").expect("the array").id;
    let mut page = vec![0; PAGE];
    snapshot.read(id, BlockNo(0), 0, &mut page).expect("reading");
    page == page_of(tag)
}

/// The same of the newest state.
pub(crate) fn shows_now(store: &LmdbStore, name: &str, tag: u64) -> bool {
    shows(&*store.snapshot().expect("a snapshot"), name, tag)
}

/// The names of all arrays.
pub(crate) fn names(store: &LmdbStore) -> Vec<String> {
    store.snapshot().expect("a snapshot").arrays().expect("look-up").into_iter().map(|(name, _)| name).collect()
}

/// Checks the database, payload too.
#[track_caller]
pub(crate) fn check(store: &LmdbStore) {
    store.check(true).expect("a sound database");
}

const PATH: &str = "BIGARRAY_TEST_PATH";

/// To be called first in a test that starts other processes: in one of those it plays `role` and never returns.
pub(crate) fn play(role: impl FnOnce(&Path)) {
    if let Some(path) = env::var_os(PATH) {
        role(Path::new(&path));
        process::exit(0);
    }
}

/// The name of this test, which libtest gives to its thread.
fn this_test() -> String {
    std::thread::current().name().expect("a test's thread").to_owned()
}

/// A second process that plays the role of a test. Killed when dropped.
pub(crate) struct Other {
    pub(crate) child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Other {
    /// Starts the role of this test on the database at `path`.
    pub(crate) fn start(path: &Path) -> Other {
        Other::start_as(Command::new(env::current_exe().expect("this binary")), path)
    }

    /// The same by a command that runs this binary.
    pub(crate) fn start_as(mut command: Command, path: &Path) -> Other {
        let mut child = command
            .args(["--exact", &this_test(), "--nocapture", "--test-threads=1"])
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        Other { child, to, from }
    }

    /// Waits until it says something by [`say`], and returns that.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).expect("reading from the other process"), 0, "it ended");
            if let Some((_, said)) = line.split_once("SAYS ") {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Ends its [`wait`].
    pub(crate) fn go(&mut self) {
        writeln!(self.to).expect("writing to the other process");
    }

    /// Sends it a word for [`hear_word`].
    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.to, "{word}").expect("writing to the other process");
    }

    /// Waits until it ends well.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        assert!(self.child.wait().expect("waiting").success(), "the other process failed");
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killing");
        self.child.wait().expect("waiting");
    }

    /// Kills it and waits until all processes that it started are gone, so that none can write to its output.
    pub(crate) fn kill_to_the_last(mut self) {
        self.child.kill().expect("killing");
        self.child.wait().expect("waiting");
        io::copy(&mut self.from, &mut io::sink()).expect("reading from the other process");
    }

    /// Kills it and waits until it is dead, but does not reap it: it stays a zombie until this is dropped.
    pub(crate) fn kill_unreaped(&mut self) {
        self.child.kill().expect("killing");
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(Pid::from_raw(self.child.id() as i32)), flags).expect("waiting");
        assert_eq!(self.state(), "Z");
    }

    /// The letter of the kernel for the state of its first thread.
    pub(crate) fn state(&self) -> String {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        stat.rsplit_once(") ").expect("a name in parentheses").1[..1].to_owned()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Fails if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs this binary as process 1 of a new PID namespace, like the program of a container; `None`, after a
/// message, where that is not possible.
pub(crate) fn container() -> Option<Command> {
    contained(&["--pid"], env::current_exe().expect("this binary").as_os_str())
}

/// As [`container`], but process 1 is a shell, and this binary process 2.
pub(crate) fn container_with_shell() -> Option<Command> {
    let mut command = contained(&["--pid"], "sh".as_ref())?;
    command.args(["-c", "\"$0\" \"$@\"; exit"]).arg(env::current_exe().expect("this binary"));
    Some(command)
}

/// As [`container`], with the boot id of the file `boot_id`, as LXC, Incus and systemd-nspawn do.
pub(crate) fn container_booted(boot_id: &Path) -> Option<Command> {
    let mut command = contained(&["--pid", "--mount"], "sh".as_ref())?;
    command.args(["-c", "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\""]).arg(boot_id);
    command.arg(env::current_exe().expect("this binary"));
    Some(command)
}

fn contained(namespaces: &[&str], program: &OsStr) -> Option<Command> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["--fork", "--kill-child"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        skip("this process may not make namespaces");
        return None;
    }
    let mut command = unshare();
    command.arg(program);
    Some(command)
}

/// In a role: sends the test a line.
pub(crate) fn say(what: impl Display) {
    println!("SAYS {what}");
    io::stdout().flush().expect("writing to the test");
}

/// In a role: sends `ok`, or the error.
pub(crate) fn say_result<T>(result: &Result<T>) {
    match result {
        Ok(_) => say("ok"),
        Err(e) => say(format_args!("{e:?}")),
    }
}

/// In a role: waits for [`Other::go`]; ends if the test is gone.
pub(crate) fn wait() {
    let mut line = String::new();
    if io::stdin().read_line(&mut line).expect("reading from the test") == 0 {
        process::exit(1);
    }
}

/// In a role: the next word of the test; ends if the test is gone.
pub(crate) fn hear_word() -> String {
    let mut line = String::new();
    if io::stdin().read_line(&mut line).expect("reading from the test") == 0 {
        process::exit(1);
    }
    line.trim_end().to_owned()
}

/// To be called where a test lacks a program or a permission, before it returns. CI, as root, has all of them.
pub(crate) fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert!(env::var_os("BIGARRAY_TEST_NO_SKIP").is_none(), "skipped: {why}");
}

/// Whether this process has root's privileges.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A directory in which every user may write.
pub(crate) fn common_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    set_mode(dir.path(), 0o777);
    dir
}

/// Sets permissions.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

/// Runs this binary as a user without privileges: itself, if this is not root; else a copy in `dir`, as user nobody.
pub(crate) fn unprivileged(dir: &Path) -> Command {
    let exe = env::current_exe().expect("this binary");
    if !is_root() {
        return Command::new(exe);
    }
    let copy = dir.join("test-binary");
    if !copy.exists() {
        fs::copy(exe, &copy).expect("copying this binary");
        set_mode(&copy, 0o755);
    }
    let mut command = Command::new(copy);
    command.uid(65534).gid(65534).env("TMPDIR", dir);
    command
}
