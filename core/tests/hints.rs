//! What the system is told of accesses to come, and how far loading reaches then.

mod support;

use std::ops::Range;

use bigarray_core::{Access, PAGE};
use bigarray_testing::SimOp;
use support::{BLOCK, World};

/// In the middle block a page, with holes on either side.
fn world() -> World {
    World::new(|world, transaction| {
        world.write(transaction, 0, &[1; BLOCK]);
        world.write(transaction, BLOCK + PAGE, &[2; PAGE]);
        world.write(transaction, 2 * BLOCK, &[3; BLOCK]);
    })
    .reopened()
}

/// Ranges of `op` since the last `seen` events.
fn since(world: &World, seen: usize, op: SimOp) -> Vec<Range<usize>> {
    world.memory.trace().into_iter().skip(seen).filter(|event| event.op == op).map(|event| event.range).collect()
}

#[test]
fn a_hint_reaches_all_that_is_mapped_and_nothing_else() {
    let world = world();
    let reader = world.reader();
    world.memory.span_at(reader.base().unwrap()).load(0..3 * BLOCK).unwrap();
    let mapped = [0..BLOCK, BLOCK + PAGE..BLOCK + 2 * PAGE, 2 * BLOCK..3 * BLOCK];
    for (access, told) in [
        (Access::Random, &mapped[..]),
        (Access::Random, &[]),
        (Access::Sequential, &mapped),
        (Access::Normal, &[]),
        (Access::Random, &mapped),
    ] {
        let seen = world.memory.trace().len();
        reader.advise(access);
        assert_eq!(since(&world, seen, SimOp::Advise), told, "{access:?}");
    }
    drop(reader);
    // The next reader gets the span, and not the hint.
    let seen = world.memory.trace().len();
    let reader = world.reader();
    assert_eq!(since(&world, seen, SimOp::Advise), mapped);
    assert_eq!(world.memory.span_at(reader.base().unwrap()).load(BLOCK + PAGE..BLOCK + PAGE + 1).unwrap(), [2]);
}

#[test]
fn a_random_access_loads_its_block_and_no_other() {
    let world = world();
    let reader = world.reader();
    reader.advise(Access::Random);
    let span = world.memory.span_at(reader.base().unwrap());
    for (at, value, mapped) in [(2 * BLOCK + 5, 3, 2 * BLOCK..3 * BLOCK), (7, 1, 0..BLOCK)] {
        let seen = world.memory.trace().len();
        assert_eq!(span.load(at..at + 1).unwrap(), [value]);
        assert_eq!(since(&world, seen, SimOp::Map), [mapped]);
    }
}
