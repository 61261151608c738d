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

const MIB: usize = 1 << 20;

/// What is laid, in order.
fn laid(world: &World) -> Vec<std::ops::Range<usize>> {
    world.memory.trace().into_iter().filter(|e| e.op == SimOp::Zero).map(|e| e.range).collect()
}

/// 64 MiB, as for mappings.
#[test]
fn zero_memory_that_is_only_read_is_laid_a_window_at_a_time_on_both_sides() {
    const WINDOW: usize = 64 * MIB;
    let world = World::with(SimOptions::default(), |_, _| {});
    let transaction = world.engine.begin().unwrap();
    drop(transaction.create("holes", array_of(5 * WINDOW / 2 / BLOCK)).unwrap());
    transaction.commit(None).unwrap();
    let reader = world.engine.reader(&world.engine.snapshot().unwrap(), "holes").unwrap();
    let span = world.memory.span_at(reader.base().unwrap());
    for at in [WINDOW + 5 * BLOCK, 2 * WINDOW - 1, WINDOW, WINDOW - 1, 5 * WINDOW / 2 - 1] {
        assert_eq!(span.load(at..at + 1).unwrap(), [0]);
    }
    assert_eq!(laid(&world), [WINDOW..2 * WINDOW, 0..WINDOW, 2 * WINDOW..5 * WINDOW / 2]);
}

/// Of what may be written to 2 MiB are laid, and the rest of a window once those that lie beside it were filled.
#[test]
fn zero_memory_that_is_filled_in_order_is_laid_a_window_at_a_time() {
    let world = World::with(SimOptions::default(), |_, _| {});
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.create("new", array_of(160 * MIB / BLOCK)).unwrap();
    let span = world.memory.span_at(writer.base().unwrap());
    writer.expose_mut(0..160 * MIB).unwrap();
    let mut fill = |bytes: std::ops::Range<usize>| span.store(bytes.start, &vec![1; bytes.len()]).unwrap();
    // Here and there, also at both ends of a huge page.
    [21 * MIB, 8 * MIB, 10 * MIB, 8 * MIB - 1].into_iter().for_each(|at| fill(at..at + 1));
    // Forwards.
    [64 * MIB..66 * MIB, 66 * MIB..66 * MIB + 1].into_iter().for_each(&mut fill);
    // Backwards.
    [158 * MIB..160 * MIB, 158 * MIB - 1..158 * MIB].into_iter().for_each(&mut fill);
    let few = [20 * MIB, 8 * MIB, 10 * MIB, 6 * MIB].map(|at| at..at + 2 * MIB);
    assert_eq!(laid(&world)[..4], few);
    let in_order = [64 * MIB..66 * MIB, 66 * MIB..128 * MIB, 158 * MIB..160 * MIB, 128 * MIB..158 * MIB];
    assert_eq!(laid(&world)[4..], in_order);
}

#[test]
fn a_hole_ends_what_one_fault_reaches_on_both_sides() {
    let holes = [10, 11, 25];
    assert_eq!(faults(&world(&holes), &holes, [18, 12, 24].into_iter()), 1);
    assert_eq!(faults(&world(&holes), &holes, [11, 10].into_iter()), 1);
    assert_eq!(faults(&world(&holes), &holes, (0..BLOCKS).rev()), 5);
}
