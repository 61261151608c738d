//! What a span shows of a transaction's writes once they are committed.

mod support;

use bigarray_core::PAGE;
use bigarray_testing::{SimOp, SimOptions};
use support::{BLOCK, World};

const LEN: usize = 3 * BLOCK;

fn world() -> World {
    World::with(SimOptions::default(), |world, transaction| world.write(transaction, 0, &[1; LEN])).reopened()
}

fn bytes(world: &World) -> Vec<u8> {
    world.memory.span_at(world.reader().base().unwrap()).load(0..LEN).unwrap()
}

fn commit(world: &World, at: usize, bytes: &[u8]) {
    let transaction = world.engine.begin().unwrap();
    world.write(&transaction, at, bytes);
    transaction.commit(None).unwrap();
}

#[test]
fn a_committed_page_meets_no_fault_in_the_next_transaction() {
    let world = world();
    commit(&world, BLOCK + 3 * PAGE, &[7; PAGE]);
    let (faults, remaps) = (world.memory.count(SimOp::Missing), world.memory.count(SimOp::Remap));
    commit(&world, BLOCK + 3 * PAGE, &[8; PAGE]);
    commit(&world, BLOCK + 5 * PAGE, &[9; PAGE]);
    let mut expected = vec![1; LEN];
    expected[BLOCK + 3 * PAGE..BLOCK + 4 * PAGE].fill(8);
    expected[BLOCK + 5 * PAGE..BLOCK + 6 * PAGE].fill(9);
    assert!(bytes(&world) == expected);
    assert_eq!(world.memory.count(SimOp::Missing), faults);
    assert_eq!(world.memory.count(SimOp::Reset), 0);
    assert_eq!(world.memory.count(SimOp::Remap), remaps + 2, "a page each");
}

#[test]
fn where_it_cannot_be_mapped_it_is_given_back_and_loaded_anew() {
    for (op, nth) in [(SimOp::Remap, 0), (SimOp::Remap, 1)] {
        let world = world();
        commit(&world, 0, &[5; PAGE]);
        world.memory.fail(op, nth);
        let transaction = world.engine.begin().unwrap();
        world.write(&transaction, 2 * PAGE, &[7; PAGE]);
        world.write(&transaction, 9 * PAGE, &[8; 2 * PAGE]);
        transaction.commit(None).unwrap();
        assert_eq!(world.memory.pending_failures(), 0);
        assert_eq!(world.memory.count(SimOp::Reset), 1);
        let mut expected = vec![1; LEN];
        expected[..PAGE].fill(5);
        expected[2 * PAGE..3 * PAGE].fill(7);
        expected[9 * PAGE..11 * PAGE].fill(8);
        assert!(bytes(&world) == expected);
    }
}

#[test]
fn pages_that_became_holes_show_zeros() {
    let world = world();
    commit(&world, 4 * PAGE, &[0; PAGE]);
    commit(&world, 2 * PAGE, &[6; PAGE]);
    let mut expected = vec![1; LEN];
    expected[4 * PAGE..5 * PAGE].fill(0);
    expected[2 * PAGE..3 * PAGE].fill(6);
    assert!(bytes(&world) == expected);
}

/// To another block: to the same one they would have conflicted.
#[test]
fn what_others_committed_meanwhile_shows_too() {
    let world = world();
    let transaction = world.engine.begin().unwrap();
    world.write(&transaction, PAGE, &[2; PAGE]);
    commit(&world, BLOCK + PAGE, &[3; PAGE]);
    transaction.commit(None).unwrap();
    commit(&world, 2 * BLOCK, &[4; PAGE]);
    let mut expected = vec![1; LEN];
    expected[PAGE..2 * PAGE].fill(2);
    expected[BLOCK + PAGE..BLOCK + 2 * PAGE].fill(3);
    expected[2 * BLOCK..2 * BLOCK + PAGE].fill(4);
    assert!(bytes(&world) == expected);
}

/// The span that showed the commit idles, and is right for no older state.
#[test]
fn a_reader_that_began_before_the_commit_sees_the_old_state_after_it() {
    let world = world();
    let snapshot = world.engine.snapshot().unwrap();
    let transaction = world.engine.begin().unwrap();
    commit(&world, BLOCK + PAGE, &[3; PAGE]);
    let writer = transaction.open("a").unwrap();
    assert!(world.memory.span_at(writer.base().unwrap()).load(0..LEN).unwrap() == [1; LEN]);
    drop(writer);
    drop(transaction);
    commit(&world, 2 * BLOCK, &[4; PAGE]);
    let reader = world.engine.reader(&snapshot, "a").unwrap();
    assert!(world.memory.span_at(reader.base().unwrap()).load(0..LEN).unwrap() == [1; LEN]);
    drop(reader);
    let mut expected = vec![1; LEN];
    expected[BLOCK + PAGE..BLOCK + 2 * PAGE].fill(3);
    expected[2 * BLOCK..2 * BLOCK + PAGE].fill(4);
    assert!(bytes(&world) == expected);
}
