//! Commands that end early: by a signal, a closed pipe, a full disk. The transaction is gone, the database whole.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bigarray::serde_json::json;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{BINARY, Place, npy};

/// An import of a file that does not end, and that has begun to be stored.
fn endless(place: &Place) -> (Child, std::process::ChildStdin) {
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000,), }\n";
    let mut command = place.interruptible(&["import", "--replace", "-", "a.bigarray:a"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A pipe holds 64 KiB: what is written was read, but for that.
    stdin.write_all(&npy(1, header, &[])).unwrap();
    let piece = vec![1; 1 << 20];
    (0..100).for_each(|_| stdin.write_all(&piece).unwrap());
    (child, stdin)
}

/// What is left of a database that had `digits` before the command.
fn is_whole(place: &Place) {
    let listed = place.json(&["ls", "a.bigarray"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(place.json(&["stats", "a.bigarray:a"])["sum"], json!(561_718.0));
    assert_eq!(place.ok(&["check", "a.bigarray"]), "a.bigarray: sound\n");
    // The next writer is not kept waiting.
    place.ok(&["attr", "a.bigarray:a", "note=1"]);
}

fn place() -> Place {
    Place::with(&[("digits_1797x8x8_u1.npy", "a")])
}

#[test]
fn an_import_that_is_interrupted_changes_nothing() {
    let place = place();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let (child, stdin) = endless(&place);
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(code), "bigarray: interrupted; nothing was changed\n"));
        is_whole(&place);
    }
}

#[test]
fn an_import_that_is_killed_changes_nothing() {
    let place = place();
    let (mut child, stdin) = endless(&place);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    drop(stdin);
    is_whole(&place);
}

#[test]
fn an_import_whose_input_ends_early_changes_nothing() {
    let place = place();
    let (child, stdin) = endless(&place);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("it is cut short, so nothing was imported") && said.lines().count() == 1, "{said}");
    is_whole(&place);
}

/// A sparse array, the export of which takes longer than it takes to end it.
fn large(place: &Place) {
    place.ok(&["create", "a.bigarray:large", "--dtype", "<f8", "--shape", "10000000000"]);
}

#[test]
fn a_reader_that_is_gone_ends_a_command_quietly() {
    let place = Place::new();
    large(&place);
    for args in [&["export", "a.bigarray:large", "-"][..], &["slice", "a.bigarray:large"]] {
        let mut child = place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 100]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), &b""[..]), "{args:?}");
    }
}

#[test]
fn an_export_that_is_interrupted_leaves_the_file_that_was_there() {
    let place = Place::new();
    large(&place);
    fs::write(place.path("out.npy"), "before").unwrap();
    let mut command = place.interruptible(&["export", "a.bigarray:large", "out.npy"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !place.has_part() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it has not begun");
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(130), &b"bigarray: interrupted\n"[..]));
    assert_eq!(fs::read(place.path("out.npy")).unwrap(), b"before");
    assert!(!place.has_part());
}

#[test]
fn a_full_device_is_one_line() {
    let place = place();
    let line = place.fails(1, &["export", "a.bigarray:a", "/dev/full", "--format", "raw"]);
    assert!(line.contains("/dev/full: no space is left on the disk"), "{line}");
}

/// The command under a limit of 32 MiB on the size of files, as on a disk that has no more room.
fn limited(place: &Place, args: &[&str]) -> std::process::Output {
    let script = r#"trap '' XFSZ; ulimit -f 32768; exec "$@""#;
    place.program("bash").args(["-c", script, "bash", BINARY]).args(args).output().unwrap()
}

#[test]
fn a_disk_without_room_is_one_line_and_nothing_is_half() {
    let place = place();
    large(&place);
    fs::write(place.path("large.raw"), vec![1; 100 << 20]).unwrap();
    let import = ["import", "--dtype", "|u1", "large.raw", "a.bigarray:b"];
    for args in [&import[..], &["export", "a.bigarray:large", "out.npy"]] {
        let output = limited(&place, args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{args:?}: {said}");
        assert!(said.starts_with("bigarray: ") && said.contains("too large"), "{said}");
    }
    assert!(!place.path("out.npy").exists() && !place.has_part());
    place.ok(&["rm", "a.bigarray:large"]);
    is_whole(&place);
}
