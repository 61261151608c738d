//! How writes are searched for where arrays are handed out mutably again and again.

mod support;

use bigarray_core::PAGE;
use bigarray_testing::{SimOp, SimOptions};
use support::{BLOCK, World};

const LEN: usize = 3 * BLOCK;

/// Three blocks of ones, all of them stored and following each other.
fn world(options: SimOptions) -> World {
    World::with(options, |world, transaction| world.write(transaction, 0, &[1; LEN])).reopened()
}

/// A transaction that reads everything, is handed out `exposed`, and writes a page at each of `at`.
fn transact(world: &World, exposed: std::ops::Range<usize>, at: &[usize], byte: u8) {
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    let span = world.memory.span_at(writer.base().unwrap());
    span.load(0..LEN).unwrap();
    writer.expose_mut(exposed).unwrap();
    for &at in at {
        span.store(at, &[byte]).unwrap();
    }
    drop(writer);
    transaction.commit(None).unwrap();
}

fn bytes(world: &World) -> Vec<u8> {
    world.memory.span_at(world.reader().base().unwrap()).load(0..LEN).unwrap()
}

#[test]
fn what_is_handed_out_whole_a_second_time_is_tracked_with_its_neighbours_in_one_call() {
    let world = world(SimOptions::default());
    transact(&world, 0..LEN, &[], 0);
    assert_eq!(world.memory.count(SimOp::TrackWrites), 0);
    transact(&world, 0..LEN, &[], 0);
    assert_eq!(world.memory.count(SimOp::TrackWrites), 1);
    transact(&world, 0..LEN, &[], 0);
    assert_eq!(world.memory.count(SimOp::TrackWrites), 1, "it stays tracked");
}

#[test]
fn writes_are_found_before_and_after_a_block_is_tracked() {
    for tracks in [true, false] {
        let world = world(SimOptions { tracks, ..SimOptions::default() });
        let mut expected = vec![1; LEN];
        for round in 2..20u8 {
            let at = [usize::from(round) * 7 * PAGE % LEN, LEN - 1];
            transact(&world, 0..LEN, &at, round);
            at.iter().for_each(|&at| expected[at] = round);
            assert!(bytes(&world) == expected, "round {round}, tracks: {tracks}");
        }
        assert_eq!(world.memory.count(SimOp::TrackWrites) > 1, tracks);
    }
}

#[test]
fn a_block_of_which_a_part_is_handed_out_is_not_tracked() {
    let world = world(SimOptions::default());
    for _ in 0..5 {
        transact(&world, PAGE..2 * BLOCK - 1, &[], 0);
    }
    assert_eq!(world.memory.count(SimOp::Resident), 0);
    assert_eq!(world.memory.count(SimOp::TrackWrites), 0);
}

#[test]
fn an_aborted_write_to_a_tracked_block_is_gone() {
    let world = world(SimOptions::default());
    transact(&world, 0..LEN, &[], 0);
    transact(&world, 0..LEN, &[], 0);
    let transaction = world.engine.begin().unwrap();
    world.write(&transaction, BLOCK, &[9; PAGE]);
    drop(transaction);
    assert!(bytes(&world) == [1; LEN]);
}
