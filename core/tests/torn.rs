//! A block of several segments, of which a later piece cannot be laid: what was laid before may have been read and
//! written meanwhile, so it can be neither taken back nor completed otherwise.

mod support;

use bigarray_core::{PAGE, Reader};
use bigarray_testing::{Signal, SimOp};
use support::{BLOCK, World};

/// In the middle block a page of ones, and holes on either side.
fn world() -> World {
    World::new(|world, transaction| {
        world.write(transaction, BLOCK + PAGE, &[1; PAGE]);
        world.write(transaction, 2 * BLOCK, &[2; BLOCK]);
    })
    .reopened()
}

fn load(world: &World, reader: &Reader, at: usize) -> Result<Vec<u8>, Signal> {
    world.memory.span_at(reader.base().unwrap()).load(at..at + 1)
}

#[test]
fn a_block_torn_by_a_failure_ends_its_accesses_and_no_others() {
    let world = world();
    let reader = world.reader();
    // Zero memory before the page goes well, the page itself does not.
    world.memory.fail(SimOp::Map, 0);
    assert_eq!(load(&world, &reader, BLOCK), Err(Signal::Bus));
    assert_eq!(load(&world, &reader, BLOCK + PAGE), Err(Signal::Bus));
    assert_eq!(load(&world, &reader, 2 * BLOCK).unwrap(), [2]);
    assert_eq!(load(&world, &reader, 0).unwrap(), [0]);
    assert!(reader.prefetch(0..3 * BLOCK).unwrap_err().to_string().contains("block 1"));
    drop(reader);
    // The next reader has a span of its own and sees all of it.
    assert_eq!(load(&world, &world.reader(), BLOCK + PAGE).unwrap(), [1]);
}

#[test]
fn a_transaction_with_a_torn_block_does_not_commit() {
    let world = world();
    let transaction = world.engine.begin().unwrap();
    world.write(&transaction, 2 * BLOCK, &[9]);
    world.memory.fail(SimOp::Map, 0);
    assert!(transaction.open("a").unwrap().prefetch(BLOCK..BLOCK + 1).is_err());
    assert!(transaction.commit(None).unwrap_err().to_string().contains("\"a\""));
    assert_eq!(load(&world, &world.reader(), 2 * BLOCK).unwrap(), [2]);
}

#[test]
fn a_block_of_which_nothing_could_be_laid_is_copied() {
    let world = world();
    let reader = world.reader();
    world.memory.fail(SimOp::Zero, 0);
    assert_eq!(load(&world, &reader, BLOCK + PAGE).unwrap(), [1]);
    assert_eq!(load(&world, &reader, BLOCK).unwrap(), [0]);
    assert!(world.memory.count(SimOp::Copy) > 0);
}
