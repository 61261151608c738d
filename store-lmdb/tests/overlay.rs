//! A database in a lower layer of overlayfs, as in a container image.

mod outside;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bigarray_core::store::{Origin, Snapshot, Store as _};
use bigarray_core::{BlockNo, PAGE};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::page_of;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use outside::*;

/// The first page of array `a`, read through a mapping, as the pager maps a block.
fn mapped(snapshot: &dyn Snapshot) -> Vec<u8> {
    let id = snapshot.array("a").unwrap().unwrap().id;
    let record = snapshot.block(id, BlockNo(0)).unwrap().unwrap();
    let Origin::Extent(offset) = record.segments[0].origin else { panic!("not in the data file: {record:?}") };
    let file = snapshot.file().as_file().expect("a file");
    let length = NonZero::new(PAGE).unwrap();
    // SAFETY: a new mapping at an address that the kernel chooses, read while it is there; it stays for the test's time.
    unsafe {
        let at = mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, file, offset as i64).unwrap();
        std::slice::from_raw_parts(at.as_ptr().cast::<u8>(), PAGE).to_vec()
    }
}

/// A database with array `a` in a lower layer, and the overlayfs over it.
struct Layers {
    overlay: Mount,
    upper: PathBuf,
    _base: Mount,
}

impl Layers {
    fn new() -> Option<Layers> {
        let base = Mount::tmpfs(256 << 20)?;
        let (lower, upper) = (base.at.join("lower"), base.at.join("upper"));
        fs::create_dir(&lower).unwrap();
        create(&open(&lower.join("a.bigarray")).unwrap(), "a", 1).unwrap();
        let overlay = Mount::overlay(&lower, &upper)?;
        Some(Layers { overlay, upper, _base: base })
    }

    fn path(&self) -> PathBuf {
        self.overlay.at.join("a.bigarray")
    }

    /// Names of the files that were copied up.
    fn copied_up(&self) -> Vec<PathBuf> {
        let found = fs::read_dir(self.upper.join("files/a.bigarray"));
        found.into_iter().flatten().map(|entry| entry.unwrap().file_name().into()).collect()
    }
}

#[track_caller]
fn shows_everywhere(store: &Arc<LmdbStore>, tag: u64) {
    let now = store.snapshot().unwrap();
    assert!(shows(&*now, "a", tag));
    assert!(mapped(&*now) == page_of(tag), "the mapping is of another file than reads");
}

#[test]
fn a_writer_maps_the_bytes_that_it_wrote_after_its_files_were_copied_up() {
    let Some(layers) = Layers::new() else { return };
    let store = open(&layers.path()).unwrap();
    for tag in 2..8 {
        write(&store, "a", tag).unwrap();
        shows_everywhere(&store, tag);
    }
    check(&store);
}

#[test]
fn a_reader_copies_nothing_up_and_sees_all() {
    let Some(layers) = Layers::new() else { return };
    let store = open_to_read(&layers.path()).unwrap();
    shows_everywhere(&store, 1);
    check(&store);
    drop(store);
    assert!(layers.copied_up().is_empty(), "{:?}", layers.copied_up());
}

#[test]
fn writing_is_refused_while_a_reader_sees_the_lower_layer() {
    play(|path| {
        say_result(&open(path));
        wait();
        let store = open(path).unwrap();
        write(&store, "a", 2).unwrap();
        say("written");
        wait();
        write(&store, "a", 3).unwrap();
        say("written");
        wait();
    });
    let Some(layers) = Layers::new() else { return };
    let reader = open_to_read(&layers.path()).unwrap();
    let old = reader.snapshot().unwrap();
    let mut other = Other::start(&layers.path());
    let error = other.hear();
    assert!(error.starts_with("InUse") && error.contains("read_only(true)"), "{error}");
    assert!(layers.copied_up().is_empty(), "a refused writer copies nothing up: {:?}", layers.copied_up());
    shows_everywhere(&reader, 1);
    assert!(shows(&*old, "a", 1));
    drop((reader, old));
    other.go();
    assert_eq!(other.hear(), "written");
    // Copied files have a lock table: readers and writers work side by side.
    let reader = open_to_read(&layers.path()).unwrap();
    let old = reader.snapshot().unwrap();
    shows_everywhere(&reader, 2);
    other.go();
    assert_eq!(other.hear(), "written");
    shows_everywhere(&reader, 3);
    assert!(shows(&*old, "a", 2));
    other.go();
    other.finish();
}

#[test]
fn a_reader_of_a_database_in_the_upper_layer_does_not_exclude_writers() {
    play(|path| {
        let store = open(path).unwrap();
        write(&store, "a", 2).unwrap();
        say("written");
        wait();
    });
    let Some(layers) = Layers::new() else { return };
    let path = layers.overlay.at.join("new.bigarray");
    create(&open(&path).unwrap(), "a", 1).unwrap();
    let reader = open_to_read(&path).unwrap();
    shows_everywhere(&reader, 1);
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "written");
    shows_everywhere(&reader, 2);
    other.go();
    other.finish();
}

#[test]
fn an_overlay_without_an_upper_layer_can_be_read() {
    let Some(layers) = Layers::new() else { return };
    let bound = Mount::bind(&layers.overlay.at, true);
    let path: &Path = &bound.at.join("a.bigarray");
    shows_everywhere(&open_to_read(path).unwrap(), 1);
    assert!(refused(open(path)).is_io());
}
