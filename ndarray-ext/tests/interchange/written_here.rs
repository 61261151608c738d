//! What is written here is the same in Python.

use bigarray::serde_json::json;
use bigarray::{ArrayOptions, Codec, Element, Transaction};
use half::{bf16, f16};
use ndarray::{Array, Array1, Array2, Array3, Axis, Ix2, Order};
use num_complex::Complex;

use crate::elements::{Flag, Number, Reading, Seconds};
use crate::python::Python;
use crate::support::small_blocks;

/// Rows and columns of a matrix: more than one chunk of four-byte numbers.
const MATRIX: (usize, usize) = (300, 1001);

fn store_numbers<T: Number>(txn: &Transaction) {
    let name = format!("numbers/{}", &T::dtype()[1..]);
    let mut array = txn.create_with::<T, _>(&name, 1000, &small_blocks()).unwrap();
    array.view_mut().assign(&Array1::from_shape_fn(1000, T::nth));
}

fn store<T: Element>(txn: &Transaction, name: &str, nth: impl Fn(usize) -> T) {
    let mut array = txn.create_with::<T, _>(name, 1000, &small_blocks()).unwrap();
    array.view_mut().assign(&Array1::from_shape_fn(1000, nth));
}

fn matrix(scale: f64) -> Array2<f64> {
    Array::from_shape_fn(MATRIX, |(row, column)| (row * MATRIX.1 + column) as f64 * scale)
}

fn store_matrix(txn: &Transaction, name: &str, options: &ArrayOptions) {
    let mut array = txn.create_with::<f64, _>(name, MATRIX, options).unwrap();
    array.view_mut().assign(&matrix(0.25));
}

#[test]
fn arrays_of_every_type_order_and_codec_are_the_same_in_python() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    let txn = db.begin().unwrap();
    store_numbers::<i8>(&txn);
    store_numbers::<i16>(&txn);
    store_numbers::<i32>(&txn);
    store_numbers::<i64>(&txn);
    store_numbers::<i128>(&txn);
    store_numbers::<u8>(&txn);
    store_numbers::<u16>(&txn);
    store_numbers::<u32>(&txn);
    store_numbers::<u64>(&txn);
    store_numbers::<u128>(&txn);
    store_numbers::<f16>(&txn);
    store_numbers::<bf16>(&txn);
    store_numbers::<f32>(&txn);
    store_numbers::<f64>(&txn);
    store_numbers::<Complex<f32>>(&txn);
    store_numbers::<Complex<f64>>(&txn);
    store(&txn, "others/flags", |n| Flag((n % 3 == 0) as u8));
    store(&txn, "others/times", |n| Seconds(n as i64 * 86_400));
    store(&txn, "others/readings", Reading::nth);
    txn.commit().unwrap();

    let txn = db.begin().unwrap();
    let column_major = small_blocks().order(Order::ColumnMajor);
    store_matrix(&txn, "orders/c", &small_blocks());
    store_matrix(&txn, "orders/f", &column_major);
    let mut cube = txn.create_with::<i32, _>("orders/f_cube", (30, 40, 501), &column_major).unwrap();
    cube.view_mut().assign(&Array3::from_shape_fn((30, 40, 501), |(i, j, k)| ((i * 40 + j) * 501 + k) as i32));
    drop(cube);
    txn.create::<f64, _>("orders/empty", (0, 3)).unwrap();
    txn.create::<f64, _>("orders/scalar", ()).unwrap().view_mut()[()] = 1.5;
    txn.commit().unwrap();

    let txn = db.begin().unwrap();
    let zstd = Codec::Zstd { level: 3, shuffle: false };
    store_matrix(&txn, "codecs/zstd", &small_blocks().codec(zstd));
    store_matrix(&txn, "codecs/zstd_f", &column_major.clone().codec(zstd));
    store_matrix(&txn, "codecs/zstd_shuffle", &small_blocks().codec(Codec::Zstd { level: 5, shuffle: true }));
    store_matrix(&txn, "codecs/lz4", &small_blocks().codec(Codec::Lz4 { shuffle: false }));
    store_matrix(&txn, "codecs/lz4_shuffle", &small_blocks().codec(Codec::Lz4 { shuffle: true }));
    // Some kilobytes each: they share an object. Those of one value are in the manifest.
    for number in 0..20 {
        let mut array =
            txn.create_with::<f64, _>(&format!("small/{number}"), 5000, &small_blocks().codec(zstd)).unwrap();
        array.view_mut().assign(&Array1::from_shape_fn(5000, |n| (n * n * 7919 % 1_000_003 + number) as f64));
    }
    txn.create_with::<f64, _>("inline", 5000, &small_blocks().codec(zstd)).unwrap().view_mut().fill(2.5);
    // Four chunks, of which one is stored.
    let mut holes = txn.create_with::<f64, _>("holes", 1 << 19, &small_blocks()).unwrap();
    holes.rows_mut(300_000..300_010).unwrap().fill(1.0);
    let attributes = [
        ("units", json!("°C")),
        ("scale", json!(0.01)),
        ("levels", json!([1, 2, 3])),
        ("nested", json!({"a": [null, true, {"b": "ö"}]})),
        ("dims", json!(["place"])),
    ];
    for (name, value) in attributes {
        holes.set_attr(name, value).unwrap();
    }
    drop(holes);
    txn.commit().unwrap();
    db.tag("v1").unwrap();

    db.transact(|txn| {
        for name in ["orders/c", "codecs/zstd_shuffle"] {
            let mut array = txn.array::<f64, Ix2>(name)?;
            array.view_mut().row_mut(0).fill(-1.0);
            array.append(Axis(0), Array2::from_elem((5, MATRIX.1), 7.0).view())?;
        }
        let mut array = txn.array::<f64, Ix2>("orders/f")?;
        array.append(Axis(1), Array2::from_elem((MATRIX.0, 2), 7.0).view())
    })
    .unwrap();

    python.runs("check_written");
    let log: Vec<String> = db.log(100).unwrap().into_iter().map(|commit| commit.id).collect();
    // The first is Icechunk's own.
    assert_eq!(log.len(), 5);
    assert_eq!(python.runs("log"), log.join(" "));
    assert_eq!(python.runs("tagged v1"), log[1]);
}

/// xarray opens no group in which axes of one name have two lengths.
#[test]
fn arrays_that_were_renamed_and_made_anew_have_axes_of_their_own() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    for length in [10, 20, 30] {
        db.transact(|txn| txn.create::<f64, _>("group/now", length).map(drop)).unwrap();
        db.transact(|txn| txn.rename("group/now", &format!("group/until_{length}"))).unwrap();
    }
    db.transact(|txn| {
        txn.create::<f64, _>("group/now", 40)?.view_mut().fill(1.0);
        txn.create::<f64, _>("now", 50).map(drop)
    })
    .unwrap();
    assert_eq!(python.runs("axes group/now group/until_10 now"), "now_4_0 now_0 now_0");
    // One that is replaced gives its names to the one in its place.
    db.transact(|txn| {
        txn.remove("now")?;
        txn.create::<f64, _>("now", 60).map(drop)
    })
    .unwrap();
    assert_eq!(python.runs("axes now"), "now_0");
}

/// What is cut off here is gone, also where Python makes the array longer again.
#[test]
fn rows_that_are_cut_off_here_do_not_come_back_in_python() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    db.transact(|txn| {
        txn.create_with::<f64, _>("a", 300_000, &small_blocks())?.view_mut().fill(1.0);
        Ok(())
    })
    .unwrap();
    db.transact(|txn| txn.array::<f64, ndarray::Ix1>("a")?.resize(100)).unwrap();
    python.runs("lengthen a 300000");
    let a = db.array::<f64, ndarray::Ix1>("a").unwrap();
    assert!(a.view().iter().enumerate().all(|(n, x)| *x == f64::from(u8::from(n < 100))));
}
