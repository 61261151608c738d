//! The levels of durability, how processes negotiate them, and what a crash of the system does at the lowest level.
//! `BIGARRAY_BOOT_ID` stands for the kernel's boot id.

mod outside;

use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bigarray_core::Result;
use bigarray_store_lmdb::{Durability, LmdbStore, Options};
use outside::*;

const BEFORE: &str = "11111111-1111-4111-8111-111111111111";
const AFTER: &str = "22222222-2222-4222-8222-222222222222";

fn open_at(path: &Path, durability: Durability) -> Result<Arc<LmdbStore>> {
    LmdbStore::open(&Options { durability, ..Options::new(path) })
}

/// A process under that boot id.
fn start_in(boot: &str, path: &Path) -> Other {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env("BIGARRAY_BOOT_ID", boot);
    Other::start_as(command, path)
}

fn database(dir: &Path) -> PathBuf {
    let path = dir.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    path
}

/// Plays a process that commits at the lowest level under one boot id, and opens at the default level under another.
fn play_unsafe_writer() {
    play(|path| {
        if env::var("BIGARRAY_BOOT_ID").as_deref() == Ok(AFTER) {
            say_result(&open_to_read(path).map(|store| check(&store)));
            say_result(&open(path).map(|store| check(&store)));
            return;
        }
        let store = open_at(path, Durability::NoPowerLossSafety).unwrap();
        write(&store, "a", 2).unwrap();
        say("written");
        wait();
    });
}

/// Overwrites all of a small data file but its header.
fn damage_data(path: &Path) {
    damage(&path.join("data"), 4096, (2 << 20) - 4096);
}

/// Overwrites the middle of a file.
fn damage(path: &Path, at: u64, bytes: usize) {
    File::options().write(true).open(path).unwrap().write_all_at(&vec![0x5a; bytes], at).unwrap();
}

#[test]
fn every_level_commits_and_is_found_again() {
    for level in [Durability::Full, Durability::LastCommitMayBeLost, Durability::NoPowerLossSafety] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bigarray");
        let store = open_at(&path, level).unwrap();
        create(&store, "a", 1).unwrap();
        drop(store);
        // Closed well, any level may follow.
        for next in [Durability::NoPowerLossSafety, Durability::LastCommitMayBeLost, Durability::Full] {
            let store = open_at(&path, next).unwrap();
            assert!(shows_now(&store, "a", 1));
            write(&store, "a", 1).unwrap();
            check(&store);
        }
    }
}

#[test]
fn processes_that_write_must_use_the_same_power_loss_safety() {
    play(|path| {
        say_result(&open_at(path, Durability::Full));
        say_result(&open_at(path, Durability::NoPowerLossSafety));
        say_result(&open_to_read(path));
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    for (level, name) in [(Durability::NoPowerLossSafety, "Full"), (Durability::Full, "NoPowerLossSafety")] {
        let store = open_at(&path, level).unwrap();
        let mut other = Other::start(&path);
        let mut answers = [other.hear(), other.hear(), other.hear()];
        if name == "NoPowerLossSafety" {
            answers.swap(0, 1);
        }
        assert!(answers[0].starts_with("InUse: ") && answers[0].contains(name), "{answers:?}");
        assert_eq!(answers[1..], ["ok", "ok"]);
        other.finish();
        write(&store, "a", 3).unwrap();
    }
}

#[test]
fn the_last_writer_to_close_syncs() {
    play(|path| {
        if env::var("BIGARRAY_BOOT_ID").as_deref() == Ok(AFTER) {
            say_result(&open(path));
            return;
        }
        let store = open_at(path, Durability::NoPowerLossSafety).unwrap();
        write(&store, "a", 2).unwrap();
        say("written");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut first = start_in(BEFORE, &path);
    assert_eq!(first.hear(), "written");
    let mut second = start_in(BEFORE, &path);
    assert_eq!(second.hear(), "written");
    for other in [&mut first, &mut second] {
        other.go();
    }
    first.finish();
    second.finish();
    // Nothing is left to check: even damage is not found when it is opened under another boot id.
    damage_data(&path);
    let mut after = start_in(AFTER, &path);
    assert_eq!(after.hear(), "ok");
    after.finish();
}

#[test]
fn a_process_that_is_killed_loses_nothing_at_any_level() {
    play_unsafe_writer();
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "written");
    other.kill();
    let store = open(&path).unwrap();
    assert!(shows_now(&store, "a", 2));
    check(&store);
}

#[test]
fn after_a_crash_of_the_system_a_sound_database_opens() {
    play_unsafe_writer();
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = start_in(BEFORE, &path);
    assert_eq!(other.hear(), "written");
    other.kill();
    let mut after = start_in(AFTER, &path);
    assert_eq!([after.hear(), after.hear()], ["ok", "ok"]);
    after.finish();
    // That writer synced.
    damage_data(&path);
    open(&path).unwrap();
}

#[test]
fn after_a_crash_of_the_system_a_damaged_database_is_refused() {
    play_unsafe_writer();
    // Payload that never reached the disk; and, one by one, each page of the index but the meta pages.
    for page in 1..40 {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path());
        let mut other = start_in(BEFORE, &path);
        assert_eq!(other.hear(), "written");
        other.kill();
        let index = path.join("index");
        if page == 1 {
            damage_data(&path);
        } else if page * 4096 < std::fs::metadata(&index).unwrap().len() {
            damage(&index, page * 4096, 4096);
        } else {
            assert!(page > 10);
            break;
        }
        let mut after = start_in(AFTER, &path);
        for said in [after.hear(), after.hear()] {
            // A free page may hold anything.
            let is_free = page != 1 && said == "ok";
            let is_named = said.starts_with("Corrupt: ") && said.contains(&path.display().to_string());
            assert!(is_free || is_named, "page {page}: {said}");
        }
        after.finish();
    }
}

/// The file that says that commits are not synced.
fn unsynced(path: &Path) -> PathBuf {
    path.join("unsynced")
}

#[test]
fn the_file_unsynced_exists_before_unsynced_commits_and_is_removed_when_all_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    assert!(!unsynced(&path).exists());
    let store = open_at(&path, Durability::NoPowerLossSafety).unwrap();
    assert!(unsynced(&path).exists());
    write(&store, "a", 2).unwrap();
    drop(store);
    assert!(!unsynced(&path).exists());
    let store = open_at(&path, Durability::LastCommitMayBeLost).unwrap();
    write(&store, "a", 3).unwrap();
    assert!(!unsynced(&path).exists());
}

/// A power loss while the file is written leaves it empty, or cut off. Nothing was committed then, but that is not known.
#[test]
fn a_file_unsynced_that_was_cut_short_counts_as_of_an_earlier_boot() {
    for text in ["", "1111", "11111111-1111-4111-8111-111111111111 and more\n"] {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path());
        std::fs::write(unsynced(&path), text).unwrap();
        check(&open(&path).unwrap());
        assert!(!unsynced(&path).exists(), "a writer that syncs took over");
        std::fs::write(unsynced(&path), text).unwrap();
        damage_data(&path);
        let error = refused(open(&path));
        assert!(error.is_corrupt() && error.to_string().contains("went down"), "{error}");
    }
}

/// Containers may have boot ids of their own: the lock of a writer decides, and then all boot ids in the file.
#[test]
fn processes_with_different_boot_ids_write_together_and_all_is_checked_if_none_closes_it() {
    play(|path| {
        let store = match open_at(path, Durability::NoPowerLossSafety) {
            Ok(store) => store,
            Err(e) => return say(format_args!("{e:?}")),
        };
        write(&store, "a", 2).unwrap();
        say("written");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut first = start_in(BEFORE, &path);
    assert_eq!(first.hear(), "written");
    // If the living writer's file were taken for a crash, this damage would be found.
    let data = std::fs::read(path.join("data")).unwrap();
    damage_data(&path);
    let mut second = start_in(AFTER, &path);
    assert_eq!(second.hear(), "written");
    File::options().write(true).open(path.join("data")).unwrap().write_all_at(&data, 0).unwrap();
    let mut third = start_in(BEFORE, &path);
    assert_eq!(third.hear(), "written");
    // The first one closes, which leaves the file to the others.
    first.go();
    first.finish();
    assert_eq!(std::fs::read_to_string(unsynced(&path)).unwrap(), format!("{BEFORE}\n{AFTER}\n"));
    second.kill();
    third.kill();
    // Either boot id may have lost writes of the other.
    damage_data(&path);
    for run in [BEFORE, AFTER] {
        let said = start_in(run, &path).hear();
        assert!(said.starts_with("Corrupt: "), "{run} opened what is damaged: {said}");
    }
}
