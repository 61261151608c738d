//! Full volumes: a database can be opened, read and removed from, and a store to LMDB's lock table, a shared mapping, is
//! never SIGBUS, also on file systems that copy blocks.

mod outside;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use bigarray_core::Result;
use bigarray_core::store::Store as _;
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::Edit;
use outside::*;

/// The length that LMDB gives `index-lock`.
const LOCK_TABLE_BYTES: u64 = 192 + 4095 * 64;
/// A volume with less free room counts as full: btrfs reports room as free that only its own records may take.
const NEARLY_FULL: u64 = 8 << 20;

fn free_bytes(dir: &Path) -> u64 {
    let found = nix::sys::statvfs::statvfs(dir).unwrap();
    found.blocks_available() * found.fragment_size()
}

/// Takes all room on the disk: afterwards bytes can only be written in place.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let mut file = File::create(&path).unwrap();
    let mut noise = 1_u64;
    // Writing back may take less room than was reserved, or more.
    for _ in 0..4 {
        let mut bytes = 1 << 20;
        while bytes >= 512 {
            let piece: Vec<u8> = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (noise >> 56) as u8
            })
            .take(bytes)
            .collect();
            if file.write_all(&piece).is_err() {
                bytes /= 2;
            }
        }
        // Fails if written bytes find no room.
        let _ = file.sync_all();
        run("sync", &["-f", dir.to_str().unwrap()]);
    }
    path
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

fn remove(store: &LmdbStore, name: &str) -> Result<()> {
    let base = store.snapshot()?;
    Edit::commit(store, &*base, &[Edit::of(&*base, name).remove()]).map(drop)
}

/// How many of some commits and looks are refused on a full volume, each for that reason.
fn refused_while_full(store: &LmdbStore) -> usize {
    let mut refused = Vec::new();
    for tag in 2..6 {
        refused.extend(write(store, "a", tag).err());
        refused.extend(store.snapshot().err());
    }
    assert!(refused.iter().all(|e| e.is_store_full()), "{refused:?}");
    refused.len()
}

/// Plays a process that goes on while its volume is filled, and reports errors.
fn go_on() {
    play(|path| {
        let store = open(path).unwrap();
        create(&store, "a", 1).unwrap();
        let old = store.snapshot().unwrap();
        say("ready");
        wait();
        let refused = refused_while_full(&store);
        assert!(shows(&*old, "a", 1));
        drop(old);
        say(refused);
        wait();
        write(&store, "a", 9).unwrap();
        assert!(shows_now(&store, "a", 9));
        check(&store);
        say("done");
    });
}

/// A process has the database open while `shares` has its files share blocks with others, and the volume is filled.
/// Returns how often it was refused.
fn no_signal_on(mount: &Mount, path: &Path, shares: impl FnOnce()) -> usize {
    let mut other = Other::start(path);
    assert_eq!(other.hear(), "ready");
    run("sync", &["-f", mount.at.to_str().unwrap()]);
    shares();
    let filler = fill(&mount.at);
    assert!(free_bytes(&mount.at) < NEARLY_FULL, "{} bytes are free", free_bytes(&mount.at));
    other.go();
    let refused = other.hear();
    println!("{refused} refused");
    fs::remove_file(filler).unwrap();
    run("sync", &["-f", mount.at.to_str().unwrap()]);
    other.go();
    assert_eq!(other.hear(), "done");
    other.finish();
    refused.parse().unwrap()
}

#[test]
fn a_full_ext2_is_an_error_and_no_signal() {
    go_on();
    let Some(mount) = Mount::image("ext2", 24 << 20) else { return };
    // There is no `fallocate`, so no room is reserved.
    assert_ne!(no_signal_on(&mount, &mount.at.join("a.bigarray"), || {}), 0);
}

#[test]
fn a_reader_without_write_access_to_the_data_leaves_the_lock_table_of_another_as_it_is() {
    play(|path| {
        let store = open_to_read(path).unwrap();
        say(shows_now(&store, "a", 1));
        wait();
    });
    let Some(mount) = Mount::image("ext2", 24 << 20) else { return };
    let path = mount.at.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    let table = path.join("index-lock");
    fs::remove_file(&table).unwrap();
    // Only the last block is allocated, as for another reader's place.
    let file = File::create(&table).unwrap();
    file.set_len(LOCK_TABLE_BYTES).unwrap();
    file.write_all_at(&[1; 64], LOCK_TABLE_BYTES - 64).unwrap();
    for (path, mode) in [(&path, 0o755), (&path.join("index"), 0o444), (&path.join("data"), 0o444), (&table, 0o666)] {
        set_mode(path, mode);
    }
    set_mode(&mount.at, 0o755);
    let before = fs::read(&table).unwrap();
    let dir = common_dir();
    let mut other = Other::start_as(unprivileged(dir.path()), &path);
    assert_eq!(other.hear(), "true");
    assert!(fs::read(&table).unwrap() == before, "the table was written to");
    // It reads without the table, so no process may write.
    assert!(refused(open(&path)).is_in_use());
    other.go();
    other.finish();
}

#[test]
fn a_lock_table_that_finds_no_room_on_a_full_ext2_is_an_error_and_no_signal() {
    play(|path| {
        say_result(&open(path).and_then(|store| write(&store, "a", 2)));
        say(shows_now(&open_to_read(path).unwrap(), "a", 1));
    });
    let Some(mount) = Mount::image("ext2", 24 << 20) else { return };
    let path = mount.at.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    fs::remove_file(path.join("index-lock")).unwrap();
    fill(&mount.at);
    let mut other = Other::start(&path);
    let error = other.hear();
    assert!(error.starts_with("StoreFull") && error.contains("index-lock"), "{error}");
    assert_eq!(other.hear(), "true");
    other.finish();
}

#[test]
fn a_full_btrfs_is_an_error_and_no_signal() {
    go_on();
    let Some(mount) = Mount::image("btrfs", 128 << 20) else { return };
    no_signal_on(&mount, &mount.at.join("a.bigarray"), || {});
}

#[test]
fn a_full_btrfs_with_a_snapshot_of_the_subvolume_is_an_error_and_no_signal() {
    go_on();
    let Some(mount) = Mount::image("btrfs", 128 << 20) else { return };
    let (volume, snapshot) = (mount.at.join("volume"), mount.at.join("snapshot"));
    run("btrfs", &["subvolume", "create", volume.to_str().unwrap()]);
    no_signal_on(&mount, &volume.join("a.bigarray"), || {
        run("btrfs", &["subvolume", "snapshot", volume.to_str().unwrap(), snapshot.to_str().unwrap()]);
    });
}

#[test]
fn a_full_xfs_with_a_clone_of_the_files_is_an_error_and_no_signal() {
    go_on();
    let Some(mount) = Mount::image("xfs", 320 << 20) else { return };
    let path = mount.at.join("a.bigarray");
    no_signal_on(&mount, &path, || {
        let copy = mount.at.join("copy");
        run("cp", &["-r", "--reflink=always", path.to_str().unwrap(), copy.to_str().unwrap()]);
    });
}

/// On a full volume a process opens the database to read, another to write, which removes something.
fn play_openings() {
    play(|path| {
        let reading = open_to_read(path).unwrap();
        assert!(shows_now(&reading, "a", 1));
        check(&reading);
        drop(reading);
        say("read");
        say_result(&open(path).and_then(|store| remove(&store, "large")));
        wait();
        let store = open(path).unwrap();
        remove(&store, "a").unwrap();
        check(&store);
    });
}

/// The result of removing an array on the full volume `at` in another process, which first reads. With room again all goes
/// on.
fn opens_full(path: &Path, at: &Path) -> String {
    let store = open(path).unwrap();
    create(&store, "a", 1).unwrap();
    create(&store, "large", 2).unwrap();
    drop(store);
    run("sync", &["-f", at.to_str().unwrap()]);
    let filler = fill(at);
    let mut other = Other::start(path);
    assert_eq!(other.hear(), "read");
    let removed = other.hear();
    fs::remove_file(filler).unwrap();
    run("sync", &["-f", at.to_str().unwrap()]);
    other.go();
    other.finish();
    removed
}

#[test]
fn on_a_full_tmpfs_a_database_is_opened_and_an_array_removed() {
    play_openings();
    let Some(mount) = Mount::tmpfs(16 << 20) else { return };
    assert_eq!(opens_full(&mount.at.join("a.bigarray"), &mount.at), "ok");
}

#[test]
fn on_a_full_ext4_a_database_is_opened_and_an_array_removed() {
    play_openings();
    let Some(mount) = Mount::image("ext4", 24 << 20) else { return };
    assert_eq!(opens_full(&mount.at.join("a.bigarray"), &mount.at), "ok");
}

#[test]
fn on_a_full_xfs_a_database_is_opened_and_an_array_removed() {
    play_openings();
    let Some(mount) = Mount::image("xfs", 320 << 20) else { return };
    assert_eq!(opens_full(&mount.at.join("a.bigarray"), &mount.at), "ok");
}

#[test]
fn a_full_btrfs_is_opened_and_read() {
    play_openings();
    let Some(mount) = Mount::image("btrfs", 128 << 20) else { return };
    let removed = opens_full(&mount.at.join("a.bigarray"), &mount.at);
    println!("removing: {removed}");
    assert!(removed == "ok" || removed.starts_with("StoreFull"), "{removed}");
}

#[test]
fn a_btrfs_over_its_quota_is_opened_and_read() {
    play_openings();
    let Some(mount) = Mount::image("btrfs", 128 << 20) else { return };
    let volume = mount.at.join("volume");
    let volume_name = volume.to_str().unwrap();
    run("btrfs", &["subvolume", "create", volume_name]);
    run("btrfs", &["quota", "enable", mount.at.to_str().unwrap()]);
    run("btrfs", &["qgroup", "limit", "8M", volume_name]);
    let removed = opens_full(&volume.join("a.bigarray"), &volume);
    println!("removing: {removed}");
    assert!(removed == "ok" || removed.starts_with("StoreFull"), "{removed}");
}

#[test]
fn holes_in_the_index_get_their_blocks_before_they_are_written_to() {
    let Some(mount) = Mount::tmpfs(16 << 20) else { return };
    let path = mount.at.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    let index = File::options().write(true).open(path.join("index")).unwrap();
    let bytes = index.metadata().unwrap().len() + (4 << 20);
    index.set_len(bytes).unwrap();
    let store = open(&path).unwrap();
    write(&store, "a", 2).unwrap();
    let blocks = index.metadata().unwrap().blocks();
    assert!(blocks * 512 > bytes, "{blocks} blocks for {bytes} bytes");
    check(&store);
}

/// Plays a process that has the database open, reads an old state, and closes while its volume is full.
fn play_closing() {
    play(|path| {
        let store = open(path).unwrap();
        create(&store, "a", 1).unwrap();
        let old = store.snapshot().unwrap();
        write(&store, "a", 2).unwrap();
        say("ready");
        wait();
        assert!(shows(&*old, "a", 1));
        drop(old);
        drop(store);
        say("closed");
        wait();
        let store = open(path).unwrap();
        write(&store, "a", 3).unwrap();
        check(&store);
        say("done");
    });
}

/// The volume is full while a process closes the database, after `shares` had files share blocks with others. What was
/// committed is read by another then, and with room again all goes on.
fn closes_full(mount: &Mount, path: &Path, shares: impl FnOnce()) {
    let mut other = Other::start(path);
    assert_eq!(other.hear(), "ready");
    run("sync", &["-f", mount.at.to_str().unwrap()]);
    shares();
    let filler = fill(&mount.at);
    assert!(free_bytes(&mount.at) < NEARLY_FULL, "{} bytes are free", free_bytes(&mount.at));
    other.go();
    assert_eq!(other.hear(), "closed");
    assert!(shows_now(&open_to_read(path).unwrap(), "a", 2));
    fs::remove_file(filler).unwrap();
    run("sync", &["-f", mount.at.to_str().unwrap()]);
    other.go();
    assert_eq!(other.hear(), "done");
    other.finish();
    let store = open(path).unwrap();
    assert!(shows_now(&store, "a", 3));
    check(&store);
}

#[test]
fn a_database_is_closed_on_a_full_volume() {
    play_closing();
    for (kind, bytes) in [("ext2", 24 << 20), ("ext4", 24 << 20), ("xfs", 320 << 20), ("btrfs", 128 << 20)] {
        println!("{kind}");
        let Some(mount) = Mount::image(kind, bytes) else { continue };
        closes_full(&mount, &mount.at.join("a.bigarray"), || {});
    }
    let Some(mount) = Mount::tmpfs(16 << 20) else { return };
    closes_full(&mount, &mount.at.join("a.bigarray"), || {});
}

/// Makes a database on a volume whose files share their blocks with others, and gives it to `test` with what makes them
/// share.
fn where_blocks_are_shared(test: impl Fn(&Mount, &Path, &dyn Fn())) {
    if let Some(mount) = Mount::image("xfs", 320 << 20) {
        let (path, copy) = (mount.at.join("a.bigarray"), mount.at.join("copy"));
        test(&mount, &path, &|| run("cp", &["-r", "--reflink=always", path.to_str().unwrap(), copy.to_str().unwrap()]));
    }
    if let Some(mount) = Mount::image("btrfs", 128 << 20) {
        let (volume, snapshot) = (mount.at.join("volume"), mount.at.join("snapshot"));
        run("btrfs", &["subvolume", "create", volume.to_str().unwrap()]);
        test(&mount, &volume.join("a.bigarray"), &|| {
            run("btrfs", &["subvolume", "snapshot", volume.to_str().unwrap(), snapshot.to_str().unwrap()]);
        });
    }
}

#[test]
fn a_database_is_closed_on_a_full_volume_that_shares_its_blocks() {
    play_closing();
    where_blocks_are_shared(|mount, path, shares| closes_full(mount, path, shares));
}

/// A process is killed that reads an old state on a full volume; others go on, and what it kept comes free.
fn a_reader_is_killed(mount: &Mount, path: &Path, shares: &dyn Fn()) {
    let store = open(path).unwrap();
    create(&store, "a", 1).unwrap();
    drop(store);
    let mut reader = Other::start(path);
    reader.tell("read");
    let mut writer = Other::start(path);
    writer.tell("write");
    assert_eq!((reader.hear(), writer.hear()), ("reading".to_owned(), "ready".to_owned()));
    run("sync", &["-f", mount.at.to_str().unwrap()]);
    shares();
    let filler = fill(&mount.at);
    assert!(free_bytes(&mount.at) < NEARLY_FULL, "{} bytes are free", free_bytes(&mount.at));
    reader.kill();
    writer.go();
    println!("{} refused", writer.hear());
    fs::remove_file(filler).unwrap();
    run("sync", &["-f", mount.at.to_str().unwrap()]);
    writer.go();
    assert_eq!(writer.hear(), "0");
    writer.finish();
}

/// Plays the reader, and the process beside it.
fn play_reader_and_writer() {
    play(|path| {
        let store = open(path).unwrap();
        if hear_word() == "read" {
            let _old = store.snapshot().unwrap();
            say("reading");
            return wait();
        }
        say("ready");
        wait();
        say(refused_while_full(&store));
        wait();
        // The last few states are kept in any case.
        for tag in 10..20 {
            write(&store, "a", tag).unwrap();
        }
        let freed = store.check(true).unwrap().freed_pages;
        say(freed.saturating_sub(3));
    });
}

#[test]
fn others_go_on_after_a_reader_is_killed_on_a_full_volume() {
    play_reader_and_writer();
    for (kind, bytes) in [("ext2", 24 << 20), ("ext4", 24 << 20)] {
        println!("{kind}");
        let Some(mount) = Mount::image(kind, bytes) else { continue };
        a_reader_is_killed(&mount, &mount.at.join("a.bigarray"), &|| {});
    }
    let Some(mount) = Mount::tmpfs(16 << 20) else { return };
    a_reader_is_killed(&mount, &mount.at.join("a.bigarray"), &|| {});
}

#[test]
fn others_go_on_after_a_reader_is_killed_on_a_full_volume_that_shares_its_blocks() {
    play_reader_and_writer();
    where_blocks_are_shared(a_reader_is_killed);
}
