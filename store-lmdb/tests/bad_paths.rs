//! Paths without a database, or with a damaged one: opening gives a clear error, and changes nothing.

mod outside;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use bigarray_core::Error;
use bigarray_store_lmdb::{LmdbStore, Options};
use outside::*;

/// Names and contents of all files.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("index-lock"))
        .map(|path| (path.clone(), if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() }))
        .collect();
    found.sort();
    found
}

#[track_caller]
fn names_path(error: &Error, path: &Path) {
    assert!(error.to_string().contains(&path.display().to_string()), "{error:?}");
}

/// A database with an array `a` of page 1 in `dir`.
fn database(dir: &Path) -> PathBuf {
    let path = dir.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    path
}

#[test]
fn a_file_is_not_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "text").unwrap();
    for error in [refused(open(&path)), refused(open_to_read(&path)), refused(open(&path.join("below")))] {
        assert!(error.is_invalid(), "{error:?}");
        names_path(&error, &path);
    }
    assert_eq!(fs::read(&path).unwrap(), b"text");
}

#[test]
fn a_directory_of_other_things_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "text").unwrap();
    let before = contents(dir.path());
    for error in [refused(open(dir.path())), refused(open_to_read(dir.path()))] {
        assert!(error.is_invalid() && error.to_string().contains("notes.txt"), "{error:?}");
        names_path(&error, dir.path());
    }
    // Also with a file that a creation cut short could have left.
    fs::write(dir.path().join("index.bigarray-creating"), "").unwrap();
    assert!(refused(open(dir.path())).is_invalid());
    fs::remove_file(dir.path().join("index.bigarray-creating")).unwrap();
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn files_of_other_programs_with_our_names_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    // Files that are not LMDB's.
    for name in ["index", "data"] {
        fs::write(dir.path().join(name), vec![b'x'; 10_000]).unwrap();
    }
    let before = contents(dir.path());
    let error = refused(open(dir.path()));
    assert!(error.is_corrupt(), "{error:?}");
    names_path(&error, &dir.path().join("index"));
    assert_eq!(contents(dir.path()), before);
    // LMDB's file with other tables.
    fs::remove_file(dir.path().join("index")).unwrap();
    let env = lmdb::Environment::new()
        .set_flags(lmdb::EnvironmentFlags::NO_SUB_DIR | lmdb::EnvironmentFlags::NO_LOCK)
        .set_max_dbs(2)
        .open(&dir.path().join("index"))
        .unwrap();
    env.create_db(Some("theirs"), lmdb::DatabaseFlags::empty()).unwrap();
    drop(env);
    let before = contents(dir.path());
    let error = refused(open(dir.path()));
    assert!(error.is_corrupt(), "{error:?}");
    names_path(&error, dir.path());
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_missing_database_is_not_found_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("absent");
    let no_creation = Options { create: false, ..Options::new(&path) };
    for error in [refused(LmdbStore::open(&no_creation)), refused(open_to_read(&path))] {
        assert!(error.is_not_found(), "{error:?}");
        names_path(&error, &path);
    }
    let empty = Options { create: false, ..Options::new(dir.path()) };
    assert!(refused(LmdbStore::open(&empty)).is_not_found());
    assert!(contents(dir.path()).is_empty());
}

#[test]
fn a_missing_parent_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let parent = dir.path().join("absent");
    let error = refused(open(&parent.join("a.bigarray")));
    assert!(error.is_not_found(), "{error:?}");
    assert!(error.to_string().contains(&format!("no directory {}", parent.display())), "{error}");
    assert!(contents(dir.path()).is_empty());
}

#[test]
fn impossible_paths_are_invalid() {
    let dir = tempfile::tempdir().unwrap();
    let with_nul = dir.path().join(std::ffi::OsStr::from_bytes(b"a\0b"));
    let too_long = dir.path().join("x".repeat(300));
    let circle = dir.path().join("circle");
    symlink(&circle, &circle).unwrap();
    for path in [Path::new(""), &with_nul, &too_long, &circle] {
        let error = refused(open(path));
        assert!(error.is_invalid(), "{path:?}: {error:?}");
    }
    let dangling = dir.path().join("dangling");
    symlink(dir.path().join("absent"), &dangling).unwrap();
    let error = refused(open(&dangling));
    assert!(error.is_not_found(), "{error:?}");
    names_path(&error, &dangling);
}

#[test]
fn a_read_only_file_system_advises_to_read_only() {
    let Some(mount) = Mount::tmpfs(64 << 20) else { return };
    let path = database(&mount.at);
    mount.make_read_only();
    let error = refused(open(&path));
    assert!(error.is_io() && error.to_string().contains("read_only(true)"), "{error:?}");
    names_path(&error, &path);
    let error = refused(open(&mount.at.join("new")));
    assert!(error.is_io(), "{error:?}");
    names_path(&error, &mount.at.join("new"));
    let reading = open_to_read(&path).unwrap();
    assert!(shows_now(&reading, "a", 1));
    check(&reading);
}

#[test]
fn a_full_disk_is_store_full() {
    let Some(mount) = Mount::tmpfs(64 << 10) else { return };
    let error = refused(open(&mount.at.join("a")));
    assert!(error.is_store_full(), "{error:?}");
    names_path(&error, &mount.at.join("a"));
}

#[test]
fn without_permission_the_path_is_named_and_what_is_permitted_is_advised() {
    play(|path| {
        let parent = path.parent().unwrap();
        say_result(&open(&parent.join("closed/new")));
        say_result(&open(path));
        say_result(&open_to_read(&parent.join("closed/secret")));
        say(shows_now(&open_to_read(path).unwrap(), "a", 1));
    });
    let dir = common_dir();
    let path = database(dir.path());
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::create_dir(closed.join("secret")).unwrap();
    for (path, mode) in [
        (&closed.join("secret"), 0o000),
        (&closed, 0o555),
        (&path.join("index"), 0o444),
        (&path.join("data"), 0o444),
        (&path.join("index-lock"), 0o444),
        (&path, 0o555),
    ] {
        set_mode(path, mode);
    }
    let mut other = Other::start_as(unprivileged(dir.path()), &path);
    // Where there is nothing yet, there is nothing to read.
    let (free_path, reading) = ("give a path below a directory that you may write to", "read_only(true)");
    for (name, advice) in [("closed/new", free_path), ("a.bigarray", reading), ("closed/secret", reading)] {
        let error = other.hear();
        assert!(error.starts_with("Io: ") && error.contains("Permission denied"), "{error}");
        assert!(error.contains(&dir.path().join(name).display().to_string()), "{error}");
        assert!(error.contains(advice), "{error}");
        assert_eq!(error.contains(reading), advice == reading, "{error}");
    }
    assert_eq!(other.hear(), "true");
    other.finish();
    // So that the directory can be removed.
    for path in [&closed, &path, &closed.join("secret")] {
        set_mode(path, 0o755);
    }
}

#[test]
fn a_missing_file_is_damage() {
    for name in ["index", "data"] {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path());
        fs::remove_file(path.join(name)).unwrap();
        let before = contents(&path);
        for error in [refused(open(&path)), refused(open_to_read(&path))] {
            assert!(error.is_corrupt() && error.to_string().contains(&format!("{name} is missing")), "{error:?}");
            names_path(&error, &path);
        }
        assert_eq!(contents(&path), before);
    }
}

#[test]
fn a_missing_lock_file_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    fs::remove_file(path.join("index-lock")).unwrap();
    assert!(shows_now(&open(&path).unwrap(), "a", 1));
}

#[test]
fn a_truncated_data_file_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let data = path.join("data");
    for len in [0, 4096, fs::metadata(&data).unwrap().len() - 1] {
        fs::File::options().write(true).open(&data).unwrap().set_len(len).unwrap();
        let before = contents(&path);
        for error in [refused(open(&path)), refused(open_to_read(&path))] {
            assert!(error.is_corrupt() && error.to_string().contains(&len.to_string()), "{error:?}");
            names_path(&error, &path);
        }
        assert_eq!(contents(&path), before);
        let whole = fs::File::options().write(true).open(&data).unwrap();
        whole.set_len(2 << 20).unwrap();
    }
}

/// A database whose index has tables of several levels, and values on pages of their own.
fn database_of_many(dir: &Path) -> PathBuf {
    let path = database(dir);
    let store = open(&path).unwrap();
    for n in 0..40 {
        create(&store, &format!("{n:03} {}", "long name ".repeat(25)), n).unwrap();
    }
    drop(store);
    path
}

#[test]
fn an_index_truncated_anywhere_is_damage_never_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = database_of_many(dir.path());
    let index = path.join("index");
    let whole = fs::read(&index).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 20, "{pages}");
    // Pages at the end may be free ones that earlier commits left: those may be missing.
    let mut sound = 0;
    for len in (0..pages).map(|n| n * 4096).chain([1, 100, 4095, 4097, 8191, whole.len() - 1]) {
        fs::write(&index, &whole[..len]).unwrap();
        for attempt in [open(&path), open_to_read(&path)] {
            match attempt {
                Ok(store) => {
                    check(&store);
                    assert_eq!(names(&store).len(), 41);
                    sound += 1;
                }
                Err(error) => {
                    assert!(error.is_corrupt(), "{len}: {error:?}");
                    names_path(&error, &index);
                    assert_eq!(fs::read(&index).unwrap().len(), len, "left as it was");
                }
            }
        }
    }
    assert!(sound < pages, "{sound} of {pages}");
    fs::write(&index, &whole).unwrap();
    check(&open(&path).unwrap());
}

#[test]
fn an_index_without_meta_pages_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let index = path.join("index");
    let whole = fs::read(&index).unwrap();
    let mut cases = vec![vec![0; whole.len()], vec![0xff; whole.len()], b"short".to_vec()];
    // The magic number, the size of a page, and the version of the format, which is another error.
    for at in [16, 20, 40, 4096 + 16, 4096 + 20] {
        let mut bad = whole.clone();
        bad[at] ^= 0x55;
        cases.push(bad);
    }
    for (n, bad) in cases.iter().enumerate() {
        fs::write(&index, bad).unwrap();
        for error in [refused(open(&path)), refused(open_to_read(&path))] {
            assert!(error.is_corrupt() || error.is_unsupported(), "{n}: {error:?}");
            names_path(&error, &index);
        }
        assert_eq!(&fs::read(&index).unwrap(), bad);
    }
}

/// The version before this one, and a later one.
#[test]
fn another_format_is_refused_naming_both_versions() {
    for other in [1u64, 3] {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path());
        let env = lmdb::Environment::new()
            .set_flags(lmdb::EnvironmentFlags::NO_SUB_DIR | lmdb::EnvironmentFlags::NO_LOCK)
            .set_max_dbs(20)
            .open(&path.join("index"))
            .unwrap();
        let meta = env.open_db(Some("meta")).unwrap();
        let mut value = other.to_le_bytes().to_vec();
        value.extend(crc32c::crc32c_append(crc32c::crc32c(b"format"), &other.to_le_bytes()).to_le_bytes());
        let mut txn = env.begin_rw_txn().unwrap();
        lmdb::Transaction::get(&txn, meta, b"format").expect("the record to replace");
        txn.put(meta, b"format", &value, lmdb::WriteFlags::empty()).unwrap();
        lmdb::Transaction::commit(txn).unwrap();
        drop(env);
        if other == 1 {
            // Its data file has no header.
            fs::write(path.join("data"), vec![0; 2 << 20]).unwrap();
        }
        for error in [refused(open(&path)), refused(open_to_read(&path))] {
            assert!(error.is_unsupported(), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(&format!("version {other};")) && text.contains("version 2"), "{error}");
            names_path(&error, &path);
        }
    }
}

#[test]
fn links_and_directories_in_place_of_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    for name in ["index", "data"] {
        let (file, moved) = (path.join(name), dir.path().join(name));
        fs::rename(&file, &moved).unwrap();
        symlink(&moved, &file).unwrap();
        let error = refused(open(&path));
        assert!(error.is_corrupt(), "{error:?}");
        names_path(&error, &file);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(refused(open(&path)).is_corrupt());
        fs::remove_dir(&file).unwrap();
        fs::rename(&moved, &file).unwrap();
    }
    check(&open(&path).unwrap());
}

#[test]
fn a_database_that_failed_to_open_can_be_opened_when_its_files_are_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let index = fs::File::options().read(true).write(true).open(path.join("index")).unwrap();
    let mut magic = [0; 4];
    index.read_exact_at(&mut magic, 16).unwrap();
    index.write_all_at(b"XXXX", 16).unwrap();
    refused(open(&path));
    index.write_all_at(&magic, 16).unwrap();
    assert!(shows_now(&open(&path).unwrap(), "a", 1));
}
