//! zarr-python opens what is written here, and what it writes is read here: `tests/interchange/arrays.py`, by the Python
//! that `BIGARRAY_TEST_PYTHON` names, which has the packages of `tests/interchange/requirements.txt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bigarray_core::{BlockSize, Codec, Descriptor, ErrorKind, FillValue, Order};
use serde_json::json;

use super::array;
use crate::zarr::{Metadata, Piece};

/// An array of its own on the way to Python.
struct Case {
    name: &'static str,
    array: Descriptor,
    /// As what Python sees the elements.
    numpy: &'static str,
}

fn case(name: &'static str, dtype: &str, item_size: usize, shape: &[usize], numpy: &'static str) -> Case {
    let array = Descriptor { block_size: BlockSize::MIN, ..array(dtype, item_size, shape, Order::RowMajor) };
    Case { name, array, numpy }
}

fn cases() -> Vec<Case> {
    let with =
        |codec: Codec, order: Order, case: Case| Case { array: Descriptor { codec, order, ..case.array }, ..case };
    let plain = |order, case| with(Codec::None, order, case);
    let coded = |codec, case| with(codec, Order::RowMajor, case);
    let filled =
        |fill: &[u8], case: Case| Case { array: Descriptor { fill: FillValue::new(fill), ..case.array }, ..case };
    let record = [(-9i64).to_le_bytes(), 0.5f64.to_le_bytes()].concat();
    let doubles = |name| case(name, "<f8", 8, &[300, 1001], "'<f8'");
    let nested = "[('a', '|u1'), ('in', [('x', '<f4'), ('y', '<c16')])]";
    vec![
        plain(Order::RowMajor, doubles("c_order")),
        plain(Order::ColumnMajor, doubles("f_order")),
        plain(Order::ColumnMajor, case("f_order_3d", "<i2", 2, &[30, 40, 501], "'<i2'")),
        plain(Order::ColumnMajor, case("f_order_1d", "<i2", 2, &[1001], "'<i2'")),
        case("long_rows", "|u1", 1, &[2, (9 << 20) + 1], "'|u1'"),
        coded(Codec::Zstd { level: 3, shuffle: false }, doubles("zstd")),
        coded(Codec::Zstd { level: 4, shuffle: true }, doubles("blosc_zstd")),
        coded(Codec::Lz4 { shuffle: false }, doubles("blosc_lz4")),
        coded(Codec::Lz4 { shuffle: true }, doubles("blosc_lz4_shuffle")),
        with(Codec::Lz4 { shuffle: true }, Order::ColumnMajor, doubles("blosc_f_order")),
        coded(
            Codec::Lz4 { shuffle: true },
            case("blosc_large_items", "[('a', '<f8', (40,))]", 320, &[100], "[('a', '|V320')]"),
        ),
        case("float16", "<f2", 2, &[7001], "'<f2'"),
        case("complex64", "<c8", 8, &[7001], "'<c8'"),
        case("complex128", "<c16", 16, &[7001], "'<c16'"),
        case("boolean", "|b1", 1, &[7001], "'|b1'"),
        case("time", "<M8[ns]", 8, &[701], "'<M8[ns]'"),
        case("record", "[('time', '<i8'), ('price', '<f8')]", 16, &[701], "[('time', '<i8'), ('price', '<f8')]"),
        case(
            "padded",
            "[('a', '|u1'), ('', '|V7'), ('b', '<f8')]",
            16,
            &[701],
            "[('a', '|u1'), ('__padding_1', '|V7'), ('b', '<f8')]",
        ),
        case("nested", nested, 21, &[701], nested),
        case(
            "fields_that_are_arrays",
            "[('a', '|u1'), ('b', '<f4', (2, 3))]",
            25,
            &[701],
            "[('a', '|u1'), ('b', '|V24')]",
        ),
        case("bfloat16", "<bfloat16", 2, &[701], "'|V2'"),
        case("u128", "<u16", 16, &[701], "'|V16'"),
        case("no_axes", "<f8", 8, &[], "'<f8'"),
        case("empty", "<f8", 8, &[0, 3], "'<f8'"),
        case("holes", "<f8", 8, &[300_000, 2], "'<f8'"),
        filled(&f64::NAN.to_le_bytes(), case("filled", "<f8", 8, &[300_000, 2], "'<f8'")),
        filled(&[1], case("filled_bool", "|b1", 1, &[7001], "'|b1'")),
        filled(&1.5f64.to_le_bytes().repeat(2), case("filled_complex", "<c16", 16, &[701], "'<c16'")),
        filled(
            &record[..],
            case("filled_record", "[('n', '<i8'), ('x', '<f8')]", 16, &[701], "[('n', '<i8'), ('x', '<f8')]"),
        ),
    ]
}

/// Bytes of an array: bool has but two values, and what is stored nowhere are whole chunks.
fn content(case: &Case) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..case.array.nbytes()).map(|n| (n * n / 13 % 251) as u8).collect();
    match case.name {
        "boolean" | "filled_bool" => bytes.iter_mut().for_each(|byte| *byte %= 2),
        "holes" => bytes[1 << 20..3 << 20].fill(0),
        "filled" => empty(&case.array, &mut bytes[1 << 20..3 << 20]),
        _ => {}
    }
    bytes
}

/// The bytes of elements that are stored nowhere.
fn empty(array: &Descriptor, bytes: &mut [u8]) {
    match &array.fill {
        Some(fill) => fill.write(0, bytes),
        None => bytes.fill(0),
    }
}

fn chunk_file(dir: &Path, piece: &Piece) -> PathBuf {
    piece.index.iter().fold(dir.join("c"), |path, n| path.join(n.to_string()))
}

/// Writes an array as a directory.
fn write(dir: &Path, case: &Case, bytes: &[u8]) {
    let metadata = Metadata::create(case.name, &case.array, 1).unwrap();
    let metadata = metadata.with_attribute(case.name, "numpy", Some(&json!(case.numpy))).unwrap();
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("zarr.json"), metadata.to_json().unwrap()).unwrap();
    for piece in metadata.grid().chunks_over(0..bytes.len()) {
        let mut chunk = vec![0; metadata.grid().chunk_bytes()];
        empty(&case.array, &mut chunk);
        let absent = chunk.clone();
        chunk[piece.chunk_offset..][..piece.array.len()].copy_from_slice(&bytes[piece.array.clone()]);
        if chunk == absent {
            continue;
        }
        let file = chunk_file(dir, &piece);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, metadata.chain().encode(chunk).unwrap()).unwrap();
    }
}

/// Reads an array from its directory.
fn read(dir: &Path, metadata: &Metadata) -> Vec<u8> {
    let array = metadata.descriptor(bigarray_core::ArrayId(0), bigarray_core::Version(0), bigarray_core::Version(0));
    let fill = metadata.fill().map_or_else(|| vec![0; array.item_size], |fill| fill.bytes().to_vec());
    let mut bytes = fill.repeat(array.nbytes() / array.item_size);
    for piece in metadata.grid().chunks_over(0..bytes.len()) {
        if let Ok(stored) = fs::read(chunk_file(dir, &piece)) {
            let chunk = metadata.chain().decode(stored.into()).unwrap();
            bytes[piece.array.clone()].copy_from_slice(&chunk[piece.chunk_offset..][..piece.array.len()]);
        }
    }
    bytes
}

fn python(program: &str, step: &str, dir: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange/arrays.py");
    let status = Command::new(program).arg(script).arg(step).arg(dir).status().unwrap();
    assert!(status.success(), "{step}: {status}");
}

#[test]
fn python_opens_what_is_written_and_what_it_writes_is_read() {
    let Some(program) = std::env::var("BIGARRAY_TEST_PYTHON").ok() else {
        eprintln!("SKIPPED: BIGARRAY_TEST_PYTHON names no Python with zarr");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("ours");
    for case in cases() {
        let bytes = content(&case);
        write(&ours.join(case.name), &case, &bytes);
        fs::write(ours.join(case.name).join("bytes"), bytes).unwrap();
    }
    fs::write(ours.join("zarr.json"), json!({"zarr_format": 3, "node_type": "group", "attributes": {}}).to_string())
        .unwrap();
    python(&program, "check", &ours);
    // Python changed each array: its first element became its last one, and `appended` has two more rows.
    for case in cases() {
        let dir = ours.join(case.name);
        let metadata = Metadata::parse(&fs::read(dir.join("zarr.json")).unwrap()).unwrap();
        assert_eq!(metadata.read_only(), None, "{}", case.name);
        assert_eq!(metadata.descriptor(case.array.id, case.array.changed, case.array.named).dtype, case.array.dtype);
        assert!(read(&dir, &metadata) == fs::read(dir.join("bytes")).unwrap(), "{}", case.name);
    }

    let theirs = dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    python(&program, "write", &theirs);
    let mut seen = 0;
    for entry in fs::read_dir(&theirs).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let (dir, name) = (entry.path(), entry.file_name().into_string().unwrap());
        seen += 1;
        let metadata = Metadata::parse(&fs::read(dir.join("zarr.json")).unwrap());
        if let Ok(reason) = fs::read_to_string(dir.join("unreadable")) {
            let error = metadata.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(&reason), "{name}: {error}");
            println!("{name}: {error}");
            continue;
        }
        let metadata = metadata.unwrap_or_else(|error| panic!("{name}: {error}"));
        let array =
            metadata.descriptor(bigarray_core::ArrayId(0), bigarray_core::Version(0), bigarray_core::Version(0));
        println!("{name}: {} {:?}, read-only: {:?}", array.dtype, array.shape, metadata.read_only());
        assert_eq!(array.dtype, fs::read_to_string(dir.join("dtype")).unwrap(), "{name}");
        assert_eq!(
            metadata.read_only().is_some(),
            dir.join("read_only").exists(),
            "{name}: {:?}",
            metadata.read_only()
        );
        assert!(read(&dir, &metadata) == fs::read(dir.join("bytes")).unwrap(), "{name}");
    }
    assert!(seen > 20, "{seen} arrays by Python");
}
