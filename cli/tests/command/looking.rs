//! Arrays are looked at, created, renamed and removed.

use bigarray::serde_json::json;

use crate::support::{Place, data};

fn place() -> Place {
    let place = Place::new();
    place.ok(&["import", &data("elnino_sst_61x12_f8.npy"), "sea.bigarray:sst"]);
    place
}

#[test]
fn arrays_are_listed_and_told_of() {
    let place = place();
    place.ok(&["create", "sea.bigarray:wind", "--dtype", "<f4", "--shape", "0,180,360", "--fill", "NaN"]);
    let listed = place.ok(&["ls", "sea.bigarray"]);
    assert_eq!(listed, "sst   <f8  (61, 12)       5.7 KiB\nwind  <f4  (0, 180, 360)      0 B\n");
    let listed = place.json(&["ls", "sea.bigarray"]);
    assert_eq!((&listed[0]["shape"], listed[1].get("fill_value")), (&json!([61, 12]), Some(&json!(null))));
    let info = place.json(&["info", "sea.bigarray:sst"]);
    assert_eq!((&info["dtype"], &info["order"], &info["nbytes"]), (&json!("<f8"), &json!("F"), &json!(5856)));
    assert_eq!((&info["written_blocks"], &info["blocks"]), (&json!(1), &json!(1)));
    let info = place.ok(&["info", "sea.bigarray:wind"]);
    assert!(info.contains("fill    NaN\n") && info.contains("shape   (0, 180, 360)\n"), "{info}");
    assert!(place.ok(&["info", "sea.bigarray"]).contains("arrays   2\n"));
}

#[test]
fn rows_are_printed_as_tables_and_as_json() {
    let place = place();
    let head = place.ok(&["head", "-n", "2", "sea.bigarray:sst[48:, 1:4]"]);
    assert_eq!(head, "28.82  29.24  28.45\n25.73  26.47  24.53\n… 11 more rows\n");
    let warmest = place.json(&["head", "sea.bigarray:sst[48, 2]"]);
    assert_eq!(warmest, json!(29.24));
    let backwards = place.json(&["head", "sea.bigarray:sst[::-60, -1]"]);
    let forwards = place.json(&["head", "sea.bigarray:sst[::60, -1]"]);
    assert_eq!(json!([forwards[1], forwards[0]]), backwards);
}

#[test]
fn planes_are_printed_one_below_the_other() {
    let place = Place::new();
    place.ok(&["import", &data("digits_1797x8x8_u1.npy"), "d.bigarray:digits"]);
    let planes = place.ok(&["head", "d.bigarray:digits[:2, :2, ::3]"]);
    assert_eq!(planes, "[0, :, :]\n0  13  0\n0  15  5\n[1, :, :]\n0  12  0\n0  11  0\n", "{planes}");
}

#[test]
fn wrong_names_come_with_near_ones() {
    let place = place();
    assert_eq!(
        place.fails(1, &["head", "sea.bigarray:sts"]),
        "bigarray: sea.bigarray: there is no array \"sts\"; did you mean sst?"
    );
    assert!(place.fails(1, &["rm", "sea.bigarray:zzz"]).contains("bigarray ls lists what there is"));
    assert!(place.fails(1, &["ls", "see.bigarray"]).contains("there is no such database; did you mean sea.bigarray?"));
    assert!(!place.path("see.bigarray").exists());
    assert!(place.fails(1, &["attr", "sea.bigarray:ss", "unit"]).contains("did you mean sst?"));
    assert!(place.fails(1, &["attr", "sea.bigarray:ss", "unit=K"]).contains("did you mean sst?"));
}

#[test]
fn slices_that_cannot_be_say_why() {
    let place = place();
    assert!(
        place.fails(1, &["head", "sea.bigarray:sst[61]"]).contains("index 61 is out of range for axis 0 of length 61")
    );
    assert!(place.fails(1, &["head", "sea.bigarray:sst[0,0,0]"]).contains("of 3 axes"));
    assert!(place.fails(2, &["head", "sea.bigarray:sst[::0]"]).contains("step 0"));
    assert!(place.fails(2, &["head", "sea.bigarray:sst[january]"]).contains("no part of a slice"));
    assert!(place.fails(2, &["head", "sea.bigarray"]).contains("names no array"));
    assert!(place.fails(2, &["rm", "sea.bigarray:sst[0]"]).contains("leave it out"));
}

#[test]
fn command_lines_that_make_no_sense_are_one_line_with_exit_code_2() {
    let place = Place::new();
    assert!(place.fails(2, &["lst"]).contains("lst"));
    assert!(place.fails(2, &["ls"]).contains("<DB>"));
    assert!(place.fails(2, &["create", "a.bigarray:a", "--dtype", "<f8", "--order", "X"]).contains("C, F"));
    assert!(place.fails(2, &["create", "a.bigarray:a", "--dtype", "<f8", "--codec", "zip"]).contains("lz4"));
    assert!(place.fails(2, &["import", "a.npy"]).contains("FILE DB:NAME"));
    assert!(place.run(&["--help"]).out.contains("Examples:"));
    assert!(place.run(&["--version"]).out.starts_with("bigarray "));
}

#[test]
fn arrays_are_created_once_renamed_and_removed() {
    let place = place();
    assert!(place.fails(1, &["create", "sea.bigarray:sst", "--dtype", "<f8", "--shape", "1"]).contains("sst"));
    assert!(place.fails(1, &["create", "sea.bigarray:a", "--dtype", "<U4", "--shape", "1"]).contains("texts"));
    assert!(
        place
            .fails(2, &["create", "sea.bigarray:a", "--dtype", "|u1", "--shape", "1", "--fill", "300"])
            .contains("300")
    );
    assert!(place.fails(2, &["mv", "sea.bigarray:sst", "other:sst"]).contains("in another database"));
    assert!(place.fails(2, &["mv", "sea.bigarray:sst", "sst[0]"]).contains("has a slice"));
    place.ok(&["-q", "mv", "sea.bigarray:sst", "monthly"]);
    assert_eq!(place.json(&["ls", "sea.bigarray"])[0]["name"], "monthly");
    place.ok(&["create", "sea.bigarray:one", "--dtype", "<i4", "--shape", "3", "--fill", "-1"]);
    assert_eq!(place.json(&["head", "sea.bigarray:one"]), json!([-1, -1, -1]));
    // All or none.
    place.fails(1, &["rm", "sea.bigarray:one", "sea.bigarray:two"]);
    assert_eq!(place.json(&["ls", "sea.bigarray"]).as_array().unwrap().len(), 2);
    place.ok(&["rm", "sea.bigarray:one", "sea.bigarray:monthly"]);
    assert_eq!(place.json(&["ls", "sea.bigarray"]), json!([]));
}

#[test]
fn attributes_are_set_printed_and_removed() {
    let place = place();
    place.ok(&["attr", "sea.bigarray:sst", "unit=degC", "range=[20, 30]", "sign=a=b"]);
    place.ok(&["attr", "sea.bigarray", "title=El Nino"]);
    assert_eq!(place.ok(&["attr", "sea.bigarray:sst", "unit"]), "degC\n");
    assert_eq!(place.ok(&["attr", "sea.bigarray"]), "title = \"El Nino\"\n");
    assert_eq!(place.json(&["attr", "sea.bigarray:sst"]), json!({ "unit": "degC", "range": [20, 30], "sign": "a=b" }));
    place.ok(&["attr", "sea.bigarray:sst", "--remove", "unit", "--remove", "sign"]);
    assert_eq!(place.ok(&["attr", "sea.bigarray:sst"]), "range = [20,30]\n");
    assert!(place.fails(1, &["attr", "sea.bigarray:sst", "unit"]).contains("there are range"));
    assert!(place.fails(1, &["attr", "sea.bigarray:sst", "--remove", "unit"]).contains("no attribute \"unit\""));
}
