//! Every record survives encoding and decoding; decoding other bytes is an error, never a panic.

use std::collections::BTreeMap;

use bigarray_core::store::{Origin, Segment};
use bigarray_core::{ArrayId, BlockSize, Codec, Descriptor, FillValue, Order, PAGE, Version};
use bigarray_testing::array_of;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::alloc::{Bitmap, CHUNK_PAGES, FreedKey, Owner, Run};
use crate::codec::{Algorithm, Encoding, Packed};

fn run() -> impl Strategy<Value = Run> {
    (0..1u64 << 40, 0..CHUNK_PAGES)
        .prop_flat_map(|(chunk, first)| (1..=CHUNK_PAGES - first).prop_map(move |pages| Run { chunk, first, pages }))
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::None),
        any::<bool>().prop_map(|shuffle| Codec::Lz4 { shuffle }),
        (1..=22, any::<bool>()).prop_map(|(level, shuffle)| Codec::Zstd { level, shuffle }),
    ]
}

/// Compressed to 16 pages or less.
fn unit() -> impl Strategy<Value = Unit> {
    let algorithm = prop_oneof![Just(Algorithm::Lz4), Just(Algorithm::Zstd)];
    (0..1u64 << 40, 0..CHUNK_PAGES, algorithm, any::<u16>(), 1..=16 * PAGE as u32, any::<u32>()).prop_map(
        |(chunk, page, algorithm, shuffled_by, bytes, sum)| {
            let packed = Packed { encoding: Encoding { algorithm, shuffled_by }, bytes, sum };
            Unit { chunk, page, packed }
        },
    )
}

/// A block of any size with none to 16 segments.
fn block() -> impl Strategy<Value = StoredBlock> {
    let cuts = proptest::collection::btree_set(0u32..=512, 2..33);
    let places = proptest::collection::vec(proptest::option::of(unit()), 16);
    let block = (4u32..=9, any::<u64>(), cuts, 0..1u64 << 40, places);
    block.prop_map(|(log, version, cuts, chunk, places)| {
        let pages = 1 << log;
        let cuts: Vec<u32> = cuts.into_iter().filter(|cut| *cut <= pages).collect();
        let segments: Vec<StoredSegment> = cuts
            .chunks_exact(2)
            .zip(places)
            .map(|(c, place)| {
                let plain = StoredSegment::plain(c[0], Run { chunk, first: 0, pages: (c[1] - c[0]) as u16 });
                place.map_or(plain, |unit| StoredSegment { location: Location::Unit(unit), ..plain })
            })
            .collect();
        StoredBlock { version: Version(version), pages, segments }
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
        codec(),
        any::<[u64; 3]>(),
        (prop_oneof![Just(0), 0usize..1 << 40], proptest::option::of(proptest::collection::vec(any::<u8>(), 64))),
    )
        .prop_map(
            |(id, dtype, item_size, shape, order, log, codec, [changed, reshaped, named], (dropped, fill))| {
                Descriptor {
                    id: ArrayId(id),
                    dtype,
                    item_size,
                    skip: if shape.contains(&0) { 0 } else { dropped * item_size },
                    shape,
                    order,
                    block_size: BlockSize::new(1 << log).unwrap(),
                    codec,
                    fill: fill.and_then(|bytes| FillValue::new(&bytes[..item_size])),
                    changed: Version(changed),
                    reshaped: Version(reshaped),
                    named: Version(named),
                }
            },
        )
}

fn decode_everything(key: &[u8], value: &[u8]) {
    let _ = (decode_array(key, value), decode_attr(key, value), attr_name(key), decode_block(key, value));
    let _ = (decode_checksums(key, value), parse_numbered_key("blocks", key), Meta::decode(Meta::FORMAT, value));
    let _ = Meta::decode_attrs(&seal(Meta::ATTRS.as_bytes(), value.to_vec()));
    let _ = (decode_bitmap(key, value), parse_chunk_key(key), decode_class(key, value), parse_class_key(key));
    let _ = (decode_freed(key, value), parse_freed_key(key), decode_claim(key, value), parse_owner(key));
}

proptest! {
    #[test]
    fn bytes_that_are_no_record_are_an_error_and_no_panic(
        key in proptest::collection::vec(any::<u8>(), 0..40),
        value in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        decode_everything(&key, &value);
        // With a right checksum, the other checks of the decoder run.
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
    fn an_array_is_itself_again(name in "\\PC{1,40}", descriptor in descriptor(), records in any::<u64>()) {
        let tally = |n: u64| Tally { records: n, sum: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        let records = Tallies { blocks: tally(records), sums: tally(!records), attrs: Tally::default() };
        let value = encode_array(&name, &descriptor, records).unwrap();
        prop_assert_eq!(decode_array(name.as_bytes(), &value).unwrap(), (name, descriptor, records));
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

        let key = class_key(class, chunk);
        prop_assert_eq!(parse_class_key(&key).unwrap(), (class, chunk));
        decode_class(&key, &encode_class(&key)).unwrap();

        let owner = Owner { client: 1, token: 2, serial: 3 };
        let key = owner.to_bytes();
        let pages: Vec<_> = runs.iter().map(Run::in_file).collect();
        prop_assert_eq!(parse_owner(&key).unwrap(), owner);
        prop_assert_eq!(decode_claim(&key, &encode_claim(&key, &pages)).unwrap(), pages);
    }

    #[test]
    fn checksums_and_numbers_are_themselves_again(seed in any::<u32>(), number in any::<u64>(), pages in 0..257_usize) {
        let key = numbered_key(ArrayId(1), number);
        let sums: Checksums = std::array::from_fn(|i| if i < pages { seed.wrapping_mul(i as u32) } else { 0 });
        let stored = encode_checksums(&key, &sums);
        prop_assert_eq!(decode_checksums(&key, &stored).unwrap(), sums);
        prop_assert!(stored.len() <= 4 * pages + 4, "{} bytes for {} pages", stored.len(), pages);
        prop_assert_eq!(Meta::decode(Meta::NEXT_ARRAY, &Meta::encode(Meta::NEXT_ARRAY, number)).unwrap(), number);
    }
}

#[test]
fn a_block_that_became_a_hole_keeps_its_version() {
    let key = block_key(ArrayId(1), BlockNo(2));
    let hole = StoredBlock { version: Version(9), pages: 32, segments: Vec::new() };
    let stored = decode_block(&key, &encode_block(&key, &hole)).unwrap();
    assert_eq!(stored, hole);
    let record = stored.to_record();
    assert_eq!(record.version, Version(9));
    assert_eq!(record.segments, [Segment { pages: 0..32, origin: Origin::Hole }]);
}

#[test]
fn segments_that_follow_each_other_in_the_file_are_one() {
    let part = |first, chunk, page, pages| StoredSegment::plain(first, Run { chunk, first: page, pages });
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

/// A descriptor of an array without records.
fn no_records() -> serde_json::Value {
    let none = json!({"count": 0, "sum": 0});
    json!({"blocks": none, "sums": none, "attrs": none})
}

#[test]
fn an_attribute_that_was_removed_is_told_from_one_that_is_null() {
    let key = attr_key(ArrayId(3), "unit");
    for value in [None, Some(json!(null)), Some(json!({"of": [1, "x"]}))] {
        let attr = StoredAttr { version: Version(9), value };
        assert_eq!(decode_attr(&key, &encode_attr(&key, "unit", &attr).unwrap()).unwrap(), attr);
    }
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

    let none = no_records();
    let array = json!({"id": 1, "dtype": "<f8", "item_size": 8, "shape": [2], "order": "C", "block_size": 65536,
        "codec": "", "changed": 1, "reshaped": 1, "named": 1, "records": none});
    let decode = |codec: &str| {
        let mut array = array.clone();
        array["codec"] = json!(codec);
        decode_array(b"a", &seal(b"a", array.to_string().into_bytes()))
    };
    for unknown in
        ["zstd", "zstd:", "zstd:0", "zstd:23", "zstd:+3", "zstd:03", "zstd:3 ", "lz4:1", "LZ4", "plain+shuffle"]
    {
        let error = decode(unknown).unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains(&format!("{unknown:?}")), "{error}");
    }
    assert_eq!(decode("plain").unwrap().1.codec, Codec::None);
    assert_eq!(decode("lz4+shuffle").unwrap().1.codec, Codec::Lz4 { shuffle: true });
    assert_eq!(decode("zstd:3").unwrap().1.codec, Codec::Zstd { level: 3, shuffle: false });
}

fn stored_array(codec: &str, fill: Option<&str>) -> serde_json::Value {
    let mut array = json!({"id": 1, "dtype": "<f4", "item_size": 4, "shape": [2], "order": "C", "block_size": 65536,
        "codec": codec, "changed": 1, "reshaped": 1, "named": 1, "records": no_records()});
    if let Some(fill) = fill {
        array["fill"] = json!(fill);
    }
    array
}

/// Versions that do not know of fill values find a codec that they do not know.
#[test]
fn only_an_array_with_a_fill_value_is_stored_in_another_way_than_before() {
    let decode = |array: serde_json::Value| decode_array(b"a", &seal(b"a", array.to_string().into_bytes()));
    let (_, plain, records) = decode(stored_array("plain", None)).unwrap();
    assert_eq!(plain.fill, None);
    let json = |array: &Descriptor| {
        let value = encode_array("a", array, records).unwrap();
        serde_json::from_slice::<serde_json::Value>(unseal("arrays", b"a", &value).unwrap()).unwrap()
    };
    assert_eq!(json(&plain), stored_array("plain", None));
    let filled = Descriptor { fill: FillValue::new(&f32::NAN.to_le_bytes()), ..plain };
    assert_eq!(json(&filled), stored_array("plain+fill", Some("0000c07f")));
    let codec = Codec::Zstd { level: 3, shuffle: true };
    assert_eq!(json(&Descriptor { codec, ..filled })["codec"], "zstd:3+shuffle+fill");
    assert!(parse_codec_of_earlier_versions("plain+fill").is_none());
}

/// As it was before there were fill values, and rows dropped at the front.
fn parse_codec_of_earlier_versions(name: &str) -> Option<&str> {
    let base = name.strip_suffix("+shuffle").unwrap_or(name);
    (["plain", "lz4"].contains(&base) || base.strip_prefix("zstd:")?.parse::<i32>().is_ok()).then_some(base)
}

#[test]
fn a_fill_value_that_is_no_element_or_zero_is_corrupt() {
    for (codec, fill) in [
        ("plain+fill", None),
        ("plain", Some("0000c07f")),
        ("plain+fill", Some("0000c0")),
        ("plain+fill", Some("0000c07f00")),
        ("plain+fill", Some("0000c07")),
        ("plain+fill", Some("0000c0 f")),
        ("plain+fill", Some("0000c0\u{e9}")),
        ("plain+fill", Some("00000000")),
        ("plain+fill", Some("")),
    ] {
        let value = seal(b"a", stored_array(codec, fill).to_string().into_bytes());
        let error = decode_array(b"a", &value).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("fill value"), "{codec} {fill:?}: {error}");
    }
    for unknown in ["plain+fill+fill", "+fill", "plain+shuffle+fill", "plain+fill+shuffle"] {
        let value = seal(b"a", stored_array(unknown, Some("0000c07f")).to_string().into_bytes());
        let error = decode_array(b"a", &value).unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains(&format!("{unknown:?}")), "{error}");
    }
}

#[test]
fn what_is_produced_is_one_segment_whatever_it_comes_from() {
    let encoding = Encoding { algorithm: Algorithm::Lz4, shuffled_by: 0 };
    let unit = |sum| Location::Unit(Unit { chunk: 1, page: 2, packed: Packed { encoding, bytes: 1, sum } });
    let segments = vec![
        StoredSegment { first: 0, pages: 3, location: unit(1) },
        StoredSegment { first: 3, pages: 1, location: unit(2) },
        StoredSegment::plain(4, Run { chunk: 1, first: 3, pages: 12 }),
    ];
    let record = StoredBlock { version: Version(1), pages: 16, segments }.to_record();
    let at = Origin::Extent((512 + 3) * PAGE as u64);
    let produced = Segment { pages: 0..4, origin: Origin::Produced };
    assert_eq!(record.segments, [produced, Segment { pages: 4..16, origin: at }]);
}

#[test]
fn compressed_pages_that_cannot_be_are_corrupt() {
    let key = block_key(ArrayId(1), BlockNo(0));
    let encoding = Encoding { algorithm: Algorithm::Zstd, shuffled_by: 8 };
    let decode = |chunk, page, bytes, pages| {
        let unit = Unit { chunk, page, packed: Packed { encoding, bytes, sum: 1 } };
        let segments = vec![StoredSegment { first: 0, pages, location: Location::Unit(unit) }];
        decode_block(&key, &encode_block(&key, &StoredBlock { version: Version(1), pages: 16, segments }))
    };
    decode(1, 511, 16 * PAGE as u32, 16).unwrap();
    // Nothing, more than the block has, outside a chunk, outside a file; none of the block's pages, or too many.
    for (chunk, page, bytes, pages) in [
        (1, 0, 0, 16),
        (1, 0, 16 * PAGE as u32 + 1, 16),
        (1, 0, u32::MAX, 16),
        (1, 512, 1, 16),
        (u64::MAX, 511, 8192, 16),
        (i64::MAX as u64 / (2 << 20) - 1, 511, 8192, 16),
        (1, 0, 1, 0),
        (1, 0, 1, 17),
    ] {
        assert!(decode(chunk, page, bytes, pages).unwrap_err().is_corrupt(), "{chunk} {page} {bytes} {pages}");
    }
}

#[test]
fn an_array_that_fits_no_address_space_is_corrupt() {
    let none = no_records();
    let array = json!({"id": 1, "dtype": "<f8", "item_size": 8, "shape": [usize::MAX], "order": "C", "block_size": 65536,
        "codec": "plain", "changed": 1, "records": none});
    assert!(decode_array(b"a", &seal(b"a", array.to_string().into_bytes())).unwrap_err().is_corrupt());
}

/// A version that does not know of rows dropped at the front finds a codec that it does not know.
#[test]
fn bytes_dropped_at_the_front_are_told_by_the_codec_and_are_those_of_whole_elements() {
    let array = array_of(2);
    let stored = |array: &Descriptor| {
        let value = encode_array("a", array, Tallies::default()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&value[..value.len() - 4]).unwrap()
    };
    assert_eq!((stored(&array).get("skip"), &stored(&array)["codec"]), (None, &json!("plain")));
    let codec = Codec::Zstd { level: 3, shuffle: true };
    let skips = stored(&Descriptor { skip: 48, item_size: 8, codec, ..array });
    assert_eq!((&skips["skip"], &skips["codec"]), (&json!(48), &json!("zstd:3+shuffle+skip")));
    for name in ["plain+skip", "lz4+shuffle+skip", "zstd:3+shuffle+skip", "plain+fill+skip", "plain+skip+fill"] {
        assert!(parse_codec_of_earlier_versions(name).is_none(), "{name}");
    }

    let decode = |skip: serde_json::Value, codec: &str, shape: usize| {
        let mut array = skips.clone();
        (array["skip"], array["codec"], array["shape"]) = (skip, json!(codec), json!([shape]));
        decode_array(b"a", &seal(b"a", array.to_string().into_bytes()))
    };
    assert_eq!(decode(json!(48), "lz4+skip", 1).unwrap().1.skip, 48);
    let damaged = [
        (json!(48), "lz4", 1),
        (json!(0), "lz4+skip", 1),
        (json!(49), "lz4+skip", 1),
        (json!(48), "lz4+skip", 0),
        (json!(usize::MAX - 7), "lz4+skip", 1),
        (json!(isize::MAX as usize - 7), "lz4+skip", 1),
        (json!(-8), "lz4+skip", 1),
    ];
    for (skip, codec, shape) in damaged {
        assert!(decode(skip.clone(), codec, shape).unwrap_err().is_corrupt(), "{skip} bytes, {codec}, {shape}");
    }
    assert!(decode(json!(48), "lz4+skip+shuffle", 1).unwrap_err().is_unsupported());
    assert!(decode(json!(48), "lz4+skip+skip", 1).unwrap_err().is_unsupported());
}

#[test]
fn attributes_of_the_database_are_read_back_and_one_that_was_removed_is_told_from_one_that_is_null() {
    let values = [None, Some(json!(null)), Some(json!({"of": [1, 2.5, "°C"]})), Some(json!(""))];
    let attrs: BTreeMap<_, _> = ["", "a", "naïve", &"n".repeat(255)]
        .into_iter()
        .zip((1..).zip(values))
        .map(|(name, (version, value))| (name.to_owned(), StoredAttr { version: Version(version), value }))
        .collect();
    assert_eq!(Meta::decode_attrs(&Meta::encode_attrs(&attrs).unwrap()).unwrap(), attrs);
    assert!(Meta::decode_attrs(&Meta::encode_attrs(&BTreeMap::new()).unwrap()).unwrap().is_empty());
    let mut value = Meta::encode_attrs(&attrs).unwrap();
    for at in 0..value.len() {
        value[at] ^= 4;
        assert!(Meta::decode_attrs(&value).unwrap_err().is_corrupt());
        value[at] ^= 4;
    }
}
