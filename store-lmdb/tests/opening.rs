//! Opening, creating and sharing a database.

mod outside;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::{env, fs};

use bigarray_core::store::Store;
use bigarray_store_lmdb::{Durability, LmdbStore, Options};
use outside::*;

fn same(a: &LmdbStore, b: &LmdbStore) -> bool {
    Arc::ptr_eq(&a.snapshot().unwrap(), &b.snapshot().unwrap())
}

#[test]
fn a_new_database_has_its_three_files_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    let mut files: Vec<_> =
        fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["data", "index", "index-lock"]);
    let again = open(&path).unwrap();
    assert!(shows(&*again.snapshot().unwrap(), "a", 1));
    check(&again);
}

#[test]
fn an_empty_directory_becomes_a_database() {
    let dir = tempfile::tempdir().unwrap();
    create(&open(dir.path()).unwrap(), "a", 1).unwrap();
    assert_eq!(names(&open_to_read(dir.path()).unwrap()), ["a"]);
}

#[test]
fn every_spelling_of_a_path_shares_one_environment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let store = open(&path).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let up = dir.path().join("sub/../a.bigarray/.");
    let relative = {
        let here = env::current_dir().unwrap();
        let ups: PathBuf = here.components().skip(1).map(|_| "..").collect();
        ups.join(path.strip_prefix("/").unwrap())
    };
    for other in [&link, &up, &relative] {
        let other = open(other).unwrap();
        assert!(same(&store, &other));
        create(&other, &format!("array {}", names(&store).len()), 1).unwrap();
    }
    assert_eq!(names(&store).len(), 3);
    check(&store);
}

#[test]
fn a_bind_mount_shares_the_environment_too() {
    let Some(mount) = Mount::tmpfs(64 << 20) else { return };
    let path = mount.at.join("a.bigarray");
    let store = open(&path).unwrap();
    let bound = Mount::bind(&mount.at, false);
    let other = open(&bound.at.join("a.bigarray")).unwrap();
    assert!(same(&store, &other));
}

#[test]
fn a_snapshot_alone_keeps_a_database_open_and_shared() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    create(&store, "a", 1).unwrap();
    let snapshot = store.snapshot().unwrap();
    drop(store);
    let again = open(dir.path()).unwrap();
    assert!(Arc::ptr_eq(&snapshot, &again.snapshot().unwrap()));
    write(&again, "a", 2).unwrap();
    drop(again);
    assert!(shows(&*snapshot, "a", 1));
    drop(snapshot);
    assert!(shows(&*open(dir.path()).unwrap().snapshot().unwrap(), "a", 2));
}

#[test]
fn threads_open_and_close_one_database_at_will() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    thread::scope(|scope| {
        for n in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for round in 0..10 {
                    let store = open(path).unwrap();
                    if round == 0 {
                        // Names differ, but every commit changes the list of arrays.
                        create(&store, &format!("{n}"), 0).unwrap();
                    } else {
                        write(&store, &format!("{n}"), round).unwrap();
                    }
                    assert!(shows(&*store.snapshot().unwrap(), &format!("{n}"), round));
                }
            });
        }
    });
    let store = open(&path).unwrap();
    assert_eq!(names(&store).len(), 8);
    check(&store);
}

#[test]
fn a_recreated_directory_is_a_new_database_while_the_old_one_is_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let store = open(&path).unwrap();
    create(&store, "old", 1).unwrap();
    let old = store.snapshot().unwrap();
    fs::remove_dir_all(&path).unwrap();
    let new = open(&path).unwrap();
    assert!(names(&new).is_empty());
    create(&new, "new", 2).unwrap();
    assert!(shows(&*old, "old", 1));
    assert_eq!(names(&store), ["old"]);
}

#[test]
fn a_database_open_for_writing_can_be_read_and_one_open_for_reading_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    create(&store, "a", 1).unwrap();
    // A reading handle of a database that is open for writing.
    let reading = open_to_read(dir.path()).unwrap();
    assert!(same(&store, &reading));
    assert!(write(&reading, "a", 2).unwrap_err().is_invalid());
    assert!(reading.commit_lock().err().unwrap().is_invalid());
    drop((store, reading));
    // The other way round.
    let reading = open_to_read(dir.path()).unwrap();
    assert!(write(&reading, "a", 2).unwrap_err().is_invalid());
    let error = refused(open(dir.path()));
    assert!(error.is_in_use() && error.to_string().contains("read-only"), "{error}");
    drop(reading);
    write(&open(dir.path()).unwrap(), "a", 2).unwrap();
}

#[test]
fn another_durability_in_one_process_is_refused_naming_both() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path()).unwrap();
    let fast = Options { durability: Durability::LastCommitMayBeLost, ..Options::new(dir.path()) };
    let error = refused(LmdbStore::open(&fast));
    assert!(error.is_in_use(), "{error}");
    assert!(error.to_string().contains("Full") && error.to_string().contains("LastCommitMayBeLost"), "{error}");
    LmdbStore::open(&Options { read_only: true, ..fast }).unwrap();
}

#[test]
fn a_creation_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    // While the index was made.
    let early = dir.path().join("early");
    fs::create_dir(&early).unwrap();
    fs::write(early.join("index.bigarray-creating"), [7; 5000]).unwrap();
    assert!(refused(open_to_read(&early)).is_not_found());
    let no_creation = Options { create: false, ..Options::new(&early) };
    assert!(refused(LmdbStore::open(&no_creation)).is_not_found());
    create(&open(&early).unwrap(), "a", 1).unwrap();
    assert!(!early.join("index.bigarray-creating").exists());
    // Before the data file was made.
    let late = dir.path().join("late");
    drop(open(&late).unwrap());
    fs::remove_file(late.join("data")).unwrap();
    fs::remove_file(late.join("index-lock")).unwrap();
    assert!(refused(open_to_read(&late)).is_not_found());
    create(&LmdbStore::open(&Options { create: false, ..Options::new(&late) }).unwrap(), "a", 1).unwrap();
    // While the data file was made.
    let middle = dir.path().join("middle");
    drop(open(&middle).unwrap());
    fs::remove_file(middle.join("data")).unwrap();
    fs::write(middle.join("data.bigarray-creating"), [0; 100]).unwrap();
    create(&open(&middle).unwrap(), "a", 1).unwrap();
    assert!(!middle.join("data.bigarray-creating").exists());
    for path in [early, late, middle] {
        let store = open(&path).unwrap();
        assert!(shows(&*store.snapshot().unwrap(), "a", 1));
        check(&store);
    }
}

#[test]
fn a_creation_of_a_killed_process_is_completed_by_the_next_one() {
    play(|path| {
        say("ready");
        create(&open(path).unwrap(), "a", 1).unwrap();
        say("created");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let path = dir.path().join(format!("{round}"));
        let mut other = Other::start(&path);
        other.hear();
        // At any time, from before the directory exists to after the first commit.
        thread::sleep(Duration::from_micros(600 * round));
        other.kill();
        let store = open(&path).unwrap();
        assert!(names(&store).len() <= 1);
        check(&store);
        create(&store, "b", 2).unwrap();
    }
}

#[test]
fn processes_that_create_at_once_agree() {
    play(|path| {
        say("ready");
        wait();
        let store = open(path).unwrap();
        create(&store, &std::process::id().to_string(), 1).unwrap();
        say("done");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let mut others: Vec<Other> = (0..4).map(|_| Other::start(&path)).collect();
    others.iter_mut().for_each(|other| assert_eq!(other.hear(), "ready"));
    others.iter_mut().for_each(Other::go);
    others.iter_mut().for_each(|other| assert_eq!(other.hear(), "done"));
    let store = open(&path).unwrap();
    assert_eq!(names(&store).len(), 4);
    others.iter_mut().for_each(Other::go);
    others.into_iter().for_each(Other::finish);
    check(&store);
}

#[test]
fn little_address_space_makes_a_smaller_map() {
    play(|path| {
        say_result(&open(path).and_then(|store| create(&store, "a", 1)));
        say_result(&LmdbStore::open(&Options { map_size: Some(1 << 40), ..Options::new(path.with_file_name("b")) }));
    });
    let dir = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 4000000 && exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    let mut other = Other::start_as(limited, &dir.path().join("a"));
    assert_eq!(other.hear(), "ok");
    let error = other.hear();
    assert!(error.contains("TooLarge") && error.contains("ulimit -v"), "{error}");
    other.finish();
}

/// As after a copy or a restore that was cut short, and begun again from another database.
#[test]
fn the_index_of_one_database_and_the_data_of_another_are_refused_naming_both() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
    for path in [&one, &other] {
        create(&open(path).unwrap(), "a", 1).unwrap();
    }
    let [first, second] = [&one, &other].map(|path| fs::read(path.join("data")).unwrap());
    assert_ne!(first[..4096], second[..4096]);
    fs::copy(other.join("data"), one.join("data")).unwrap();
    for opened in [open(&one), open_to_read(&one)] {
        let error = refused(opened);
        assert!(error.is_corrupt(), "{error}");
        for part in [&one.display().to_string(), "index", "data", "two databases"] {
            assert!(error.to_string().contains(part), "{error} does not tell of {part}");
        }
    }
    // Both files of one database are a database again.
    fs::copy(other.join("index"), one.join("index")).unwrap();
    check(&open(&one).unwrap());
}

#[test]
fn a_data_file_without_its_header_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    let whole = fs::read(path.join("data")).unwrap();
    let zeros = [vec![0; 4096], whole[4096..].to_vec()].concat();
    let flipped = {
        let mut bytes = whole.clone();
        bytes[25] ^= 4;
        bytes
    };
    for bytes in [&[][..], &whole[..100], &zeros, &flipped] {
        fs::write(path.join("data"), bytes).unwrap();
        let error = refused(open(&path));
        assert!(error.is_corrupt() && error.to_string().contains(&path.display().to_string()), "{error}");
    }
    fs::write(path.join("data"), whole).unwrap();
    check(&open(&path).unwrap());
}
