//! Reductions and storage: failures come as values, and memory stays within the budget.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use bigarray::ndarray::{Array1, Axis, Ix1, Ix2, Order};
use bigarray::{Codec, Database, Pager};

use crate::support::{Faults, faults, small_blocks};

#[test]
fn damage_of_any_block_is_an_error_of_every_reduction() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let db = Database::open(&path).unwrap();
    db.transact(|txn| {
        let mut a = txn.create_with::<f32, _>("a", (2000, 100), &small_blocks())?;
        a.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = n as f32);
        Ok(())
    })
    .unwrap();
    drop(db);
    let data = File::options().read(true).write(true).open(path.join("data")).unwrap();
    let at = data.metadata().unwrap().len() / 8192 * 4096 + 100;
    let is_stored = |at| {
        let mut byte = [0];
        data.read_exact_at(&mut byte, at).map(|()| byte[0]).unwrap()
    };
    // Some stored byte near the middle.
    let at = (0..).map(|n| at - n * 4096).find(|at| is_stored(*at) != 0).unwrap();
    data.write_all_at(&[is_stored(at) ^ 0x20], at).unwrap();
    let opened = Database::options().verify(true).open(&path).unwrap().array::<f32, Ix2>("a");
    let a = match opened {
        // Where it is mapped when it is opened it is verified then, and refused.
        Err(error) if faults() != Faults::All => {
            assert!(error.is_corrupt(), "{error}");
            return;
        }
        opened => opened.unwrap(),
    };
    let errors = [
        a.sum().map(drop),
        a.std(0.0).map(drop),
        a.min_max().map(drop),
        a.histogram(0.0..1.0, 3).map(drop),
        a.sum_axis(Axis(0)).map(drop),
        a.var_axis(Axis(1), 0.0).map(drop),
        a.par_blocks().map(|_, _| ()).map(drop),
        a.par_blocks().fold(|| (), |(), _, _| (), |(), ()| ()).map(drop),
    ];
    for (n, error) in errors.into_iter().enumerate() {
        let error = error.expect_err(&n.to_string());
        assert!(error.is_corrupt() && error.to_string().contains("\"a\""), "{n}: {error}");
    }
    // There is no copy then, and what else the other transaction has is committed.
    let other = Database::open(dir.path().join("b.bigarray")).unwrap();
    for order in [Order::RowMajor, Order::ColumnMajor] {
        let txn = other.begin().unwrap();
        txn.open_or_create::<u8, _>("kept", 1).unwrap().view_mut().fill(7);
        let error = a.copy_to(&txn, "copy", &small_blocks().order(order), |_| {}).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("\"a\""), "{error}");
        txn.commit().unwrap();
        assert!(other.array::<f32, Ix2>("copy").unwrap_err().is_not_found());
        assert_eq!(other.array::<u8, Ix1>("kept").unwrap().view()[0], 7);
    }
}

#[test]
fn blocks_that_take_memory_stay_within_the_budget() {
    const BUDGET: usize = 8 << 20;
    const ROWS: usize = 100_000;
    if faults() == Faults::None {
        return; // what is compressed is held whole
    }
    let dir = tempfile::tempdir().unwrap();
    let options = Database::options().memory_budget(BUDGET).pager(Pager::Copy);
    let db = options.open(dir.path().join("a.bigarray")).unwrap();
    db.transact(|txn| {
        let packed = small_blocks().codec(Codec::Lz4 { shuffle: true });
        for (name, options) in [("plain", small_blocks()), ("packed", packed)] {
            let mut a = txn.create_with::<f32, _>(name, (ROWS, 100), &options)?;
            for rows in a.blocks() {
                a.rows_mut(rows)?.fill(0.5);
            }
        }
        Ok(())
    })
    .unwrap();
    let most = AtomicUsize::new(0);
    for name in ["plain", "packed"] {
        let a = db.array::<f32, Ix2>(name).unwrap();
        assert_eq!(a.sum().unwrap(), 50.0 * ROWS as f64);
        assert_eq!(a.std_axis(Axis(0), 0.0).unwrap().sum(), 0.0);
        assert_eq!(a.mean_axis(Axis(1)).unwrap().unwrap(), Array1::from_elem(ROWS, 0.5));
        let sums = a.par_blocks().map(|_, block| {
            most.fetch_max(db.memory_use().used_bytes, Ordering::Relaxed);
            block.sum()
        });
        assert_eq!(sums.unwrap().iter().sum::<f32>(), 50.0 * ROWS as f32);
    }
    let (most, memory) = (most.into_inner(), db.memory_use());
    assert!(most > 0 && most <= BUDGET + (1 << 20), "{most} bytes: {memory:?}");
}
