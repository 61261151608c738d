//! Append, push, resize, reshape.

use bigarray::ArrayOptions;
use ndarray::{Array1, Array2, Array3, Axis, Ix1, Ix2, Ix3, IxDyn, Order, array, s};

use crate::support::arrays::{LARGE_BLOCK, says, store};
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb};

#[test]
fn append_of_any_pieces_equals_ndarray() {
    let db = TestDb::new();
    let mut random = Random::new(1);
    for (order, axis) in [(Order::RowMajor, Axis(0)), (Order::ColumnMajor, Axis(2))] {
        let name = format!("{order:?}");
        let (shape, options) = ((3, 5, 7), ArrayOptions::new().order(order).block_size(BLOCK));
        let mut want = Array3::<u32>::zeros(shape);
        db.commit(|t| drop(t.create_with::<u32, _>(&name, shape, &options).unwrap()));
        for _ in 0..10 {
            db.commit(|t| {
                let mut a = t.array::<u32, Ix3>(&name).unwrap();
                for _ in 0..3 {
                    let mut dim = want.raw_dim();
                    dim[axis.0] = random.below(400);
                    let piece = Array3::from_shape_simple_fn(dim, || random.below(1 << 30) as u32);
                    a.append(axis, piece.view()).unwrap();
                    want.append(axis, piece.view()).unwrap();
                }
                assert_eq!(a.shape(), want.shape());
            });
        }
        assert!(db.array::<u32, Ix3>(&name).unwrap().view() == want, "{order:?}");
    }
}

#[test]
fn append_takes_any_strides() {
    let db = TestDb::new();
    let source = Array2::from_shape_fn((600, 500), |(i, j)| (i * 1000 + j) as u32);
    for (name, order, axis) in [("C", Order::RowMajor, Axis(0)), ("F", Order::ColumnMajor, Axis(1))] {
        db.commit(|t| {
            let mut shape = [500, 600];
            shape[axis.0] = 0;
            let mut a = t.create_with::<u32, _>(name, shape, &ArrayOptions::new().order(order)).unwrap();
            let transposed = source.t();
            a.append(axis, transposed).unwrap();
            a.append(axis, transposed.slice(s![..;-1, ..;-1])).unwrap();
            let one = transposed.slice_axis(axis, (..1).into());
            a.append(axis, one.broadcast(one.raw_dim()).unwrap()).unwrap();
            let want = ndarray::concatenate![axis, transposed, transposed.slice(s![..;-1, ..;-1]), one];
            assert!(a.view() == want, "{name}");
        });
    }
}

#[test]
fn append_from_an_array_of_the_same_transaction_and_from_a_snapshot() {
    let db = TestDb::new();
    db.commit(|t| drop(store(t, "A", &Array1::from_iter(0..1000u32))));
    db.commit(|t| {
        let mut a = t.array::<u32, Ix1>("A").unwrap();
        let b = store(t, "B", &array![7u32, 8]);
        a.append(Axis(0), b.view()).unwrap();
        let old = db.array::<u32, Ix1>("A").unwrap();
        a.append(Axis(0), old.view()).unwrap();
        assert_eq!((a.len(), a.view()[1001], a.view()[2001]), (2002, 8, 999));
    });
}

#[test]
fn a_wrong_append_changes_nothing() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = store(t, "A", &Array2::from_elem((4, 3), 1i32));
        let row = Array2::from_elem((1, 3), 2);
        let error = a.append(Axis(1), row.view()).unwrap_err();
        assert!(error.is_shape_mismatch());
        says(&error, &["\"A\"", "[4, 3]", "axis 1", "along axis 0"]);
        let error = a.append(Axis(0), Array2::zeros((2, 4)).view()).unwrap_err();
        assert!(error.is_shape_mismatch());
        says(&error, &["\"A\"", "[4, 3]", "[2, 4]"]);
        assert!(a.append(Axis(7), row.view()).unwrap_err().is_shape_mismatch());
        assert!(a.push(Axis(1), array![1, 2, 3, 4].view()).unwrap_err().is_shape_mismatch());
        assert!(a.push(Axis(0), array![1, 2].view()).unwrap_err().is_shape_mismatch());
        assert_eq!(a.shape(), [4, 3]);
        assert!(a.view().iter().all(|x| *x == 1));
    });
    db.commit(|t| {
        let mut a = t.array::<i32, IxDyn>("A").unwrap();
        assert!(a.append(Axis(0), array![1, 2, 3].view().into_dyn()).unwrap_err().is_shape_mismatch());
        assert!(a.push(Axis(0), array![[1, 2, 3]].view().into_dyn()).unwrap_err().is_shape_mismatch());
        a.push(Axis(0), array![1, 2, 3].view().into_dyn()).unwrap();
        assert!(a.resize(IxDyn(&[5])).unwrap_err().is_shape_mismatch());
        assert_eq!(a.shape(), [5, 3]);
    });
}

#[test]
fn an_append_too_large_leaves_the_array_as_it_was() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = t.create::<u8, _>("A", (1usize << 62, 1)).unwrap();
        let huge = array![1u8];
        let huge = huge.broadcast((1usize << 62, 1)).unwrap();
        let error = a.append(Axis(0), huge).unwrap_err();
        assert!(error.is_too_large());
        says(&error, &["\"A\""]);
        assert_eq!(a.shape(), [1 << 62, 1]);
        assert!(a.resize((usize::MAX, 1)).unwrap_err().is_too_large());
    });
}

#[test]
fn resize_is_free_and_keeps_what_remains() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = store(t, "A", &Array1::from_iter(0..1000u64));
        for length in [1 << 36, 10, 1 << 37, 1000] {
            a.resize(length).unwrap();
        }
        assert_eq!(a.rows(..10).unwrap().to_vec(), (0..10).collect::<Vec<u64>>());
        assert!(a.rows(10..).unwrap().iter().all(|x| *x == 0));
        a.resize(1 << 36).unwrap();
    });
    let a = db.array::<u64, Ix1>("A").unwrap();
    assert_eq!((a.len(), a.view()[9], a.view()[(1 << 36) - 1]), (1 << 36, 9, 0));
}

#[test]
fn resize_grows_a_column_major_array_along_its_last_axis() {
    let db = TestDb::new();
    let want = Array2::from_shape_fn((3, 4), |(i, j)| (10 * i + j) as u8);
    db.commit(|t| {
        let mut a = t.create_with::<u8, _>("A", (3, 4), &ArrayOptions::new().order(Order::F)).unwrap();
        a.view_mut().assign(&want);
        assert!(a.resize((4, 4)).unwrap_err().is_shape_mismatch());
        a.resize((3, 6)).unwrap();
        assert_eq!(a.view().slice(s![.., ..4]), want);
        assert!(a.view().slice(s![.., 4..]).iter().all(|x| *x == 0));
        a.resize((3, 2)).unwrap();
        assert_eq!(a.view(), want.slice(s![.., ..2]));
    });
    assert_eq!(db.array::<u8, Ix2>("A").unwrap().view(), want.slice(s![.., ..2]));
}

#[test]
fn shrinking_inside_a_block_and_regrowing_shows_zeros() {
    let db = TestDb::new();
    db.commit(|t| t.create::<u8, _>("A", LARGE_BLOCK + 10_000).unwrap().view_mut().fill(1));
    db.commit(|t| t.array::<u8, Ix1>("A").unwrap().resize(LARGE_BLOCK + 5000).unwrap());
    db.commit(|t| {
        let mut a = t.array::<u8, Ix1>("A").unwrap();
        a.resize(LARGE_BLOCK + 10_000).unwrap();
        a.view_mut()[LARGE_BLOCK + 9999] = 2;
        a.resize(LARGE_BLOCK + 4999).unwrap();
        a.resize(LARGE_BLOCK + 10_000).unwrap();
    });
    let a = db.array::<u8, Ix1>("A").unwrap();
    assert!(a.rows(..LARGE_BLOCK + 4999).unwrap().iter().all(|x| *x == 1));
    assert!(a.rows(LARGE_BLOCK + 4999..).unwrap().iter().all(|x| *x == 0));
}

#[test]
fn shrinking_twice_inside_a_block_clears_all_that_was_cut_off() {
    let db = TestDb::new();
    db.commit(|t| t.create::<u8, _>("A", 60_000).unwrap().view_mut().fill(1));
    db.commit(|t| {
        let mut a = t.array::<u8, Ix1>("A").unwrap();
        a.resize(50_000).unwrap();
        a.resize(20_000).unwrap();
    });
    db.commit(|t| t.array::<u8, Ix1>("A").unwrap().resize(60_000).unwrap());
    let a = db.array::<u8, Ix1>("A").unwrap();
    assert!(a.rows(..20_000).unwrap().iter().all(|x| *x == 1));
    assert!(a.rows(20_000..).unwrap().iter().all(|x| *x == 0));
}

#[test]
fn reshape_keeps_storage_order() {
    let db = TestDb::new();
    let want = Array1::from_iter(0..24u16);
    db.commit(|t| {
        let a = store(t, "A", &want).reshape((4, 6)).unwrap();
        assert_eq!(a.view(), want.to_shape((4, 6)).unwrap());
        let mut a = a.reshape((2, 3, 4)).unwrap();
        a.view_mut()[[1, 2, 3]] = 99;
        let error = a.reshape((5, 5)).unwrap_err();
        assert!(error.is_shape_mismatch());
        says(&error, &["\"A\"", "[2, 3, 4]", "24 elements", "[5, 5]"]);
        // Refused: the array is closed, and as it was.
        assert_eq!(t.array::<u16, Ix3>("A").unwrap().shape(), [2, 3, 4]);
    });
    let a = db.array::<u16, Ix3>("A").unwrap();
    assert_eq!((a.shape(), a.view()[[1, 2, 3]], a.view()[[1, 2, 2]]), (&[2, 3, 4][..], 99, 22));
}

#[test]
fn reshape_and_growth_combine_in_one_transaction() {
    let db = TestDb::new();
    db.commit(|t| drop(store(t, "A", &Array1::from_iter(0..12u8))));
    db.commit(|t| {
        let mut a = t.array::<u8, Ix1>("A").unwrap().reshape((4, 3)).unwrap();
        a.push(Axis(0), array![12, 13, 14].view()).unwrap();
        let a = a.reshape((3, 5)).unwrap();
        assert_eq!(a.view()[[2, 4]], 14);
    });
    assert_eq!(db.array::<u8, Ix2>("A").unwrap().view().iter().copied().collect::<Vec<_>>(), Vec::from_iter(0..15));
}

#[test]
fn pieces_that_align_with_nothing_from_one_writer() {
    pieces(1);
}

#[test]
fn pieces_that_align_with_nothing_from_four_writers() {
    pieces(4);
}

/// Appends of 0 to 999 rows of 24 and 40 bytes, in blocks of 64 KiB: what arrives is what was sent, whole pieces in
/// some order, each writer's own in its order.
fn pieces(writers: usize) {
    let db = TestDb::new();
    let options = ArrayOptions::new().block_size(BLOCK);
    db.commit(|t| {
        t.create_with::<u64, _>("24", (0, 3), &options).unwrap();
        t.create_with::<u64, _>("40", (0, 5), &options).unwrap();
    });
    let each = 200 / writers;
    let sent: Vec<Vec<usize>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..writers)
            .map(|writer| {
                let db = &db;
                scope.spawn(move || {
                    let mut random = Random::new(writer as u64);
                    let piece = |n: usize| {
                        let rows = random.below(1000);
                        // Every element tells writer, piece and row.
                        let tag = |i: usize| ((writer << 40) | (n << 20) | i) as u64;
                        db.transact(|t| {
                            for (name, width) in [("24", 3), ("40", 5)] {
                                let rows = Array2::from_shape_fn((rows, width), |(i, _)| tag(i));
                                t.array::<u64, Ix2>(name)?.append(Axis(0), rows.view())?;
                            }
                            Ok(())
                        })
                        .unwrap();
                        rows
                    };
                    (0..each).map(piece).collect()
                })
            })
            .collect();
        writers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let snapshot = db.snapshot().unwrap();
    for name in ["24", "40"] {
        let a = snapshot.array::<u64, Ix2>(name).unwrap();
        assert_eq!(a.shape()[0], sent.iter().flatten().sum::<usize>());
        assert!(a.rows(a.shape()[0]..a.shape()[0]).unwrap().is_empty());
        let ranges: Vec<_> = a.blocks().collect();
        assert!(ranges.last().unwrap().len() <= ranges[0].len());
        let mut next: Vec<_> = sent
            .iter()
            .map(|pieces| pieces.iter().enumerate().flat_map(|(n, rows)| (0..*rows).map(move |i| (n as u64, i as u64))))
            .collect();
        for row in a.view().rows() {
            assert!(row.iter().all(|x| *x == row[0]), "a torn row");
            let (writer, piece, i) = (row[0] >> 40, (row[0] >> 20) & 0xfffff, row[0] & 0xfffff);
            assert_eq!(next[writer as usize].next(), Some((piece, i)));
        }
        assert!(next.iter_mut().all(|rows| rows.next().is_none()));
    }
}
