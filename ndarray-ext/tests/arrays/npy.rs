//! Files of NumPy's format.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use bigarray::{ArrayOptions, Database, Element, ErrorKind, Result};
use ndarray::{Array, Array2, Array3, Axis, Dimension, Ix0, Ix1, Ix2, IxDyn, Order, arr0};
use ndarray_npy::{read_npy, write_npy};

use crate::support::{TestDb, small_blocks};

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Tick {
    time: i64,
    bid: [f32; 2],
}
bigarray::impl_element!(Tick { time: i64, bid: [f32; 2] });

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Wide {
    id: u128,
    value: [f64; 2],
}
bigarray::impl_element!(Wide { id: u128, value: [f64; 2] });

/// Writes `array` and reads it again, as another array.
fn round_trips<T: Element + PartialEq + std::fmt::Debug, D: Dimension>(array: &Array<T, D>, order: Order) {
    let (db, dir) = (TestDb::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("a.npy");
    db.commit(|t| {
        let options = small_blocks().order(order);
        t.create_with::<T, _>("a", array.raw_dim(), &options).unwrap().view_mut().assign(array);
        t.array::<T, D>("a").unwrap().write_npy(&path).unwrap();
        let copy = t.read_npy::<T, D>("b", &path).unwrap();
        assert_eq!((copy.order(), copy.shape()), (order, array.shape()));
        assert!(copy.view() == array);
    });
    let mut bytes = Vec::new();
    db.array::<T, D>("b").unwrap().write_npy_to(&mut bytes).unwrap();
    assert!(bytes == std::fs::read(&path).unwrap());
    assert_eq!((bytes.len() - array.len() * size_of::<T>()) % 64, 0, "the elements are aligned");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn arrays_of_all_shapes_orders_and_types_round_trip() {
    for order in [Order::RowMajor, Order::ColumnMajor] {
        round_trips(&Array2::from_shape_fn((300, 70), |(i, j)| (i * 70 + j) as f64), order);
        round_trips(&Array3::from_shape_fn((9, 1, 1201), |(i, _, k)| (i * 1201 + k) as i16), order);
        round_trips(&Array2::<u8>::zeros((0, 7)), order);
        round_trips(&Array::from_shape_fn(IxDyn(&[4, 3, 2, 5]), |at| at[0] as u32 + at[3] as u32), order);
    }
    round_trips(&arr0(7.5f32), Order::RowMajor);
    round_trips(&Array::from_shape_fn(999, |n| Tick { time: n as i64, bid: [n as f32, 0.5] }), Order::RowMajor);
}

#[test]
fn another_library_reads_what_is_written_and_writes_what_is_read() {
    let (db, dir) = (TestDb::new(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (dir.path().join("ours.npy"), dir.path().join("theirs.npy"));
    let array = Array2::from_shape_fn((40, 30), |(i, j)| i as f32 - 0.5 * j as f32);
    write_npy(&theirs, &array.t()).unwrap();
    db.commit(|t| {
        let copy = t.read_npy::<f32, Ix2>("F", &theirs).unwrap();
        assert_eq!((copy.order(), copy.dim()), (Order::ColumnMajor, (30, 40)));
        assert!(copy.view() == array.t());
        copy.write_npy(&ours).unwrap();
    });
    assert!(read_npy::<_, Array2<f32>>(&ours).unwrap() == array.t());
}

#[test]
fn what_is_larger_than_the_memory_budget_is_read_and_written() {
    const ROWS: usize = 5 << 20;
    let db = TestDb::with(Database::options().memory_budget(8 << 20));
    let header = format!("{{'descr': '<u8', 'fortran_order': False, 'shape': ({ROWS},)}}\n");
    let mut file = b"\x93NUMPY\x02\x00".to_vec();
    file.extend((header.len() as u32).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend((0..ROWS as u64).flat_map(u64::to_le_bytes));
    let txn = db.begin().unwrap();
    let options = ArrayOptions::new().block_size(64 << 10);
    let array = txn.read_npy_from::<u64, Ix1>("a", &mut &file[..], &options).unwrap();
    let memory = db.memory_use();
    assert!(memory.used_bytes <= memory.budget_bytes + (1 << 20), "{memory:?}");
    drop(array);
    txn.commit().unwrap();
    let mut written = Vec::new();
    db.array::<u64, Ix1>("a").unwrap().write_npy_to(&mut written).unwrap();
    let elements = ROWS * 8;
    assert!(written[written.len() - elements..] == file[file.len() - elements..]);
}

#[test]
fn what_cannot_be_read_leaves_no_array() {
    let (db, dir) = (TestDb::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("a.npy");
    let mut file = Vec::new();
    db.commit(|t| {
        let mut a = t.create::<i32, _>("a", (50, 1000)).unwrap();
        a.view_mut().fill(7);
        a.write_npy_to(&mut file).unwrap();
    });
    let txn = db.begin().unwrap();
    let read = |bytes: &[u8]| -> Result<()> {
        std::fs::write(&path, bytes).unwrap();
        txn.read_npy::<i32, Ix2>("b", &path).map(drop)
    };
    let header_of =
        |text: &str| [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
    let cases = [
        (Vec::new(), ErrorKind::Invalid, "within its header"),
        (b"PK\x03\x04 is an archive".to_vec(), ErrorKind::Invalid, "other bytes"),
        (b"\x93NUMPY\x09\x00    ".to_vec(), ErrorKind::Invalid, "version is 9"),
        (header_of("{'descr': '<i4', 'shape': (1, 2)}"), ErrorKind::Invalid, "fortran_order"),
        (header_of("{'descr': '<i4', "), ErrorKind::Invalid, "at byte"),
        (header_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}"), ErrorKind::DtypeMismatch, "<f4"),
        (header_of("{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}"), ErrorKind::ShapeMismatch, "[2]"),
        (
            header_of("{'descr': '<i4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}"),
            ErrorKind::TooLarge,
            "",
        ),
        (file[..9].to_vec(), ErrorKind::Invalid, "within its header"),
        (file[..100].to_vec(), ErrorKind::Invalid, "within its header"),
        (file[..file.len() - 1].to_vec(), ErrorKind::Io, "of 200000"),
    ];
    for (bytes, kind, text) in cases {
        let error = read(&bytes).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(text), "{kind:?} {text}: {error:?}");
        assert!(error.to_string().contains("\"b\"") && error.to_string().contains("a.npy"), "{error}");
        assert!(txn.array::<i32, Ix2>("b").unwrap_err().is_not_found());
    }
    read(&file).unwrap();
    let error = txn.read_npy::<i32, Ix2>("a", &path).unwrap_err();
    assert!(error.is_already_exists() && txn.array::<i32, Ix2>("a").unwrap().view()[[0, 0]] == 7);
    let missing = txn.read_npy::<i32, Ix0>("c", dir.path().join("none.npy")).unwrap_err();
    assert!(missing.is_io() && missing.to_string().contains("none.npy"), "{missing}");
}

/// Types that the other side spells in another way, or that it does not have.
#[test]
fn single_bytes_have_no_order_and_numbers_of_another_order_are_told() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    let file = |dtype: &str, shape: &str| {
        let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}");
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &[1, 2, 3, 4]].concat()
    };
    let options = ArrayOptions::new();
    for (name, dtype) in [("a", "<u1"), ("b", ">u1"), ("c", "|u1")] {
        let read = txn.read_npy_from::<u8, Ix1>(name, &mut &file(dtype, "(4,)")[..], &options).unwrap();
        assert_eq!(read.view().to_vec(), [1, 2, 3, 4]);
    }
    let error = txn.read_npy_from::<u16, Ix1>("d", &mut &file(">u2", "(2,)")[..], &options).unwrap_err();
    assert!(error.is_dtype_mismatch() && error.to_string().contains("byte order"), "{error}");
    let axes = format!("({})", "1,".repeat(65));
    let error = txn.read_npy_from::<u8, IxDyn>("e", &mut &file("|u1", &axes)[..], &options).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("65 axes"), "{error}");
    let long = b"\x93NUMPY\x02\x00\xff\xff\xff\xff";
    let error = txn.read_npy_from::<u8, IxDyn>("e", &mut &long[..], &options).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("4294967295"), "{error}");
}

#[test]
fn a_file_that_is_replaced_keeps_its_place_and_its_permissions() {
    let (db, dir) = (TestDb::new(), tempfile::tempdir().unwrap());
    let (folder, link) = (dir.path().join("elsewhere"), dir.path().join("a.npy"));
    let (file, others) = (folder.join("real.npy"), folder.join("real.npy.part"));
    std::fs::create_dir(&folder).unwrap();
    for path in [&file, &others] {
        std::fs::write(path, "before").unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    std::os::unix::fs::symlink(&file, &link).unwrap();
    db.commit(|t| drop(t.create::<u8, _>("a", 8).unwrap()));
    let a = db.array::<u8, Ix1>("a").unwrap();
    a.write_npy(&link).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let written = std::fs::metadata(&file).unwrap();
    assert_eq!((written.len(), written.permissions().mode() & 0o777), (128 + 8, 0o600));
    assert_eq!(std::fs::read_to_string(&others).unwrap(), "before");
    // Several at once: each is whole, and one of them stays.
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| a.write_npy(&link).unwrap()))));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 128 + 8);
    a.write_npy("/dev/null").unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_one_that_is_there() {
    let (db, dir) = (TestDb::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("a.npy");
    std::fs::write(&path, "before").unwrap();
    let txn = db.begin().unwrap();
    let error = txn.create::<u128, _>("wide", 3).unwrap().write_npy(&path).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("<u16"), "{error}");
    let error = txn.create::<Wide, _>("struct", 3).unwrap().write_npy(&path).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("<u16"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let mut a = txn.create::<u8, _>("a", (3, 2)).unwrap();
    a.push(Axis(0), ndarray::aview1(&[1, 2])).unwrap();
    let error = a.write_npy(dir.path().join("no folder/a.npy")).unwrap_err();
    assert!(error.is_io() && error.to_string().contains("no folder"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    a.write_npy(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap().len(), 128 + 8);
}
