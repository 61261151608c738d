//! What numbers come to: accuracy, infinities and NaN, nothing at all, and the same bits with any number of threads.

use bigarray::ndarray::{Array1, Array2, Axis, Ix0, Ix1, Ix2, Ix3, arr0, array, aview1};
use bigarray::{BigArray, Element, Number};
use half::f16;

use crate::support::TestDb;
use crate::support::arrays::{says, store};
use crate::support::random::Random;

fn of<T: Element>(db: &TestDb, elements: &[T]) -> BigArray<T, Ix1> {
    db.commit(|t| {
        if t.arrays().unwrap().iter().any(|info| info.name == "a") {
            t.remove("a").unwrap();
        }
        store(t, "a", &aview1(elements));
    });
    db.array("a").unwrap()
}

#[test]
fn ten_million_numbers_near_a_million_are_right_to_a_millionth() {
    const N: usize = 10_000_000;
    let db = TestDb::new();
    // 0 to 15.9375 in steps of a sixteenth, which is what is left of a number of 32 bits there.
    db.commit(|t| {
        let mut a = t.create::<f32, _>("a", N).unwrap();
        a.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = 1e6 + (n % 256) as f32 / 16.0);
    });
    let a = db.array::<f32, Ix1>("a").unwrap();
    // In sixteenths, which is exact.
    let (sum, squares) = (0..N as u64).map(|n| n % 256).fold((0, 0), |(sum, squares), k| (sum + k, squares + k * k));
    let (n, sum, squares) = (N as f64, sum as f64 / 16.0, squares as f64 / 256.0);
    let var = squares / n - (sum / n).powi(2);
    assert_eq!(a.sum().unwrap(), 1e6 * n + sum);
    assert!((a.mean().unwrap().unwrap() / (1e6 + sum / n) - 1.0).abs() < 1e-15);
    assert!((a.std(0.0).unwrap() / var.sqrt() - 1.0).abs() < 1e-12);
    assert!((a.var(1.0).unwrap() / (var * n / (n - 1.0)) - 1.0).abs() < 1e-12);
}

#[test]
fn ones_of_16_bits_are_counted_beyond_what_16_bits_can_say() {
    let db = TestDb::new();
    let a = of(&db, &[f16::ONE; 70_000]);
    assert_eq!((a.sum().unwrap(), a.mean().unwrap(), a.std(0.0).unwrap()), (70_000.0, Some(1.0), 0.0));
    db.commit(|t| drop(store(t, "rows", &Array2::from_elem((70_000, 2), f16::ONE))));
    let rows = db.array::<f16, Ix2>("rows").unwrap();
    assert_eq!(rows.sum_axis(Axis(0)).unwrap(), array![70_000.0, 70_000.0]);
}

#[test]
fn numbers_that_cancel_each_other_leave_what_is_between_them() {
    let db = TestDb::new();
    let many: Vec<f64> = (0..600_000).map(|n| [1.0, 1e16, 1.0, -1e16][n / 2048 % 4]).collect();
    let right = many.iter().filter(|x| **x == 1.0).count() as f64 + many.iter().filter(|x| x.abs() > 1.0).sum::<f64>();
    assert!((of(&db, &many).sum().unwrap() - right).abs() < 1.0);
}

#[test]
fn sums_of_integers_are_exact_beyond_64_bits() {
    let db = TestDb::new();
    assert_eq!(of(&db, &[u64::MAX; 3]).sum().unwrap(), 3 * u128::from(u64::MAX));
    assert_eq!(of(&db, &[i64::MIN; 5000]).sum().unwrap(), 5000 * i128::from(i64::MIN));
    assert_eq!(of(&db, &[i64::MAX, 1, i64::MIN]).sum().unwrap(), 0);
    let a = of(&db, &[(1u64 << 53) + 1, 1]);
    assert_eq!((a.sum().unwrap(), a.mean().unwrap()), ((1 << 53) + 2, Some((1u64 << 52) as f64 + 1.0)));
    assert_eq!(of(&db, &[u8::MAX; 300_000]).sum().unwrap(), 300_000 * 255);
    assert_eq!(of(&db, &[u64::MAX, 0]).min_max().unwrap(), Some((0, u64::MAX)));
}

#[test]
fn nan_and_infinities_go_through_sums_and_past_extremes() {
    let db = TestDb::new();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let a = of(&db, &[1.0, nan, -3.0]);
    assert!(a.sum().unwrap().is_nan() && a.mean().unwrap().unwrap().is_nan() && a.var(0.0).unwrap().is_nan());
    assert_eq!((a.min_max().unwrap(), a.count_nan().unwrap()), (Some((-3.0, 1.0)), 1));
    let a = of(&db, &[nan; 5]);
    assert_eq!((a.min_max().unwrap(), a.count_nan().unwrap()), (None, 5));
    let a = of(&db, &[1.0, inf, 2.0]);
    assert_eq!((a.sum().unwrap(), a.mean().unwrap()), (f64::INFINITY, Some(f64::INFINITY)));
    assert!(a.std(0.0).unwrap().is_nan());
    assert_eq!(a.min_max().unwrap(), Some((1.0, inf)));
    assert!(of(&db, &[inf, 0.0, -inf]).sum().unwrap().is_nan());
    assert_eq!(of(&db, &[inf]).min_max().unwrap(), Some((inf, inf)));
    db.commit(|t| drop(store(t, "gaps", &array![[nan, 1.0], [nan, nan]])));
    let (least, greatest) = db.array::<f32, Ix2>("gaps").unwrap().min_max_axis(Axis(0)).unwrap().unwrap();
    assert!(least[0].is_nan() && greatest[0].is_nan() && (least[1], greatest[1]) == (1.0, 1.0));
}

#[test]
fn of_nothing_there_is_a_sum_and_no_mean() {
    fn check<T: Number>(a: &BigArray<T, Ix1>, zero: T::Sum) {
        assert_eq!((a.sum().unwrap(), a.mean().unwrap(), a.count_nan().unwrap()), (zero, None, 0));
        assert!(a.var(0.0).unwrap().is_nan() && a.std(0.0).unwrap().is_nan());
        assert!(a.min_max().unwrap().is_none());
        assert!(a.var(1.0).unwrap_err().is_invalid());
        assert_eq!(a.histogram(0.0..1.0, 2).unwrap().counts, [0, 0]);
        assert_eq!(a.sum_axis(Axis(0)).unwrap(), arr0(zero));
        assert!(a.mean_axis(Axis(0)).unwrap().is_none() && a.min_max_axis(Axis(0)).unwrap().is_none());
    }
    let db = TestDb::new();
    check(&of::<i32>(&db, &[]), 0);
    check(&of::<f64>(&db, &[]), 0.0);
    db.commit(|t| drop(t.create::<u8, _>("flat", (4, 0, 3)).unwrap()));
    let flat = db.array::<u8, Ix3>("flat").unwrap();
    assert_eq!(flat.sum_axis(Axis(1)).unwrap(), Array2::<u128>::zeros((4, 3)));
    assert_eq!(flat.mean_axis(Axis(0)).unwrap().unwrap().shape(), [0, 3]);
    db.commit(|t| t.create::<i8, _>("one", ()).unwrap().view_mut().fill(-7));
    let one = db.array::<i8, Ix0>("one").unwrap();
    assert_eq!((one.sum().unwrap(), one.mean().unwrap(), one.min_max().unwrap()), (-7, Some(-7.0), Some((-7, -7))));
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_what_would() {
    let db = TestDb::new();
    let a = of(&db, &[1.0f32, 2.0]);
    for ddof in [-1.0, 3.0, f64::NAN] {
        says(&a.var(ddof).unwrap_err(), &["\"a\"", "ddof", "0 to 2"]);
        assert!(a.std_axis(Axis(0), ddof).unwrap_err().is_invalid());
    }
    assert!(a.var(2.0).unwrap().is_infinite(), "a division by 0");
    let error = a.sum_axis(Axis(1)).unwrap_err();
    assert!(error.is_shape_mismatch());
    says(&error, &["\"a\"", "[2]", "axis 1"]);
    assert!(a.var_axis(Axis(1), 0.0).unwrap_err().is_shape_mismatch());
    for (range, bins) in
        [(0.0..1.0, 0), (1.0..1.0, 5), (0.0..f64::INFINITY, 5), (f64::NAN..1.0, 5), (0.0..1.0, 1 << 40)]
    {
        let error = a.histogram(range, bins).unwrap_err();
        assert!(error.is_invalid());
        says(&error, &["\"a\"", "bins"]);
    }
}

#[test]
fn histograms_count_each_element_once_where_its_edges_say() {
    let db = TestDb::new();
    let mut random = Random::new(5);
    let elements: Vec<f32> = (0..700_000)
        .map(|n| if n % 1000 == 7 { f32::NAN } else { (random.below(1300) as f32 - 150.0) / 1000.0 })
        .collect();
    let a = of(&db, &elements);
    for bins in [1, 7, 10, 1000] {
        let histogram = a.histogram(0.0..1.0, bins).unwrap();
        let edges = histogram.edges();
        assert_eq!((edges.len(), edges[0], edges[bins]), (bins + 1, 0.0, 1.0));
        let mut right = vec![0; bins];
        let (mut below, mut above, mut nan) = (0, 0, 0);
        for x in elements.iter().copied().map(f64::from) {
            match x {
                _ if x.is_nan() => nan += 1,
                _ if x < 0.0 => below += 1,
                _ if x > 1.0 => above += 1,
                _ => right[edges.partition_point(|edge| *edge <= x).clamp(1, bins) - 1] += 1,
            }
        }
        assert_eq!((histogram.below, histogram.above, histogram.nan), (below, above, nan));
        assert_eq!(histogram.counts, right);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let db = TestDb::new();
    let mut random = Random::new(11);
    let elements = Array1::from_shape_simple_fn(2_000_000, || (random.next() >> 11) as f64 * 1e-9);
    db.commit(|t| {
        store(t, "line", &elements);
        store(t, "tall", &elements.to_shape((400_000, 5)).unwrap());
        store(t, "wide", &elements.to_shape((40, 50_000)).unwrap());
    });
    let line = db.array::<f64, Ix1>("line").unwrap();
    let (tall, wide) = (db.array::<f64, Ix2>("tall").unwrap(), db.array::<f64, Ix2>("wide").unwrap());
    let outcomes = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let mut all = vec![line.sum().unwrap(), line.var(0.0).unwrap()];
            for rows in [&tall, &wide] {
                all.extend(rows.sum_axis(Axis(0)).unwrap());
                all.extend(rows.var_axis(Axis(0), 0.0).unwrap());
                all.extend(rows.std_axis(Axis(1), 0.0).unwrap());
            }
            all.push(tall.par_blocks().fold(|| 0.0, |sum, _, block| sum + block.sum(), |a, b| a + b).unwrap());
            all.into_iter().map(f64::to_bits).collect::<Vec<_>>()
        })
    };
    let one = outcomes(1);
    for threads in [2, 3, 8] {
        assert!(outcomes(threads) == one, "{threads} threads");
    }
}
