//! Arrays with a codec: which blocks are stored compressed, what a change of a page costs, and that damaged bytes are never
//! decompressed.

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bigarray_core::store::{Origin, Segment, Snapshot, Store as _};
use bigarray_core::{BlockNo, BlockSize, Codec, Descriptor, PAGE};
use bigarray_store_lmdb::{Durability, LmdbStore, Options};
use bigarray_testing::{Edit, array_of, page_of, smooth_page_of};

use support::{Db, check, commit, id_of, now};

/// The codecs that are compiled in.
fn codecs(store: &LmdbStore) -> Vec<Codec> {
    let mut codecs = [true, false].map(|shuffle| Codec::Lz4 { shuffle }).to_vec();
    codecs.extend([1, 12].map(|level| Codec::Zstd { level, shuffle: true }));
    codecs.push(Codec::Zstd { level: 3, shuffle: false });
    codecs.retain(|codec| store.check_codec(*codec).is_ok());
    codecs
}

/// Commits that do not wait for the disk. They write the same.
fn open_unsynced(db: &Db) -> Arc<LmdbStore> {
    LmdbStore::open(&Options { durability: Durability::NoPowerLossSafety, ..Options::new(&db.path) }).unwrap()
}

fn array(codec: Codec, size: BlockSize, blocks: usize) -> Descriptor {
    let shape = vec![blocks * size.bytes() / 8];
    Descriptor { dtype: "<u8".to_owned(), item_size: 8, shape, block_size: size, codec, ..array_of(1) }
}

fn segments(snapshot: &dyn Snapshot, block: u64) -> Vec<Segment> {
    snapshot.block(id_of(snapshot, "a"), BlockNo(block)).unwrap().map_or(Vec::new(), |record| record.segments)
}

fn is_packed(segments: &[Segment]) -> bool {
    matches!(segments, [Segment { origin: Origin::Produced, .. }])
}

/// Checks that every page is the smooth one of its tag, or zero.
#[track_caller]
fn assert_smooth(snapshot: &dyn Snapshot, block: u64, tags: &[Option<u64>]) {
    let mut bytes = vec![0xa5; tags.len() * PAGE];
    snapshot.read(id_of(snapshot, "a"), BlockNo(block), 0, &mut bytes).expect("reading");
    for (page, (bytes, tag)) in bytes.chunks(PAGE).zip(tags).enumerate() {
        let expected = tag.map_or_else(|| vec![0; PAGE], smooth_page_of);
        assert!(bytes == expected, "page {page} of block {block} is not {tag:?}");
    }
}

#[test]
fn a_block_written_whole_is_compressed_and_a_page_changed_in_it_is_stored_as_a_page() {
    for size in [BlockSize::MIN, BlockSize::MAX] {
        let db = Db::new();
        let store = db.open();
        for codec in codecs(&store) {
            let pages = size.pages();
            commit(&store, |base| Edit::create("a", array(codec, size, 1)).smooth_block(base, 0, 1000));
            let whole = check(&store);
            assert!(is_packed(&segments(&*now(&store), 0)), "{codec}");
            assert!(whole.stored_pages <= u64::from(pages) * 7 / 8, "{codec}: {whole:?}");

            let old = now(&store);
            commit(&store, |base| Edit::of(base, "a").smooth_page(base, 0, 7, 1));
            let one = check(&store);
            assert_eq!((one.stored_pages, one.segments), (whole.stored_pages + 1, 3), "{codec}");
            let mut tags: Vec<_> = (1000..1000 + u64::from(pages)).map(Some).collect();
            assert_smooth(&*old, 0, &tags);
            tags[7] = Some(1);
            assert_smooth(&*now(&store), 0, &tags);
            drop(old);

            // A page of zeros takes no page, and the compressed block is freed only with its last page.
            commit(&store, |base| Edit::of(base, "a").zero(base, 0, 7).zero(base, 0, 9));
            (tags[7], tags[9]) = (None, None);
            assert_smooth(&*now(&store), 0, &tags);
            assert_eq!(check(&store).stored_pages, whole.stored_pages, "{codec}");
            commit(&store, |base| (0..pages - 1).fold(Edit::of(base, "a"), |edit, page| edit.zero(base, 0, page)));
            assert_eq!(check(&store).stored_pages, whole.stored_pages, "{codec}");
            commit(&store, |base| Edit::of(base, "a").zero(base, 0, pages - 1));
            assert_eq!(check(&store).stored_pages, 0, "{codec}");
            commit(&store, |base| Edit::of(base, "a").remove());
        }
    }
}

#[test]
fn a_block_that_hardly_shrinks_stays_mappable() {
    let db = Db::new();
    let store = db.open();
    for codec in codecs(&store) {
        commit(&store, |base| {
            let edit = Edit::create("a", array(codec, BlockSize::MIN, 2)).block(base, 0, 5);
            // Saving two pages of 16 is worth it, saving one is not.
            (0..16).fold(edit, |edit, page| {
                if page < 14 {
                    edit.page(base, 1, page, 77 + u64::from(page))
                } else {
                    edit.smooth_page(base, 1, page, 1)
                }
            })
        });
        let base = now(&store);
        for block in [0, 1] {
            let segments = segments(&*base, block);
            assert!(segments.iter().all(|s| matches!(s.origin, Origin::Extent(_))), "{codec}: {segments:?}");
        }
        let mut page = vec![0; PAGE];
        base.read(id_of(&*base, "a"), BlockNo(0), 3, &mut page).unwrap();
        assert!(page == page_of(8));
        commit(&store, |base| Edit::of(base, "a").remove());
    }
}

#[test]
fn the_block_that_an_array_ends_in_is_whole_when_all_of_it_is_written() {
    let db = Db::new();
    let store = db.open();
    for codec in codecs(&store) {
        let descriptor = Descriptor { shape: vec![9 * PAGE / 8 - 3], ..array(codec, BlockSize::MIN, 1) };
        commit(&store, |base| {
            (0..9).fold(Edit::create("a", descriptor), |edit, page| edit.smooth_page(base, 0, page, page.into()))
        });
        commit(&store, |base| (0..9).fold(Edit::of(base, "a"), |edit, page| edit.smooth_page(base, 0, page, 9)));
        let base = now(&store);
        assert!(is_packed(&segments(&*base, 0)), "{codec}");
        assert_smooth(&*base, 0, &[[Some(9); 9].as_slice(), &[None; 7]].concat());
        assert!(check(&store).stored_pages <= 7, "{codec}");
        commit(&store, |base| Edit::of(base, "a").remove());
    }
}

/// Pages of it that no row lies in are not written again.
#[test]
fn the_block_that_an_array_begins_in_is_whole_when_all_rows_of_it_are_written() {
    let db = Db::new();
    let store = db.open();
    for codec in codecs(&store) {
        let db = Db::new();
        let store = open_unsynced(&db);
        commit(&store, |base| {
            Edit::create("a", array(codec, BlockSize::MIN, 2)).smooth_block(base, 0, 100).smooth_block(base, 1, 200)
        });
        commit(&store, |base| Edit::of(base, "a").drop_front(5 * PAGE + 8));
        assert!(is_packed(&segments(&*now(&store), 0)), "nothing was written");
        commit(&store, |base| {
            (5..16).fold(Edit::of(base, "a"), |edit, page| edit.smooth_page(base, 0, page, 300 + u64::from(page)))
        });
        let new = now(&store);
        assert!(is_packed(&segments(&*new, 0)), "{codec}: {:?}", segments(&*new, 0));
        assert_smooth(&*new, 0, &(0..16).map(|page| (page >= 5).then_some(300 + page)).collect::<Vec<_>>());
        assert_smooth(&*new, 1, &(0..16).map(|n| Some(200 + n)).collect::<Vec<_>>());
        // Fewer are laid over it.
        commit(&store, |base| {
            (6..16).fold(Edit::of(base, "a"), |edit, page| edit.smooth_page(base, 0, page, 400 + u64::from(page)))
        });
        assert!(!is_packed(&segments(&*now(&store), 0)));
        check(&store);
    }
}

#[test]
fn a_compressed_block_in_too_many_pieces_is_compressed_again() {
    let db = Db::new();
    let store = open_unsynced(&db);
    for codec in codecs(&store) {
        commit(&store, |base| Edit::create("a", array(codec, BlockSize::MAX, 1)).smooth_block(base, 0, 0));
        let mut tags: Vec<_> = (0..512).map(Some).collect();
        let mut again = 0;
        for i in 0..40 {
            let page = i * 37 % 512;
            commit(&store, |base| Edit::of(base, "a").smooth_page(base, 0, page, 5000 + u64::from(i)));
            tags[page as usize] = Some(5000 + u64::from(i));
            again += usize::from(is_packed(&segments(&*now(&store), 0)));
        }
        assert_smooth(&*now(&store), 0, &tags);
        assert_eq!(again, 2, "{codec}: each page leaves two pieces more, up to 32");
        check(&store);
        commit(&store, |base| Edit::of(base, "a").remove());
    }
}

#[test]
fn a_block_that_no_longer_shrinks_is_stored_as_it_is() {
    let db = Db::new();
    let store = open_unsynced(&db);
    for codec in codecs(&store) {
        commit(&store, |base| Edit::create("a", array(codec, BlockSize::MAX, 1)).smooth_block(base, 0, 0));
        // Much noise, in as many places as fit.
        commit(&store, |base| {
            (0..512)
                .filter(|page| page % 24 != 0)
                .fold(Edit::of(base, "a"), |edit, page| edit.page(base, 0, page, 1000 + u64::from(page)))
        });
        let base = now(&store);
        let segments = segments(&*base, 0);
        assert!(matches!(segments[..], [Segment { origin: Origin::Extent(_), .. }]), "{codec}: {segments:?}");
        let mut bytes = vec![0; 512 * PAGE];
        base.read(id_of(&*base, "a"), BlockNo(0), 0, &mut bytes).unwrap();
        for (page, bytes) in (0..).zip(bytes.chunks(PAGE)) {
            assert!(bytes == if page % 24 == 0 { smooth_page_of(page) } else { page_of(1000 + page) }, "page {page}");
        }
        check(&store);
        commit(&store, |base| Edit::of(base, "a").remove());
    }
}

/// Flips a bit of the data file.
fn flip(db: &Db, at: u64) {
    let data = File::options().read(true).write(true).open(db.path.join("data")).unwrap();
    let mut byte = [0];
    data.read_exact_at(&mut byte, at).unwrap();
    data.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_flipped_bit_of_a_compressed_block_is_reported_by_every_call_that_reads_it() {
    let db = Db::new();
    let store = open_unsynced(&db);
    for codec in codecs(&store) {
        commit(&store, |base| {
            Edit::create("a", array(codec, BlockSize::MAX, 2)).smooth_block(base, 0, 0).page(base, 1, 3, 7)
        });
        // The pages of the block in the file: those that are neither free nor of the other block.
        let before = std::fs::read(db.path.join("data")).unwrap();
        commit(&store, |base| Edit::of(base, "a").smooth_block(base, 0, 3000));
        let after = std::fs::read(db.path.join("data")).unwrap();
        let at = (0..after.len()).find(|at| before.get(*at) != Some(&after[*at])).unwrap() as u64 + 100;
        flip(&db, at);

        let base = now(&store);
        let id = id_of(&*base, "a");
        for (first, pages) in [(0, 512), (5, 1)] {
            let error = base.read(id, BlockNo(0), first, &mut vec![0; pages * PAGE]).unwrap_err();
            assert!(error.is_corrupt(), "{codec}: {error}");
            for part in ["test.bigarray", "block 0", &format!("id {}", id.0), "checksum"] {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
        base.read(id, BlockNo(1), 0, &mut vec![0; 512 * PAGE]).unwrap();
        let error = store.check(true).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("array \"a\", block 0"), "{error}");
        store.check(false).unwrap();
        // A commit that has to read the block fails, and leaves it as it is; others succeed.
        let every_other = |base: &dyn Snapshot| {
            (0..80).step_by(2).fold(Edit::of(base, "a"), |edit, page| edit.smooth_page(base, 0, page, 1))
        };
        let error = Edit::commit(&*store, &*base, &[every_other(&*base)]).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("block 0"), "{error}");
        commit(&store, |base| Edit::of(base, "a").page(base, 1, 4, 8));
        flip(&db, at);
        commit(&store, every_other);
        check(&store);
        commit(&store, |base| Edit::of(base, "a").remove());
    }
}

#[test]
fn a_damaged_page_is_not_compressed() {
    let db = Db::new();
    let store = open_unsynced(&db);
    for codec in codecs(&store) {
        let pages = |from: u32, to: u32| {
            move |base: &dyn Snapshot| {
                (from..to).fold(Edit::of(base, "a"), |edit, page| edit.smooth_page(base, 0, page, page.into()))
            }
        };
        commit(&store, |_| Edit::create("a", array(codec, BlockSize::MIN, 1)));
        commit(&store, pages(0, 3));
        let record = segments(&*now(&store), 0);
        let Origin::Extent(at) = record[0].origin else { panic!("{record:?}") };
        flip(&db, at + PAGE as u64 + 9);
        let base = now(&store);
        let error = Edit::commit(&*store, &*base, &[pages(3, 16)(&*base)]).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("page 1 of block 0"), "{codec}: {error}");
        flip(&db, at + PAGE as u64 + 9);
        commit(&store, pages(3, 16));
        assert!(is_packed(&segments(&*now(&store), 0)), "{codec}");
        commit(&store, |base| Edit::of(base, "a").remove());
    }
}

#[test]
fn an_unknown_codec_is_refused_before_anything_is_stored() {
    let db = Db::new();
    let store = db.open();
    let codec = Codec::Zstd { level: 23, shuffle: false };
    assert!(store.check_codec(codec).unwrap_err().is_invalid());
    let error =
        Edit::commit(&*store, &*now(&store), &[Edit::create("a", array(codec, BlockSize::MIN, 1))]).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("\"a\""), "{error}");
    assert!(now(&store).arrays().unwrap().is_empty());
}

#[test]
fn codecs_survive_reopening() {
    let db = Db::new();
    let store = db.open();
    let codecs = codecs(&store);
    for (i, codec) in codecs.iter().enumerate() {
        commit(&store, |base| {
            Edit::create(&format!("a{i}"), array(*codec, BlockSize::MIN, 1)).smooth_block(base, 0, i as u64)
        });
    }
    drop(store);
    let store = db.open();
    for (i, codec) in codecs.iter().enumerate() {
        let base = now(&store);
        let found = base.array(&format!("a{i}")).unwrap().unwrap();
        assert_eq!(found.codec, *codec);
        let mut bytes = vec![0; 16 * PAGE];
        base.read(found.id, BlockNo(0), 0, &mut bytes).unwrap();
        assert!(bytes[PAGE..2 * PAGE] == smooth_page_of(i as u64 + 1));
    }
}

#[test]
fn a_large_payload_is_compressed_block_by_block_and_unused_chunks_become_free() {
    let db = Db::new();
    let store = open_unsynced(&db);
    for codec in codecs(&store) {
        for size in [BlockSize::MIN, BlockSize::MAX] {
            let blocks = (12 << 20) / size.bytes() as u64;
            let pages = size.pages();
            // Every third block is noise, and some have holes.
            let is_noise = |block: u64| block % 3 == 2;
            let has_holes = |block: u64| block % 4 == 1;
            let tag = |block: u64, page: u32| block * 10_000 + u64::from(page);
            commit(&store, |base| {
                let mut edit = Edit::create("a", array(codec, size, blocks as usize));
                for block in 0..blocks {
                    for page in (0..pages).filter(|page| !has_holes(block) || page % 4 > 0) {
                        edit = if is_noise(block) {
                            edit.page(base, block, page, tag(block, page))
                        } else {
                            edit.smooth_page(base, block, page, tag(block, page))
                        };
                    }
                }
                edit
            });
            let base = now(&store);
            for block in 0..blocks {
                let segments = segments(&*base, block);
                assert_eq!(is_packed(&segments), !is_noise(block), "{codec}, block {block}: {segments:?}");
                let mut bytes = vec![0; size.bytes()];
                base.read(id_of(&*base, "a"), BlockNo(block), 0, &mut bytes).unwrap();
                for (page, bytes) in (0..).zip(bytes.chunks(PAGE)) {
                    let expected = match tag(block, page) {
                        _ if has_holes(block) && page % 4 == 0 => vec![0; PAGE],
                        tag if is_noise(block) => page_of(tag),
                        tag => smooth_page_of(tag),
                    };
                    assert!(bytes == expected, "{codec}, page {page} of block {block}");
                }
            }
            let report = check(&store);
            assert_eq!(report.claimed_pages, 0);
            assert!(report.stored_pages < blocks * u64::from(pages) * 3 / 4, "{codec}: {report:?}");
            commit(&store, |base| Edit::of(base, "a").remove());
        }
    }
}

/// Half of the uncompressed size was once claimed at once, and the file stayed that long.
#[test]
fn the_data_file_grows_by_about_the_compressed_size_of_a_large_payload() {
    for codec in codecs(&Db::new().open()) {
        let db = Db::new();
        let store = open_unsynced(&db);
        let blocks = 24;
        commit(&store, |base| {
            let edit = Edit::create("a", array(codec, BlockSize::MAX, blocks as usize));
            (0..blocks).fold(edit, |edit, block| edit.smooth_block(base, block, 1000 * block))
        });
        let stored = check(&store).stored_pages.div_ceil(512);
        // The first chunk has the header.
        let chunks = (db.data_length() >> 21) - 1;
        // Twice as many pages are claimed each time, and only once the earlier ones are used.
        assert!(chunks < 2 * stored, "{codec}: {stored} of {chunks} chunks");
    }
}

#[test]
fn a_block_that_does_not_take_less_room_than_its_pages_is_not_spilled_compressed() {
    let db = Db::new();
    let store = open_unsynced(&db);
    for codec in codecs(&store) {
        commit(&store, |_| Edit::create("a", array(codec, BlockSize::MIN, 1)));
        let descriptor = now(&store).array("a").unwrap().unwrap();
        let area = store.spill_area().unwrap();
        // Noise of eight pages compresses to nine, holes as zeros.
        let block: Vec<u8> = (0..16).flat_map(|page| if page < 8 { page_of(page) } else { vec![0; PAGE] }).collect();
        assert_eq!(area.write_packed(&descriptor, &block, 8).unwrap(), None, "{codec}");
        assert_eq!(check(&store).claimed_pages, 0, "{codec}: nothing is claimed for it");
        assert!(area.write_packed(&descriptor, &block, 16).unwrap().is_some(), "{codec}");
        for (bytes, pages) in [(&block[PAGE..], 15), (&block[..], 17)] {
            assert!(area.write_packed(&descriptor, bytes, pages).unwrap_err().is_invalid(), "{codec}");
        }
        commit(&store, |base| Edit::of(base, "a").remove());
    }
}

/// Zeros behind the new end were once counted as pages of the remaining array.
#[test]
fn a_block_that_a_shrink_cuts_keeps_the_pages_that_were_not_written() {
    let db = Db::new();
    let store = db.open();
    for codec in codecs(&store) {
        commit(&store, |base| Edit::create("a", array(codec, BlockSize::MAX, 1)).smooth_block(base, 0, 1000));
        commit(&store, |base| {
            let edit = Edit::of(base, "a").reshape(&[100 * PAGE / 8]);
            let edit = (0..50).fold(edit, |edit, page| edit.smooth_page(base, 0, page, page.into()));
            (100..512).fold(edit, |edit, page| edit.zero(base, 0, page))
        });
        let tag = |page: u64| match page {
            0..50 => Some(page),
            50..100 => Some(1000 + page),
            _ => None,
        };
        assert_smooth(&*now(&store), 0, &(0..512).map(tag).collect::<Vec<_>>());
        commit(&store, |base| Edit::of(base, "a").remove());
    }
}

// Only a few threads find memory for compressing at a time. All of them finish, though some spill and some commit, and all
// wait for the gate *writing* in between.
#[cfg(feature = "zstd")]
#[test]
fn many_threads_that_compress_at_a_high_level_all_finish() {
    let db = Db::new();
    let store = open_unsynced(&db);
    let codecs = [Codec::Zstd { level: 19, shuffle: true }, Codec::Zstd { level: 12, shuffle: false }];
    const BLOCKS: u64 = 2;
    let name = |n: usize| format!("array {n}");
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (store, codec) = (&store, codecs[n % 2]);
            scope.spawn(move || {
                let base = now(store);
                let edit = Edit::create(&name(n), array(codec, BlockSize::new(2 << 20).unwrap(), BLOCKS as usize));
                let edit = (0..BLOCKS).fold(edit, |edit, block| edit.block(&*base, block, block));
                Edit::commit(&**store, &*base, &[edit]).unwrap();
                let area = store.spill_area().unwrap();
                let descriptor = now(store).array(&name(n)).unwrap().unwrap();
                let block = vec![n as u8; descriptor.block_size.bytes()];
                std::thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| assert!(area.write_packed(&descriptor, &block, 512).unwrap().is_some()));
                    }
                });
            });
        }
    });
    for n in 0..6 {
        assert!(now(&store).array(&name(n)).unwrap().is_some());
    }
    assert_eq!(check(&store).claimed_pages, 0);
}
