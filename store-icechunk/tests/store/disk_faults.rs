//! A disk cache in a directory that has what the cache did not put there, and on disks that hang.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use bigarray_store_icechunk::IcechunkStore;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use crate::disk_cache::{ROOMY, cached, fetched, files, filled, full, options, wait_until};
use crate::url;

/// Opening one for reading waits until another process opens it for writing: as a disk that does not answer.
#[test]
fn a_file_that_hangs_holds_no_reader() {
    let (url, dir) = full(3);
    for file in files(dir.path()) {
        fs::remove_file(&file).unwrap();
        mkfifo(&file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    }
    assert_eq!(fetched(&cached(&url, dir.path(), ROOMY), 0..3), 3);
}

#[test]
fn a_link_is_not_followed_to_a_chunk() {
    let (url, dir) = full(3);
    let elsewhere = tempfile::tempdir().unwrap();
    for file in files(dir.path()) {
        let target = elsewhere.path().join(file.file_name().unwrap());
        fs::rename(&file, &target).unwrap();
        symlink(&target, &file).unwrap();
    }
    let reader = cached(&url, dir.path(), ROOMY);
    assert_eq!(fetched(&reader, 0..3), 3);
    wait_until("files are in the places of the links", || {
        files(dir.path()).iter().all(|file| fs::symlink_metadata(file).unwrap().is_file())
    });
    assert_eq!(fetched(&cached(&url, dir.path(), ROOMY), 0..3), 0);
}

#[test]
fn a_link_is_not_followed_to_the_file_that_says_how_much_there_is() {
    let (url, dir, elsewhere) = (filled(3), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let precious = elsewhere.path().join("precious");
    fs::write(&precious, "thirteen bytes and more").unwrap();
    symlink(&precious, dir.path().join("usage")).unwrap();
    let store = cached(&url, dir.path(), ROOMY);
    assert_eq!(fetched(&store, 0..3), 3);
    // What follows the last chunk on its way is behind all of them.
    fs::remove_file(dir.path().join("usage")).unwrap();
    let other = filled(1);
    assert_eq!(fetched(&cached(&other, dir.path(), ROOMY), 0..1), 1);
    wait_until("a chunk is kept", || !files(dir.path()).is_empty());
    assert_eq!(fs::read(&precious).unwrap(), b"thirteen bytes and more");
}

#[test]
fn a_directory_below_one_that_others_can_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (above, cache) = (dir.path().join("above"), dir.path().join("above/between/cache"));
    let opened = || IcechunkStore::open(&url(), &options(&cache, ROOMY)).map(drop);
    fs::create_dir(&above).unwrap();
    for mode in [0o777, 0o770, 0o757] {
        fs::set_permissions(&above, Permissions::from_mode(mode)).unwrap();
        let error = opened().unwrap_err();
        let text = error.to_string();
        assert!(error.is_invalid() && text.contains(&format!("{} ", above.display())), "{text}");
        assert!(text.contains(&format!("mode {mode:o}")), "{text}");
    }
    // As /tmp: what is in it belongs to its owners.
    for mode in [0o1777, 0o755, 0o711] {
        fs::set_permissions(&above, Permissions::from_mode(mode)).unwrap();
        opened().unwrap();
    }
    if !geteuid().is_root() {
        println!("SKIPPED: a directory of another user needs root");
        return;
    }
    chown(&above, Some(12345), None).unwrap();
    let error = opened().unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("belongs to user 12345"), "{error}");
}
