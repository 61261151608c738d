//! A directory with a database, and the command run in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bigarray::serde_json::{self, Value};

/// The command.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_bigarray");

/// A temporary directory in which commands run.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

/// What a command did.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// With a database `a.bigarray` of these files under these names.
    pub(crate) fn with(files: &[(&str, &str)]) -> Place {
        let place = Place::new();
        files.iter().for_each(|(file, name)| drop(place.ok(&["import", &data(file), &format!("a.bigarray:{name}")])));
        place
    }

    /// A program, to be run here, with no settings of whoever runs the tests.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).stdin(Stdio::null()).env_remove("BIGARRAY_MEMORY_BUDGET");
        command
    }

    /// The command with these arguments, to be run here.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(BINARY);
        command.args(args);
        command
    }

    /// The same, for a command that gets signals: those that are ignored here, as in the background of a shell, would stay
    /// ignored in it. Takes the `env` of coreutils 8.31 or later.
    pub(crate) fn interruptible(&self, args: &[&str]) -> Command {
        let mut command = self.program("env");
        command.args(["--default-signal", BINARY]).args(args);
        command
    }

    /// Whether there is a file under a temporary name.
    pub(crate) fn has_part(&self) -> bool {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".part"))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// Runs with `input` as standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Done {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // The command may end before it has read all.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Done::of(output)
    }

    /// Runs, and returns what it prints. It has to succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{args:?}: {}", done.out);
        done.out
    }

    /// Runs, and returns the JSON that it prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// Runs, and returns the one line that it says. It has to fail with that code.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        self.run(args).failed(code)
    }
}

impl Done {
    fn of(output: Output) -> Done {
        Done {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The one line that it said when it failed with that code.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.err);
        assert!(self.err.starts_with("bigarray: ") && self.err.ends_with('\n'), "{}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        self.err.trim_end().to_owned()
    }
}

/// A file of the folder `data` of this repository.
pub(crate) fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(name);
    path.to_str().unwrap().to_owned()
}

/// A `.npy` file with that header and those elements.
pub(crate) fn npy(version: u8, header: &str, elements: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY".to_vec();
    file.extend([version, 0]);
    match version {
        1 => file.extend((header.len() as u16).to_le_bytes()),
        _ => file.extend((header.len() as u32).to_le_bytes()),
    }
    file.extend(header.as_bytes());
    file.extend(elements);
    file
}
