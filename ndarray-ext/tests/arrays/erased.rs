//! Arrays that are opened without their type: what viewers, exporters and bindings of other languages are written with.

use std::fmt::Write;
use std::sync::Arc;

use bigarray::{AnyArray, AnyArrayMut, Element, Transaction, dtype_fields};
use ndarray::{Array2, Axis, Ix1, Ix2, Ix3, IxDyn, Order, array};
use num_complex::Complex;

use crate::support::{BLOCK, TestDb, small_blocks};

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Level {
    price: f32,
    size: [u16; 2],
}
bigarray::impl_element!(Level { price: f32, size: [u16; 2] });

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Tick {
    time: i64,
    book: [Level; 2],
}
bigarray::impl_element!(Tick { time: i64, book: [Level; 2] });

/// An element in words, by the name of its type alone.
fn show(dtype: &str, bytes: &[u8]) -> String {
    macro_rules! number {
        ($($name:literal $t:ty),*) => {
            match dtype {
                $($name => <$t>::from_le_bytes(bytes[..size_of::<$t>()].try_into().unwrap()).to_string(),)*
                _ => format!("{bytes:02x?}"),
            }
        };
    }
    let fields = dtype_fields(dtype).unwrap();
    if fields.is_empty() {
        return number!("|u1" u8, "|i1" i8, "<u2" u16, "<i2" i16, "<u4" u32, "<i4" i32, "<u8" u64, "<i8" i64,
            "<f4" f32, "<f8" f64);
    }
    let ends = fields.iter().skip(1).map(|next| next.offset).chain([bytes.len()]);
    let shown = fields.iter().zip(ends).map(|(field, end)| {
        let (bytes, count) = (&bytes[field.offset..end], field.shape.iter().product::<usize>());
        let items: Vec<_> = bytes.chunks(bytes.len() / count).map(|item| show(&field.dtype, item)).collect();
        let all = if field.shape.is_empty() { items[0].clone() } else { format!("[{}]", items.join(", ")) };
        format!("{}: {all}", field.name)
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
}

/// All elements of an array in storage order, some rows at a time.
fn print(array: &AnyArray) -> String {
    let (info, mut text) = (array.info(), String::new());
    write!(text, "{} {:?}:", info.name, info.shape).unwrap();
    for rows in array.blocks() {
        for element in array.row_bytes(rows).unwrap().chunks(info.item_size) {
            write!(text, " {}", show(&info.dtype, element)).unwrap();
        }
    }
    text
}

#[test]
fn a_viewer_prints_any_array_by_its_dtype() {
    let db = TestDb::new();
    db.commit(|t| {
        t.create::<f64, _>("a", (2, 2)).unwrap().view_mut().assign(&array![[1.5, 2.0], [-3.0, 4.0]]);
        t.create::<u8, _>("b", 3).unwrap().view_mut().fill(7);
        let column_major = small_blocks().order(Order::ColumnMajor);
        t.create_with::<i16, _>("c", (2, 2), &column_major).unwrap().view_mut().assign(&array![[1, 2], [3, 4]]);
        t.create::<Complex<f32>, _>("d", 1).unwrap();
        let book = [Level { price: 0.5, size: [1, 2] }, Level { price: 0.25, size: [3, 4] }];
        t.create::<Tick, _>("e", 2).unwrap().view_mut()[1] = Tick { time: -1, book };
        t.create::<u64, _>("f", ()).unwrap().view_mut().fill(9);
        t.create::<u64, _>("g", (0, 3)).unwrap();
    });
    let snapshot = db.snapshot().unwrap();
    let arrays = snapshot.arrays().unwrap();
    let printed: Vec<_> = arrays.iter().map(|info| print(&snapshot.any_array(&info.name).unwrap())).collect();
    let zero = "{price: 0, size: [0, 0]}";
    let expected = [
        "a [2, 2]: 1.5 2 -3 4".to_owned(),
        "b [3]: 7 7 7".to_owned(),
        "c [2, 2]: 1 3 2 4".to_owned(),
        "d [1]: [00, 00, 00, 00, 00, 00, 00, 00]".to_owned(),
        format!(
            "e [2]: {{time: 0, book: [{zero}, {zero}]}} {{time: -1, book: [{{price: 0.5, size: [1, 2]}}, {{price: 0.25, \
             size: [3, 4]}}]}}"
        ),
        "f []: 9".to_owned(),
        "g [0, 3]:".to_owned(),
    ];
    assert_eq!(printed, expected);
}

#[test]
fn types_are_checked_where_elements_are_seen() {
    let db = TestDb::new();
    db.commit(|t| t.create::<f32, _>("a", (4, 5)).unwrap().view_mut().fill(1.0));
    let a = db.any_array("a").unwrap();
    assert_eq!((a.dtype(), a.ndim(), a.len(), a.nbytes()), ("<f4", 2, 20, 80));
    assert!(a.view::<f64, Ix2>().unwrap_err().is_dtype_mismatch());
    assert!(a.view::<f32, Ix3>().unwrap_err().is_shape_mismatch());
    assert_eq!(a.view::<f32, IxDyn>().unwrap().sum(), 20.0);
    assert!(a.clone().downcast::<i32, Ix2>().unwrap_err().is_dtype_mismatch());
    assert!(a.clone().downcast::<f32, Ix1>().unwrap_err().is_shape_mismatch());
    let typed = a.clone().downcast::<f32, Ix2>().unwrap();
    assert_eq!(typed.view(), Array2::<f32>::ones((4, 5)));
    assert_eq!(AnyArray::from(typed).row_bytes(..).unwrap(), a.row_bytes(..).unwrap());
    let mut one = 1f32.to_ne_bytes().repeat(5);
    assert_eq!(a.row_bytes(3..).unwrap(), one);
    assert!(a.row_bytes(3..5).unwrap_err().is_shape_mismatch());
    let mut written = Vec::new();
    a.write_to(&mut written).unwrap();
    one = one.repeat(4);
    assert_eq!(written, one);
    assert!(db.any_array("b").unwrap_err().is_not_found());
}

#[test]
fn bytes_are_changed_appended_and_committed() {
    let db = TestDb::new();
    db.commit(|t| t.create_with::<u32, _>("a", (2, 3), &small_blocks()).unwrap().view_mut().fill(1));
    let txn = db.begin().unwrap();
    let mut a = txn.any_array("a").unwrap();
    assert!(txn.any_array("a").unwrap_err().is_in_use());
    a.row_bytes_mut(1..2).unwrap().copy_from_slice(bytemuck::cast_slice(&[7u32, 8, 9]));
    assert!(a.row_bytes_mut(2..3).unwrap_err().is_shape_mismatch());
    let many = vec![5u32; 3 * BLOCK];
    a.append_bytes(bytemuck::cast_slice(&many)).unwrap();
    a.append_bytes(&[]).unwrap();
    assert_eq!(a.shape(), [2 + BLOCK, 3]);
    let error = a.append_bytes(&[0; 13]).unwrap_err();
    assert!(error.is_shape_mismatch() && error.to_string().contains("13 bytes are no rows of 12 bytes"), "{error}");
    a.view_mut::<u32, Ix2>().unwrap()[[0, 0]] = 4;
    a.set_attr("unit", "K".into()).unwrap();
    a.flush().unwrap();
    a.resize(&[4, 3]).unwrap();
    a.reshape(&[2, 3, 2]).unwrap();
    assert_eq!(a.view::<u32, Ix3>().unwrap().shape(), [2, 3, 2]);
    a.reshape(&[4, 3]).unwrap();
    assert!(a.reshape(&[5, 3]).unwrap_err().is_shape_mismatch());
    let typed = a.downcast::<u32, Ix2>().unwrap();
    let expected = array![[4, 1, 1], [7, 8, 9], [5, 5, 5], [5, 5, 5]];
    assert_eq!(typed.view(), expected);
    assert!(AnyArrayMut::from(typed).downcast::<f32, Ix2>().unwrap_err().is_dtype_mismatch());
    txn.commit().unwrap();
    let a = db.any_array("a").unwrap();
    assert_eq!(a.attrs()["unit"], "K");
    assert_eq!(a.view::<u32, Ix2>().unwrap(), expected);
}

#[test]
fn an_array_of_dimension_zero_does_not_grow_by_bytes() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    let mut a = AnyArrayMut::from(txn.create::<u32, _>("a", ()).unwrap());
    assert!(a.append_bytes(&[0; 4]).unwrap_err().is_shape_mismatch());
    assert_eq!(a.row_bytes(0..1).unwrap(), [0; 4]);
}

/// The address of a view stays until the next call that takes the handle mutably: a binding may hand it out until then.
#[test]
fn addresses_stay_until_the_next_call_that_changes() {
    let db = TestDb::new();
    db.commit(|t| t.create_with::<u8, _>("a", 3 * BLOCK, &small_blocks()).unwrap().view_mut().fill(1));
    let read = db.any_array("a").unwrap();
    let at = read.row_bytes(..).unwrap().as_ptr();
    db.commit(|t| t.array::<u8, Ix1>("a").unwrap().view_mut().fill(2));
    assert!(read.row_bytes(..).unwrap().iter().all(|&byte| byte == 1));
    assert_eq!((read.row_bytes(..).unwrap().as_ptr(), read.view::<u8, Ix1>().unwrap().as_ptr()), (at, at));
    assert_eq!(read.clone().row_bytes(BLOCK..).unwrap().as_ptr(), at.wrapping_add(BLOCK));

    let txn = db.begin().unwrap();
    let mut write = txn.any_array("a").unwrap();
    let at = write.row_bytes_mut(..).unwrap().as_ptr();
    write.prefetch(..).unwrap();
    write.write_to(&mut std::io::sink()).unwrap();
    assert_eq!((write.row_bytes(..).unwrap().as_ptr(), write.view::<u8, Ix1>().unwrap().as_ptr()), (at, at));
    let before = write.row_bytes(..).unwrap().to_vec();
    write.append_bytes(&vec![3; 40 * BLOCK]).unwrap(); // perhaps elsewhere now
    assert_eq!(write.row_bytes(..3 * BLOCK).unwrap(), before);
}

/// What a binding of another language has: an array and its transaction in one value.
struct Session {
    array: AnyArrayMut<'static>,
    txn: Arc<Transaction>,
}

#[test]
fn a_handle_that_keeps_its_transaction_is_committed_once_it_is_dropped() {
    let db = TestDb::new();
    db.commit(|t| t.create::<f64, _>("a", 4).map(drop).unwrap());
    let txn = Arc::new(db.begin().unwrap());
    let mut session = Session { array: txn.any_array_owned("a").unwrap(), txn };
    session.array.view_mut::<f64, Ix1>().unwrap()[1] = 2.0;
    assert!(session.txn.array_owned::<f64, Ix1>("a").unwrap_err().is_in_use());
    // It may go to another thread, as all handles may.
    let Session { mut array, txn } = std::thread::spawn(move || session).join().unwrap();
    array.append_bytes(&3f64.to_ne_bytes()).unwrap();
    let txn = Arc::try_unwrap(txn).expect_err("an array is open");
    drop(array);
    assert_eq!(txn.array::<f64, Ix1>("a").unwrap().view(), array![0.0, 2.0, 0.0, 0.0, 3.0]);
    let mut txn = Arc::into_inner(txn).expect("none is");
    let savepoint = txn.savepoint().unwrap();
    txn.array::<f64, Ix1>("a").unwrap().push(Axis(0), ndarray::arr0(9.0).view()).unwrap();
    txn.rollback(savepoint).unwrap();
    txn.commit().unwrap();
    assert_eq!(db.array::<f64, Ix1>("a").unwrap().view(), array![0.0, 2.0, 0.0, 0.0, 3.0]);
}

#[test]
fn a_transaction_whose_last_handle_is_dropped_is_aborted() {
    let db = TestDb::new();
    db.commit(|t| t.create::<f64, _>("a", 4).map(drop).unwrap());
    let txn = Arc::new(db.begin().unwrap());
    let mut array = txn.array_owned::<f64, Ix1>("a").unwrap();
    assert!(Arc::into_inner(txn).is_none());
    array.view_mut().fill(1.0);
    assert_eq!(array.view().sum(), 4.0);
    drop(array);
    assert_eq!(db.array::<f64, Ix1>("a").unwrap().view().sum(), 0.0);
}

#[test]
fn dtypes_are_those_of_the_elements() {
    let db = TestDb::new();
    db.commit(|t| t.create::<Tick, _>("a", 1).map(drop).unwrap());
    let info = db.snapshot().unwrap().info("a").unwrap();
    assert_eq!(info.dtype, Tick::dtype());
    let fields = dtype_fields(&info.dtype).unwrap();
    assert_eq!(fields[1].offset, std::mem::offset_of!(Tick, book));
    let inner = dtype_fields(&fields[1].dtype).unwrap();
    assert_eq!(inner[1].offset, std::mem::offset_of!(Level, size));
}

#[test]
fn an_array_is_created_by_the_name_of_its_element_type() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut ticks = t.create_any("ticks", &Tick::dtype().replace(' ', ""), &[2], &small_blocks()).unwrap();
        ticks.row_bytes_mut(1..2).unwrap()[..8].copy_from_slice(&7_i64.to_le_bytes());
        drop(ticks);
        assert_eq!(t.array::<Tick, Ix1>("ticks").unwrap().view()[1].time, 7);
        let column_major = small_blocks().order(Order::ColumnMajor);
        t.create_any("numbers", "<f4", &[2, 3], &column_major).unwrap().append_bytes(&[0; 16]).unwrap();
    });
    assert_eq!(db.array::<Tick, Ix1>("ticks").unwrap().view()[1].time, 7);
    assert_eq!(db.array::<f32, Ix2>("numbers").unwrap().shape(), [2, 5]);

    let txn = db.begin().unwrap();
    let error = txn.create_any("ticks", "<f4", &[1], &small_blocks()).unwrap_err();
    assert!(error.is_already_exists(), "{error}");
    let error = txn.create_any("text", "<U8", &[1], &small_blocks()).unwrap_err();
    assert!(error.is_invalid(), "{error}");
    assert!(error.to_string().contains("\"text\"") && error.to_string().contains("<U8"), "{error}");
    let error = txn.create_any("large", "<f8", &[usize::MAX, 2], &small_blocks()).unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains("\"large\""), "{error}");
    assert!(!txn.arrays().unwrap().iter().any(|array| array.name == "text" || array.name == "large"));
}
