//! Decoded chunks in memory.

use bigarray_core::signals;
use bytes::Bytes;
use icechunk::format::ChunkId;
use quick_cache::sync::{Cache, DefaultLifecycle, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// About what a chunk takes, for the cache to choose its size by.
const CHUNK_BYTES: u64 = 2 << 20;

/// The share that is for chunks that were read before. The rest must have room for all that is fetched ahead of a reader,
/// or that is gone when it is read: the cache's own choice is a thirtieth, and a scan fetched every chunk twice. Several
/// readers in order at once may still fetch some twice.
const READ_BEFORE: f64 = 0.5;

/// Where a chunk lies that is not in a manifest: no other bytes are ever there.
pub(super) type Place = (ChunkId, u64);

/// The right to put a chunk into the cache, while others that want it wait.
pub(super) type Guard<'a> = PlaceholderGuard<'a, Place, Bytes, ChunkWeight, DefaultHashBuilder, ByPlace>;
type ByPlace = DefaultLifecycle<Place, Bytes>;

/// Decoded chunks by their places.
pub(crate) struct ChunkCache(Cache<Place, Bytes, ChunkWeight>);

/// What a chunk weighs in the cache.
#[derive(Clone)]
pub(crate) struct ChunkWeight;

impl Weighter<Place, Bytes> for ChunkWeight {
    fn weight(&self, _: &Place, chunk: &Bytes) -> u64 {
        chunk.len() as u64
    }
}

impl ChunkCache {
    /// Keeps up to so many bytes.
    pub(super) fn new(bytes: u64) -> ChunkCache {
        let chunks = (bytes / CHUNK_BYTES).max(1) as usize;
        // One part: of several, each would refuse a chunk that is larger than its share.
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(chunks).weight_capacity(bytes).hot_allocation(READ_BEFORE).shards(1);
        let options = options.build().expect("capacities are given");
        ChunkCache(Cache::with_options(options, ChunkWeight, DefaultHashBuilder::default(), ByPlace::default()))
    }

    /// Looks without waiting.
    pub(super) fn get(&self, place: &Place) -> Option<Bytes> {
        // A fault that a signal handler waits for may look here too.
        let _held = signals::hold();
        self.0.get(place)
    }

    /// Whether it is there, which is no use of it.
    pub(super) fn has(&self, place: &Place) -> bool {
        let _held = signals::hold();
        self.0.peek(place).is_some()
    }

    /// The chunk, or the right to bring it; waits if another task has that.
    pub(super) async fn get_or_guard(&self, place: &Place) -> Result<Bytes, Guard<'_>> {
        self.0.get_value_or_guard_async(place).await
    }
}
