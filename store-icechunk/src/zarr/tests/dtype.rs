//! Data types: what each is stored as, and which are refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::zarr::dtype::DataType;

/// NumPy's names, bytes, and Zarr's data types, of types that both have.
fn both() -> Vec<(&'static str, usize, Value)> {
    let field = |name: &str, of: Value| json!({"name": name, "data_type": of});
    let fields = |fields: Vec<Value>| json!({"name": "struct", "configuration": {"fields": fields}});
    let sized = |name: &str, bytes: usize| json!({"name": name, "configuration": {"length_bytes": bytes}});
    vec![
        ("|b1", 1, json!("bool")),
        ("|i1", 1, json!("int8")),
        ("<u2", 2, json!("uint16")),
        ("<i8", 8, json!("int64")),
        ("<f2", 2, json!("float16")),
        ("<f8", 8, json!("float64")),
        ("<c8", 8, json!("complex64")),
        ("<c16", 16, json!("complex128")),
        ("|V12", 12, sized("raw_bytes", 12)),
        ("|S5", 5, sized("null_terminated_bytes", 5)),
        ("<U3", 12, sized("fixed_length_utf32", 12)),
        ("<M8[10us]", 8, json!({"name": "numpy.datetime64", "configuration": {"unit": "us", "scale_factor": 10}})),
        ("<m8[s]", 8, json!({"name": "numpy.timedelta64", "configuration": {"unit": "s", "scale_factor": 1}})),
        ("[('a', '|u1'), ('b', '<f8')]", 9, fields(vec![field("a", json!("uint8")), field("b", json!("float64"))])),
        (
            "[('ö', '<c8'), ('in', [('x', '<f4'), ('p', '|V4')])]",
            16,
            fields(vec![
                field("ö", json!("complex64")),
                field("in", fields(vec![field("x", json!("float32")), field("p", sized("raw_bytes", 4))])),
            ]),
        ),
    ]
}

#[test]
fn types_that_both_have_are_the_same_there_and_back() {
    for (numpy, bytes, zarr) in both() {
        let (stored, says_all) = DataType::storing(numpy, bytes);
        assert!(says_all, "{numpy}");
        assert_eq!(stored.to_json(), zarr);
        let read = DataType::parse(&zarr).unwrap();
        assert_eq!((read.numpy(), read.size()), (numpy.to_owned(), Some(bytes)));
        assert_eq!(read, stored);
    }
}

#[test]
fn what_zarr_does_not_have_is_stored_as_raw_bytes() {
    let raw = |bytes: usize| json!({"name": "raw_bytes", "configuration": {"length_bytes": bytes}});
    for (numpy, bytes) in
        [("<bfloat16", 2), ("<u16", 16), (">f8", 8), ("<f16", 16), ("what is this", 7), ("[", 3), ("", 1)]
    {
        let (stored, says_all) = DataType::storing(numpy, bytes);
        assert_eq!((stored.to_json(), says_all), (raw(bytes), false), "{numpy}");
    }
    // Of a length that the name does not have, fields cannot be told.
    assert_eq!(DataType::storing("[('a', '<f4'), ('b', '<f4')]", 12).0.to_json(), raw(12));
    assert_eq!(DataType::storing("<f8", 4).0.to_json(), raw(4));

    let fields = |dtype: &str, bytes: usize| {
        let (stored, says_all) = DataType::storing(dtype, bytes);
        assert!(!says_all, "{dtype}");
        stored.to_json()["configuration"]["fields"].clone()
    };
    // Fields that are arrays, each by itself.
    assert_eq!(
        fields("[('id', '|u1'), ('grid', '<i2', (2, 3)), ('many', [('x', '<f4')], (4,))]", 29),
        json!([
            {"name": "id", "data_type": "uint8"}, {"name": "grid", "data_type": raw(12)}, {"name": "many", "data_type": raw(16)},
        ])
    );
    // Padding gets a name.
    assert_eq!(
        fields("[('a', '|u1'), ('', '|V7'), ('b', '<f8')]", 16),
        json!([
            {"name": "a", "data_type": "uint8"},
            {"name": "__padding_1", "data_type": raw(7)},
            {"name": "b", "data_type": "float64"},
        ])
    );
    assert_eq!(fields("[('a', '<bfloat16')]", 2), json!([{"name": "a", "data_type": raw(2)}]));
}

#[test]
fn other_spellings_of_zarr_are_read() {
    let read = |json: Value| DataType::parse(&json).map(|read| read.numpy());
    assert_eq!(read(json!({"name": "int16"})).unwrap(), "<i2");
    assert_eq!(read(json!("r96")).unwrap(), "|V12");
    assert_eq!(read(json!("bfloat16")).unwrap(), "<bfloat16");
    let tuples = json!({"name": "structured", "configuration": {"fields": [["a", "int8"], ["b's", "float16"]]}});
    assert_eq!(read(tuples).unwrap(), "[('a', '|i1'), ('b\\'s', '<f2')]");
}

#[test]
fn types_that_cannot_be_read_are_named() {
    let sized = |name: &str, bytes: Value| json!({"name": name, "configuration": {"length_bytes": bytes}});
    let deep = (0..100).fold(
        json!("int8"),
        |of, _| json!({"name": "struct", "configuration": {"fields": [{"name": "a", "data_type": of}]}}),
    );
    for unread in [
        json!("string"),
        json!("int4"),
        json!("r7"),
        json!(null),
        json!(3),
        json!({"name": "struct"}),
        json!({"name": "numpy.datetime64", "configuration": {"unit": "parsec", "scale_factor": 1}}),
        sized("fixed_length_utf32", json!(7)),
        sized("raw_bytes", json!(-1)),
        deep,
    ] {
        let what = DataType::parse(&unread).unwrap_err();
        assert!(what.contains("the data type "), "{what}");
    }
    assert!(DataType::parse(&sized("raw_bytes", json!(0))).unwrap_err().contains("no bytes"));
    assert!(DataType::parse(&sized("raw_bytes", json!(u64::MAX))).unwrap_err().contains("more than"));
    assert!(DataType::parse(&sized("fixed_length_utf32", json!(u64::MAX - 3))).unwrap_err().contains("more than"));
}

#[test]
fn fill_values_are_the_bytes_of_an_element() {
    let fill = |data_type: Value, value: Value| DataType::parse(&data_type).unwrap().fill(&value);
    let bytes = |data_type: &str, value: Value| fill(json!(data_type), value).unwrap();
    assert_eq!(bytes("bool", json!(true)), [1]);
    assert_eq!(bytes("int8", json!(-1)), [255]);
    assert_eq!(bytes("uint16", json!(258)), [2, 1]);
    assert_eq!(bytes("int64", json!(i64::MIN)), i64::MIN.to_le_bytes());
    assert_eq!(bytes("uint64", json!(u64::MAX)), [255; 8]);
    assert_eq!(bytes("float32", json!(1)), 1f32.to_le_bytes());
    assert_eq!(bytes("float64", json!("-Infinity")), f64::NEG_INFINITY.to_le_bytes());
    assert_eq!(bytes("float64", json!("NaN")), f64::NAN.to_le_bytes());
    assert_eq!(bytes("float64", json!(-0.0)), (-0.0f64).to_le_bytes());
    assert_eq!(bytes("float32", json!("0x7fc00001")), 0x7fc0_0001_u32.to_le_bytes());
    assert_eq!(bytes("float16", json!(1.5)), 0x3e00_u16.to_le_bytes());
    assert_eq!(bytes("float16", json!(-65504.0)), 0xfbff_u16.to_le_bytes());
    assert_eq!(bytes("float16", json!(2f64.powi(-24))), 1_u16.to_le_bytes());
    assert_eq!(bytes("float16", json!("NaN")), 0x7e00_u16.to_le_bytes());
    assert_eq!(bytes("float16", json!("Infinity")), 0x7c00_u16.to_le_bytes());
    assert_eq!(bytes("bfloat16", json!(1.0)), 0x3f80_u16.to_le_bytes());
    assert_eq!(bytes("complex64", json!([1.0, "NaN"])), [1f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat());
    assert_eq!(bytes("r24", json!("AQID")), [1, 2, 3]);
    assert_eq!(bytes("r24", json!([1, 2, 3])), [1, 2, 3]);
    let time = json!({"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 1}});
    assert_eq!(fill(time, json!("NaT")).unwrap(), i64::MIN.to_le_bytes());
    let text = json!({"name": "fixed_length_utf32", "configuration": {"length_bytes": 8}});
    assert_eq!(fill(text, json!("ö")).unwrap(), [0xf6, 0, 0, 0, 0, 0, 0, 0]);
    let fields = json!([{"name": "a", "data_type": "int8"}, {"name": "b", "data_type": "float16"}]);
    let record = json!({"name": "struct", "configuration": {"fields": fields}});
    assert_eq!(fill(record.clone(), json!({"a": 7})).unwrap(), [7, 0, 0]);
    assert_eq!(fill(record.clone(), json!("BwA8")).unwrap(), [7, 0, 0x3c]);
    assert_eq!(fill(record, json!({"a": 7, "b": 1.0})).unwrap(), [7, 0, 0x3c]);

    for (data_type, value) in [
        ("bool", json!(0)),
        ("int8", json!(128)),
        ("int8", json!(1.5)),
        ("uint8", json!(-1)),
        ("uint8", json!(256)),
        ("float64", json!("0x7f")),
        ("float64", json!("many")),
        ("float16", json!(0.1)),
        ("complex64", json!(1.0)),
        ("r24", json!("AQIDBA==")),
        ("r24", json!("???")),
        ("int8", json!(null)),
    ] {
        let what = fill(json!(data_type), value.clone()).unwrap_err();
        assert!(what.contains(&format!("the fill value {value} is none of the type")), "{what}");
    }
}

#[test]
fn a_fill_value_is_spelled_as_it_is_read() {
    let spelled = |numpy: &str, bytes: &[u8]| DataType::storing(numpy, bytes.len()).0.spelled(bytes);
    for (numpy, bytes, expected) in [
        ("<f8", &f64::NAN.to_le_bytes()[..], json!("NaN")),
        ("<f8", &(-0.0f64).to_le_bytes(), json!(-0.0)),
        ("<f8", &0x7ff8_0000_0000_0001_u64.to_le_bytes(), json!("0x7ff8000000000001")),
        ("<f4", &0.1f32.to_le_bytes(), json!(f64::from(0.1f32))),
        ("<f4", &f32::NEG_INFINITY.to_le_bytes(), json!("-Infinity")),
        ("<f2", &[0, 0xc3], json!(-3.5)),
        ("<f2", &[1, 0x7e], json!("0x7e01")),
        ("<c8", &[0, 0, 128, 63, 0, 0, 192, 127], json!([1.0, "NaN"])),
        ("<c16", &1.5f64.to_le_bytes().repeat(2), json!([1.5, 1.5])),
        ("|b1", &[1], json!(true)),
        ("<i2", &(-9i16).to_le_bytes(), json!(-9)),
        ("<i8", &i64::MIN.to_le_bytes(), json!(i64::MIN)),
        ("<u8", &u64::MAX.to_le_bytes(), json!(u64::MAX)),
        ("|S4", b"ab\0\0", json!("YWI=")),
        ("<U2", &[0xf6, 0, 0, 0, 0, 0, 0, 0], json!("ö")),
        ("[('a', '|u1'), ('b', '<f2')]", &[7, 0, 0x3c], json!({"a": 7, "b": 1.0})),
    ] {
        assert_eq!(spelled(numpy, bytes), Some(expected), "{numpy} {bytes:?}");
    }
    for (numpy, bytes) in [("|b1", &[2][..]), ("<U1", &[0, 0xd8, 0, 0])] {
        assert_eq!(spelled(numpy, bytes), None, "{numpy} {bytes:?}");
    }
}

#[test]
fn the_fill_value_of_new_arrays_is_zero_bytes() {
    for (numpy, bytes, _) in both() {
        let (stored, _) = DataType::storing(numpy, bytes);
        assert_eq!(stored.fill(&stored.zero()).unwrap(), vec![0; bytes], "{numpy}");
    }
}

#[test]
fn words_are_what_a_byte_order_turns() {
    let words = |numpy: &str, bytes| {
        let (stored, _) = DataType::storing(numpy, bytes);
        stored.words().iter().map(|words| (words.offset, words.bytes, words.count)).collect::<Vec<_>>()
    };
    assert_eq!(words("|u1", 1), []);
    assert_eq!(words("<f8", 8), [(0, 8, 1)]);
    assert_eq!(words("<c8", 8), [(0, 4, 2)]);
    assert_eq!(words("<U3", 12), [(0, 4, 3)]);
    assert_eq!(words("[('a', '|V3'), ('b', [('x', '<i2'), ('y', '<c16')])]", 21), [(3, 2, 1), (5, 8, 2)]);
}

proptest! {
    #[test]
    fn no_name_panics(name in "\\PC{0,30}", item_size in 1..100usize) {
        prop_assert_eq!(DataType::storing(&name, item_size).0.size(), Some(item_size));
    }

    #[test]
    fn no_list_of_fields_panics(name in "[\\[\\]()', |<a0-9fV]{0,40}", item_size in 1..100usize) {
        let name = format!("[('a', '<f4'), {name}");
        prop_assert_eq!(DataType::storing(&name, item_size).0.size(), Some(item_size));
    }
}

#[test]
fn structs_that_are_nested_too_deep_are_raw_bytes() {
    let deep = (0..10_000).fold("'|u1'".to_owned(), |of, _| format!("[('a', {of})]"));
    let (stored, says_all) = DataType::storing(&deep, 1);
    assert_eq!((stored.numpy(), says_all), ("|V1".to_owned(), false));
}
