//! Bytes that are read from the disk for what a program reads, with an access hint and without.

use bigarray::ndarray::Ix2;
use bigarray::{Access, ArrayOptions, BigArray};
use nix::sys::resource::{UsageWho, getrusage};

use crate::support::arrays::LARGE_BLOCK;
use crate::support::child::{alone, say, this_test};
use crate::support::cold::{Cold, Place, element, is_lazy, loaded_blocks};
use crate::support::disk::bytes_read;
use crate::support::process::behind;
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, copies};

#[track_caller]
fn check_row(a: &BigArray<f32, Ix2>, i: usize) {
    assert!(a.view().row(i).indexed_iter().all(|(j, &x)| x == element(&[i, j], a.shape())), "row {i}");
}

/// Copying loads whole blocks; then only the loaded blocks are checked.
#[test]
fn random_rows_read_little_more_than_themselves() {
    const ROWS: usize = 20_000;
    const COLUMNS: usize = 768;
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let mut cold = Cold::new();
    let mut rows: Vec<usize> = (0..ROWS).collect();
    Random::new(5).shuffle(&mut rows);
    rows.truncate(400);
    let needed = (rows.len() * COLUMNS * size_of::<f32>()) as u64;
    for block_bytes in [BLOCK, LARGE_BLOCK] {
        let name = block_bytes.to_string();
        cold.store(&name, &Ix2(ROWS, COLUMNS), &ArrayOptions::new().block_size(block_bytes));
        let mut place = Place::default();
        let with = cold.look(&name, Access::Random, |a| {
            let view = a.view();
            for &i in &rows {
                check_row(a, i);
                place.add(&view, &view.row(i), block_bytes);
            }
            if is_lazy() {
                assert_eq!(loaded_blocks(&view, block_bytes), place.blocks.len());
            }
        });
        let without = cold.look(&name, Access::Normal, |a| rows.iter().for_each(|&i| check_row(a, i)));
        let (Some(with), Some(without)) = (with, without) else { continue };
        say(format_args!(
            "{} random rows, blocks of {block_bytes}: {:.2} × their bytes read, {:.2} × without the hint",
            rows.len(),
            with as f64 / needed as f64,
            without as f64 / needed as f64
        ));
        assert!(with >= needed, "{with} bytes read for rows of {needed}: it cannot have been counted");
        if !copies() {
            assert!(with <= place.most_bytes(), "{with} bytes read for {} pages", place.pages.len());
            assert!(with <= 4 * needed, "{with} bytes read for rows of {needed}");
        }
    }
}

/// How often this thread waited for a page of which no read had begun.
fn reads_begun() -> usize {
    getrusage(UsageWho::RUSAGE_THREAD).unwrap().major_page_faults() as usize
}

#[test]
fn a_prefetched_row_is_read_in_one_go_and_the_rest_of_its_block_is_not() {
    const ROWS: usize = 60;
    // No whole number of pages; some rows lie in two blocks.
    const COLUMNS: usize = 66_000;
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let mut cold = Cold::new();
    cold.store("A", &Ix2(ROWS, COLUMNS), &ArrayOptions::new());
    for i in [0, 7, 30, ROWS - 1] {
        let mut place = Place::default();
        let counts = cold.counts;
        let read = cold.look("A", Access::Random, |a: &BigArray<f32, Ix2>| {
            let begun = reads_begun();
            a.prefetch(i..i + 1).unwrap();
            let read = bytes_read();
            check_row(a, i);
            if counts {
                assert_eq!(bytes_read(), read, "row {i} was not all there");
            }
            place.add(&a.view(), &a.view().row(i), LARGE_BLOCK);
            // Some are of the index.
            let begun = reads_begun() - begun;
            assert!(begun <= place.pages.len() / 8, "{begun} reads for the {} pages of row {i}", place.pages.len());
        });
        let Some(read) = read else { continue };
        say(format_args!("row {i}, in {} pages: {read} bytes read", place.pages.len()));
        assert!(copies() || read <= place.most_bytes(), "{read} bytes read for {} pages", place.pages.len());
    }
}

/// Bytes that are mapped from the data file, and those of them that are expected to be accessed at random.
fn mapped(a: &BigArray<f32, Ix2>) -> (usize, usize) {
    let behind = behind(&a.view());
    (behind.mapped_bytes, behind.random_bytes)
}

#[test]
fn a_hint_holds_for_blocks_mapped_before_it_and_ends_with_the_handle() {
    const DIM: Ix2 = Ix2(64, LARGE_BLOCK / size_of::<f32>() / 8);
    let db = TestDb::new();
    db.commit(|txn| txn.create::<f32, _>("A", DIM).unwrap().view_mut().fill(1.0));
    let a = db.array::<f32, Ix2>("A").unwrap();
    assert_eq!(a.view()[[0, 0]], 1.0);
    let (bytes, random) = mapped(&a);
    assert_eq!((bytes > 0, random), (!copies(), 0));
    a.advise(Access::Random);
    assert_eq!(mapped(&a), (bytes, bytes));
    a.advise(Access::Sequential);
    assert_eq!(mapped(&a), (bytes, 0));
    a.advise(Access::Random);
    drop(a);
    let a = db.array::<f32, Ix2>("A").unwrap();
    assert_eq!(a.view().sum(), a.len() as f32);
    assert_eq!(mapped(&a).1, 0);
    drop(a);
    // The same in a transaction.
    let txn = db.begin().unwrap();
    let a = txn.array::<f32, Ix2>("A").unwrap();
    let view = a.view();
    assert_eq!(view[[0, 0]], 1.0);
    a.advise(Access::Random);
    let behind = behind(&view);
    assert_eq!((behind.mapped_bytes > 0, behind.random_bytes), (!copies(), behind.mapped_bytes));
}
