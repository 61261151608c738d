//! Text files of numbers, in and out.

use std::fs;

use bigarray::serde_json::json;

use crate::support::{Place, data};

#[test]
fn numbers_and_names_of_columns_go_there_and_back() {
    let place = Place::new();
    let text = "year,\"spots, mean\"\n1700,5.5\n1701,\n1702,-1e-30\n";
    fs::write(place.path("in.csv"), text).unwrap();
    place.ok(&["import", "in.csv", "a.bigarray:spots"]);
    let info = place.json(&["info", "a.bigarray:spots"]);
    assert_eq!((&info["dtype"], &info["shape"]), (&json!("<f8"), &json!([3, 2])));
    assert_eq!(place.json(&["attr", "a.bigarray:spots"])["columns"], json!(["year", "spots, mean"]));
    assert_eq!(place.json(&["slice", "a.bigarray:spots[1]"]), json!([1701.0, null]));
    place.ok(&["export", "a.bigarray:spots", "out.csv"]);
    assert_eq!(fs::read_to_string(place.path("out.csv")).unwrap(), text.replace("1701,\n", "1701,NaN\n"));
    place.ok(&["export", "a.bigarray:spots", "out.tsv.gz"]);
    place.ok(&["import", "out.tsv.gz", "a.bigarray:again"]);
    place.ok(&["diff", "a.bigarray:spots", "a.bigarray:again"]);
    place.ok(&["import", "--append", "in.csv", "out.csv", "a.bigarray:spots"]);
    assert_eq!(place.json(&["info", "a.bigarray:spots"])["shape"], json!([9, 2]));
}

#[test]
fn names_of_columns_stay_with_their_columns() {
    let place = Place::new();
    fs::write(place.path("in.csv"), "a,b\n1,2\n3,4\n").unwrap();
    place.ok(&["import", "in.csv", "x.bigarray:x"]);
    place.ok(&["export", "x.bigarray:x[::-1]", "rows.csv"]);
    assert_eq!(fs::read_to_string(place.path("rows.csv")).unwrap(), "a,b\n3,4\n1,2\n");
    place.ok(&["export", "x.bigarray:x[:, ::-1]", "columns.csv"]);
    assert_eq!(fs::read_to_string(place.path("columns.csv")).unwrap(), "2,1\n4,3\n");
    place.ok(&["cp", "x.bigarray:x[:, 1:]", "x.bigarray:y"]);
    assert_eq!(place.json(&["attr", "x.bigarray:y"]).get("columns"), None);
    fs::write(place.path("other.csv"), "b,a\n5,6\n").unwrap();
    let line = place.fails(1, &["import", "--append", "other.csv", "x.bigarray:x"]);
    assert!(line.contains("other.csv: its columns are [\"b\",\"a\"]"), "{line}");
    assert_eq!(place.json(&["info", "x.bigarray:x"])["shape"], json!([2, 2]));
}

#[test]
fn truths_and_complex_numbers_are_rows_and_no_names() {
    let place = Place::new();
    for (dtype, text) in [("|b1", "true,false\nfalse,true\n"), ("<c16", "1+2i,3-1i\n0+1i,2+0i\n")] {
        fs::write(place.path("in.csv"), text).unwrap();
        place.ok(&["import", "--replace", "--dtype", dtype, "in.csv", "a.bigarray:a"]);
        assert_eq!(place.json(&["info", "a.bigarray:a"])["shape"], json!([2, 2]), "{dtype}");
        place.ok(&["export", "a.bigarray:a", "out.csv"]);
        assert_eq!(fs::read_to_string(place.path("out.csv")).unwrap(), text);
    }
}

#[test]
fn arrays_in_column_major_order_are_written_by_rows() {
    let place = Place::new();
    place.ok(&["import", &data("elnino_sst_61x12_f8.npy"), "a.bigarray:sst"]);
    place.ok(&["export", "a.bigarray:sst", "sst.csv"]);
    let text = fs::read_to_string(place.path("sst.csv")).unwrap();
    assert_eq!(text.lines().count(), 61);
    assert!(text.lines().nth(48).unwrap().starts_with("28.12,28.82,29.24,"), "a row too early or late");
    place.ok(&["import", "sst.csv", "a.bigarray:rows"]);
    place.ok(&["diff", "a.bigarray:sst", "a.bigarray:rows"]);
}

#[test]
fn types_are_found_or_given() {
    let place = Place::new();
    let csv = |text: &str, args: &[&str]| {
        let done = place.run_with(
            &[&["import", "--replace", "--format", "csv", "-", "a.bigarray:a"], args].concat(),
            text.as_bytes(),
        );
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{text}");
        let info = place.json(&["info", "a.bigarray:a"]);
        (info["dtype"].clone(), info["shape"].clone())
    };
    assert_eq!(csv("1\n2\n3\n", &[]), (json!("<i8"), json!([3])));
    assert_eq!(csv("a,b\n1, 2\n", &[]), (json!("<i8"), json!([1, 2])));
    assert_eq!(csv("1,2.5\r\n3,NA\r\n", &[]), (json!("<f8"), json!([2, 2])));
    assert_eq!(csv("1,2\n3,4\n", &["--dtype", "|u1"]), (json!("|u1"), json!([2, 2])));
    assert_eq!(csv("x\n", &[]), (json!("<f8"), json!([0])));
    // More rows than a piece has.
    let many: String = (0..300_000).map(|n| format!("{n},{}\n", n * 2)).collect();
    assert_eq!(csv(&many, &[]), (json!("<i8"), json!([300_000, 2])));
    assert_eq!(place.json(&["slice", "a.bigarray:a[-1]"]), json!([299_999, 599_998]));
}

#[test]
fn rows_that_do_not_fit_are_named_by_row_and_column() {
    let place = Place::new();
    let fails = |text: &str, args: &[&str]| {
        let args = [&["import", "--format", "csv", "-", "a.bigarray:a"], args].concat();
        place.run_with(&args, text.as_bytes()).failed(1)
    };
    let line = fails("a,b\n1,2\n3,4,5\n", &[]);
    assert!(line.contains("standard input: row 1, line 3: it has 3 fields, and the first row has 2"), "{line}");
    let line = fails("1,2\n3,four\n", &[]);
    assert!(line.contains("row 1, line 2, column 1: \"four\" is no f64"), "{line}");
    let late = "1\n".repeat(2000) + "1.5\n";
    let line = fails(&late, &[]);
    assert!(
        line.contains("row 2000, line 2001, column 0: \"1.5\" is no i64; --dtype '<f8' takes any number"),
        "{line}"
    );
    let line = fails("1\n300\n", &["--dtype", "|u1"]);
    assert!(line.contains("\"300\" is no u8"), "{line}");
    // Not taken for names, and lost.
    let line = fails("1.5,-,3\n4,5,6\n", &[]);
    assert!(line.contains("row 0, line 1, column 1: \"-\" is no f64; a first row of names has no numbers"), "{line}");
    // A quote that is not closed makes one row of all that follows.
    assert!(fails(&("1,\"2\n".to_owned() + &"3,4\n".repeat(5 << 20)), &[]).contains("a row is longer than"));
    assert!(fails("", &[]).contains("it is empty"));
    assert!(fails(&"1".repeat(20 << 20), &[]).contains("a row is longer than"));
    place.ok(&["create", "a.bigarray:deep", "--dtype", "<f8", "--shape", "2,2,2"]);
    assert!(place.fails(1, &["export", "a.bigarray:deep", "deep.csv"]).contains("pick two by a slice"));
    assert!(!place.path("deep.csv").exists());
    fs::write(place.path("bad.csv.gz"), "not compressed").unwrap();
    assert!(place.fails(1, &["import", "bad.csv.gz", "a.bigarray:b"]).contains("bad.csv.gz: "));
    assert_eq!(place.json(&["ls", "a.bigarray"]).as_array().unwrap().len(), 1);
}
