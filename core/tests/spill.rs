//! Spilling: by `flush`, by savepoints, and where memory is short.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bigarray_core::{Engine, EngineOptions, ErrorKind, PAGE, Reader, Result, Transaction};
use bigarray_testing::{Adapter, MemStore, SimMemory, SimOptions, StoreOp, Watch, array_of};
use support::{BLOCK, World};

fn within(blocks: usize) -> EngineOptions {
    EngineOptions { budget_bytes: blocks * BLOCK, ..EngineOptions::default() }
}

fn bytes(world: &World, reader: &Reader) -> Vec<u8> {
    world.memory.span_at(reader.base().unwrap()).load(0..reader.descriptor().nbytes()).unwrap()
}

fn bytes_in(world: &World, transaction: &Transaction) -> Vec<u8> {
    let writer = transaction.open("a").unwrap();
    world.memory.span_at(writer.base().unwrap()).load(0..writer.descriptor().nbytes()).unwrap()
}

/// Copies and zero memory of the world's spans, in blocks.
fn blocks_in_memory(world: &World) -> usize {
    world.memory.own_bytes().div_ceil(BLOCK)
}

#[test]
fn what_is_flushed_is_seen_in_the_transaction_alone_and_takes_no_memory() {
    for copy in [false, true] {
        let world = World::within(EngineOptions { copy, ..EngineOptions::default() });
        let transaction = world.engine.begin().unwrap();
        world.write(&transaction, 5, &[7; 2 * BLOCK]);
        transaction.open("a").unwrap().flush().unwrap();
        assert_eq!(blocks_in_memory(&world), 0);
        let before = world.reader();
        assert!(bytes(&world, &before).iter().all(|&b| b == 0));
        let mut expected = vec![0; 3 * BLOCK];
        expected[5..5 + 2 * BLOCK].fill(7);
        assert_eq!(bytes_in(&world, &transaction), expected);
        transaction.commit(None).unwrap();
        assert_eq!(bytes(&world, &world.reader()), expected);
        assert!(bytes(&world, &before).iter().all(|&b| b == 0));
    }
}

#[test]
fn what_is_changed_after_a_flush_lies_over_it() {
    for copy in [false, true] {
        let world = World::within(EngineOptions { copy, ..EngineOptions::default() });
        let transaction = world.engine.begin().unwrap();
        let mut expected = vec![0; 3 * BLOCK];
        for (at, value) in [(0, 1), (PAGE + 3, 2), (BLOCK - 5, 0), (BLOCK + 9, 4), (2, 5)] {
            world.write(&transaction, at, &[value; 2 * PAGE]);
            expected[at..at + 2 * PAGE].fill(value);
            transaction.open("a").unwrap().flush().unwrap();
            assert_eq!(bytes_in(&world, &transaction), expected);
        }
        world.write(&transaction, 7, &[0; PAGE]);
        expected[7..7 + PAGE].fill(0);
        transaction.commit(None).unwrap();
        assert_eq!(bytes(&world, &world.reader()), expected);
    }
}

/// The whole array is written again and again through one view, with memory for two of its blocks.
#[test]
fn a_view_larger_than_the_budget_is_written_again_and_again() {
    for copy in [false, true] {
        let world = World::within(EngineOptions { copy, ..within(2) });
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.create("b", array_of(20)).unwrap();
        writer.expose_mut(0..20 * BLOCK).unwrap();
        let span = world.memory.span_at(writer.base().unwrap());
        for round in 1..4 {
            for page in 0..20 * BLOCK / PAGE {
                span.store(page * PAGE + 100, &[(round + page) as u8; 8]).unwrap();
                assert!(blocks_in_memory(&world) <= 3, "in round {round}: {}", blocks_in_memory(&world));
            }
        }
        drop(writer);
        transaction.commit(None).unwrap();
        let reader = world.engine.reader(&world.engine.snapshot().unwrap(), "b").unwrap();
        for (page, bytes) in bytes(&world, &reader).chunks(PAGE).enumerate() {
            let expected = (0..PAGE).map(|at| if (100..108).contains(&at) { (3 + page) as u8 } else { 0 });
            assert!(bytes.iter().copied().eq(expected), "page {page}");
        }
    }
}

#[test]
fn an_abort_after_a_spill_leaves_nothing() {
    let world = World::within(within(2));
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.create("b", array_of(9)).unwrap();
    writer.expose_mut(0..9 * BLOCK).unwrap();
    world.memory.span_at(writer.base().unwrap()).store(0, &[3; 9 * BLOCK]).unwrap();
    drop(writer);
    world.write(&transaction, 0, &[1; BLOCK]);
    transaction.abort();
    world.store.check();
    assert!(bytes(&world, &world.reader()).iter().all(|&b| b == 0));
    assert!(world.engine.snapshot().unwrap().array("b").unwrap().is_none());
}

#[test]
fn readers_of_more_than_the_budget_see_every_byte() {
    let world = World::within(EngineOptions { copy: true, ..within(2) });
    let transaction = world.engine.begin().unwrap();
    let data: Vec<u8> = (0..3 * BLOCK).map(|at| (at / PAGE) as u8).collect();
    world.write(&transaction, 0, &data);
    transaction.commit(None).unwrap();
    let reader = world.reader();
    for _ in 0..3 {
        assert_eq!(bytes(&world, &reader), data);
        assert!(blocks_in_memory(&world) <= 2);
    }
}

#[test]
fn without_spilling_under_views_memory_grows_until_the_next_quiescent_point() {
    let world = World::within(EngineOptions { spill_under_views: false, ..within(2) });
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.create("b", array_of(9)).unwrap();
    writer.expose_mut(0..9 * BLOCK).unwrap();
    world.memory.span_at(writer.base().unwrap()).store(0, &[3; 9 * BLOCK]).unwrap();
    assert_eq!(blocks_in_memory(&world), 9);
    writer.expose_mut(0..1).unwrap();
    assert_eq!(blocks_in_memory(&world), 0);
}

/// Windows over old, mapped data: no fault tells of a write to it.
#[test]
fn windows_over_mapped_data_are_spilled_as_they_follow_each_other() {
    let world = World::within(within(4));
    let transaction = world.engine.begin().unwrap();
    drop(transaction.create("b", array_of(40)).unwrap());
    let mut writer = transaction.open("b").unwrap();
    writer.expose_mut(0..40 * BLOCK).unwrap();
    world.memory.span_at(writer.base().unwrap()).store(0, &[3; 40 * BLOCK]).unwrap();
    drop(writer);
    transaction.commit(None).unwrap();

    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("b").unwrap();
    for block in 0..40 {
        writer.expose_mut(block * BLOCK..(block + 1) * BLOCK).unwrap();
        let span = world.memory.span_at(writer.base().unwrap());
        span.store(block * BLOCK, &[block as u8; BLOCK]).unwrap();
        assert!(world.memory.own_bytes() <= 4 * BLOCK, "{block}: {}", world.memory.own_bytes());
    }
    drop(writer);
    transaction.commit(None).unwrap();
    let reader = world.engine.reader(&world.engine.snapshot().unwrap(), "b").unwrap();
    let bytes = bytes(&world, &reader);
    assert!(bytes.chunks(BLOCK).enumerate().all(|(block, bytes)| bytes.iter().all(|&b| b == block as u8)));
}

#[test]
fn a_disk_that_is_full_fails_the_transaction_and_no_access() {
    for copy in [false, true] {
        let world = World::within(EngineOptions { copy, ..within(2) });
        let mut transaction = world.engine.begin().unwrap();
        let savepoint = transaction.savepoint().unwrap();
        let mut writer = transaction.create("b", array_of(9)).unwrap();
        writer.expose_mut(0..9 * BLOCK).unwrap();
        let span = world.memory.span_at(writer.base().unwrap());
        world.failing.fail(StoreOp::Spill, 0, ErrorKind::StoreFull);
        span.store(0, &[3; 9 * BLOCK]).unwrap();
        assert!(span.load(0..9 * BLOCK).unwrap().iter().all(|&b| b == 3));
        assert_eq!(world.failing.pending(), 0);
        let error = writer.flush().unwrap_err();
        assert!(error.is_store_full(), "{error:?}");
        drop(writer);
        // What failed is given up by going back before it.
        transaction.rollback(savepoint).unwrap();
        world.write(&transaction, 0, &[8]);
        transaction.commit(None).unwrap();
        assert_eq!(bytes(&world, &world.reader())[0], 8);
        assert!(world.engine.snapshot().unwrap().array("b").unwrap().is_none());
    }
}

#[test]
fn savepoints_are_of_one_transaction_and_are_released_by_going_back_before_them() {
    let world = World::within(EngineOptions::default());
    let mut transaction = world.engine.begin().unwrap();
    world.write(&transaction, 0, &[1]);
    let first = transaction.savepoint().unwrap();
    world.write(&transaction, 0, &[2]);
    let second = transaction.savepoint().unwrap();
    world.write(&transaction, 0, &[3]);
    let mut other = world.engine.begin().unwrap();
    let foreign = other.savepoint().unwrap();
    assert!(transaction.rollback(foreign).unwrap_err().is_invalid());
    assert_eq!(bytes_in(&world, &transaction)[0], 3);
    transaction.rollback(first).unwrap();
    assert_eq!(bytes_in(&world, &transaction)[0], 1);
    assert!(transaction.rollback(second).unwrap_err().is_invalid());
    transaction.commit(None).unwrap();
    assert_eq!(bytes(&world, &world.reader())[0], 1);
}

/// A page behind the new end holds bytes of others, which must not show when it grows again.
#[test]
fn a_shrink_before_a_savepoint_conflicts_with_a_write_behind_the_end_all_the_same() {
    let world = World::within(EngineOptions::default());
    let mut transaction = world.engine.begin().unwrap();
    transaction.open("a").unwrap().set_shape(&[BLOCK + 3]).unwrap();
    let savepoint = transaction.savepoint().unwrap();
    transaction.rollback(savepoint).unwrap();
    let other = world.engine.begin().unwrap();
    world.write(&other, BLOCK + 5 * PAGE, &[7; PAGE]);
    other.commit(None).unwrap();
    assert!(transaction.commit(None).unwrap_err().is_conflict());
}

/// Of an array that no addresses are left for.
#[test]
fn windows_follow_each_other_and_show_what_earlier_ones_changed() {
    let world = World::within(EngineOptions::default());
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.create("huge", array_of(1 << 46)).unwrap();
    assert!(writer.base().unwrap_err().is_too_large());
    let mut expected = vec![0; 8 * PAGE];
    let start = (1 << 45) * BLOCK + BLOCK - 4 * PAGE;
    for (at, value) in [(0, 1u8), (3 * PAGE, 2), (100, 3), (7 * PAGE, 4)] {
        let bytes = start + at..start + at + PAGE;
        writer.expose_mut(bytes.clone()).unwrap();
        let (span, offset) = world.memory.span_over(writer.address(bytes).unwrap());
        span.store(offset, &[value; PAGE]).unwrap();
        drop(span);
        expected[at..at + PAGE].fill(value);
        let (span, at) = world.memory.span_over(writer.address(start..start + 8 * PAGE).unwrap());
        assert_eq!(span.load(at..at + 8 * PAGE).unwrap(), expected);
    }
    drop(writer);
    transaction.commit(None).unwrap();
    let reader = world.engine.reader(&world.engine.snapshot().unwrap(), "huge").unwrap();
    let clone = reader.clone();
    for reader in [reader, clone] {
        let (span, at) = world.memory.span_over(reader.address(start..start + 8 * PAGE).unwrap());
        assert_eq!(span.load(at..at + 8 * PAGE).unwrap(), expected);
    }
}

/// Pages that were spilled before the disk was full are in memory still, where they may be overwritten with zeros.
#[test]
fn zeros_written_after_a_flush_that_failed_are_committed() {
    for delivers_faults in [true, false] {
        let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, |_, _| ());
        let transaction = world.engine.begin().unwrap();
        world.write(&transaction, 0, &[7; 2 * BLOCK]);
        world.failing.fail(StoreOp::Spill, 1, ErrorKind::StoreFull);
        assert!(transaction.open("a").unwrap().flush().unwrap_err().is_store_full());
        world.write(&transaction, 0, &[0; PAGE]);
        transaction.commit(None).unwrap();
        let got = bytes(&world, &world.reader());
        assert_eq!((got[0], got[PAGE], got[BLOCK]), (0, 7, 7), "faults: {delivers_faults}");
    }
}

#[test]
fn what_was_written_where_the_array_ended_for_a_while_is_there_after_a_rollback() {
    for delivers_faults in [true, false] {
        let options = SimOptions { delivers_faults, ..SimOptions::default() };
        let world = World::with(options, |world, transaction| world.write(transaction, 0, &[1; 3 * BLOCK]));
        let mut transaction = world.engine.begin().unwrap();
        for blocks in [1, 3] {
            transaction.open("a").unwrap().set_shape(&[blocks * BLOCK]).unwrap();
        }
        world.write(&transaction, 2 * BLOCK, &[7; PAGE]);
        let savepoint = transaction.savepoint().unwrap();
        world.write(&transaction, 2 * BLOCK, &[8; PAGE]);
        transaction.rollback(savepoint).unwrap();
        let expected = [[1; BLOCK].as_slice(), &[0; BLOCK], &[7; PAGE], &[0; BLOCK - PAGE]].concat();
        assert!(bytes_in(&world, &transaction) == expected, "faults: {delivers_faults}");
        transaction.commit(None).unwrap();
        assert!(bytes(&world, &world.reader()) == expected, "faults: {delivers_faults}");
    }
}

/// Zero memory costs a reader nothing. A transaction that gets the reader's span is charged for what it writes there.
#[test]
fn holes_read_before_count_in_the_budget_once_they_are_written() {
    let world = World::within(within(2));
    let transaction = world.engine.begin().unwrap();
    drop(transaction.create("b", array_of(20)).unwrap());
    transaction.commit(None).unwrap();
    let reader = world.engine.reader(&world.engine.snapshot().unwrap(), "b").unwrap();
    assert!(bytes(&world, &reader).iter().all(|&b| b == 0));
    drop(reader);
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("b").unwrap();
    writer.expose_mut(0..20 * BLOCK).unwrap();
    world.memory.span_at(writer.base().unwrap()).store(0, &[3; 20 * BLOCK]).unwrap();
    assert!(blocks_in_memory(&world) <= 3, "{}", blocks_in_memory(&world));
}

/// Readers and transactions each leave a span that idles; which of them the transaction gets again is not known.
#[test]
fn after_a_rollback_a_span_that_a_reader_left_shows_the_spilled_pages() {
    for copy in [false, true] {
        let world = World::within(EngineOptions { copy, ..EngineOptions::default() });
        let transaction = world.engine.begin().unwrap();
        world.write(&transaction, 0, &[1; 3 * BLOCK]);
        transaction.commit(None).unwrap();
        let mut transaction = world.engine.begin().unwrap();
        let reader = world.reader();
        assert!(bytes(&world, &reader).iter().all(|&b| b == 1));
        world.write(&transaction, BLOCK, &[7; PAGE]);
        let savepoint = transaction.savepoint().unwrap();
        world.write(&transaction, BLOCK, &[8; PAGE]);
        transaction.rollback(savepoint).unwrap();
        drop(reader);
        assert_eq!(bytes_in(&world, &transaction)[BLOCK], 7);
        transaction.commit(None).unwrap();
        assert_eq!(bytes(&world, &world.reader())[BLOCK], 7);
    }
}

/// Panics when something is spilled.
struct Panicking;

impl Watch for Panicking {
    fn before(&self, op: StoreOp, _: usize) -> Result<()> {
        assert_ne!(op, StoreOp::Spill, "as the test asks");
        Ok(())
    }
}

#[test]
fn a_panic_while_a_block_is_spilled_fails_the_commit_and_no_thread_waits_for_ever() {
    let store = MemStore::new();
    let memory = SimMemory::new(store.file());
    let store = Arc::new(Adapter::wrap(store, Panicking));
    let engine = Engine::new(store, Arc::new(memory.clone()), within(2));
    let transaction = engine.begin().unwrap();
    let mut writer = transaction.create("b", array_of(9)).unwrap();
    writer.expose_mut(0..9 * BLOCK).unwrap();
    let span = memory.span_at(writer.base().unwrap());
    let stored = catch_unwind(AssertUnwindSafe(|| span.store(0, &[3; 9 * BLOCK])));
    stored.expect_err("a panic of the store, in a thread that stands in for a resolver");
    assert_eq!(span.load(0..1).unwrap(), [3]);
    drop(writer);
    let error = transaction.commit(None).unwrap_err();
    assert!(error.is_io() && error.to_string().contains("panicked"), "{error:?}");
}

#[test]
fn a_new_array_beyond_the_budget_is_spilled_where_system_calls_cannot_wait() {
    let options = SimOptions { delivers_kernel_faults: false, ..SimOptions::default() };
    let world = World::of(options, within(2), |_, _| ());
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.create("b", array_of(9)).unwrap();
    writer.expose_mut(0..9 * BLOCK).unwrap();
    world.memory.span_at(writer.base().unwrap()).store(0, &[3; 9 * BLOCK]).unwrap();
    assert!(blocks_in_memory(&world) <= 3, "{}", blocks_in_memory(&world));
}

/// What the leaked handle wrote is not known, so the transaction cannot commit; but nothing of the others is given up.
#[test]
fn a_rollback_after_a_handle_was_leaked_is_refused_and_changes_nothing() {
    let world = World::within(EngineOptions::default());
    let mut transaction = world.engine.begin().unwrap();
    let savepoint = transaction.savepoint().unwrap();
    world.write(&transaction, 0, &[7; PAGE]);
    std::mem::forget(transaction.create("b", array_of(1)).unwrap());
    assert!(transaction.rollback(savepoint).unwrap_err().is_invalid());
    assert_eq!(bytes_in(&world, &transaction)[..PAGE], [7; PAGE]);
}
