//! Files are imported and exported: all of them, or nothing.

use std::fs;

use bigarray::NpyHeader;
use bigarray::serde_json::json;

use crate::support::{Place, data, npy};

/// What the header of a `.npy` file says, and its elements. Writers differ in the blanks.
fn taken_apart(mut file: &[u8]) -> (NpyHeader, &[u8]) {
    (NpyHeader::read(&mut file).unwrap(), file)
}

#[test]
fn what_is_imported_is_exported_again() {
    let place = Place::new();
    for name in ["elnino_sst_61x12_f8", "elnino_sst_fortran_f8", "digits_1797x8x8_u1", "sunspots_309x2_f8"] {
        let file = data(&format!("{name}.npy"));
        for codec in ["none", "lz4", "zstd:9"] {
            let address = format!("a.bigarray:{name}.{codec}");
            place.ok(&["import", &file, &address, "--codec", codec]);
            place.ok(&["export", &address, "out.npy"]);
            let written = fs::read(place.path("out.npy")).unwrap();
            assert!(taken_apart(&written) == taken_apart(&fs::read(&file).unwrap()), "{address}");
            let piped = place.run(&["export", &address, "-"]);
            assert!(piped.code == 0 && piped.bytes == written, "{address}");
        }
    }
}

#[test]
fn big_endian_files_become_elements_of_this_machine() {
    let place = Place::new();
    place.ok(&["import", &data("elnino_sst_bigendian_f8.npy"), "a.bigarray:big"]);
    place.ok(&["import", &data("elnino_sst_fortran_f8.npy"), "a.bigarray:little"]);
    assert_eq!(place.json(&["info", "a.bigarray:big"])["dtype"], "<f8");
    let all = |name: &str| place.json(&["head", "-n", "100", &format!("a.bigarray:{name}")]);
    assert_eq!(all("big"), all("little"));
}

#[test]
fn headers_of_all_versions_and_structs_are_understood() {
    let place = Place::new();
    let dtype = "[('t', '>i2'), ('at', '>f4', (2,)), ('n', '|u1')]";
    let header = format!("{{'descr': {dtype}, 'fortran_order': False, 'shape': (2,), }}\n");
    let mut elements = Vec::new();
    for n in 1..=2_u8 {
        elements.extend(i16::from(n).to_be_bytes());
        elements.extend((f32::from(n) / 2.0).to_be_bytes());
        elements.extend((f32::from(n) * 2.0).to_be_bytes());
        elements.push(n);
    }
    for version in 1..=3 {
        let name = format!("v{version}");
        fs::write(place.path("in.npy"), npy(version, &header, &elements)).unwrap();
        place.ok(&["import", "in.npy", &format!("a.bigarray:{name}")]);
        let all = place.json(&["head", &format!("a.bigarray:{name}")]);
        assert_eq!(all[1], json!({ "t": 2, "at": [1.0, 4.0], "n": 2 }));
    }
    let point = npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", &2.5_f64.to_le_bytes());
    let done = place.run_with(&["import", "-", "a.bigarray:point"], &point);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(place.json(&["head", "a.bigarray:point"]), json!(2.5));
    assert_eq!(place.run(&["export", "a.bigarray:point", "-"]).bytes[128..], 2.5_f64.to_le_bytes());
}

#[test]
fn slices_are_exported_in_the_order_of_storage() {
    let place = Place::new();
    for (name, file) in
        [("c", "sunspots_309x2_f8.npy"), ("f", "elnino_sst_61x12_f8.npy"), ("d", "digits_1797x8x8_u1.npy")]
    {
        let address = format!("a.bigarray:{name}");
        place.ok(&["import", &data(file), &address]);
        for slice in ["[::-1]", "[5:50:7, 1]", "[-3:, ::-1]", "[...]", "[..., 1:2]", "[7:7]", "[3]", "[:, 0]", "[0, 0]"]
        {
            let sliced = format!("{address}{slice}");
            place.ok(&["export", &sliced, "out.npy"]);
            place.ok(&["import", "--replace", "out.npy", "a.bigarray:out"]);
            let all = |address: &str| place.json(&["head", "-n", "2000", address]);
            assert_eq!(all("a.bigarray:out"), all(&sliced), "{sliced}");
            let stored = place.json(&["info", &address])["order"].clone();
            let header = NpyHeader::read(&mut &fs::read(place.path("out.npy")).unwrap()[..]).unwrap();
            assert_eq!(header.order.is_row_major(), stored == "C", "{sliced}");
        }
    }
}

#[test]
fn several_files_are_appended_in_one_transaction() {
    let place = Place::new();
    let file = data("digits_1797x8x8_u1.npy");
    place.ok(&["import", "--append", &file, &file, "a.bigarray:twice"]);
    place.ok(&["import", "--append", &file, "a.bigarray:twice"]);
    let info = place.json(&["info", "a.bigarray:twice"]);
    assert_eq!(info["shape"], json!([3 * 1797, 8, 8]));
    let row = |at: usize| place.json(&["head", &format!("a.bigarray:twice[{at}]")]);
    assert_eq!((row(0), row(1796)), (row(1797), row(3 * 1797 - 1)));
    // Of the second file the type is another: the first is not added either.
    let line = place.fails(1, &["import", "--append", &file, &data("sunspots_309x2_f8.npy"), "a.bigarray:twice"]);
    assert!(line.contains("sunspots_309x2_f8.npy: its elements are <f8"), "{line}");
    assert_eq!(place.json(&["info", "a.bigarray:twice"]), info);
    // In column-major order columns are added.
    let file = data("elnino_sst_fortran_f8.npy");
    place.ok(&["import", "--append", &file, &file, "a.bigarray:columns"]);
    assert_eq!(place.json(&["info", "a.bigarray:columns"])["shape"], json!([61, 24]));
    place.ok(&["create", "a.bigarray:rows", "--dtype", "<f8", "--shape", "0,12"]);
    let line = place.fails(1, &["import", "--append", &file, "a.bigarray:rows"]);
    assert!(line.contains("order F"), "{line}");
    assert!(place.fails(2, &["import", &file, &file, "a.bigarray:b"]).contains("--append"));
    assert!(place.fails(1, &["import", &file, "a.bigarray:twice"]).contains("--replace"));
}

#[test]
fn raw_files_are_what_the_command_line_says() {
    let place = Place::new();
    let numbers: Vec<u8> = (0..12_u16).flat_map(u16::to_be_bytes).collect();
    let file = [&b"head"[..], &numbers].concat();
    fs::write(place.path("in.raw"), &file).unwrap();
    place.ok(&["import", "in.raw", "a.bigarray:a", "--dtype", ">u2", "--shape", "3,4", "--offset", "4"]);
    assert_eq!(place.json(&["head", "a.bigarray:a"]), json!([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]));
    place.ok(&[
        "import",
        "in.raw",
        "a.bigarray:f",
        "--dtype",
        ">u2",
        "--shape",
        "3,4",
        "--offset",
        "4",
        "--order",
        "F",
    ]);
    assert_eq!(place.json(&["head", "a.bigarray:f[0]"]), json!([0, 3, 6, 9]));
    place.ok(&["import", "in.raw", "a.bigarray:all", "--dtype", "|u1"]);
    assert_eq!(place.json(&["info", "a.bigarray:all"])["shape"], json!([28]));
    let done = place.run_with(&["import", "--dtype", ">u2", "-", "a.bigarray:piped"], &numbers);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(place.json(&["head", "a.bigarray:piped[-1]"]), json!(11));
    place.ok(&["export", "a.bigarray:a", "out.raw"]);
    let turned: Vec<u8> = (0..12_u16).flat_map(u16::to_le_bytes).collect();
    assert_eq!(fs::read(place.path("out.raw")).unwrap(), turned);
    let piped = place.run_with(&["import", "--dtype", "<u2", "-", "a.bigarray:odd"], &file[..5]);
    assert!(piped.failed(1).contains("ends at byte 5, amid an element"));
    assert!(
        place
            .fails(1, &["import", "in.raw", "a.bigarray:b", "--dtype", "<u8"])
            .contains("28 bytes are no whole number")
    );
    assert!(place.fails(2, &["import", "in.raw", "a.bigarray:b"]).contains("--dtype"));
    assert!(
        place.fails(1, &["import", "in.raw", "a.bigarray:b", "--dtype", "<u2", "--offset", "99"]).contains("offset 99")
    );
}

#[test]
fn files_that_no_array_can_be_are_refused_and_leave_nothing() {
    let place = Place::new();
    let header =
        |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"not an array".to_vec(), "no file of NumPy's format"),
        (npy(1, &header("'<f8'", "(3,)"), &[0; 23]), "takes 24 bytes, and behind byte"),
        (npy(1, &header("'|O'", "(1,)"), b"cos\nsystem\n(S'true'\ntR."), "Python objects"),
        (npy(1, &header("'<U5'", "(1,)"), &[0; 20]), "texts"),
        (npy(1, &header("'<f8'", "(99999999999999, 99999999999999)"), &[]), "more elements than a machine can count"),
        (npy(1, &header("'<f8'", "(1000000000000,)"), &[]), "takes 8000000000000 bytes"),
        (npy(1, &header("'<f8'", "(-1,)"), &[]), "no file of NumPy's format"),
        (npy(9, &header("'<f8'", "(1,)"), &[0; 8]), "version is 9"),
        (npy(2, &"x".repeat(5), &[])[..12].to_vec(), "it ends within its header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{".to_vec(), "its header has 2147483647 bytes"),
    ];
    for (n, (bytes, why)) in cases.into_iter().enumerate() {
        fs::write(place.path("in.npy"), &bytes).unwrap();
        let line = place.fails(1, &["import", "in.npy", "a.bigarray:a"]);
        assert!(line.contains(why) && line.contains("in.npy"), "case {n}: {line}");
        assert!(!place.path("a.bigarray").exists(), "case {n}");
    }
    let line = place.fails(1, &["import", "none.npy", "a.bigarray:a"]);
    assert_eq!(line, "bigarray: none.npy: there is no such file or directory");
    // A pipe does not tell its length: the end is met when rows are there already.
    let short = npy(1, &header("'<f8'", "(1000000,)"), &[0; 4_000_000]);
    let line = place.run_with(&["import", "--dtype", "<f8", "-", "a.bigarray:a"], &short).failed(2);
    assert!(line.contains("tells its own dtype"), "{line}");
    let line = place.run_with(&["import", "-", "a.bigarray:a"], &short).failed(1);
    assert!(line.contains("standard input: it ends after 4000000 of 8000000 bytes"), "{line}");
    assert_eq!(place.json(&["ls", "a.bigarray"]), json!([]));
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let place = Place::new();
    place.ok(&["import", &data("sunspots_309x2_f8.npy"), "a.bigarray:a"]);
    place.ok(&["create", "a.bigarray:half", "--dtype", "<bfloat16", "--shape", "4"]);
    fs::write(place.path("out.npy"), "before").unwrap();
    let line = place.fails(1, &["export", "a.bigarray:half", "out.npy"]);
    assert!(line.contains("NumPy has no elements of the type <bfloat16"), "{line}");
    assert_eq!(fs::read(place.path("out.npy")).unwrap(), b"before");
    place.ok(&["export", "a.bigarray:a", "out.npy"]);
    let (written, given) = (fs::read(place.path("out.npy")).unwrap(), fs::read(data("sunspots_309x2_f8.npy")).unwrap());
    assert!(taken_apart(&written) == taken_apart(&given));
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(place.fails(1, &["export", "a.bigarray:a", "no/such/out.npy"]).contains("no such file or directory"));
    assert!(place.fails(2, &["export", "a.bigarray:a", "out.xyz"]).contains("--format"));
}

#[test]
fn random_garbage_is_never_imported_as_more_than_it_is() {
    // Headers that are changed at random: each is imported or refused by one line, and nothing else happens.
    let place = Place::new();
    place.ok(&["create", "a.bigarray:b", "--dtype", "<f4", "--shape", "1"]);
    let mut rng = fastrand::Rng::with_seed(15);
    let good = npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }\n", &[7; 32]);
    for _ in 0..40 {
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..good.len());
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(if rng.bool() { good.len() } else { rng.usize(..=good.len()) });
        let before = place.json(&["ls", "a.bigarray"]);
        let done = place.run_with(&["import", "--replace", "--format", "npy", "-", "a.bigarray:a"], &bytes);
        if done.code == 0 {
            let stored = place.json(&["info", "a.bigarray:a"])["nbytes"].as_u64().unwrap();
            assert!(stored <= bytes.len() as u64, "{stored} bytes of {}", bytes.len());
        } else {
            done.failed(1);
            assert_eq!(place.json(&["ls", "a.bigarray"]), before);
        }
    }
}
