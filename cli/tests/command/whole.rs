//! Databases as a whole: trees, checks, what a machine allows, and what others commit.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bigarray::Database;
use bigarray::serde_json::json;

use crate::support::{Place, data};

#[test]
fn trees_follow_the_slashes() {
    let place = Place::new();
    for name in ["ocean/sst", "ocean/deep/salt", "wind"] {
        place.ok(&["create", &format!("a.bigarray:{name}"), "--dtype", "<f4", "--shape", "2,3"]);
    }
    let right = "a.bigarray\n├── ocean\n│   ├── deep\n│   │   └── salt  <f4 (2, 3)\n│   └── sst  <f4 (2, 3)\n└── wind  <f4 (2, 3)\n";
    assert_eq!(place.ok(&["tree", "a.bigarray"]), right);
}

#[test]
fn arrays_grow_and_shrink() {
    let place = Place::new();
    let file = data("digits_1797x8x8_u1.npy");
    place.ok(&["append", &file, "a.bigarray:digits"]);
    place.ok(&["append", &file, "a.bigarray:digits"]);
    place.ok(&["resize", "a.bigarray:digits", "1800"]);
    let stats = place.json(&["stats", "a.bigarray:digits[:1797]"]);
    assert_eq!(stats["sum"], 561_718.0);
    place.ok(&["resize", "a.bigarray:digits", "1801"]);
    assert_eq!(place.json(&["stats", "a.bigarray:digits[1800]"])["zeros"], 64);
    assert!(place.fails(1, &["resize", "a.bigarray:digit", "1"]).contains("did you mean digits?"));
}

#[test]
fn a_sound_database_is_sound_and_a_damaged_one_says_where() {
    let place = Place::new();
    place.ok(&["import", &data("digits_1797x8x8_u1.npy"), "a.bigarray:digits"]);
    assert_eq!(place.ok(&["check", "a.bigarray"]), "a.bigarray: sound\n");
    // The first byte of each page of the data file that looks like digits.
    let file = File::options().read(true).write(true).open(place.path("a.bigarray/data")).unwrap();
    let mut page = [0; 4096];
    for at in (0..file.metadata().unwrap().len()).step_by(4096) {
        file.read_exact_at(&mut page, at).unwrap();
        if page.iter().filter(|byte| **byte > 0 && **byte <= 16).count() > 500 {
            file.write_all_at(&[page[0] ^ 1], at).unwrap();
        }
    }
    let done = place.run(&["check", "a.bigarray"]);
    assert!(
        done.out.contains("\"digits\"") && done.err.contains("damages; copy what can be read"),
        "{} {}",
        done.out,
        done.err
    );
    assert_eq!(done.code, 1);
}

#[test]
fn the_doctor_tells_what_the_machine_allows() {
    let place = Place::new();
    let told = place.ok(&["doctor"]);
    assert!(told.contains("faults ") && told.contains("commit ") && told.contains("for one page"), "{told}");
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0);
    place.ok(&["create", "a.bigarray:a", "--dtype", "<f4", "--shape", "3"]);
    assert!(place.json(&["doctor", "a.bigarray"])["commit_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn rows_are_watched_as_they_come() {
    let place = Place::new();
    place.ok(&["create", "a.bigarray:log", "--dtype", "<f8", "--shape", "0,2"]);
    let mut command = place.command(&["watch", "--for", "60", "a.bigarray:log"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Rows of before are not printed, and whether the command looks already is not known: until it prints, rows are added.
    let (first, seen) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let line = lines.next().map(Result::unwrap);
        let _ = first.send(line);
    });
    let row: Vec<u8> = [1.5_f64, 2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    let line = loop {
        let args = ["append", "--dtype", "<f8", "--shape", "1,2", "-", "a.bigarray:log", "-q"];
        assert_eq!(place.run_with(&args, &row).code, 0);
        match seen.recv_timeout(Duration::from_millis(100)) {
            Err(RecvTimeoutError::Timeout) => {}
            seen => break seen.ok().flatten(),
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    assert_eq!(line.as_deref(), Some("1.5\t2.5"));
    place.ok(&["watch", "--for", "0.05", "a.bigarray:log"]);
    place.ok(&["import", &data("elnino_sst_61x12_f8.npy"), "a.bigarray:columns"]);
    assert!(place.fails(1, &["watch", "--for", "0.05", "a.bigarray:columns"]).contains("grows by columns"));
}

#[test]
fn space_tells_what_the_files_are_used_for_and_which_process_holds_an_old_state() {
    let place = Place::new();
    place.ok(&["import", &data("elnino_sst_61x12_f8.npy"), "a.bigarray:sst"]);
    let space = place.json(&["space", "a.bigarray"]);
    assert_eq!((&space["live_bytes"], &space["pinned_bytes"]), (&json!(8192), &json!(0)));
    assert_eq!(space.get("oldest_snapshot"), Some(&json!(null)));
    let db = Database::open(place.path("a.bigarray")).unwrap();
    let held = db.snapshot().unwrap();
    place.ok(&["rm", "a.bigarray:sst"]);
    let space = place.ok(&["space", "a.bigarray"]);
    let process = format!("oldest    1 commit behind, seen by process {} (", std::process::id());
    assert!(space.contains("pinned    8.0 KiB  of older states") && space.contains(&process), "{space}");
    drop(held);
    assert!(place.fails(2, &["space", "a.bigarray:sst"]).contains("space takes a whole database"));
}
