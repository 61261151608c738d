//! Going over all blocks by several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use bigarray::ndarray::{Array2, Axis, Ix0, Ix1, Ix2, Order, concatenate};

use crate::support::{TestDb, small_blocks};

#[test]
fn each_block_is_seen_once_and_outcomes_are_in_order() {
    let db = TestDb::new();
    let all = Array2::from_shape_fn((3000, 50), |(i, j)| (i * 50 + j) as u32);
    for (name, order) in [("row-major", Order::RowMajor), ("column-major", Order::ColumnMajor)] {
        db.commit(|t| {
            t.create_with::<u32, _>(name, (3000, 50), &small_blocks().order(order)).unwrap().view_mut().assign(&all)
        });
        let a = db.array::<u32, Ix2>(name).unwrap();
        let axis = if order == Order::RowMajor { Axis(0) } else { Axis(1) };
        let parts = a.par_blocks().map(|rows, block| (rows, block.to_owned())).unwrap();
        assert!(parts.iter().map(|part| part.0.clone()).eq(a.blocks()));
        let views: Vec<_> = parts.iter().map(|part| part.1.view()).collect();
        assert_eq!(concatenate(axis, &views).unwrap(), all);
        let folded = a.par_blocks().fold(
            Vec::new,
            |mut seen, rows, block| {
                seen.push((rows, block.len()));
                seen
            },
            |mut front, mut back| {
                front.append(&mut back);
                front
            },
        );
        assert!(folded.unwrap().into_iter().map(|seen| seen.0).eq(a.blocks()));
    }
}

#[test]
fn arrays_without_elements_and_without_axes_have_no_block_and_one() {
    let db = TestDb::new();
    db.commit(|t| {
        t.create::<u8, _>("none", 0).unwrap();
        t.create::<u8, _>("one", ()).unwrap().view_mut().fill(3);
    });
    let none = db.array::<u8, Ix1>("none").unwrap();
    assert!(none.par_blocks().map(|_, _| ()).unwrap().is_empty());
    assert_eq!(none.par_blocks().fold(|| 7, |n, _, _| n + 1, |a, b| a + b).unwrap(), 7);
    assert_eq!(db.array::<u8, Ix0>("one").unwrap().par_blocks().map(|_, block| block[()]).unwrap(), [3]);
}

#[test]
fn a_transaction_goes_over_what_it_has_changed() {
    let db = TestDb::new();
    db.commit(|t| t.create_with::<f32, _>("a", (4000, 20), &small_blocks()).unwrap().view_mut().fill(1.0));
    let txn = db.begin().unwrap();
    let mut a = txn.array::<f32, Ix2>("a").unwrap();
    a.rows_mut(1000..2000).unwrap().fill(5.0);
    a.append(Axis(0), Array2::from_elem((500, 20), 2.0).view()).unwrap();
    assert_eq!(a.sum().unwrap(), (3000 + 5 * 1000 + 2 * 500) as f64 * 20.0);
    assert_eq!(a.min_max().unwrap(), Some((1.0, 5.0)));
    assert_eq!(a.mean_axis(Axis(1)).unwrap().unwrap()[1999], 5.0);
    let counted = a.par_blocks().map(|rows, block| rows.len() * 20 == block.len()).unwrap();
    assert!(counted.len() > 4 && counted.iter().all(|is_whole| *is_whole));
}

#[test]
fn a_panic_of_the_closure_comes_to_the_caller() {
    let db = TestDb::new();
    db.commit(|t| t.create_with::<u8, _>("a", 40 << 16, &small_blocks()).unwrap().view_mut().fill(1));
    let a = db.array::<u8, Ix1>("a").unwrap();
    let seen = AtomicUsize::new(0);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        a.par_blocks().map(|rows, _| {
            seen.fetch_add(1, Ordering::Relaxed);
            assert!(rows.start == 0, "on purpose");
        })
    }));
    assert!(caught.is_err() && seen.load(Ordering::Relaxed) > 0);
    assert_eq!(a.sum().unwrap(), 40 << 16);
}
