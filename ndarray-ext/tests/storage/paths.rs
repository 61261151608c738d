//! Paths without a database: the error names the path, and files that are there stay.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use bigarray::ndarray::Ix1;
use bigarray::{Database, Error};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::support::child::{Child, alone, command, role, this_test};
use crate::support::{BLOCK, TestDb, check, is_root, small_blocks};

const NOBODY: u32 = 65534;

/// Creates a database of one array.
fn create(path: &Path) {
    let db = Database::open(path).unwrap();
    db.transact(|txn| {
        txn.create_with::<u8, _>("A", 40 * BLOCK, &small_blocks())?.view_mut().fill(5);
        Ok(())
    })
    .unwrap();
}

fn assert_whole(path: &Path) {
    let db = Database::options().create(false).open(path).unwrap();
    assert!(db.array::<u8, Ix1>("A").unwrap().view().iter().all(|&x| x == 5));
    check(path);
}

#[track_caller]
fn refused(path: &Path) -> Error {
    let error = Database::open(path).expect_err("it is refused");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error} does not name {path:?}");
    error
}

#[track_caller]
fn assert_says(error: &Error, words: &[&str]) {
    for word in words {
        assert!(error.to_string().contains(word), "{error}: does not say {word:?}");
    }
}

#[test]
fn files_and_directories_of_others_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = refused(&file);
    assert!(error.is_invalid(), "{error:?}");
    assert_says(&error, &["not a directory"]);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let inside = refused(&file.join("a.bigarray"));
    assert!(inside.is_invalid() || inside.is_not_found(), "{inside:?}");

    let error = refused(dir.path());
    assert!(error.is_invalid(), "{error:?}");
    assert_says(&error, &["\"file\"", "not a database"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let error = refused(&dir.path().join("no/such/parent.bigarray"));
    assert!(error.is_not_found(), "{error:?}");
    assert_says(&error, &["there is no directory"]);

    let error = Database::open("").unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
    let error = Database::open(dir.path().join("x".repeat(300))).unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
    let error = Database::open("a\0b").unwrap_err();
    assert!(error.is_invalid(), "{error:?}");

    let ring = dir.path().join("ring");
    symlink(&ring, &ring).unwrap();
    assert!(refused(&ring).is_invalid());
}

#[test]
fn an_empty_directory_becomes_a_database_and_an_absent_one_only_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    for options in [Database::options().create(false), Database::options().read_only(true)] {
        let error = options.open(&path).unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
        assert!(!path.exists());
    }
    fs::create_dir(&path).unwrap();
    create(&path);
    assert_whole(&path);
}

#[test]
fn every_spelling_of_a_path_shares_one_environment() {
    let db = TestDb::new();
    let dir = db.path().parent().unwrap();
    let link = dir.join("link");
    symlink(db.path(), &link).unwrap();
    let name = db.path().file_name().unwrap();
    let spellings = [
        db.path().to_owned(),
        link,
        dir.join(".").join(name),
        dir.join("link/..").join(name),
        PathBuf::from(format!("{}//", db.path().display())),
        fs::canonicalize(db.path()).unwrap(),
    ];
    db.transact(|txn| txn.create::<u64, _>("N", 1).map(drop)).unwrap();
    let all: Vec<Database> = spellings.iter().map(|path| Database::open(path).unwrap()).collect();
    for (n, one) in all.iter().enumerate() {
        one.transact(|txn| {
            txn.array::<u64, Ix1>("N")?.view_mut()[0] += 1;
            Ok(())
        })
        .unwrap();
        for other in all.iter().chain([&*db]) {
            assert_eq!(other.array::<u64, Ix1>("N").unwrap().view()[0], n as u64 + 1);
        }
    }
    let held = all[0].array::<u64, Ix1>("N").unwrap();
    // Each conflicts with the others as a transaction of its own does.
    let (one, two) = (all[1].begin().unwrap(), all[2].begin().unwrap());
    one.array::<u64, Ix1>("N").unwrap().view_mut()[0] = 50;
    two.array::<u64, Ix1>("N").unwrap().view_mut()[0] = 60;
    one.commit().unwrap();
    assert!(two.commit().unwrap_err().is_conflict());
    // Closing one does not disturb the others.
    let mut all = all;
    all.drain(1..);
    for value in 51..60 {
        all[0]
            .transact(|txn| {
                txn.array::<u64, Ix1>("N")?.view_mut()[0] = value;
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(held.view()[0], 6);
    assert_eq!(db.array::<u64, Ix1>("N").unwrap().view()[0], 59);
}

#[test]
fn missing_and_truncated_files_are_corrupt_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    create(&path);
    for name in ["data", "index"] {
        let file = path.join(name);
        let bytes = fs::read(&file).unwrap();

        fs::remove_file(&file).unwrap();
        let error = refused(&path);
        assert!(error.is_corrupt(), "{name} is missing: {error:?}");
        assert_says(&error, &[name, "missing"]);
        assert!(!file.exists(), "nothing is made up for what is lost");

        fs::write(&file, &bytes).unwrap();
        assert_whole(&path);

        for len in [0, 1, 4096, bytes.len() as u64 / 2 + 1] {
            fs::File::options().write(true).open(&file).unwrap().set_len(len).unwrap();
            // A file that is cut off is noticed at once, or when its bytes are looked for: never other bytes.
            let outcome = Database::open(&path).and_then(|db| {
                let a = db.array::<u8, Ix1>("A")?;
                a.prefetch(..)?;
                assert!(a.view().iter().all(|&x| x == 5), "{name} of {len} bytes: wrong bytes");
                Ok(())
            });
            match outcome {
                Err(error) => assert!(error.is_corrupt(), "{name} of {len} bytes: {error:?}"),
                Ok(()) => assert!(name == "index" && len > 8192, "{name} of {len} bytes: nothing was noticed"),
            }
            fs::write(&file, &bytes).unwrap();
        }
        assert_whole(&path);
    }
}

#[test]
fn a_file_that_is_no_index_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    create(&path);
    let index = path.join("index");
    let bytes = fs::read(&index).unwrap();
    for garbage in [vec![0x55; bytes.len()], b"not an index".to_vec(), vec![0; bytes.len()]] {
        fs::write(&index, garbage).unwrap();
        let error = refused(&path);
        assert!(error.is_corrupt(), "{error:?}");
    }
    fs::write(&index, &bytes).unwrap();
    assert_whole(&path);
}

/// CRC32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn a_later_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    create(&path);
    let record = |version: u64| {
        let record = [b"format".as_slice(), &version.to_le_bytes()].concat();
        let crc = crc32c(&record);
        [record, crc.to_le_bytes().to_vec()].concat()
    };
    let (now, later) = (record(2), record(7));
    let index = path.join("index");
    let mut bytes = fs::read(&index).unwrap();
    let mut found = 0;
    for at in 0..bytes.len() - now.len() {
        if bytes[at..].starts_with(&now) {
            bytes[at..at + now.len()].copy_from_slice(&later);
            found += 1;
        }
    }
    assert!(found > 0, "the format is recorded");
    fs::write(&index, bytes).unwrap();
    let error = refused(&path);
    assert!(error.is_unsupported(), "{error:?}");
    assert_says(&error, &["7", "2"]);
}

#[test]
fn without_permission_the_error_says_so_and_reading_may_be_enough() {
    if role().is_some() {
        let dir = PathBuf::from(std::env::var_os("DIR").unwrap());
        let path = dir.join("a.bigarray");
        let error = refused(&path);
        assert!(error.is_io(), "{error:?}");
        assert_says(&error, &["Permission denied", "read_only(true)"]);
        for path in [dir.join("new.bigarray"), dir.join("secret"), dir.join("secret/a.bigarray")] {
            let error = refused(&path);
            assert!(error.is_io(), "{error:?}");
            assert_says(&error, &["Permission denied"]);
        }
        // There is nothing to be read yet, so that is no advice.
        let error = refused(&dir.join("new.bigarray"));
        assert_says(&error, &["a directory that you may write to"]);
        assert!(!error.to_string().contains("read_only"), "{error}");
        let db = Database::options().read_only(true).open(&path).unwrap();
        return assert!(db.array::<u8, Ix1>("A").unwrap().view().iter().all(|&x| x == 5));
    }
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("a.bigarray");
    create(&path);
    fs::create_dir(dir.path().join("secret")).unwrap();
    fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut nobody = command(this_test!(), "nobody");
    nobody.uid(NOBODY).gid(NOBODY).env("DIR", dir.path());
    Child::start(nobody).finish();
    assert_whole(&path);
}

#[test]
fn on_a_read_only_file_system_only_reading_works() {
    if !is_root() || !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let nothing = None::<&str>;
    // Seen by this process only, and gone with it.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=64m")).unwrap();
    let path = dir.path().join("a.bigarray");
    create(&path);
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(nothing, dir.path(), nothing, read_only, nothing).unwrap();

    let error = refused(&path);
    assert!(error.is_io(), "{error:?}");
    assert_says(&error, &["Read-only file system", "read_only(true)"]);
    let error = refused(&dir.path().join("new.bigarray"));
    assert!(error.is_io(), "{error:?}");
    assert_says(&error, &["Read-only file system"]);

    let db = Database::options().read_only(true).open(&path).unwrap();
    let a = db.array::<u8, Ix1>("A").unwrap();
    assert!(a.view().iter().all(|&x| x == 5));
    let error = db.begin().unwrap().create::<u8, _>("B", 1).unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
    drop((a, db));
    mount(nothing, dir.path(), nothing, MsFlags::MS_REMOUNT, nothing).unwrap();
    assert_whole(&path);
}
