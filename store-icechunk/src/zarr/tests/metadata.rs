//! `zarr.json`: descriptors there and back, what of other programs survives, and what cannot be read.

use bigarray_core::{ArrayId, BlockSize, Codec, Descriptor, FillValue, Order, Version};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{array, order};
use crate::zarr::Metadata;

const DTYPES: &[(&str, usize)] = &[
    ("|u1", 1),
    ("<f2", 2),
    ("<f8", 8),
    ("<c16", 16),
    ("<bfloat16", 2),
    ("<u16", 16),
    (">f8", 8),
    ("[('time', '<i8'), ('price', '<f8')]", 16),
    ("[('id', '|u1'), ('grid', '<i2', (2, 3)), ('', '|V3')]", 16),
    ("[('big', '<f8', (50,))]", 400),
    ("no type of NumPy", 5),
];

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let codec = prop_oneof![
        Just(Codec::None),
        any::<bool>().prop_map(|shuffle| Codec::Lz4 { shuffle }),
        (1..=22, any::<bool>()).prop_map(|(level, shuffle)| Codec::Zstd { level, shuffle }),
    ];
    let shape = prop::collection::vec(0..1000usize, 0..4);
    (prop::sample::select(DTYPES), shape, order(), 16..=21u32, codec).prop_map(
        |((dtype, item_size), shape, order, log, codec)| Descriptor {
            block_size: BlockSize::new(1 << log).unwrap(),
            codec,
            ..array(dtype, item_size, &shape, order)
        },
    )
}

/// What another program may have written: chunks of 3 rows, no attributes.
fn foreign() -> Value {
    json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": [10, 4],
        "data_type": "float64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 4]}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0.0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    })
}

fn with(member: &str, value: Value) -> Value {
    let mut document = foreign();
    document[member] = value;
    document
}

fn read(document: &Value) -> bigarray_core::Result<Metadata> {
    Metadata::parse(document.to_string().as_bytes())
}

fn described(metadata: &Metadata) -> Descriptor {
    metadata.descriptor(ArrayId(0), Version(0), Version(0))
}

proptest! {
    #[test]
    fn a_new_array_is_described_as_it_was(d in descriptor(), reshaped in any::<u64>()) {
        let metadata = Metadata::create("a/b", &d, reshaped).unwrap();
        prop_assert_eq!(described(&metadata), Descriptor { reshaped: Version(reshaped), ..d.clone() });
        prop_assert_eq!(metadata.read_only(), None);
        prop_assert_eq!(metadata.attributes().count(), 0);
        let names: Vec<_> = (0..d.shape.len()).map(|axis| Some(format!("b_{axis}"))).collect();
        prop_assert_eq!(metadata.dimension_names(), Some(names));
        prop_assert_eq!(&Metadata::parse(&metadata.to_json().unwrap()).unwrap(), &metadata);
        // A chunk that is not all of it comes back.
        let chunk = vec![7; metadata.grid().chunk_bytes()];
        let stored = metadata.chain().encode(chunk.clone()).unwrap();
        prop_assert_eq!(metadata.chain().decode(stored.into()).unwrap(), chunk);
    }

    #[test]
    fn a_shape_changes_and_nothing_else(d in descriptor(), rows in 0..2000usize) {
        let Some(axis) = d.growth_axis() else { return Ok(()) };
        let metadata = Metadata::create("a", &d, 1).unwrap().with_attribute("a", "unit", Some(&json!("m"))).unwrap();
        let mut shape = d.shape.clone();
        shape[axis] = rows;
        let other = metadata.resized(&shape, Some(2)).unwrap();
        prop_assert_eq!(described(&other), Descriptor { shape: shape.clone(), reshaped: Version(2), ..d.clone() });
        prop_assert_eq!(other.grid().chunk_shape(), metadata.grid().chunk_shape());
        prop_assert_eq!(other.attribute("unit"), Some(&json!("m")));
        let back = other.resized(&d.shape, Some(1)).unwrap();
        prop_assert_eq!(back, metadata);
    }

    #[test]
    fn an_array_of_another_shape_is_the_same_but_for_that(d in descriptor(), dims in 0..4usize) {
        let elements: usize = d.shape.iter().product();
        let mut shape = vec![1; dims];
        match shape.last_mut() {
            Some(last) => *last = elements,
            None => prop_assume!(elements == 1),
        }
        let metadata = Metadata::create("a", &d, 1).unwrap();
        let (other, keeps) = metadata.reshaped("a", &shape, 2).unwrap();
        prop_assert_eq!(described(&other), Descriptor { shape: shape.clone(), reshaped: Version(2), ..d });
        prop_assert_eq!(other.read_only(), None);
        prop_assert_eq!(other.dimension_names().unwrap().len(), dims);
        prop_assert!(!keeps || other.grid().chunk_bytes() == metadata.grid().chunk_bytes());
        prop_assert_eq!(&Metadata::parse(&other.to_json().unwrap()).unwrap(), &other);
    }

    #[test]
    fn bytes_that_are_no_metadata_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(Metadata::parse(&bytes).unwrap_err().to_string().contains("its zarr.json"));
    }

    #[test]
    fn metadata_with_something_else_in_it_never_panic(
        d in descriptor(), at in prop::collection::vec(any::<prop::sample::Index>(), 1..6), what in junk(),
    ) {
        let json = Metadata::create("a", &d, 1).unwrap().to_json().unwrap();
        let mut document: Value = serde_json::from_slice(&json).unwrap();
        replace(&mut document, &at, what);
        if let Err(error) = read(&document) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

/// Values of all kinds, large numbers too.
fn junk() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::collection::vec(any::<u64>(), 0..4).prop_map(Value::from),
        Just(json!({})),
        Just(json!({"name": "struct", "configuration": {"fields": [{"name": "a", "data_type": "r0"}]}})),
    ]
}

/// Puts `what` somewhere into the tree.
fn replace(value: &mut Value, at: &[prop::sample::Index], what: Value) {
    let inner = match value {
        Value::Object(members) if !members.is_empty() && !at.is_empty() => {
            let n = at[0].index(members.len());
            members.values_mut().nth(n)
        }
        Value::Array(items) if !items.is_empty() && !at.is_empty() => {
            let n = at[0].index(items.len());
            items.get_mut(n)
        }
        _ => None,
    };
    match inner {
        Some(inner) => replace(inner, &at[1..], what),
        None => *value = what,
    }
}

#[test]
fn arrays_of_other_programs_are_read_and_written() {
    let metadata = read(&foreign()).unwrap();
    let d = described(&metadata);
    assert_eq!((d.dtype.as_str(), d.item_size, d.shape, d.order), ("<f8", 8, vec![10, 4], Order::RowMajor));
    assert_eq!((d.codec, d.reshaped, d.block_size), (Codec::None, Version(0), BlockSize::MIN));
    assert_eq!((metadata.read_only(), metadata.fill(), metadata.dimension_names()), (None, None, None));
    assert_eq!(metadata.grid().chunk_shape(), [3, 4]);

    let transpose = json!({"name": "transpose", "configuration": {"order": [1, 0]}});
    let mut columns = with("codecs", json!([transpose, "bytes"]));
    columns["chunk_grid"]["configuration"]["chunk_shape"] = json!([10, 2]);
    let metadata = read(&columns).unwrap();
    assert_eq!((described(&metadata).order, metadata.read_only()), (Order::ColumnMajor, None));

    // A block is as large as a chunk, if it can be.
    let mut large = with("shape", json!([1 << 20, 4]));
    large["chunk_grid"]["configuration"]["chunk_shape"] = json!([10_000, 4]);
    assert_eq!(described(&read(&large).unwrap()).block_size.bytes(), 256 << 10);
}

#[test]
fn what_bigarray_would_not_write_right_is_read_only_with_the_reason() {
    let nan = read(&with("fill_value", json!("NaN"))).unwrap();
    assert_eq!((nan.fill(), nan.read_only()), (FillValue::new(&f64::NAN.to_le_bytes()).as_ref(), None));

    let tiles = json!({"name": "regular", "configuration": {"chunk_shape": [3, 2]}});
    let tiles = read(&with("chunk_grid", tiles)).unwrap();
    assert_eq!(tiles.read_only(), Some("its chunks of shape [3, 2] are not runs of the elements of shape [10, 4]"));
}

#[test]
fn what_cannot_be_read_is_said() {
    let cases = [
        (json!([]), "no JSON object"),
        (with("zarr_format", json!(2)), "format 2"),
        (with("node_type", json!("group")), "\"group\""),
        (with("shape", json!([-1, 4])), "its shape is [-1,4]"),
        (with("shape", json!([10])), "do not tile"),
        (with("data_type", json!("string")), "the data type \"string\""),
        (with("chunk_grid", json!({"name": "rectilinear", "configuration": {}})), "rectilinear"),
        (with("chunk_grid", json!({"name": "regular", "configuration": {"chunk_shape": [0, 4]}})), "do not tile"),
        (with("fill_value", json!("blue")), "\"blue\""),
        (with("codecs", json!(["bytes", "gzip"])), "\"gzip\""),
        (with("attributes", json!([1])), "[1]"),
        (with("storage_transformers", json!([{"name": "x"}])), "storage transformers"),
        (with("later", json!({"name": "x"})), "\"later\""),
    ];
    for (document, what) in cases {
        let error = read(&document).unwrap_err();
        assert!(error.is_unsupported() || error.is_corrupt(), "{error:?}");
        assert!(error.to_string().contains("its zarr.json") || what == "do not tile", "{error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
    assert!(Metadata::parse(b"{\"a\": NaN}").unwrap_err().is_corrupt());
    assert!(read(&with("shape", json!([u64::MAX, 4]))).unwrap_err().is_too_large());
}

#[test]
fn members_that_are_not_known_survive() {
    let mut document = foreign();
    document["later"] = json!({"must_understand": false, "x": [1, 2.5]});
    document["attributes"] = json!({"_FillValue": "AAAAAAAA+H8=", "bigarray": {"later": 7}});
    let metadata = read(&document).unwrap().resized(&[11, 4], Some(9)).unwrap();
    let metadata = metadata.with_attribute("a", "unit", Some(&json!({"of": null}))).unwrap();
    let stored: Value = serde_json::from_slice(&metadata.to_json().unwrap()).unwrap();
    document["shape"] = json!([11, 4]);
    document["attributes"]["unit"] = json!({"of": null});
    document["attributes"]["bigarray"] = json!({"later": 7, "reshaped": 9, "block_size": 65536});
    assert_eq!(stored, document);
}

#[test]
fn what_was_copied_from_another_array_is_not_believed() {
    let own = json!({"dtype": "<i4", "order": "F", "zstd_level": 4, "block_size": 12, "reshaped": "x"});
    let metadata = read(&with("attributes", json!({"bigarray": own}))).unwrap();
    assert_eq!(described(&metadata), described(&read(&foreign()).unwrap()));
    for own in [json!(3), json!([1]), json!(null)] {
        assert_eq!(described(&read(&with("attributes", json!({"bigarray": own}))).unwrap()), described(&metadata));
    }
}

#[test]
fn attributes_are_set_and_removed() {
    let metadata = Metadata::create("a", &array("<f8", 8, &[3, 4], Order::RowMajor), 5).unwrap();
    let set = metadata.with_attribute("a", "unit", Some(&json!("m"))).unwrap();
    assert_eq!(set.attributes().collect::<Vec<_>>(), [("unit", &json!("m"))]);
    assert_eq!(set.with_attribute("a", "unit", None).unwrap(), metadata);
    assert_eq!(metadata.attribute("bigarray"), None);
    assert!(metadata.with_attribute("a", "bigarray", Some(&json!(1))).unwrap_err().is_invalid());
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    assert!(metadata.with_attribute("a", "deep", Some(&deep)).unwrap().to_json().unwrap_err().is_invalid());
}

#[test]
fn axes_are_named_for_the_array_or_as_a_program_says() {
    let names = |metadata: &Metadata| metadata.dimension_names().unwrap().into_iter().flatten().collect::<Vec<_>>();
    let metadata = Metadata::create("g/a", &array("<f8", 8, &[3, 4], Order::RowMajor), 0).unwrap();
    assert_eq!(names(&metadata), ["a_0", "a_1"]);
    assert_eq!(names(&metadata.renamed("g/a", "b").unwrap()), ["b_0", "b_1"]);
    let given = metadata.with_attribute("g/a", "dims", Some(&json!(["t", "x"]))).unwrap();
    assert_eq!(names(&given), ["t", "x"]);
    assert_eq!(names(&given.renamed("g/a", "b").unwrap()), ["t", "x"]);
    assert_eq!(names(&given.reshaped("g/a", &[4, 3], 1).unwrap().0), ["t", "x"]);
    assert_eq!(names(&given.reshaped("g/a", &[12], 1).unwrap().0), ["a_0"]);
    assert_eq!(names(&given.with_attribute("g/a", "dims", None).unwrap()), ["a_0", "a_1"]);
    for other in [json!(["t"]), json!(["t", "t"]), json!([1, 2]), json!("t")] {
        assert_eq!(names(&metadata.with_attribute("g/a", "dims", Some(&other)).unwrap()), ["a_0", "a_1"]);
    }
}
