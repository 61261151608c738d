//! A directory: two processes of eight threads each, and what a killed one leaves behind.

use std::process::Command;
use std::{env, fs};

use bigarray_store_icechunk::Options;
use icechunk::storage::VersionInfo;

use crate::{number, open, race, set_number};

/// Names the directory in the second process.
const DIRECTORY: &str = "BIGARRAY_TEST_DIRECTORY";

/// Each thread of both processes counts as far.
const TIMES: u64 = 25;

#[test]
fn of_sixteen_threads_in_two_processes_none_loses_a_count() {
    if let Ok(url) = env::var(DIRECTORY) {
        race(&open(&url, &Options::default()).unwrap(), "count", TIMES);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let objects = open(&url, &Options::default()).unwrap();
    assert!(set_number(&objects, "count", 0, VersionInfo::for_creation()).unwrap());
    let test = "directory::of_sixteen_threads_in_two_processes_none_loses_a_count";
    let mut other = Command::new("/proc/self/exe").args([test, "--exact"]).env(DIRECTORY, &url).spawn().unwrap();
    race(&objects, "count", TIMES);
    assert!(other.wait().unwrap().success());
    assert_eq!(number(&objects, "count").unwrap().0, 16 * TIMES);
}

#[test]
fn each_version_of_an_object_is_later_than_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(&format!("file://{}", dir.path().display()), &Options::default()).unwrap();
    assert!(set_number(&objects, "count", 10, VersionInfo::for_creation()).unwrap());
    // The clock was set back by a day.
    let file = fs::File::options().write(true).open(dir.path().join("count")).unwrap();
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
    file.set_modified(tomorrow).unwrap();
    let mut last = tomorrow;
    for n in 11..31 {
        let (_, seen) = number(&objects, "count").unwrap();
        assert!(set_number(&objects, "count", n, seen).unwrap());
        let now = fs::metadata(dir.path().join("count")).unwrap().modified().unwrap();
        assert!(now > last, "{now:?} {last:?}");
        last = now;
    }
}

#[test]
fn what_a_killed_process_left_behind_is_not_listed_and_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(&format!("file://{}", dir.path().display()), &Options::default()).unwrap();
    assert!(set_number(&objects, "counts/a", 1, VersionInfo::for_creation()).unwrap());
    fs::write(dir.path().join("counts/a#0"), "half of a num").unwrap();
    assert_eq!(objects.list("counts").unwrap().len(), 1);
    let (_, seen) = number(&objects, "counts/a").unwrap();
    assert!(set_number(&objects, "counts/a", 2, seen).unwrap());
    assert_eq!(number(&objects, "counts/a").unwrap().0, 2);
    assert_eq!(fs::read_dir(dir.path().join("counts")).unwrap().count(), 1);
}

#[test]
fn a_path_that_is_no_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = open(&format!("file://{}/file/arrays", dir.path().display()), &Options::default()).unwrap_err();
    assert!(error.is_io() && error.to_string().contains("file/arrays"), "{error:?}");
}
