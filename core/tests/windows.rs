//! How far one fault reaches.

mod support;

use bigarray_testing::{SimOp, SimOptions, array_of};
use support::{BLOCK, World};

const BLOCKS: usize = 40;

/// A second array, "long", of 40 blocks that follow each other in the file; `holes` are left out.
fn world(holes: &[usize]) -> World {
    let world = World::with(SimOptions::default(), |_, _| {});
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.create("long", array_of(BLOCKS)).unwrap();
    let span = world.memory.span_at(writer.base().unwrap());
    for block in (0..BLOCKS).filter(|block| !holes.contains(block)) {
        writer.expose_mut(block * BLOCK..(block + 1) * BLOCK).unwrap();
        span.store(block * BLOCK, &vec![block as u8 + 1; BLOCK]).unwrap();
    }
    drop(writer);
    transaction.commit(None).unwrap();
    world.reopened()
}

/// Faults that reading a byte of each block in this order takes; every byte is right.
fn faults(world: &World, holes: &[usize], order: impl Iterator<Item = usize>) -> usize {
    let reader = world.engine.reader(&world.engine.snapshot().unwrap(), "long").unwrap();
    let span = world.memory.span_at(reader.base().unwrap());
    let before = world.memory.count(SimOp::Missing);
    for block in order {
        let expected = if holes.contains(&block) { 0 } else { block as u8 + 1 };
        assert_eq!(span.load(block * BLOCK + 7..block * BLOCK + 8).unwrap(), [expected]);
    }
    world.memory.count(SimOp::Missing) - before
}

#[test]
fn in_whatever_order_a_window_is_touched_it_takes_one_fault() {
    assert_eq!(faults(&world(&[]), &[], 0..BLOCKS), 1);
    assert_eq!(faults(&world(&[]), &[], (0..BLOCKS).rev()), 1);
    assert_eq!(faults(&world(&[]), &[], (0..BLOCKS).map(|n| n * 17 % BLOCKS)), 1);
}

/// 64 MiB, as for mappings.
#[test]
fn zero_memory_is_laid_a_window_at_a_time_on_both_sides() {
    const WINDOW: usize = 64 << 20;
    let world = World::with(SimOptions::default(), |_, _| {});
    let transaction = world.engine.begin().unwrap();
    let writer = transaction.create("holes", array_of(5 * WINDOW / 2 / BLOCK)).unwrap();
    let span = world.memory.span_at(writer.base().unwrap());
    for at in [WINDOW + 5 * BLOCK, 2 * WINDOW - 1, WINDOW, WINDOW - 1, 5 * WINDOW / 2 - 1] {
        assert_eq!(span.load(at..at + 1).unwrap(), [0]);
    }
    let laid: Vec<_> = world.memory.trace().into_iter().filter(|e| e.op == SimOp::Zero).map(|e| e.range).collect();
    assert_eq!(laid, [WINDOW..2 * WINDOW, 0..WINDOW, 2 * WINDOW..5 * WINDOW / 2]);
}

#[test]
fn a_hole_ends_what_one_fault_reaches_on_both_sides() {
    let holes = [10, 11, 25];
    assert_eq!(faults(&world(&holes), &holes, [18, 12, 24].into_iter()), 1);
    assert_eq!(faults(&world(&holes), &holes, [11, 10].into_iter()), 1);
    assert_eq!(faults(&world(&holes), &holes, (0..BLOCKS).rev()), 5);
}
