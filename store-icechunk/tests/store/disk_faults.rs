//! A disk cache in a directory that has what the cache did not put there, and on disks that hang.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use bigarray_core::{BlockNo, Codec, Descriptor, PAGE};
use bigarray_store_icechunk::IcechunkStore;
use bigarray_testing::{Edit, array_of};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use crate::disk_cache::{BLOCKS, ROOMY, cached, fetched, files, filled, full, options, wait_for, wait_until};
use crate::{id_of, now, open, url};

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

/// Six chunks of one object, of which the disk has the four in the middle: the two at its ends come without those.
#[test]
fn what_is_on_disk_does_not_come_with_what_is_beside_it() {
    const CHUNKS: u64 = 6;
    let (url, dir) = (url(), tempfile::tempdir().unwrap());
    let store = open(&url);
    let array = Descriptor { codec: Codec::Zstd { level: 1, shuffle: false }, ..array_of((CHUNKS * BLOCKS) as usize) };
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array)]).unwrap();
    let base = now(&*store);
    // More than a gap that a request spans, and few enough bytes to share an object.
    let blocks = (0..CHUNKS).flat_map(|chunk| (0..8).map(move |block| chunk * BLOCKS + block));
    let edit = blocks.fold(Edit::of(&*base, "a"), |edit, block| edit.block(&*base, block, 100 * block));
    Edit::commit(&*store, &*base, &[edit]).unwrap();
    let block_of = |store: &IcechunkStore, chunk: u64| {
        let snapshot = now(store);
        let mut page = vec![0; PAGE];
        snapshot.read(id_of(&*snapshot, "a"), BlockNo(chunk * BLOCKS), 0, &mut page).unwrap();
        assert!(page == bigarray_testing::page_of(100 * chunk * BLOCKS), "chunk {chunk}");
    };
    let middle = cached(&url, dir.path(), ROOMY);
    (1..CHUNKS - 1).for_each(|chunk| block_of(&middle, chunk));
    wait_for(dir.path(), CHUNKS - 2);
    let reader = cached(&url, dir.path(), ROOMY);
    let snapshot = now(&*reader);
    snapshot.block(id_of(&*snapshot, "a"), BlockNo(0)).unwrap();
    let before = reader.requests();
    snapshot.will_need(id_of(&*snapshot, "a"), 0..CHUNKS * BLOCKS, false);
    wait_until("a request", || reader.requests().gets > before.gets);
    (0..CHUNKS).for_each(|chunk| block_of(&reader, chunk));
    let bytes = reader.requests().bytes_got - before.bytes_got;
    assert!((1 << 20..3 << 19).contains(&bytes), "{bytes} bytes came, of which each chunk has half a MiB");
}
