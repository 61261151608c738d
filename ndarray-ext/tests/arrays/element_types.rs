//! Every element type, dimension and order comes back as it was written.

use bigarray::bytemuck::{Pod, Zeroable};
use bigarray::{ArrayOptions, Element};
use ndarray::{
    Array, Array0, Array1, Array2, Array3, Array4, Array5, Array6, Axis, Dimension, Ix0, Ix1, Ix2, IxDyn, Order,
};
use num_complex::Complex;

use crate::support::arrays::{says, store};
use crate::support::{BLOCK, TestDb};

/// Bytes that are no pattern of any type, as an array of `T`.
fn noise<T: Element>(n: usize) -> Array1<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = vec![0u8; n * size_of::<T>()];
    for b in &mut bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *b = (state >> 56) as u8;
    }
    bytes.chunks(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

/// Writes an array of `T` that straddles blocks, and compares bytes after a reopen: NaNs are not equal to themselves.
fn round_trips<T: Element>() {
    let mut db = TestDb::new();
    let want = noise::<T>(3 * BLOCK / size_of::<T>() + 5);
    db.commit(|t| {
        let options = ArrayOptions::new().block_size(BLOCK);
        let mut a = t.create_with::<T, _>("A", want.len(), &options).unwrap();
        a.view_mut().assign(&want);
    });
    db.reopen();
    let a = db.array::<T, Ix1>("A").unwrap();
    assert_eq!(a.info().dtype, T::dtype());
    let view = a.view();
    let (got, want): (&[u8], &[u8]) =
        (bytemuck::cast_slice(view.as_slice().unwrap()), bytemuck::cast_slice(want.as_slice().unwrap()));
    assert!(got == want, "{}", T::dtype());
}

#[test]
fn integers_round_trip() {
    round_trips::<i8>();
    round_trips::<u8>();
    round_trips::<i16>();
    round_trips::<u16>();
    round_trips::<i32>();
    round_trips::<u32>();
    round_trips::<i64>();
    round_trips::<u64>();
    round_trips::<i128>();
    round_trips::<u128>();
    round_trips::<isize>();
    round_trips::<usize>();
}

#[test]
fn floats_and_complex_round_trip() {
    round_trips::<f32>();
    round_trips::<f64>();
    round_trips::<Complex<f32>>();
    round_trips::<Complex<f64>>();
    round_trips::<half::f16>();
    round_trips::<half::bf16>();
}

/// A field may be an array of any length.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Frame {
    spectrum: [f32; 164],
    image: [[i16; 720]; 480],
}
bigarray::impl_element!(Frame { spectrum: [f32; 164], image: [[i16; 720]; 480] });

#[test]
fn structs_with_long_arrays_round_trip() {
    let db = TestDb::new();
    let mut frames = vec![Frame::zeroed(); 2];
    frames[1].spectrum[163] = 1.5;
    frames[1].image[479][719] = -3;
    db.transact(|txn| {
        txn.create::<Frame, _>("frames", 2)?.view_mut().assign(&bigarray::ndarray::ArrayView1::from(&frames));
        Ok(())
    })
    .unwrap();
    let stored = db.array::<Frame, Ix1>("frames").unwrap();
    assert_eq!(Frame::dtype(), "[('spectrum', '<f4', (164,)), ('image', '<i2', (480, 720))]");
    assert!(stored.view().iter().eq(frames.iter()));
}

/// What ndarray computes of numbers works on these as well.
#[test]
fn half_floats_are_summed() {
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create::<half::f16, _>("H", 4)?.view_mut().fill(half::f16::from_f32(1.5));
        txn.create::<half::bf16, _>("B", 4)?.view_mut().fill(half::bf16::from_f32(0.5));
        Ok(())
    })
    .unwrap();
    let (h, b) = (db.array::<half::f16, Ix1>("H").unwrap(), db.array::<half::bf16, Ix1>("B").unwrap());
    assert_eq!((h.view().sum().to_f32(), h.view().mean().unwrap().to_f32()), (6.0, 1.5));
    assert_eq!((b.view().sum().to_f32(), b.view().mean().unwrap().to_f32()), (2.0, 0.5));
}

/// 12 bytes: does not divide a page, so elements straddle pages and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Odd {
    id: u32,
    at: [f32; 2],
}
bigarray::impl_element!(Odd { id: u32, at: [f32; 2] });

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Tick {
    time: i64,
    price: f64,
}
bigarray::impl_element!(Tick { time: i64, price: f64 });

/// The same bytes under other names.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Reading {
    when: i64,
    value: f64,
}
bigarray::impl_element!(Reading { when: i64, value: f64 });

#[test]
fn structs_round_trip() {
    round_trips::<Odd>();
    round_trips::<Tick>();
}

#[test]
fn structs_are_told_apart_by_their_fields() {
    let db = TestDb::new();
    db.commit(|t| drop(t.create::<Tick, _>("ticks", 4).unwrap()));
    let error = db.array::<Reading, Ix1>("ticks").unwrap_err();
    assert!(error.is_dtype_mismatch());
    says(&error, &["\"ticks\"", "'price'", "'value'"]);
    assert_eq!(db.array::<Tick, Ix1>("ticks").unwrap().info().dtype, "[('time', '<i8'), ('price', '<f8')]");
}

#[test]
fn a_wrong_width_is_named() {
    let db = TestDb::new();
    db.commit(|t| {
        t.create::<Complex<f32>, _>("waves", (2, 3)).unwrap();
        t.create::<f32, _>("plane", (2, 3)).unwrap();
    });
    let error = db.array::<Complex<f64>, Ix2>("waves").unwrap_err();
    assert!(error.is_dtype_mismatch());
    says(&error, &["\"waves\"", "<c8", "<c16", "dimension 2"]);
    let error = db.array::<f32, Ix1>("plane").unwrap_err();
    assert!(error.is_shape_mismatch());
    says(&error, &["\"plane\"", "<f4", "dimension 2", "dimension 1", "[2, 3]"]);
    let t = db.begin().unwrap();
    assert!(t.array::<f64, Ix2>("plane").unwrap_err().is_dtype_mismatch());
    // A refused opening leaves the array free.
    t.array::<f32, Ix2>("plane").unwrap();
}

fn dimensions<D: Dimension>(want: &Array<u16, D>) {
    let mut db = TestDb::new();
    db.commit(|t| {
        for (name, order) in [("C", Order::RowMajor), ("F", Order::ColumnMajor)] {
            let options = ArrayOptions::new().order(order).block_size(BLOCK);
            let mut a = t.create_with::<u16, _>(name, want.raw_dim(), &options).unwrap();
            a.view_mut().assign(want);
            assert_eq!(a.view(), *want);
        }
    });
    db.reopen();
    for name in ["C", "F"] {
        let a = db.array::<u16, D>(name).unwrap();
        assert_eq!((a.shape(), a.ndim(), a.len()), (want.shape(), want.ndim(), want.len()));
        assert_eq!(a.nbytes(), want.len() * 2);
        assert_eq!(a.view(), *want, "{name}");
        let any = db.array::<u16, IxDyn>(name).unwrap();
        assert_eq!(any.view(), want.view().into_dyn(), "{name}");
        assert_eq!(any.order(), a.order());
        if want.ndim() > 0 {
            let (first, last) = (a.view(), a.view());
            let stride_of_growth = match a.order() {
                Order::RowMajor => last.strides()[want.ndim() - 1],
                _ => first.strides()[0],
            };
            assert_eq!(stride_of_growth, 1);
        }
    }
}

fn filled<D: Dimension>(shape: impl ndarray::IntoDimension<Dim = D>) -> Array<u16, D> {
    let mut n = 0u16;
    Array::from_shape_simple_fn(shape.into_dimension(), || {
        n = n.wrapping_mul(31).wrapping_add(7);
        n
    })
}

#[test]
fn one_to_six_dimensions_in_both_orders() {
    dimensions::<Ix1>(&filled(100_003));
    dimensions(&(filled((331, 307)) as Array2<u16>));
    dimensions(&(filled((67, 3, 501)) as Array3<u16>));
    dimensions(&(filled((17, 13, 11, 43)) as Array4<u16>));
    dimensions(&(filled((7, 11, 13, 5, 19)) as Array5<u16>));
    dimensions(&(filled((5, 7, 3, 11, 13, 7)) as Array6<u16>));
}

#[test]
fn dynamic_dimension_creates_and_opens_any() {
    dimensions::<IxDyn>(&filled(IxDyn(&[3, 5, 7, 2, 2, 3, 4])));
    dimensions::<IxDyn>(&filled(IxDyn(&[40_000])));
}

#[test]
fn dimension_zero_is_one_element() {
    let want: Array0<u16> = ndarray::arr0(7);
    dimensions(&want);
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = t.create::<f64, _>("A", Ix0()).unwrap();
        a.rows_mut(0..1).unwrap()[()] = 2.5;
        assert!(a.blocks().eq(std::iter::once(0..1)));
        a.prefetch(..).unwrap();
        a.resize(Ix0()).unwrap();
        assert!(a.append(Axis(0), ndarray::arr0(1.0).view()).unwrap_err().is_shape_mismatch());
        assert!(a.push(Axis(0), ndarray::arr0(1.0).view()).unwrap_err().is_shape_mismatch());
    });
    assert_eq!(db.array::<f64, Ix0>("A").unwrap().view()[()], 2.5);
}

#[test]
fn rows_straddle_and_exceed_blocks() {
    let db = TestDb::new();
    let (straddling, larger) = (filled((300, 333)), filled((3, BLOCK)));
    let options = ArrayOptions::new().block_size(BLOCK);
    db.commit(|t| {
        for (name, want) in [("straddling", &straddling), ("larger", &larger)] {
            t.create_with::<u16, _>(name, want.raw_dim(), &options).unwrap().view_mut().assign(want);
        }
    });
    for (name, want) in [("straddling", &straddling), ("larger", &larger)] {
        let a = db.array::<u16, Ix2>(name).unwrap();
        for rows in a.blocks() {
            assert_eq!(a.rows(rows.clone()).unwrap(), want.slice(ndarray::s![rows, ..]), "{name}");
        }
    }
}

#[test]
fn half_of_an_array_written_leaves_the_other_zero() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = store(t, "A", &Array2::from_elem((100, 1000), 3.5f64));
        a.resize((200, 1000)).unwrap();
    });
    let a = db.array::<f64, Ix2>("A").unwrap();
    assert_eq!(a.rows(..100).unwrap().sum(), 350_000.0);
    assert!(a.rows(100..).unwrap().iter().all(|x| *x == 0.0));
}
