//! The cost of a plane of an array by storage order, with nothing in memory: the table in the crate's documentation.

use bigarray::ndarray::{Axis, Ix3, Order};
use bigarray::{Access, ArrayOptions, BigArray};

use crate::support::arrays::LARGE_BLOCK;
use crate::support::child::{alone, say, this_test};
use crate::support::cold::{Cold, Place, element, is_lazy, loaded_blocks};
use crate::support::process::behind;
use crate::support::{BLOCK, PAGE, TestDb, copies, small_blocks};

/// Planes across the first and the last axis are equally large: two blocks.
const DIM: Ix3 = Ix3(256, 128, 256);
const BLOCKS: usize = 256 * 128 * 256 * 4 / BLOCK;
const PAGES: usize = BLOCKS * BLOCK / PAGE;

/// Reads the plane `at` across `axis`, of which nothing is in memory. Says where it lies, and how many bytes were read
/// for it, where that is known.
fn plane(cold: &mut Cold, name: &str, access: Access, axis: usize, at: usize) -> (Place, Option<u64>) {
    let mut place = Place::default();
    let mut loaded = 0;
    let read = cold.look(name, access, |a: &BigArray<f32, Ix3>| {
        let view = a.view();
        let plane = view.index_axis(Axis(axis), at);
        for ((i, j), &x) in plane.indexed_iter() {
            let mut index = vec![i, j];
            index.insert(axis, at);
            assert_eq!(x, element(&index, a.shape()), "{name}: {index:?}");
        }
        place.add(&view, &plane, BLOCK);
        loaded = loaded_blocks(&view, BLOCK);
    });
    say(format_args!(
        "{name}, axis {axis}, {access:?}: in {} pages of {} blocks; {loaded} blocks loaded, {read:?} bytes read",
        place.pages.len(),
        place.blocks.len()
    ));
    if access == Access::Random && is_lazy() {
        assert_eq!(loaded, place.blocks.len(), "{name}, axis {axis}");
    }
    if let Some(read) = read.filter(|_| access == Access::Random && !copies()) {
        assert!(read <= place.most_bytes(), "{name}, axis {axis}: {read} bytes read");
    }
    (place, read)
}

#[test]
fn a_plane_loads_the_blocks_it_lies_in_and_costs_the_same_in_the_other_order_across_the_other_axis() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let mut cold = Cold::new();
    for (name, order) in [("C", Order::RowMajor), ("F", Order::ColumnMajor)] {
        cold.store(name, &DIM, &small_blocks().order(order));
    }
    // Of a row-major array: across the axis it grows along, a middle one, the contiguous one.
    for (axis, at, pages, blocks) in [(0, 155, 2 * BLOCK / PAGE, 2), (1, 77, 256, 256), (2, 155, PAGES, BLOCKS)] {
        let (c, c_read) = plane(&mut cold, "C", Access::Random, axis, at);
        let (f, f_read) = plane(&mut cold, "F", Access::Random, 2 - axis, at);
        assert_eq!((c.pages.len(), c.blocks.len()), (pages, blocks), "axis {axis}");
        assert_eq!((c.pages, c.blocks), (f.pages, f.blocks), "axis {axis}");
        if let (Some(c), Some(f)) = (c_read, f_read)
            && !copies()
        {
            assert!(c.abs_diff(f) <= (16 * PAGE) as u64, "axis {axis}: {c} bytes read, in the other order {f}");
        }
        // Without the hint more is read than is asked for: as much as the kernel and the pager see fit.
        plane(&mut cold, "C", Access::Normal, axis, at);
    }
}

/// The cost of a plane depends on the storage order alone.
#[test]
fn a_plane_of_large_blocks_loads_only_those_it_lies_in() {
    let mut db = TestDb::new();
    let shape = (100, 200, 200);
    let bytes = 100 * 200 * 200 * 4;
    db.commit(|t| {
        for (name, order) in [("C", Order::RowMajor), ("F", Order::ColumnMajor)] {
            let mut a = t.create_with::<f32, _>(name, shape, &ArrayOptions::new().order(order)).unwrap();
            a.view_mut().fill(1.0);
        }
    });
    db.reopen();
    for (name, along, across) in [("C", 0, 2), ("F", 2, 0)] {
        let look = |axis| {
            let snapshot = db.snapshot().unwrap();
            let a = snapshot.array::<f32, Ix3>(name).unwrap();
            a.advise(Access::Random);
            let view = a.view();
            let plane = view.index_axis(Axis(axis), 55);
            assert_eq!(plane.sum(), (bytes / 4 / a.shape()[axis]) as f32);
            let mut place = Place::default();
            place.add(&view, &plane, LARGE_BLOCK);
            if is_lazy() {
                assert_eq!(loaded_blocks(&view, LARGE_BLOCK), place.blocks.len(), "{name}, axis {axis}");
            }
            (place.blocks.len(), behind(&view).resident_bytes)
        };
        // A plane of the growth axis lies together; one across the contiguous axis lies in every block. The small one
        // first: a span keeps its loaded blocks when the array is opened again.
        let ((near, resident), (far, _)) = (look(along), look(across));
        assert!(near <= 2 && resident <= 2 * LARGE_BLOCK, "{name}: {near} blocks, {resident} bytes");
        assert_eq!(far, bytes.div_ceil(LARGE_BLOCK), "{name}");
    }
}
