//! Every record is itself again after storing; what is not a record is an error, never a panic.

use bigarray_core::store::{Origin, Segment};
use bigarray_core::{ArrayId, BlockSize, Codec, Descriptor, Order, PAGE, Version};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::alloc::{Bitmap, CHUNK_PAGES, FreedKey, Process, Run};

fn run() -> impl Strategy<Value = Run> {
    (0..1u64 << 40, 0..CHUNK_PAGES)
        .prop_flat_map(|(chunk, first)| (1..=CHUNK_PAGES - first).prop_map(move |pages| Run { chunk, first, pages }))
}

/// A block of any size with up to 16 segments.
fn block() -> impl Strategy<Value = StoredBlock> {
    let cuts = proptest::collection::btree_set(0u32..=512, 2..33);
    (4u32..=9, any::<u64>(), cuts, 0..1u64 << 40).prop_filter_map("a hole all over", |(log, version, cuts, chunk)| {
        let pages = 1 << log;
        let cuts: Vec<u32> = cuts.into_iter().filter(|cut| *cut <= pages).collect();
        let segments: Vec<StoredSegment> = cuts
            .chunks_exact(2)
            .map(|c| StoredSegment { first: c[0], run: Run { chunk, first: 0, pages: (c[1] - c[0]) as u16 } })
            .collect();
        (!segments.is_empty()).then_some(StoredBlock { version: Version(version), pages, segments })
    })
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let order = prop_oneof![Just(Order::RowMajor), Just(Order::ColumnMajor)];
    (
        any::<u64>(),
        "\\PC{0,12}",
        1usize..64,
        proptest::collection::vec(0usize..1000, 0..5),
        order,
        16u32..=21,
        any::<u64>(),
    )
        .prop_map(|(id, dtype, item_size, shape, order, log, changed)| Descriptor {
            id: ArrayId(id),
            dtype,
            item_size,
            shape,
            order,
            block_size: BlockSize::new(1 << log).unwrap(),
            codec: Codec::None,
            changed: Version(changed),
        })
}

fn decode_everything(key: &[u8], value: &[u8]) {
    let _ = (decode_array(key, value), decode_attr(key, value), attr_name(key), decode_block(key, value));
    let _ = (decode_sums(key, value), parse_numbered_key("blocks", key), Meta::decode(Meta::FORMAT, value));
    let _ = (decode_bitmap(key, value), parse_chunk_key(key), decode_fit(key, value), parse_fit_key(key));
    let _ = (decode_freed(key, value), parse_freed_key(key), decode_claim(key, value), parse_owner(key));
}

proptest! {
    #[test]
    fn bytes_that_are_no_record_are_an_error_and_no_panic(
        key in proptest::collection::vec(any::<u8>(), 0..40),
        value in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        decode_everything(&key, &value);
        // With a checksum that fits, what lies behind it is looked at.
        decode_everything(&key, &seal(&key, value));
    }

    #[test]
    fn a_changed_byte_is_noticed(block in block(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let key = block_key(ArrayId(3), BlockNo(4));
        let mut value = encode_block(&key, &block);
        let at = at.index(value.len());
        value[at] ^= 1 << bit;
        prop_assert!(decode_block(&key, &value).unwrap_err().is_corrupt());
    }

    #[test]
    fn a_record_under_another_key_is_noticed(block in block(), other in any::<u64>()) {
        let key = block_key(ArrayId(3), BlockNo(4));
        prop_assume!(other != 4);
        let value = encode_block(&key, &block);
        prop_assert!(decode_block(&block_key(ArrayId(3), BlockNo(other)), &value).unwrap_err().is_corrupt());
    }

    #[test]
    fn a_block_is_itself_again(block in block(), array in any::<u64>(), number in any::<u64>()) {
        let key = block_key(ArrayId(array), BlockNo(number));
        prop_assert_eq!(parse_numbered_key("blocks", &key).unwrap(), (ArrayId(array), number));
        prop_assert_eq!(decode_block(&key, &encode_block(&key, &block)).unwrap(), block);
    }

    #[test]
    fn a_block_as_core_sees_it_is_covered_without_gaps(block in block()) {
        let record = block.to_record();
        let mut at = 0;
        for segment in &record.segments {
            prop_assert!(segment.pages.start == at && segment.pages.end > at);
            at = segment.pages.end;
        }
        prop_assert_eq!(at, block.pages);
    }

    #[test]
    fn an_array_is_itself_again(name in "\\PC{1,40}", descriptor in descriptor()) {
        let value = encode_array(&name, &descriptor).unwrap();
        prop_assert_eq!(decode_array(name.as_bytes(), &value).unwrap(), (name, descriptor));
    }

    #[test]
    fn space_is_itself_again(
        runs in proptest::collection::vec(run(), 0..20),
        txn in any::<u64>(), part in any::<u32>(), class in any::<u8>(), chunk in any::<u64>(),
    ) {
        let at = FreedKey { txn, part };
        let key = freed_key(at);
        prop_assert_eq!(parse_freed_key(&key).unwrap(), at);
        prop_assert_eq!(&decode_freed(&key, &encode_freed(&key, &runs)).unwrap(), &runs);

        let key = chunk_key(chunk);
        let mut free = Bitmap::EMPTY;
        runs.iter().for_each(|run| free.add(run));
        prop_assert_eq!(parse_chunk_key(&key).unwrap(), chunk);
        prop_assert_eq!(decode_bitmap(&key, &encode_bitmap(&key, &free)).unwrap(), free);

        let key = fit_key(class, chunk);
        prop_assert_eq!(parse_fit_key(&key).unwrap(), (class, chunk));
        decode_fit(&key, &encode_fit(&key)).unwrap();

        let owner = Process::current().new_owner();
        let key = owner.to_bytes();
        let chunks: Vec<_> = runs.iter().map(|run| run.chunk..run.chunk + u64::from(run.pages)).collect();
        prop_assert_eq!(parse_owner(&key).unwrap(), owner);
        prop_assert_eq!(decode_claim(&key, &encode_claim(&key, &chunks)).unwrap(), chunks);
    }

    #[test]
    fn checksums_and_numbers_are_themselves_again(seed in any::<u32>(), number in any::<u64>()) {
        let key = numbered_key(ArrayId(1), number);
        let sums: Sums = std::array::from_fn(|i| seed.wrapping_mul(i as u32));
        prop_assert_eq!(decode_sums(&key, &encode_sums(&key, &sums)).unwrap(), sums);
        prop_assert_eq!(Meta::decode(Meta::NEXT_ARRAY, &Meta::encode(Meta::NEXT_ARRAY, number)).unwrap(), number);
    }
}

#[test]
fn segments_that_follow_each_other_in_the_file_are_one() {
    let part = |first, chunk, page, pages| StoredSegment { first, run: Run { chunk, first: page, pages } };
    // Across the border of two chunks, which no run crosses; then elsewhere; then a hole.
    let segments = vec![part(0, 3, 510, 2), part(2, 4, 0, 5), part(7, 9, 0, 1), part(10, 9, 1, 6)];
    let record = StoredBlock { version: Version(1), pages: 16, segments }.to_record();
    let at = |chunk: u64, page: u64| Origin::Extent((chunk * 512 + page) * PAGE as u64);
    assert_eq!(
        record.segments,
        [
            Segment { pages: 0..7, origin: at(3, 510) },
            Segment { pages: 7..8, origin: at(9, 0) },
            Segment { pages: 8..10, origin: Origin::Hole },
            Segment { pages: 10..16, origin: at(9, 1) },
        ]
    );
}

#[test]
fn an_unknown_codec_is_unsupported_and_named() {
    let key = block_key(ArrayId(1), BlockNo(0));
    let mut value = 7u64.to_le_bytes().to_vec();
    value.extend_from_slice(&16u16.to_le_bytes());
    // First page, pages, codec 9, stored bytes, chunk, page in chunk.
    value.extend_from_slice(&[0, 0, 16, 0, 9, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let error = decode_block(&key, &seal(&key, value)).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("codec 9"), "{error}");

    let array = json!({"id": 1, "dtype": "<f8", "item_size": 8, "shape": [2], "order": "C", "block_size": 65536,
        "codec": "zstd", "changed": 1});
    let error = decode_array(b"a", &seal(b"a", array.to_string().into_bytes())).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("zstd"), "{error}");
}

#[test]
fn an_array_that_fits_no_address_space_is_corrupt() {
    let array = json!({"id": 1, "dtype": "<f8", "item_size": 8, "shape": [usize::MAX], "order": "C", "block_size": 65536,
        "codec": "plain", "changed": 1});
    assert!(decode_array(b"a", &seal(b"a", array.to_string().into_bytes())).unwrap_err().is_corrupt());
}
