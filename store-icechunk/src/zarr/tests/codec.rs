//! Codec chains: round trips, bounds, and bytes that are damaged.

use std::thread;

use bigarray_core::{Codec, Order};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::zarr::Chain;
use crate::zarr::codec::codecs;
use crate::zarr::dtype::DataType;

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::None),
        any::<bool>().prop_map(|shuffle| Codec::Lz4 { shuffle }),
        (1..=22, any::<bool>()).prop_map(|(level, shuffle)| Codec::Zstd { level, shuffle }),
    ]
}

/// The chain of a new array of one axis.
fn chain_of(codec: Codec, dtype: &str, item_size: usize, chunk_bytes: usize) -> Chain {
    let (data_type, _) = DataType::storing(dtype, item_size);
    let codecs = codecs(codec, Order::RowMajor, 1, &data_type, item_size).unwrap();
    Chain::parse(Some(&codecs), &data_type, 1, chunk_bytes).unwrap().1
}

fn parse(codecs: Value, dtype: &str, item_size: usize, chunk_bytes: usize) -> Result<Chain, String> {
    Chain::parse(Some(&codecs), &DataType::storing(dtype, item_size).0, 2, chunk_bytes).map(|(_, chain)| chain)
}

/// Bytes of which some can be compressed.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), 1..400usize).prop_map(|(byte, len)| vec![byte; len]);
    let noise = prop::collection::vec(any::<u8>(), 1..100);
    prop::collection::vec(prop_oneof![run, noise], 1..10).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_chunk_is_itself_again(codec in codec(), chunk in chunk(), item_size in 1..300usize) {
        let chain = chain_of(codec, "|V", item_size, chunk.len());
        let stored = chain.encode(chunk.clone()).unwrap();
        prop_assert_eq!(chain.decode(stored.into()).unwrap(), chunk);
    }

    #[test]
    fn a_flipped_bit_never_gives_another_chunk(codec in codec(), chunk in chunk(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let chain = chain_of(codec, "|V", 4, chunk.len());
        let mut stored = chain.encode(chunk.clone()).unwrap();
        let at = at.index(stored.len());
        stored[at] ^= 1 << bit;
        match chain.decode(stored.into()) {
            // Zstandard has bits that mean nothing.
            Ok(decoded) => prop_assert_eq!(decoded, chunk),
            Err(error) => prop_assert!(error.is_corrupt() && error.to_string().contains("a chunk is damaged"), "{}", error),
        }
    }

    #[test]
    fn a_part_of_a_chunk_is_refused(codec in codec(), chunk in chunk(), at in any::<prop::sample::Index>()) {
        let chain = chain_of(codec, "|V", 4, chunk.len());
        let stored = chain.encode(chunk).unwrap();
        let at = at.index(stored.len());
        prop_assert!(chain.decode(stored[..at].to_vec().into()).unwrap_err().is_corrupt());
    }

    #[test]
    fn bytes_that_are_no_chunk_never_panic(codec in codec(), stored in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(chain_of(codec, "|V", 4, 64).decode(stored.clone().into()).unwrap_err().is_corrupt());
        // Without a checksum before it, Blosc itself sees them.
        let blosc = json!({"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 4, "blocksize": 0});
        let chain = parse(json!(["bytes", {"name": "blosc", "configuration": blosc}]), "|V", 4, 64).unwrap();
        prop_assert!(chain.decode(stored.into()).is_err_and(|error| error.is_corrupt()));
    }
}

#[test]
fn damaged_blosc_without_a_checksum_never_panics() {
    let mut random = 1_u64;
    for compressor in ["lz4", "lz4hc", "blosclz", "zstd"] {
        let blosc = json!({"cname": compressor, "clevel": 5, "shuffle": "shuffle", "typesize": 8, "blocksize": 0});
        let chain = parse(json!(["bytes", {"name": "blosc", "configuration": blosc}]), "|V", 8, 80_000).unwrap();
        let chunk: Vec<u8> = (0..10_000_u64).flat_map(|n| (n * n).to_le_bytes()).collect();
        let stored = chain.encode(chunk.clone()).unwrap();
        assert!(stored.len() < chunk.len());
        assert_eq!(chain.decode(stored.clone().into()).unwrap(), chunk);
        for _ in 0..2000 {
            let mut damaged = stored.clone();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (random >> 33) as usize % if random & 1 == 0 { 64 } else { damaged.len() };
            damaged[at] ^= 1 << (random >> 20 & 7);
            let _ = chain.decode(damaged.into());
        }
    }
}

#[test]
fn a_chunk_that_would_be_much_larger_is_refused_before_it_is() {
    for codec in [Codec::Zstd { level: 3, shuffle: false }, Codec::Lz4 { shuffle: true }] {
        let stored = chain_of(codec, "|u1", 1, 1 << 20).encode(vec![0; 1 << 20]).unwrap();
        let error = chain_of(codec, "|u1", 1, 1000).decode(stored.into()).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
    }
}

#[test]
fn plain_chunks_are_not_copied() {
    let chain = chain_of(Codec::None, "<f8", 8, 80);
    let stored = Bytes::from(chain.encode(vec![7; 80]).unwrap());
    let at = stored.as_ptr();
    assert_eq!(chain.decode(stored).unwrap().as_ptr(), at);
}

#[test]
fn chains_of_new_arrays_are_checked_and_known_to_python() {
    let names = |codec: Codec, order, dims| {
        let codecs = codecs(codec, order, dims, &DataType::storing("<f8", 8).0, 8).unwrap();
        codecs.as_array().unwrap().iter().map(|codec| codec["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(Codec::None, Order::RowMajor, 2), ["bytes", "crc32c"]);
    assert_eq!(names(Codec::None, Order::ColumnMajor, 2), ["transpose", "bytes", "crc32c"]);
    assert_eq!(names(Codec::None, Order::ColumnMajor, 1), ["bytes", "crc32c"]);
    assert_eq!(names(Codec::Zstd { level: 3, shuffle: false }, Order::RowMajor, 1), ["bytes", "zstd"]);
    assert_eq!(names(Codec::Zstd { level: 3, shuffle: true }, Order::RowMajor, 1), ["bytes", "blosc", "crc32c"]);
    assert_eq!(names(Codec::Lz4 { shuffle: false }, Order::RowMajor, 1), ["bytes", "blosc", "crc32c"]);
}

#[test]
fn big_endian_elements_are_turned() {
    let chain = parse(json!([{"name": "bytes", "configuration": {"endian": "big"}}]), "<i4", 4, 8).unwrap();
    let chunk: Vec<u8> = [1_i32, -2].iter().flat_map(|n| n.to_le_bytes()).collect();
    let stored: Vec<u8> = [1_i32, -2].iter().flat_map(|n| n.to_be_bytes()).collect();
    assert_eq!(chain.encode(chunk.clone()).unwrap(), stored);
    assert_eq!(chain.decode(stored.into()).unwrap(), chunk);
    // In a struct, each field.
    let record = "[('a', '|u1'), ('b', '<u2'), ('c', '<c8')]";
    let chain = parse(json!([{"name": "bytes", "configuration": {"endian": "big"}}]), record, 11, 11).unwrap();
    let stored = chain.encode(vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).unwrap();
    assert_eq!(stored, [0, 2, 1, 6, 5, 4, 3, 10, 9, 8, 7]);
}

#[test]
fn codecs_that_cannot_be_read_are_named() {
    let blosc =
        |cname: &str| json!({"name": "blosc", "configuration": {"cname": cname, "clevel": 5, "shuffle": "shuffle"}});
    for (codecs, what) in [
        (json!(null), "no codecs"),
        (json!([]), "no codec makes bytes"),
        (json!(["crc32c"]), "crc32c"),
        (json!(["bytes", "gzip"]), "\"gzip\""),
        (json!([{"name": "sharding_indexed", "configuration": {}}]), "\"sharding_indexed\""),
        (json!(["bytes", "bytes"]), "\"bytes\""),
        (json!(["bytes", 3]), "3 is no codec"),
        (json!(["bytes", blosc("snappy")]), "snappy"),
        (json!(["bytes", {"name": "zstd", "configuration": {"level": 1000}}]), "1000"),
        (json!([{"name": "transpose", "configuration": {"order": [0, 0]}}, "bytes"]), "[0, 0]"),
        (json!([{"name": "transpose"}, "bytes"]), "the axes []"),
    ] {
        let error = parse(codecs, "|V", 1, 1).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn several_threads_use_one_chain() {
    let chain = chain_of(Codec::Zstd { level: 3, shuffle: true }, "<u8", 8, 80_000);
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let chain = &chain;
            scope.spawn(move || {
                for round in 0..20 {
                    let chunk: Vec<u8> = (0..10_000).flat_map(|n: u64| (n * thread + round).to_le_bytes()).collect();
                    let stored = chain.encode(chunk.clone()).unwrap();
                    assert_eq!(chain.decode(stored.into()).unwrap(), chunk);
                }
            });
        }
    });
}
