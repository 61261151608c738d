//! Bytes that compressed arrays take on disk.

use std::fs;
use std::path::Path;

use bigarray::ndarray::{Array1, ArrayView1, Axis, Ix1};
use bigarray::{ArrayOptions, Codec, Database, Durability, Pager};
use bigarray_store_lmdb::{LmdbStore, Options};

use crate::support::random::Random;
use crate::support::{BLOCK, PAGE, TestDb, small_blocks};

const COMPRESSING: [Codec; 4] = [
    Codec::Lz4 { shuffle: false },
    Codec::Lz4 { shuffle: true },
    Codec::Zstd { level: 1, shuffle: false },
    Codec::Zstd { level: 9, shuffle: true },
];

/// Pages that the database's arrays take.
fn stored_pages(path: &Path) -> u64 {
    LmdbStore::open(&Options::new(path)).unwrap().check(true).unwrap().stored_pages
}

#[test]
fn compressible_blocks_take_less_space_and_others_no_more() {
    let mut random = Random::new(4);
    let noise: Vec<u64> = (0..8 * BLOCK / 8).map(|_| random.next()).collect();
    let smooth: Vec<u64> = (0..8 * BLOCK as u64 / 8).map(|n| 1_000_000 + n / 16).collect();
    let pages = |content: &[u64], codec| {
        let mut db = TestDb::new();
        db.commit(|txn| {
            let mut a = txn.create_with::<u64, _>("A", content.len(), &small_blocks().codec(codec)).unwrap();
            a.view_mut().assign(&ArrayView1::from(content));
        });
        db.close();
        stored_pages(db.path())
    };
    let plain = pages(&smooth, Codec::None);
    assert_eq!(plain, (8 * BLOCK / PAGE) as u64);
    for codec in &COMPRESSING {
        assert!(pages(&smooth, *codec) <= plain / 2, "{codec}");
        assert_eq!(pages(&noise, *codec), plain, "{codec}");
    }
}

#[test]
fn a_changed_page_of_a_compressed_block_is_stored_alone() {
    for codec in COMPRESSING {
        for pager in [Pager::Map, Pager::Copy] {
            let mut db = TestDb::with(Database::options().pager(pager));
            let content: Vec<u64> = (0..(4 << 20) / 8).map(|n| n / 16).collect();
            db.commit(|txn| {
                let options = ArrayOptions::new().codec(codec);
                let mut a = txn.create_with::<u64, _>("A", content.len(), &options).unwrap();
                a.view_mut().assign(&ArrayView1::from(&content));
            });
            db.close();
            let before = stored_pages(db.path());
            db.reopen();
            db.commit(|txn| txn.array::<u64, Ix1>("A").unwrap().view_mut()[1000] = 5);
            db.commit(|txn| txn.array::<u64, Ix1>("A").unwrap().rows_mut(300_000..300_001).unwrap().fill(6));
            db.close();
            assert_eq!(stored_pages(db.path()), before + 2, "{codec}, {pager:?}");
            db.reopen();
            let a = db.array::<u64, Ix1>("A").unwrap();
            let expected = |n: usize| match n {
                1000 => 5,
                300_000 => 6,
                n => n as u64 / 16,
            };
            assert!(a.view().iter().enumerate().all(|(n, &x)| x == expected(n)), "{codec}, {pager:?}");
        }
    }
}

/// Sensors append a few values at a time.
#[test]
fn appending_a_hundred_bytes_to_a_compressed_array_stores_a_page() {
    const N: usize = 300;
    for codec in COMPRESSING {
        let mut db = TestDb::with(Database::options().durability(Durability::NoPowerLossSafety));
        let content: Vec<u8> = (0..10 << 20).map(|n: u32| (n >> 10) as u8).collect();
        db.commit(|txn| {
            let mut a = txn.create_with::<u8, _>("A", 0, &ArrayOptions::new().codec(codec)).unwrap();
            a.append(Axis(0), ArrayView1::from(&content)).unwrap();
        });
        db.close();
        let before = stored_pages(db.path());
        let len = |path: &Path| fs::metadata(path.join("data")).unwrap().len();
        let data = len(db.path());
        let unsynced = Database::options().durability(Durability::NoPowerLossSafety).open(db.path()).unwrap();
        for n in 0..N {
            let more = Array1::from_elem(100, n as u8);
            unsynced.transact(|txn| txn.array::<u8, Ix1>("A")?.append(Axis(0), more.view())).unwrap();
        }
        let a = unsynced.array::<u8, Ix1>("A").unwrap();
        let view = a.view();
        assert!(view.iter().zip(&content).all(|(x, y)| x == y), "{codec}");
        assert!(view.iter().skip(content.len()).enumerate().all(|(at, &x)| x == (at / 100) as u8), "{codec}");
        drop((a, unsynced));
        // 30 kB, in the pages that they fill.
        let pages = stored_pages(db.path()) - before;
        assert!(pages <= (N * 100 / PAGE) as u64 + 2, "{codec}: {pages} pages");
        assert!(len(db.path()) <= data + (8 << 20), "{codec}");
    }
}

/// It was once spilled as a whole, zeros for its holes, and those pages stayed stored.
#[test]
fn a_block_with_holes_that_does_not_shrink_is_flushed_without_its_holes() {
    const BLOCKS: usize = 3;
    for codec in COMPRESSING {
        // Half of each block, which compressed would take a page more; and all of it but two pages.
        for noise in [BLOCK / 2, BLOCK - 2 * PAGE] {
            let db = TestDb::new();
            let mut random = Random::new(11);
            // Holes at first, then zeros over what was stored.
            for front in [true, false] {
                let mut expected = vec![0; BLOCKS * BLOCK];
                for block in expected.chunks_mut(BLOCK) {
                    let from = if front { 0 } else { BLOCK - noise };
                    block[from..][..noise].copy_from_slice(&random.bytes(noise));
                }
                db.commit(|txn| {
                    let mut a = match front {
                        true => txn.create_with::<u8, _>("A", expected.len(), &small_blocks().codec(codec)).unwrap(),
                        false => txn.array("A").unwrap(),
                    };
                    a.view_mut().assign(&ArrayView1::from(&expected));
                    a.flush().unwrap();
                    assert!(a.view() == ArrayView1::from(&expected), "{codec}");
                });
                let a = db.array::<u8, Ix1>("A").unwrap();
                assert!(a.view() == ArrayView1::from(&expected), "{codec}");
                assert_eq!(stored_pages(db.path()), (BLOCKS * noise / PAGE) as u64, "{codec}, {noise} bytes, {front}");
            }
        }
    }
}
