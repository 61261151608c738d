//! Blocks that are mapped from a disk cache: which are, that their bytes are right, and that their files stay as they are.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bigarray_core::store::CachedPages;
use bigarray_core::{BlockNo, BlockSize, Codec, Descriptor, PAGE};
use bigarray_store_icechunk::IcechunkStore;
use bigarray_testing::{Edit, array_of, page_of};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::disk_cache::{
    BLOCKS, FILE_BYTES, ROOMY, cached, fetched, files, filled, full, remove, wait_for, wait_until,
};
use crate::{id_of, now, open, url};

const BLOCK: usize = BlockSize::MIN.bytes();

/// Where files have `block` of the array "a".
fn places(store: &IcechunkStore, block: u64) -> Vec<CachedPages> {
    let snapshot = now(store);
    snapshot.cached(id_of(&*snapshot, "a"), BlockNo(block))
}

/// Sees that the first block of a chunk is mapped, with the right bytes, and which pages of it are.
#[track_caller]
fn assert_mapped(store: &IcechunkStore, chunk: u64) {
    let there = places(store, chunk * BLOCKS);
    let [CachedPages { pages, file, offset }] = &there[..] else { panic!("{} files of chunk {chunk}", there.len()) };
    assert_eq!((pages.clone(), *offset), (0..BlockSize::MIN.pages(), 0));
    let mut block = vec![0xee; BLOCK];
    file.as_file().unwrap().read_exact_at(&mut block, *offset).unwrap();
    assert!(block[..PAGE] == page_of(chunk) && block[PAGE..].iter().all(|byte| *byte == 0), "chunk {chunk}");
    file.read_at(0, &mut block[..PAGE]).unwrap();
}

#[test]
fn what_is_on_disk_is_mapped_without_a_request() {
    let (url, dir) = full(3);
    let reader = cached(&url, dir.path(), ROOMY);
    fetched(&reader, []);
    let snapshot = now(&*reader);
    let (id, before) = (id_of(&*snapshot, "a"), reader.requests().gets);
    for block in 0..3 * BLOCKS {
        assert_eq!(snapshot.cached(id, BlockNo(block)).len(), 1, "block {block}");
    }
    assert_eq!(reader.requests().gets, before);
    (0..3).for_each(|chunk| assert_mapped(&reader, chunk));
    // Blocks of one chunk lie behind each other in one open file, whose mappings the kernel joins.
    let first = places(&reader, 0);
    for block in 0..BLOCKS {
        let there = places(&reader, block);
        assert_eq!((there.len(), there[0].offset), (1, block * BLOCK as u64));
        assert!(Arc::ptr_eq(&there[0].file, &first[0].file), "block {block}");
    }
    // Without a cache, and behind the end, there is nothing.
    assert!(places(&open(&url), 0).is_empty() && places(&reader, 3 * BLOCKS).is_empty());
}

#[test]
fn what_is_in_memory_is_copied_from_there() {
    let (url, dir) = full(2);
    let reader = cached(&url, dir.path(), ROOMY);
    assert_eq!(fetched(&reader, [1]), 0);
    assert!(places(&reader, BLOCKS).is_empty());
    assert_mapped(&reader, 0);
}

#[test]
fn a_file_that_is_not_right_is_not_mapped_and_is_fetched_again() {
    let flip = |file: &Path, at: u64| {
        let file = File::options().read(true).write(true).open(file).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    let cut = |file: &Path, len: u64| File::options().write(true).open(file).unwrap().set_len(len).unwrap();
    type Damage<'a> = &'a dyn Fn(&Path);
    let damages: [(&str, Damage<'_>); 6] = [
        ("a bit flipped", &|file| flip(file, 77)),
        ("a bit of the last page flipped", &|file| flip(file, FILE_BYTES - PAGE as u64 - 1)),
        ("a bit of the seal flipped", &|file| flip(file, fs::metadata(file).unwrap().len() - 1)),
        ("torn", &|file| cut(file, 5 * PAGE as u64)),
        ("empty", &|file| cut(file, 0)),
        ("a pipe", &|file| {
            fs::remove_file(file).unwrap();
            mkfifo(file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }),
    ];
    let (url, dir) = full(3);
    for (damage, inflict) in damages {
        files(dir.path()).iter().for_each(|file| inflict(file));
        let reader = cached(&url, dir.path(), ROOMY);
        assert!((0..3).all(|chunk| places(&reader, chunk * BLOCKS).is_empty()), "{damage}");
        assert_eq!(files(dir.path()).len(), 0, "{damage}");
        assert_eq!(fetched(&reader, 0..3), 3, "{damage}");
        wait_for(dir.path(), 3);
        let again = cached(&url, dir.path(), ROOMY);
        (0..3).for_each(|chunk| assert_mapped(&again, chunk));
    }
}

#[test]
fn a_file_of_another_chunk_is_not_mapped() {
    let (url, dir) = full(2);
    let files = files(dir.path());
    fs::rename(&files[0], &files[1]).unwrap();
    let reader = cached(&url, dir.path(), ROOMY);
    assert!(places(&reader, 0).is_empty() && places(&reader, BLOCKS).is_empty());
    assert_eq!(fetched(&reader, 0..2), 2);
}

#[test]
fn what_is_mapped_stays_right_when_its_file_is_evicted_and_the_directory_removed() {
    let (url, dir) = full(4);
    let reader = cached(&url, dir.path(), ROOMY);
    let there = places(&reader, 0);
    let right = || {
        let mut page = vec![0; PAGE];
        there[0].file.as_file().unwrap().read_exact_at(&mut page, 0).unwrap();
        page == page_of(0)
    };
    let (originals, other) = (files(dir.path()), filled(3));
    let evicting = cached(&other, dir.path(), 2 * FILE_BYTES);
    fetched(&evicting, 0..3);
    wait_until("all of the first four are evicted", || originals.iter().all(|file| !file.exists()));
    assert!(right());
    remove(dir.path());
    assert!(right());
    // One that was not opened is fetched.
    assert!(places(&reader, 3 * BLOCKS).is_empty());
    assert_eq!(fetched(&reader, 1..4), 3);
}

/// Names of files of the cache that this process has open.
fn open_files(dir: &Path) -> BTreeSet<String> {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    open.filter(|file| file.starts_with(dir)).map(|file| file.display().to_string()).collect()
}

#[test]
fn files_are_opened_ahead_of_a_reader_that_maps_and_the_others_fetched() {
    let (url, dir) = full(6);
    let files = files(dir.path());
    files[..2].iter().for_each(|file| fs::remove_file(file).unwrap());
    let reader = cached(&url, dir.path(), ROOMY);
    fetched(&reader, []);
    let snapshot = now(&*reader);
    let before = reader.requests().gets;
    snapshot.will_need(id_of(&*snapshot, "a"), 0..6 * BLOCKS, true);
    wait_until("two are fetched", || reader.requests().gets >= before + 2);
    wait_until("four are open", || {
        files[2..].iter().all(|file| open_files(dir.path()).contains(&file.display().to_string()))
    });
    let mapped = (0..6).filter(|chunk| !places(&reader, chunk * BLOCKS).is_empty()).count();
    // Those that are fetched are in memory, or become so.
    assert!((4..=6).contains(&mapped), "{mapped}");
    assert_eq!(fetched(&reader, 0..6), 0);
    // A reader that copies has chunks brought into memory.
    let reader = cached(&url, dir.path(), ROOMY);
    fetched(&reader, []);
    let snapshot = now(&*reader);
    snapshot.will_need(id_of(&*snapshot, "a"), 0..6 * BLOCKS, false);
    wait_until("all are in memory", || (0..6).all(|chunk| places(&reader, chunk * BLOCKS).is_empty()));
}

#[test]
fn a_compressed_array_is_mapped_as_it_is_decoded() {
    let (url, dir) = (url(), tempfile::tempdir().unwrap());
    let store = open(&url);
    let array = Descriptor { codec: Codec::Zstd { level: 1, shuffle: true }, ..array_of(2 * BLOCKS as usize) };
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array)]).unwrap();
    let base = now(&*store);
    let edit = [0, 1].iter().fold(Edit::of(&*base, "a"), |edit, chunk| edit.page(&*base, chunk * BLOCKS, 0, *chunk));
    Edit::commit(&*store, &*base, &[edit]).unwrap();
    let filling = cached(&url, dir.path(), ROOMY);
    fetched(&filling, 0..2);
    wait_for(dir.path(), 2);
    let reader = cached(&url, dir.path(), ROOMY);
    (0..2).for_each(|chunk| assert_mapped(&reader, chunk));
}

#[test]
fn the_block_that_the_array_ends_in_is_mapped_up_to_a_page() {
    for (pages, is_mapped) in [(BLOCK / 2, true), (BLOCK / 2 + 100, false)] {
        let (url, dir) = (url(), tempfile::tempdir().unwrap());
        let store = open(&url);
        let create = Edit::create("a", array_of(BLOCKS as usize)).reshape(&[2 * BLOCK + pages]);
        Edit::commit(&*store, &*now(&*store), &[create]).unwrap();
        let base = now(&*store);
        Edit::commit(&*store, &*base, &[Edit::of(&*base, "a").page(&*base, 2, 3, 7).page(&*base, 0, 0, 0)]).unwrap();
        let filling = cached(&url, dir.path(), ROOMY);
        fetched(&filling, [0]);
        wait_for(dir.path(), 1);
        let reader = cached(&url, dir.path(), ROOMY);
        let there = places(&reader, 2);
        assert_eq!(there.len(), usize::from(is_mapped));
        for CachedPages { pages, offset, .. } in there {
            assert_eq!((pages, offset), (0..BlockSize::MIN.pages() / 2, 2 * BLOCK as u64));
        }
        assert_eq!(places(&reader, 1).len(), 1);
    }
}
