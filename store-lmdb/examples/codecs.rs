//! How fast one core reads blocks of each codec, in the time that it really works for that, and how small they become: smooth numbers (a slowly varying field of
//! `f32`, in the page cache), then noise. Reading is all that a fault does for a compressed block but the copy into the
//! span: look-up, `pread`, checksum, decompression, undoing the byte shuffle.
//!
//! `cargo run --release -p bigarray-store-lmdb --example codecs`

use std::ops::Range;
use std::time::Instant;

use bigarray_core::store::{ArrayChange, BlockChange, Bytes, Change, PageRun, PageSource, Store};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Codec, Descriptor, Order, Result, Version};
use bigarray_store_lmdb::{Durability, LmdbStore, Options};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

const ARRAY_BYTES: usize = 64 << 20;

/// An array in memory.
struct Memory(Vec<u8>);

impl Bytes for Memory {
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        f(&self.0[range])
    }
}

/// A temperature on a grid, say: waves of several lengths.
fn smooth() -> Vec<u8> {
    let at = |i: usize| {
        let (x, y) = ((i % 4096) as f32, (i / 4096) as f32);
        280.0 + 12.0 * (x / 900.0).sin() * (y / 1300.0).cos() + 0.8 * (x / 130.0 + y / 210.0).sin()
    };
    (0..ARRAY_BYTES / 4).flat_map(|i| at(i).to_le_bytes()).collect()
}

fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..ARRAY_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// Seconds that this thread has worked: other work of the machine does not count.
fn worked() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("what this thread has used");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

fn write(store: &dyn Store, name: &str, memory: &Memory, size: BlockSize, codec: Codec) -> Result<()> {
    let descriptor = Descriptor {
        id: ArrayId(0),
        dtype: "<f4".to_owned(),
        item_size: 4,
        shape: vec![ARRAY_BYTES / 4],
        order: Order::RowMajor,
        block_size: size,
        skip: 0,
        codec,
        fill: None,
        changed: Version(0),
        reshaped: Version(0),
        named: Version(0),
    };
    let pages = vec![PageRun { pages: 0..size.pages(), source: PageSource::Memory }];
    let blocks = (0..size.blocks_for(ARRAY_BYTES)).map(|block| BlockChange {
        block: BlockNo(block),
        seen: Version(0),
        pages: pages.clone(),
    });
    let array = ArrayChange {
        before: None,
        after: Some((name.to_owned(), descriptor)),
        dropped_from: None,
        dropped: Vec::new(),
        blocks: blocks.collect(),
        attrs: Vec::new(),
        depends: Vec::new(),
        bytes: memory,
    };
    let base = store.snapshot()?;
    store.commit(&Change { base: &*base, arrays: vec![array], attrs: Vec::new(), spill_area: None }, None).map(drop)
}

fn main() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("bigarray-codecs-{}", std::process::id()));
    let options = Options { durability: Durability::NoPowerLossSafety, ..Options::new(&dir) };
    println!("                                                block   stored   GB/s written   GB/s read by a core");
    for (content, memory) in [("smooth", Memory(smooth())), ("noise", Memory(noise()))] {
        for size in [BlockSize::MIN, BlockSize::MAX] {
            for codec in [
                Codec::None,
                Codec::Lz4 { shuffle: false },
                Codec::Lz4 { shuffle: true },
                Codec::Zstd { level: 1, shuffle: true },
                Codec::Zstd { level: 3, shuffle: true },
            ] {
                let store = LmdbStore::open(&options)?;
                let started = Instant::now();
                write(&*store, "field", &memory, size, codec)?;
                let written = started.elapsed();
                let stored = store.check(true)?.stored_pages * 4096;

                let snapshot = store.snapshot()?;
                let id = snapshot.array("field")?.expect("just written").id;
                let mut block = vec![0; size.bytes()];
                let mut best = f64::MAX;
                for _ in 0..5 {
                    let before = worked();
                    for number in 0..size.blocks_for(ARRAY_BYTES) {
                        snapshot.read(id, BlockNo(number), 0, &mut block)?;
                    }
                    best = best.min(worked() - before);
                }
                assert_eq!(block, &memory.0[ARRAY_BYTES - size.bytes()..]);
                let speed = |seconds: f64| ARRAY_BYTES as f64 / seconds / 1e9;
                println!(
                    "{content:6} {:37} {:4} KiB   {:.2}   {:6.2}   {:6.2}",
                    codec.to_string(),
                    size.bytes() >> 10,
                    stored as f64 / ARRAY_BYTES as f64,
                    speed(written.as_secs_f64()),
                    speed(best)
                );
                drop(snapshot);
                drop(store);
                std::fs::remove_dir_all(&dir).expect("the database is ours");
            }
        }
    }
    Ok(())
}
