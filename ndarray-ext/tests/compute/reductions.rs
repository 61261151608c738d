//! Reductions against ndarray's own, in 64 bits: shapes, orders, block sizes, types, NaN, all axes.

use bigarray::ndarray::{Array, ArrayD, Axis, Dimension, IxDyn, Order, RemoveAxis};
use bigarray::{ArrayOptions, BigArray, Number};
use half::{bf16, f16};

use crate::support::TestDb;
use crate::support::random::Random;

/// Whether they are the same but for rounding.
fn close(ours: f64, right: f64, scale: f64) -> bool {
    ours == right || ours.is_nan() && right.is_nan() || (ours - right).abs() <= 1e-12 * scale.max(right.abs())
}

#[track_caller]
fn all_close<D: Dimension>(ours: &Array<f64, D>, right: &Array<f64, D>, scale: f64, what: &str) {
    assert_eq!(ours.shape(), right.shape(), "{what}");
    for (ours, right) in ours.iter().zip(right) {
        assert!(close(*ours, *right, scale), "{what}: {ours} for {right}");
    }
}

/// ndarray's own of the lane or array, NaN passed over.
fn extremes(of: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    of.into_iter().filter(|x| !x.is_nan()).fold(None, |extremes, x| {
        let (least, greatest) = extremes.unwrap_or((x, x));
        Some((x.min(least), x.max(greatest)))
    })
}

/// All reductions of `a`, whose elements are those of `right`.
fn check<T: Number, D: RemoveAxis>(
    a: &BigArray<T, D>,
    right: &Array<f64, D>,
    to_f64: fn(T) -> f64,
    sum: fn(T::Sum) -> f64,
) {
    let what = format!("{a:?}");
    let n = right.len() as f64;
    let scale = right.iter().filter(|x| x.is_finite()).fold(1.0, |scale: f64, x| scale.max(x.abs()));
    assert!(close(sum(a.sum().unwrap()), right.sum(), scale * n), "{what}: {:?} for {}", a.sum(), right.sum());
    match (a.mean().unwrap(), right.mean()) {
        (Some(ours), Some(right)) => assert!(close(ours, right, scale), "{what}: {ours} for {right}"),
        (ours, right) => assert_eq!(ours, right, "{what}"),
    }
    assert!(close(a.var(0.0).unwrap(), right.var(0.0), scale * scale), "{what}");
    assert!(close(a.std(0.0).unwrap(), right.std(0.0), scale), "{what}");
    if right.len() > 1 {
        assert!(close(a.var(1.0).unwrap(), right.var(1.0), scale * scale), "{what}");
    }
    let ours = a.min_max().unwrap().map(|(least, greatest)| (to_f64(least), to_f64(greatest)));
    assert_eq!(ours, extremes(right.iter().copied()), "{what}");
    assert_eq!(a.count_nan().unwrap(), right.iter().filter(|x| x.is_nan()).count(), "{what}");

    for axis in (0..right.ndim()).map(Axis) {
        let what = format!("{what}, {axis:?}");
        let length = right.len_of(axis) as f64;
        all_close(&a.sum_axis(axis).unwrap().mapv(sum), &right.sum_axis(axis), scale * length, &what);
        match (a.mean_axis(axis).unwrap(), right.mean_axis(axis)) {
            (Some(ours), Some(right)) => all_close(&ours, &right, scale, &what),
            (ours, right) => assert_eq!(ours.is_none(), right.is_none(), "{what}"),
        }
        all_close(&a.var_axis(axis, 0.0).unwrap(), &right.var_axis(axis, 0.0), scale * scale, &what);
        all_close(&a.std_axis(axis, 0.0).unwrap(), &right.std_axis(axis, 0.0), scale, &what);
        let nan = right.map_axis(axis, |lane| lane.iter().filter(|x| x.is_nan()).count());
        assert_eq!(a.count_nan_axis(axis).unwrap(), nan, "{what}");
        match a.min_max_axis(axis).unwrap() {
            Some((least, greatest)) => {
                let right = right.map_axis(axis, |lane| extremes(lane.iter().copied()).unwrap_or((f64::NAN, f64::NAN)));
                all_close(&least.mapv(to_f64), &right.mapv(|both| both.0), 0.0, &what);
                all_close(&greatest.mapv(to_f64), &right.mapv(|both| both.1), 0.0, &what);
            }
            None => assert_eq!(length, 0.0, "{what}"),
        }
    }
}

/// Stores `elements` in an array of that shape and checks it.
fn stored<T: Number>(
    shape: &[usize],
    options: &ArrayOptions,
    element: &mut dyn FnMut() -> T,
    to_f64: fn(T) -> f64,
    sum: fn(T::Sum) -> f64,
) {
    let db = TestDb::new();
    let elements = ArrayD::from_shape_simple_fn(IxDyn(shape), element);
    db.commit(|t| t.create_with::<T, _>("a", IxDyn(shape), options).unwrap().view_mut().assign(&elements));
    check(&db.array::<T, IxDyn>("a").unwrap(), &elements.mapv(to_f64), to_f64, sum);
}

const ORDERS: [Order; 2] = [Order::RowMajor, Order::ColumnMajor];

macro_rules! random_shapes {
    ($($name:ident: $t:ty, $sum:expr, $element:expr;)*) => {$(
        #[test]
        fn $name() {
            let element: fn(&mut Random) -> $t = $element;
            for seed in 0..10 {
                let mut random = Random::new(seed);
                let ndim = random.within(1..5);
                let longest = [40_000, 250, 40, 15][ndim - 1];
                let shape: Vec<_> = (0..ndim).map(|_| random.below(longest)).collect();
                let options = ArrayOptions::new().order(ORDERS[random.below(2)]).block_size(64 << (10 + random.below(6)));
                stored(&shape, &options, &mut || element(&mut random), |x| x as f64, $sum);
            }
        }
    )*};
}

random_shapes! {
    bytes_agree_with_ndarray: u8, |sum| sum as f64, |r| r.next() as u8;
    signed_bytes_agree_with_ndarray: i8, |sum| sum as f64, |r| r.next() as i8;
    shorts_agree_with_ndarray: i16, |sum| sum as f64, |r| r.next() as i16;
    unsigned_integers_agree_with_ndarray: u32, |sum| sum as f64, |r| r.next() as u32;
    long_integers_agree_with_ndarray: i64, |sum| sum as f64, |r| r.next() as i64 >> 11;
    numbers_of_32_bits_agree_with_ndarray: f32, |sum| sum, |r| (r.next() >> 40) as f32 / 1e3 - 4e3;
    numbers_of_64_bits_agree_with_ndarray: f64, |sum| sum, |r| (r.next() >> 11) as f64 / 1e9 - 4e6;
    gaps_agree_with_ndarray: f32, |sum| sum, |r| if r.below(50) == 0 { f32::NAN } else { r.below(100) as f32 };
}

#[test]
fn numbers_of_16_bits_agree_with_ndarray() {
    for (seed, order) in ORDERS.into_iter().enumerate() {
        let (mut random, options) = (Random::new(seed as u64), ArrayOptions::new().order(order));
        let mut element = || if random.below(99) == 0 { f32::NAN } else { random.below(4000) as f32 / 16.0 };
        stored(&[30, 4, 50], &options, &mut || f16::from_f32(element()), f64::from, |sum| sum);
        stored(&[30, 4, 50], &options, &mut || bf16::from_f32(element()), f64::from, |sum| sum);
    }
}

/// Each way in which lanes are split among threads.
#[test]
fn arrays_of_many_pieces_agree_with_ndarray() {
    let shapes: [&[usize]; 5] = [&[100, 10_000], &[200_001, 7], &[2, 700_001], &[3, 150_000, 2], &[1_300_000]];
    for (n, shape) in shapes.into_iter().enumerate() {
        let (mut random, order) = (Random::new(n as u64), ORDERS[n % 2]);
        let options = ArrayOptions::new().order(order).block_size(256 << 10);
        stored::<f32>(shape, &options, &mut || random.below(1000) as f32 / 8.0, f64::from, |sum| sum);
        let shape: Vec<_> = shape.iter().rev().copied().collect();
        stored::<i16>(&shape, &options, &mut || random.next() as i16, f64::from, |sum| sum as f64);
    }
}
