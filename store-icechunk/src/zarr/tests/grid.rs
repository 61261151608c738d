//! The chunk grid: which chunks a part of an array lies in, and which bytes of each.

use std::collections::{BTreeMap, BTreeSet};

use bigarray_core::{BlockSize, Order};
use proptest::prelude::*;

use super::order;
use crate::zarr::Grid;

/// What one grid is made of.
#[derive(Clone, Debug)]
struct Model {
    shape: Vec<usize>,
    chunk: Vec<usize>,
    order: Order,
    item_size: usize,
}

/// A chunk, and a byte in it.
type Place = (Vec<u32>, usize);

impl Model {
    fn grid(&self) -> Grid {
        Grid::new(&self.shape, &self.chunk, self.order, self.item_size).unwrap()
    }

    /// All coordinates of a shape.
    fn coordinates(shape: &[usize]) -> Vec<Vec<usize>> {
        shape.iter().fold(vec![Vec::new()], |all, &len| {
            all.iter().flat_map(|at| (0..len).map(|n| [&at[..], &[n]].concat())).collect()
        })
    }

    /// The number of an element among those of a shape.
    fn position(&self, at: &[usize], shape: &[usize]) -> usize {
        let axes: Vec<usize> = match self.order {
            Order::RowMajor => (0..shape.len()).collect(),
            Order::ColumnMajor => (0..shape.len()).rev().collect(),
        };
        axes.iter().fold(0, |position, &axis| position * shape[axis] + at[axis])
    }

    /// Where each byte of the array is.
    fn places(&self) -> BTreeMap<usize, Place> {
        let mut places = BTreeMap::new();
        for at in Self::coordinates(&self.shape) {
            let index: Vec<u32> = at.iter().zip(&self.chunk).map(|(at, len)| (at / len) as u32).collect();
            let within: Vec<usize> = at.iter().zip(&self.chunk).map(|(at, len)| at % len).collect();
            let in_array = self.position(&at, &self.shape) * self.item_size;
            let in_chunk = self.position(&within, &self.chunk) * self.item_size;
            places.extend((0..self.item_size).map(|byte| (in_array + byte, (index.clone(), in_chunk + byte))));
        }
        places
    }

    /// The chunks that have elements.
    fn chunks(&self) -> BTreeSet<Vec<u32>> {
        self.places().into_values().map(|(index, _)| index).collect()
    }
}

fn model() -> impl Strategy<Value = Model> {
    (prop::collection::vec((0..6usize, 1..6usize, any::<bool>()), 0..4), order(), 1..4usize).prop_map(
        |(axes, order, item_size)| {
            // Whole axes are what linear grids are made of.
            let chunk = axes.iter().map(|(len, chunk, whole)| if *whole { (*len).max(1) } else { *chunk }).collect();
            Model { shape: axes.iter().map(|(len, ..)| *len).collect(), chunk, order, item_size }
        },
    )
}

proptest! {
    #[test]
    fn pieces_are_where_the_elements_are(model in model(), from in 0..700usize, len in 0..700usize) {
        let places = model.places();
        let wanted: BTreeMap<usize, Place> = places.range(from..from + len).map(|(at, place)| (*at, place.clone())).collect();
        let pieces: Vec<_> = model.grid().chunks_over(from..from + len).collect();
        let mut found = BTreeMap::new();
        for piece in &pieces {
            for (n, at) in piece.array.clone().enumerate() {
                prop_assert!(found.insert(at, (piece.index.clone(), piece.chunk_offset + n)).is_none(), "byte {} twice", at);
            }
        }
        prop_assert_eq!(found, wanted);
        let indices: Vec<_> = pieces.iter().map(|piece| &piece.index).collect();
        let runs = indices.chunk_by(|a, b| a == b).count();
        prop_assert_eq!(runs, indices.iter().collect::<BTreeSet<_>>().len(), "the pieces of a chunk follow each other");
        if model.grid().is_linear() {
            prop_assert_eq!(runs, pieces.len(), "a chunk is one run");
            prop_assert!(pieces.is_sorted_by_key(|piece| piece.array.start));
            prop_assert!(pieces.iter().all(|piece| piece.array.start < from.max(1) || piece.chunk_offset == 0 || piece.array.start == from));
        }
    }

    #[test]
    fn a_grid_is_linear_if_each_chunk_is_one_run_from_its_start(model in model()) {
        let mut bytes: BTreeMap<Vec<u32>, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, (index, in_chunk)) in model.places() {
            bytes.entry(index).or_default().push((at, in_chunk));
        }
        let is_run = |bytes: &Vec<(usize, usize)>| bytes.iter().enumerate().all(|(n, b)| *b == (bytes[0].0 + n, n));
        if model.grid().is_linear() {
            prop_assert!(bytes.values().all(is_run));
        }
    }

    #[test]
    fn the_pieces_of_each_chunk_make_the_array(model in model()) {
        let grid = model.grid();
        let mut found = BTreeMap::new();
        for index in model.chunks() {
            for piece in grid.pieces_of(&index) {
                prop_assert_eq!(&piece.index, &index);
                found.extend(piece.array.enumerate().map(|(n, at)| (at, (index.clone(), piece.chunk_offset + n))));
            }
        }
        prop_assert_eq!(found, model.places());
    }

    #[test]
    fn a_reshape_that_keeps_chunks_keeps_their_bytes(model in model(), dims in 1..4usize, split in 1..4usize) {
        let elements: usize = model.shape.iter().product();
        let mut shape = vec![1; dims];
        shape[dims - 1] = elements;
        if dims > 1 && elements.is_multiple_of(split) {
            shape[0] = split;
            shape[dims - 1] = elements / split;
        }
        let old = model.grid();
        if let Some(new) = old.reshaped(&shape).unwrap() {
            prop_assert_eq!(new.shape(), shape);
            prop_assert_eq!(new.chunk_bytes(), old.chunk_bytes());
            // An array without axes has but one chunk.
            let last = if model.shape.is_empty() { 0 } else { elements as u32 };
            for n in 0..=last {
                let bytes = |grid: &Grid| grid.pieces_of(&nth(grid, model.order, n)).map(|piece| (piece.array, piece.chunk_offset)).collect::<Vec<_>>();
                prop_assert_eq!(bytes(&new), bytes(&old));
            }
        }
    }

    #[test]
    fn new_arrays_have_linear_grids_of_a_few_mebibytes(
        shape in prop::collection::vec(0..5000usize, 0..5), order in order(), item_size in 1..40usize, log in 16..=21u32,
    ) {
        let block = BlockSize::new(1 << log).unwrap();
        let grid = Grid::for_new_array(&shape, order, item_size, block).unwrap();
        prop_assert!(grid.is_linear());
        prop_assert!(grid.chunk_bytes() <= 8 << 20);
        // A slow axis that is cut, and is not the one that grows, has not always enough for a mebibyte.
        let chunk = grid.chunk_shape();
        let slow = if order == Order::RowMajor { chunk.first() } else { chunk.last() };
        prop_assert!(grid.chunk_bytes() >= 1 << 20 || slow.is_none_or(|slow| *slow == 1));
    }
}

/// The `n`-th chunk along the growth axis, with index 0 on the others.
fn nth(grid: &Grid, order: Order, n: u32) -> Vec<u32> {
    let mut index = vec![0; grid.shape().len()];
    let growth = if order == Order::RowMajor { index.first_mut() } else { index.last_mut() };
    growth.into_iter().for_each(|at| *at = n);
    index
}

fn chunk_of(shape: &[usize], item_size: usize, block: usize) -> Vec<usize> {
    Grid::for_new_array(shape, Order::RowMajor, item_size, BlockSize::new(block).unwrap()).unwrap().chunk_shape()
}

#[test]
fn chunks_of_new_arrays_are_whole_rows_and_whole_blocks_where_that_is_possible() {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    // Rows that fill blocks: a chunk is a block, but not less than 1 MiB.
    assert_eq!(chunk_of(&[0], 8, 2 * MIB), [2 * MIB / 8]);
    assert_eq!(chunk_of(&[1 << 40], 8, 64 * KIB), [MIB / 8]);
    assert_eq!(chunk_of(&[1000, 1024], 8, 2 * MIB), [256, 1024]);
    // Rows of 96 bytes fill whole blocks of 64 KiB every 192 KiB, and whole blocks of 2 MiB every 6 MiB.
    assert_eq!(chunk_of(&[0, 12], 8, 64 * KIB), [6 * 192 * KIB / 96, 12]);
    assert_eq!(chunk_of(&[0, 12], 8, 2 * MIB), [6 * MIB / 96, 12]);
    // Rows of 8000 bytes never fill blocks of 2 MiB: the first chunk that has one.
    assert_eq!(chunk_of(&[0, 1000], 8, 2 * MIB), [263, 1000]);
    // Rows of 7 MiB: one.
    assert_eq!(chunk_of(&[0, 7 * MIB], 1, 2 * MIB), [1, 7 * MIB]);
    // A row of 64 MiB is cut along the next axis.
    assert_eq!(chunk_of(&[10, 4096, 4096], 4, 2 * MIB), [1, 128, 4096]);
    assert_eq!(chunk_of(&[10, 9 * MIB], 1, 2 * MIB), [1, 9 * MIB / 5 + 1]);
    // An element that is larger than a chunk should be.
    assert_eq!(chunk_of(&[10, 3], 9 << 20, 2 * MIB), [1, 1]);
    assert!(chunk_of(&[], 8, 2 * MIB).is_empty());
}

#[test]
fn orders_are_mirrored() {
    let grid = Grid::for_new_array(&[4096, 4096, 10], Order::ColumnMajor, 4, BlockSize::MAX).unwrap();
    assert_eq!(grid.chunk_shape(), [4096, 128, 1]);
    assert_eq!(grid.counts(), [1, 32, 10]);
    let second = grid.chunks_over(2 << 20..(2 << 20) + 1).next().unwrap();
    assert_eq!((second.index, second.chunk_offset), (vec![0, 1, 0], 0));
}

#[test]
fn a_byte_of_an_array_of_terabytes_is_found_at_once() {
    let grid = Grid::for_new_array(&[1 << 30, 12], Order::RowMajor, 8, BlockSize::MIN).unwrap();
    let piece = grid.chunks_over((96 << 30) - 1..usize::MAX).next().unwrap();
    assert_eq!(piece.array, (96 << 30) - 1..96 << 30);
    assert_eq!(piece.index, [((1u64 << 30) / (6 * 192 * 1024 / 96)) as u32, 0]);
}

#[test]
fn more_chunks_than_32_bits_can_number_are_too_large() {
    let error = Grid::new(&[1 << 32], &[1], Order::RowMajor, 1).unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains("4294967296 chunks along axis 0"), "{error}");
    let last = Grid::new(&[(1 << 32) - 1], &[1], Order::RowMajor, 1).unwrap();
    assert_eq!(last.chunks_over((1 << 32) - 2..1 << 32).next().unwrap().index, [u32::MAX - 1]);
    assert!(Grid::new(&[1 << 40, 1 << 40], &[1 << 20, 1 << 20], Order::RowMajor, 1).unwrap_err().is_too_large());
    assert!(Grid::new(&[1], &[usize::MAX], Order::RowMajor, 2).unwrap_err().is_too_large());
    assert!(Grid::new(&[1, 2], &[1], Order::RowMajor, 1).unwrap_err().is_unsupported());
    assert!(Grid::new(&[1], &[0], Order::RowMajor, 1).unwrap_err().is_unsupported());
}

#[test]
fn an_axis_of_no_length_has_a_grid_also_with_elements_larger_than_a_chunk() {
    let grid = Grid::for_new_array(&[10, 0], Order::RowMajor, 9 << 20, BlockSize::MAX).unwrap();
    assert_eq!((grid.bytes(), grid.chunks_over(0..usize::MAX).count()), (0, 0));
}
