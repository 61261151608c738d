//! An array with a codec that grows by 100 bytes a commit: how much an append writes, and that full blocks end up
//! compressed. Alone in its file, since the kernel counts the bytes that a process writes.

mod support;

use std::fs;

use bigarray_core::store::{Origin, Segment, Snapshot, Store as _};
use bigarray_core::{BlockNo, BlockSize, Codec, Descriptor, PAGE};
use bigarray_store_lmdb::{Durability, LmdbStore, Options};
use bigarray_testing::{Edit, array_of, smooth_page_of};

use support::{Db, check, commit, id_of, now};

/// Bytes that this process has written by `write` and similar calls.
fn written_bytes() -> u64 {
    let counts = fs::read_to_string("/proc/self/io").unwrap();
    let line = counts.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.expect("a count of bytes written").parse().unwrap()
}

fn segments(snapshot: &dyn Snapshot, block: u64) -> Vec<Segment> {
    snapshot.block(id_of(snapshot, "a"), BlockNo(block)).unwrap().map_or(Vec::new(), |record| record.segments)
}

#[test]
fn an_append_of_100_bytes_writes_a_few_pages_and_full_blocks_end_up_compressed() {
    const APPENDS: usize = 10_000;
    const BYTES: usize = 100 * APPENDS;
    for size in [BlockSize::MIN, BlockSize::MAX] {
        for codec in [Codec::None, Codec::Lz4 { shuffle: true }, Codec::Zstd { level: 3, shuffle: true }] {
            let db = Db::new();
            let options = Options { durability: Durability::NoPowerLossSafety, ..Options::new(&db.path) };
            let store = LmdbStore::open(&options).unwrap();
            if store.check_codec(codec).is_err() {
                continue;
            }
            let at_first = Descriptor { dtype: "<u4".to_owned(), item_size: 4, shape: vec![0], ..array_of(1) };
            commit(&store, |_| Edit::create("a", Descriptor { block_size: size, codec, ..at_first }));
            let before = written_bytes();
            for end in (100..=BYTES).step_by(100) {
                commit(&store, |base| {
                    let pages = (end - 100) / PAGE..end.div_ceil(PAGE);
                    let of_block = size.pages() as usize;
                    pages.fold(Edit::of(base, "a").reshape(&[end / 4]), |edit, page| {
                        edit.smooth_page(base, (page / of_block) as u64, (page % of_block) as u32, page as u64)
                    })
                });
            }
            let pages = (written_bytes() - before) as f64 / (PAGE * APPENDS) as f64;
            let report = check(&store);
            let kib = size.bytes() >> 10;
            println!("blocks of {kib} KiB, codec {codec}: {pages:.2} pages an append, {} stored", report.stored_pages);
            assert!(pages <= 10.0, "{pages} pages an append, blocks of {kib} KiB, codec {codec}");

            let base = now(&store);
            for page in 0..BYTES.div_ceil(PAGE) {
                let (block, page_of_block) = (page / size.pages() as usize, page as u32 % size.pages());
                let mut bytes = vec![0; PAGE];
                base.read(id_of(&*base, "a"), BlockNo(block as u64), page_of_block, &mut bytes).unwrap();
                assert!(bytes == smooth_page_of(page as u64), "page {page}");
            }
            if codec != Codec::None {
                for block in 0..(BYTES / size.bytes()) as u64 {
                    let segments = segments(&*base, block);
                    assert!(
                        matches!(segments[..], [Segment { origin: Origin::Produced, .. }]),
                        "{block}: {segments:?}"
                    );
                }
                // Smaller than the written bytes, but for the last block, which is in pieces.
                assert!(report.stored_pages < (BYTES / PAGE) as u64 * 7 / 8, "{report:?}");
            }
        }
    }
}
