//! Arrays whose last block is of any length.

use bigarray::ArrayOptions;
use ndarray::Ix1;

use crate::support::arrays::LARGE_BLOCK;
use crate::support::{BLOCK, TestDb};

#[test]
fn every_length_around_a_block_and_a_page() {
    let db = TestDb::new();
    for block in [BLOCK, LARGE_BLOCK] {
        for length in [1, 7, 4095, 4096, 4097, block - 4096, block - 1, block, block + 1, block + 4095, block + 4097] {
            let name = format!("{block} {length}");
            db.commit(|t| {
                let options = ArrayOptions::new().block_size(block);
                let mut a = t.create_with::<u8, _>(&name, length, &options).unwrap();
                a.view_mut()[length - 1] = 9; // touches the last element first
                a.view_mut()[0] = a.view()[0] + 1;
            });
            let a = db.array::<u8, Ix1>(&name).unwrap();
            let view = a.view();
            let last = if length == 1 { 10 } else { 9 };
            assert_eq!(view[length - 1], last, "{name}");
            assert_eq!(view.iter().map(|x| usize::from(*x)).sum::<usize>(), 10, "{name}");
        }
    }
}

#[test]
fn the_last_element_alone_loads_the_tail() {
    let mut db = TestDb::new();
    for length in [LARGE_BLOCK / 8 - 1, LARGE_BLOCK / 8 + 1, 3 * LARGE_BLOCK / 8 + 5] {
        let name = length.to_string();
        db.commit(|t| {
            let mut a = t.create::<f64, _>(&name, length).unwrap();
            a.view_mut().iter_mut().enumerate().for_each(|(i, x)| *x = i as f64);
        });
    }
    db.reopen();
    for length in [LARGE_BLOCK / 8 - 1, LARGE_BLOCK / 8 + 1, 3 * LARGE_BLOCK / 8 + 5] {
        let a = db.array::<f64, Ix1>(&length.to_string()).unwrap();
        assert_eq!(a.view()[length - 1], (length - 1) as f64);
        db.commit(|t| {
            let mut a = t.array::<f64, Ix1>(&length.to_string()).unwrap();
            a.view_mut()[length - 1] = -1.0;
        });
        let b = db.array::<f64, Ix1>(&length.to_string()).unwrap();
        assert_eq!((b.view()[length - 1], b.view()[length - 2]), (-1.0, (length - 2) as f64));
        assert_eq!(a.view()[length - 1], (length - 1) as f64);
    }
}
