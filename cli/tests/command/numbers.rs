//! Numbers of arrays: statistics, copies, conversions, differences.

use std::fs;

use bigarray::serde_json::{Value, json};

use crate::support::{Place, data};

fn place() -> Place {
    let place = Place::new();
    place.ok(&["import", &data("elnino_sst_61x12_f8.npy"), "a.bigarray:sst"]);
    place.ok(&["import", &data("digits_1797x8x8_u1.npy"), "a.bigarray:digits", "--codec", "lz4"]);
    place
}

fn near(value: &Value, right: f64) {
    assert!((value.as_f64().unwrap() - right).abs() < 1e-9, "{value} {right}");
}

#[test]
fn statistics_are_those_that_the_data_is_known_by() {
    let place = place();
    let sst = place.json(&["stats", "a.bigarray:sst"]);
    near(&sst["mean"], 23.092_622_950_820);
    near(&sst["std"], 2.244_368_168_398);
    assert_eq!((&sst["max"], &sst["count"], &sst["nan"]), (&json!(29.24), &json!(732), &json!(0)));
    let digits = place.json(&["stats", "a.bigarray:digits"]);
    near(&digits["mean"], 4.884_164_579_855);
    assert_eq!((&digits["sum"], &digits["zeros"]), (&json!(561_718.0), &json!(56272)));
    assert_eq!((&digits["min"], &digits["max"], &digits["quantiles"]["50%"]), (&json!(0), &json!(16), &json!(1.0)));
    // A slice goes another way than the whole.
    let all = place.json(&["stats", "a.bigarray:sst[::-1]"]);
    near(&all["mean"], 23.092_622_950_820);
    assert_eq!(all["quantiles"], sst["quantiles"]);
    let table = place.ok(&["stats", "a.bigarray:digits[:, 0, 0]"]);
    assert!(table.starts_with("count  1797\nnan       0\nzeros  1797\n"), "{table}");
}

#[test]
fn columns_are_described_one_by_one_in_both_orders() {
    let place = place();
    place.ok(&["cp", "a.bigarray:sst", "a.bigarray:rows", "--order", "C"]);
    let columns = place.json(&["stats", "--by-column", "a.bigarray:sst"]);
    assert_eq!(columns.as_array().unwrap().len(), 12);
    for (column, stats) in columns.as_array().unwrap().iter().enumerate() {
        let one = place.json(&["stats", &format!("a.bigarray:sst[:, {column}]")]);
        near(&stats["mean"], one["mean"].as_f64().unwrap());
        assert_eq!((&stats["max"], &stats["quantiles"]), (&one["max"], &one["quantiles"]));
    }
    let sliced = place.json(&["stats", "--by-column", "a.bigarray:sst[...,3:5]"]);
    assert_eq!(sliced[1]["max"], columns[4]["max"]);
    let rows = place.json(&["stats", "--by-column", "a.bigarray:rows"]);
    for (row, column) in rows.as_array().unwrap().iter().zip(columns.as_array().unwrap()) {
        assert_eq!((&row["min"], &row["quantiles"]), (&column["min"], &column["quantiles"]));
    }
    let table = place.ok(&["stats", "--by-column", "a.bigarray:sst[:, :2]"]);
    assert!(table.lines().next().unwrap().split_whitespace().eq(["0", "1"]), "{table}");
    // Rows before the first, which are no longer there, count no columns.
    let one = place.json(&["stats", "--by-column", "a.bigarray:sst[2]"]);
    assert_eq!((one.as_array().unwrap().len(), &one[0]["count"]), (12, &json!(1)));
    let truths = place.run_with(&["import", "--dtype", "|b1", "-", "a.bigarray:truths"], &[0, 1, 7]);
    assert_eq!(truths.code, 0, "{}", truths.err);
    assert_eq!(place.json(&["stats", "a.bigarray:truths"])["sum"], 2.0);
    place.ok(&["create", "a.bigarray:point", "--dtype", "[('a', '<f8')]", "--shape", "3"]);
    assert!(place.fails(1, &["stats", "a.bigarray:point"]).contains("no statistics"));
}

#[test]
fn slices_are_printed_whole() {
    let place = place();
    assert_eq!(place.ok(&["slice", "a.bigarray:sst[48:50, 1:4]"]), "28.82\t29.24\t28.45\n25.73\t26.47\t24.53\n");
    assert_eq!(place.ok(&["slice", "a.bigarray:sst"]).lines().count(), 61);
    assert_eq!(place.json(&["slice", "a.bigarray:sst[48, 2]"]), json!(29.24));
}

#[test]
fn copies_are_the_same_whatever_their_storage() {
    let place = place();
    place.ok(&["attr", "a.bigarray:sst", "unit=degC"]);
    for (name, options) in
        [("plain", &[][..]), ("rows", &["--order", "C"]), ("small", &["--codec", "zstd", "--block", "65536"])]
    {
        let to = format!("b.bigarray:{name}");
        place.ok(&[&["cp", "a.bigarray:sst", &to], options].concat());
        place.ok(&["diff", "a.bigarray:sst", &to]);
        assert_eq!(place.ok(&["attr", &to, "unit"]), "degC\n");
    }
    assert_eq!(place.json(&["info", "b.bigarray:rows"])["order"], "C");
    place.ok(&["cp", "a.bigarray:sst[::-2, 3:]", "a.bigarray:part", "--order", "C"]);
    place.ok(&["diff", "a.bigarray:sst[::-2, 3:]", "a.bigarray:part"]);
    place.ok(&["cp", "a.bigarray:digits[5]", "a.bigarray:five"]);
    assert_eq!(place.json(&["info", "a.bigarray:five"])["shape"], json!([8, 8]));
    assert!(place.fails(1, &["cp", "a.bigarray:sst", "a.bigarray:part"]).contains("part"));
    place.ok(&["create", "a.bigarray:nan", "--dtype", "<f8", "--shape", "5", "--fill", "NaN"]);
    place.ok(&["cp", "a.bigarray:nan", "a.bigarray:nan4", "--dtype", "<f4"]);
    assert_eq!(place.json(&["stats", "a.bigarray:nan4"])["nan"], 5);
    place.ok(&["resize", "a.bigarray:nan4", "7"]);
    assert_eq!(place.json(&["stats", "a.bigarray:nan4"])["nan"], 7);
}

#[test]
fn types_are_converted_if_they_have_the_numbers() {
    let place = place();
    place.ok(&["cp", "a.bigarray:sst", "a.bigarray:f4", "--dtype", "<f4"]);
    near(&place.json(&["stats", "a.bigarray:f4"])["max"], 29.24);
    place.ok(&["cp", "a.bigarray:digits", "a.bigarray:wide", "--dtype", "<i8"]);
    assert_eq!(place.json(&["stats", "a.bigarray:wide"])["sum"], json!(561_718.0));
    let line = place.fails(1, &["cp", "a.bigarray:sst", "a.bigarray:i", "--dtype", "<i4"]);
    assert!(line.contains("element 0 is") && line.contains("nothing was copied"), "{line}");
    assert!(place.fails(1, &["info", "a.bigarray:i"]).contains("no array"));
    assert!(
        place.fails(1, &["cp", "a.bigarray:sst", "a.bigarray:i", "--dtype", "[('a', '<f8')]"]).contains("only numbers")
    );
}

#[test]
fn differences_name_rows_and_the_largest() {
    let place = place();
    place.ok(&["cp", "a.bigarray:sst", "a.bigarray:other", "--order", "C"]);
    let same = place.run(&["diff", "a.bigarray:sst", "a.bigarray:other"]);
    assert_eq!((same.code, same.out.as_str()), (0, ""));
    place.ok(&["export", "a.bigarray:other", "out.raw"]);
    let mut bytes = fs::read(place.path("out.raw")).unwrap();
    for (row, value) in [(3, 100.0_f64), (48, f64::NAN), (60, 0.0)] {
        bytes[row * 96..row * 96 + 8].copy_from_slice(&value.to_le_bytes());
    }
    fs::write(place.path("out.raw"), bytes).unwrap();
    place.ok(&["import", "--replace", "out.raw", "a.bigarray:other", "--dtype", "<f8", "--shape", "61,12"]);
    let differ = place.run(&["diff", "a.bigarray:sst", "a.bigarray:other"]);
    assert_eq!((differ.code, differ.err.as_str()), (1, ""));
    assert!(
        differ.out.starts_with("3 elements in 3 rows differ: 3, 48, 60\nthe largest difference is "),
        "{}",
        differ.out
    );
    let json: Value = bigarray::serde_json::from_str(
        &place.run(&["diff", "--json", "a.bigarray:sst[2:50]", "a.bigarray:other[2:50]"]).out,
    )
    .unwrap();
    assert_eq!((&json["rows"], &json["first_rows"], &json["largest_row"]), (&json!(2), &json!([1, 46]), &json!(1)));
    assert!(place.fails(1, &["diff", "a.bigarray:sst", "a.bigarray:digits"]).contains("one type and shape"));
    // NaN is the same as NaN.
    place.ok(&["diff", "a.bigarray:other", "a.bigarray:other"]);
}
