//! Spans that show nothing, and what touches them all the same: the system, which fills or reads memory of the process.

mod support;

use std::sync::Arc;

use bigarray_core::EngineOptions;
use bigarray_testing::{Signal, SimOp, SimOptions, SimSpan, array_of};
use support::{BLOCK, World};

const BLOCKS: usize = 3;

/// An array of ones, copied block by block, of an engine that has room for it and for no other.
fn world() -> World {
    let options = EngineOptions { copy: true, budget_bytes: BLOCKS * BLOCK, ..EngineOptions::default() };
    World::of(SimOptions::default(), options, |world, transaction| {
        world.write(transaction, 0, &[1; BLOCKS * BLOCK]);
        drop(transaction.create("b", array_of(BLOCKS)).unwrap());
    })
}

fn span_of(world: &World, array: &str) -> Arc<SimSpan> {
    let reader = world.engine.reader(&world.engine.snapshot().unwrap(), array).unwrap();
    let span = world.memory.span_at(reader.base().unwrap());
    assert_eq!(span.load(0..BLOCKS * BLOCK).unwrap().iter().all(|&byte| byte == 1), array == "a");
    span
}

#[test]
fn what_gave_way_while_a_span_idled_is_waited_for_by_nothing() {
    let world = world();
    let idle = span_of(&world, "a");
    assert_eq!(idle.load(BLOCKS * BLOCK..BLOCKS * BLOCK + 1), Err(Signal::Bus), "nothing is shown there");
    assert!(idle.is_present(0));
    span_of(&world, "b");
    assert!(!idle.is_present(0), "the other array needed its memory");
    for block in 0..BLOCKS {
        assert_eq!(idle.load(block * BLOCK..block * BLOCK + 1), Err(Signal::Bus), "{block}");
    }
    // And it shows the array again.
    span_of(&world, "a");
}

#[test]
fn a_span_of_which_nothing_can_be_made_inaccessible_at_first_is_tried_again() {
    let world = world();
    let idle = span_of(&world, "a");
    for nth in 0..3 {
        world.memory.fail(SimOp::Withdraw, nth);
    }
    assert_eq!(idle.load(BLOCKS * BLOCK..BLOCKS * BLOCK + 1), Err(Signal::Bus));
    assert_eq!(world.memory.pending_failures(), 0);
    span_of(&world, "a");
}
