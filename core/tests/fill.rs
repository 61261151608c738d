//! Arrays with a fill value: what was never written reads as it, and takes no storage.

mod support;

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::{
    Codec, Descriptor, Engine, EngineOptions, Error, ErrorKind, FillValue, PAGE, Reader, Transaction, Writer,
};
use bigarray_testing::{Counted, Edit, MemStore, SimMemory, SimOp, SimOptions, StoreOp, array_of};
use support::{BLOCK, World};

/// Elements of an array; no number of them is a block.
const FILL: [u8; 3] = [1, 2, 3];

fn filled(bytes: usize) -> Descriptor {
    let (item_size, shape) = (FILL.len(), vec![bytes / FILL.len()]);
    Descriptor { item_size, shape, fill: FillValue::new(&FILL), ..array_of(0) }
}

fn is_fill(at: usize, bytes: &[u8]) -> bool {
    (at..).zip(bytes).all(|(at, byte)| *byte == FILL[at % FILL.len()])
}

/// An array "f" of three blocks with a fill value.
fn world() -> World {
    World::new(|_, transaction| drop(transaction.create("f", filled(3 * BLOCK)).unwrap()))
}

fn reader(world: &World) -> Reader {
    world.engine.reader(&world.engine.snapshot().unwrap(), "f").unwrap()
}

fn read(world: &World, reader: &Reader, bytes: Range<usize>) -> Vec<u8> {
    let (span, offset) = world.memory.span_over(reader.address(bytes.clone()).unwrap());
    span.load(offset..offset + bytes.len()).unwrap()
}

fn load(world: &World, writer: &Writer<'_>, bytes: Range<usize>) -> Vec<u8> {
    let (span, offset) = world.memory.span_over(writer.address(bytes.clone()).unwrap());
    span.load(offset..offset + bytes.len()).unwrap()
}

fn store(world: &World, writer: &mut Writer<'_>, at: usize, bytes: &[u8]) {
    writer.expose_mut(at..at + bytes.len()).unwrap();
    let (span, offset) = world.memory.span_over(writer.address(at..at + bytes.len()).unwrap());
    span.store(offset, bytes).unwrap();
}

fn commit_bytes(world: &World, at: usize, bytes: &[u8]) -> Result<(), Error> {
    let transaction = world.engine.begin().unwrap();
    store(world, &mut transaction.open("f").unwrap(), at, bytes);
    transaction.commit(None)
}

/// Zeros are no less written than other bytes.
#[test]
fn a_block_of_zeros_stays_zero_where_a_fill_value_shows_otherwise() {
    for delivers_faults in [true, false] {
        let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, |_, transaction| {
            drop(transaction.create("f", filled(3 * BLOCK)).unwrap());
        });
        commit_bytes(&world, BLOCK, &vec![0; BLOCK]).unwrap();
        let world = world.reopened();
        let now = reader(&world);
        assert!(is_fill(0, &read(&world, &now, 0..BLOCK)));
        assert!(read(&world, &now, BLOCK..2 * BLOCK).iter().all(|&byte| byte == 0));
        assert!(is_fill(2 * BLOCK, &read(&world, &now, 2 * BLOCK..now.descriptor().nbytes())));
        let written = [0..1, BLOCK..BLOCK + 1, 0..2 * BLOCK, 2 * BLOCK..3 * BLOCK - 3];
        assert_eq!(written.map(|bytes| now.is_written(bytes).unwrap()), [false, true, true, false]);
    }
}

#[test]
fn what_a_transaction_wrote_counts_as_written_wherever_it_is() {
    for delivers_faults in [true, false] {
        let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, |_, _| ());
        let mut transaction = world.engine.begin().unwrap();
        let mut writer = transaction.create("f", filled(4 * BLOCK)).unwrap();
        assert!(!writer.is_written(0..4 * BLOCK - 1).unwrap());
        store(&world, &mut writer, BLOCK + 100, &[9]);
        let of_blocks =
            |writer: &Writer<'_>| [0, 1, 2].map(|block| writer.is_written(block * BLOCK..block * BLOCK + 1).unwrap());
        assert_eq!(of_blocks(&writer), [false, true, false]);
        writer.flush().unwrap();
        assert_eq!(of_blocks(&writer), [false, true, false], "spilled");
        drop(writer);
        let savepoint = transaction.savepoint().unwrap();
        let mut writer = transaction.open("f").unwrap();
        store(&world, &mut writer, 0, &[9]);
        assert_eq!(of_blocks(&writer), [true, true, false]);
        drop(writer);
        transaction.rollback(savepoint).unwrap();
        assert_eq!(of_blocks(&transaction.open("f").unwrap()), [false, true, false], "rolled back");
        transaction.commit(None).unwrap();
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.open("f").unwrap();
        assert_eq!(of_blocks(&writer), [false, true, false], "committed");
        writer.set_shape(&[10]).unwrap();
        writer.set_shape(&[BLOCK]).unwrap();
        assert_eq!(of_blocks(&writer)[1..], [false, false], "dropped");
        assert!(is_fill(BLOCK, &load(&world, &writer, BLOCK..3 * BLOCK)));
    }
}

/// Other threads would see elements of two transactions in one block, or lose some.
#[test]
fn of_two_transactions_that_write_to_one_absent_block_the_second_conflicts() {
    let world = world();
    let first = world.engine.begin().unwrap();
    store(&world, &mut first.open("f").unwrap(), 5, &[9]);
    commit_bytes(&world, BLOCK - 100, &[8]).unwrap();
    assert!(first.commit(None).unwrap_err().is_conflict());
    let now = reader(&world);
    assert_eq!(read(&world, &now, BLOCK - 100..BLOCK - 99), [8]);
    assert!(is_fill(0, &read(&world, &now, 0..BLOCK - 100)));
}

/// The block that is written twice is stored at first, and stays what it is when it is compressed.
#[test]
fn a_change_of_one_page_stores_the_others_as_well() {
    for codec in [Codec::None, Codec::Lz4 { shuffle: false }] {
        let world = World::new(|_, transaction| {
            drop(transaction.create("f", Descriptor { codec, ..filled(3 * BLOCK) }).unwrap());
        });
        for page in [3, 7] {
            commit_bytes(&world, BLOCK + page * PAGE, &[page as u8]).unwrap();
        }
        let world = world.reopened();
        let got = read(&world, &reader(&world), 0..2 * BLOCK);
        let differ: Vec<usize> = (0..got.len()).filter(|&at| got[at] != FILL[at % 3]).collect();
        assert_eq!(differ, [BLOCK + 3 * PAGE, BLOCK + 7 * PAGE]);
    }
}

/// With blocks behind the end that were there before, and in the middle of one.
#[test]
fn growth_shows_the_fill_value_also_where_the_array_was_longer() {
    for (delivers_faults, is_spilled) in [(true, false), (true, true), (false, false), (false, true)] {
        let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, |_, transaction| {
            drop(transaction.create("f", filled(3 * BLOCK)).unwrap());
        });
        commit_bytes(&world, 0, &vec![7; 3 * BLOCK - 3]).unwrap();
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.open("f").unwrap();
        writer.set_shape(&[BLOCK / 2]).unwrap(); // one block and a half
        if is_spilled {
            writer.flush().unwrap();
        }
        writer.set_shape(&[2 * BLOCK]).unwrap();
        let (end, all) = (BLOCK / 2 * 3, 2 * BLOCK * 3);
        let check = |got: &[u8]| {
            assert!(got[..end].iter().all(|&byte| byte == 7));
            assert!(is_fill(end, &got[end..]), "{delivers_faults} {is_spilled}");
        };
        check(&load(&world, &writer, 0..all));
        drop(writer);
        transaction.commit(None).unwrap();
        check(&read(&world, &reader(&world), 0..all));
    }
}

/// A transaction that has made "f" half a block long, and then a block, while no addresses could be had for it.
fn shrunk_without_a_span(world: &World) -> Transaction {
    (0..400).for_each(|nth| world.memory.fail(SimOp::Reserve, nth));
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("f").unwrap();
    assert!(writer.base().unwrap_err().is_too_large());
    while reader(world).base().is_err() {}
    writer.set_shape(&[BLOCK / 2]).unwrap();
    writer.set_shape(&[BLOCK]).unwrap();
    drop(writer);
    transaction
}

/// A commit knows of the block that the array ended in from what is spilled alone.
#[test]
fn a_shrink_without_a_span_conflicts_with_a_write_behind_its_end() {
    let world = world().reopened();
    let transaction = shrunk_without_a_span(&world);
    commit_bytes(&world, BLOCK / 2 * 3 + 10, &[7]).unwrap();
    assert!(transaction.commit(None).unwrap_err().is_conflict());
}

#[test]
fn a_shrink_without_a_span_and_the_growth_after_it_are_committed() {
    let world = world().reopened();
    let transaction = shrunk_without_a_span(&world);
    transaction.commit(None).unwrap();
    assert!(is_fill(0, &read(&world, &reader(&world), 0..3 * BLOCK)));
}

/// Blocks that are produced are copies, and give way.
#[test]
fn terabytes_that_were_never_written_are_read_within_the_budget() {
    let budget_bytes = 4 * BLOCK;
    let options = EngineOptions { budget_bytes, ..EngineOptions::default() };
    let world = World::of(SimOptions::default(), options, |_, transaction| {
        drop(transaction.create("f", filled(12 << 40)).unwrap());
    });
    let now = reader(&world);
    for start in [0, 5 << 40, (12 << 40) - 64 * BLOCK] {
        for at in (start..start + 60 * BLOCK).step_by(BLOCK / 2) {
            assert!(is_fill(at, &read(&world, &now, at..at + 4)));
            assert!(world.memory.own_bytes() <= budget_bytes);
        }
    }
}

#[test]
fn where_no_fault_is_delivered_more_than_the_budget_is_refused_and_says_why() {
    let memory = SimOptions { delivers_faults: false, ..SimOptions::default() };
    let options = EngineOptions { budget_bytes: 4 * BLOCK, ..EngineOptions::default() };
    let world = World::of(memory, options, |_, _| ());
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.create("f", filled(2 * BLOCK)).unwrap();
    let error = writer.set_shape(&[2 * BLOCK]).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("fill value"), "{error}");
    assert!(is_fill(0, &load(&world, &writer, 0..writer.descriptor().nbytes())));
    drop(writer);
    assert!(transaction.create("g", filled(9 * BLOCK)).unwrap_err().is_unsupported());
}

#[test]
fn a_fill_value_that_is_no_element_is_refused_by_name() {
    let world = world();
    let transaction = world.engine.begin().unwrap();
    let array = Descriptor { fill: FillValue::new(&[1, 2]), ..filled(300) };
    let error = transaction.create("odd", array).unwrap_err();
    assert!(error.is_dtype_mismatch() && error.to_string().contains("\"odd\""), "{error}");
}

/// To visit each of its blocks takes minutes, or ends for want of memory.
#[test]
fn a_refresh_of_a_sparse_array_asks_for_what_is_stored_alone() {
    const BYTES: usize = 60 << 40;
    let plain = MemStore::new();
    let store = Arc::new(Counted::new(plain.clone()));
    let memory = SimMemory::new(plain.file());
    let engine = Engine::new(store.clone(), Arc::new(memory.clone()), EngineOptions::default());
    let transaction = engine.begin().unwrap();
    drop(transaction.create("f", filled(BYTES)).unwrap());
    transaction.commit(None).unwrap();
    let blocks = [0, BYTES / 2 / BLOCK, BYTES / BLOCK - 1];
    let read = || {
        let before = store.lookups();
        let reader = engine.reader(&engine.snapshot().unwrap(), "f").unwrap();
        let (span, opening) = (memory.span_at(reader.base().unwrap()), store.lookups() - before);
        let is_fill = |at: usize| span.load(at..at + 1).unwrap()[0] == FILL[at % 3];
        (blocks.map(|block| is_fill(block * BLOCK + 5 * PAGE)), opening)
    };
    assert_eq!(read().0, [true; 3]);
    for (nth, block) in blocks.into_iter().enumerate() {
        let base = engine.snapshot().unwrap();
        let edit = Edit::of(&*base, "f").block(&*base, block as u64, 200);
        Edit::commit(&*store, &*base, &[edit]).unwrap();
        drop(base);
        let (found, opening) = read();
        assert_eq!(found, [0, 1, 2].map(|n| n > nth));
        // One for all that is stored between the first and the last, and what opening an array asks for.
        assert!(opening <= 3, "{opening} look-ups");
    }
}

/// What is absent is counted, not visited, before there is room for it.
#[test]
fn a_sparse_array_beyond_the_budget_is_refused_at_once_where_no_fault_is_delivered() {
    let memory = SimOptions { delivers_faults: false, ..SimOptions::default() };
    let options = EngineOptions { budget_bytes: 64 * BLOCK, ..EngineOptions::default() };
    let world = World::of(memory, options, |_, transaction| drop(transaction.create("f", filled(3 * BLOCK)).unwrap()));
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("f").unwrap();
    store(&world, &mut writer, BLOCK, &[9]);
    assert!(writer.set_shape(&[6 << 40]).unwrap_err().is_unsupported());
    assert!(transaction.create("g", filled(18 << 40)).unwrap_err().is_unsupported());
    // What is there already takes no more room: 40 blocks of the budget, twice.
    for blocks in [40, 41, 39] {
        writer.set_shape(&[blocks * BLOCK / 3]).unwrap();
        assert_eq!(load(&world, &writer, BLOCK..BLOCK + 1), [9]);
    }
    drop(writer);
    transaction.commit(None).unwrap();
    assert!(is_fill(2 * BLOCK, &read(&world, &reader(&world), 2 * BLOCK..39 * BLOCK - 3)));
}

/// At each call to storage and memory: neither zeros nor half of a block are seen, before or after.
#[test]
fn failures_leave_the_fill_value_or_what_was_written() {
    let run = |world: &World, transaction: &Transaction| -> Result<(), Error> {
        let mut writer = transaction.open("f")?;
        writer.prefetch(0..3 * BLOCK - 3)?;
        for at in [10, BLOCK + 5] {
            writer.expose_mut(at..at + 1)?;
            let stored = world.memory.span_at(writer.base()?).store(at, &[9]);
            stored.map_err(|_| Error::new(ErrorKind::Io, "poisoned"))?;
        }
        writer.set_shape(&[BLOCK / 2])?;
        writer.flush()?;
        writer.set_shape(&[BLOCK])
    };
    let mut failed = 0;
    for nth in 0..40 {
        for op in [SimOp::Copy, SimOp::Reset, SimOp::Unprotect, SimOp::Written] {
            let world = world();
            world.memory.fail(op, nth);
            let transaction = world.engine.begin().unwrap();
            let is_committed = run(&world, &transaction).and_then(|()| transaction.commit(None)).is_ok();
            failed += usize::from(world.memory.pending_failures() == 0);
            if world.memory.pending_failures() == 0 {
                check_after(world, is_committed);
            }
        }
        for op in [StoreOp::Read, StoreOp::Blocks, StoreOp::Commit, StoreOp::Spill, StoreOp::SpillArea] {
            let world = world();
            world.failing.fail(op, nth, ErrorKind::Io);
            let transaction = world.engine.begin().unwrap();
            let is_committed = run(&world, &transaction).and_then(|()| transaction.commit(None)).is_ok();
            failed += usize::from(world.failing.pending() == 0);
            if world.failing.pending() == 0 {
                check_after(world, is_committed);
            }
        }
    }
    assert!(failed > 10, "{failed} failures met anything");
}

fn check_after(world: World, is_committed: bool) {
    let world = world.reopened();
    let now = reader(&world);
    let got = read(&world, &now, 0..now.descriptor().nbytes());
    let differ: Vec<usize> = (0..got.len()).filter(|&at| got[at] != FILL[at % 3]).collect();
    assert_eq!(differ, if is_committed { vec![10, BLOCK + 5] } else { vec![] });
}

/// What it has there is the fill value, wherever it comes from: a fault, an eager span, a window.
#[test]
fn a_shrink_that_clears_nothing_writes_nothing() {
    let kinds = [(true, true), (true, false), (false, true), (false, false)];
    for (delivers_faults, has_span) in kinds {
        let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, |_, transaction| {
            drop(transaction.create("f", filled(3 * BLOCK)).unwrap());
        })
        .reopened();
        let transaction = if has_span { world.engine.begin().unwrap() } else { shrunk_without_a_span(&world) };
        let mut writer = transaction.open("f").unwrap();
        assert!(is_fill(0, &load(&world, &writer, 0..3 * BLOCK - 3)), "in memory");
        writer.set_shape(&[BLOCK / 2]).unwrap();
        writer.set_shape(&[BLOCK]).unwrap();
        assert!(!writer.is_written(0..3 * BLOCK - 3).unwrap());
        drop(writer);
        transaction.commit(None).unwrap();
        let now = reader(&world);
        assert!(!now.is_written(0..3 * BLOCK - 3).unwrap(), "faults: {delivers_faults}, span: {has_span}");
        assert!(is_fill(0, &read(&world, &now, 0..3 * BLOCK - 3)));
    }
}

/// What was written behind the new end would show where the array grows.
#[test]
fn of_a_shrink_and_a_write_behind_the_new_end_the_second_conflicts() {
    for delivers_faults in [true, false] {
        for shrinks_first in [true, false] {
            let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, |_, transaction| {
                drop(transaction.create("f", filled(3 * BLOCK)).unwrap());
            });
            let (shrinks, writes) = (world.engine.begin().unwrap(), world.engine.begin().unwrap());
            shrinks.open("f").unwrap().set_shape(&[BLOCK / 2]).unwrap();
            store(&world, &mut writes.open("f").unwrap(), BLOCK / 2 * 3 + 10, &[7]);
            let (first, second) = if shrinks_first { (shrinks, writes) } else { (writes, shrinks) };
            first.commit(None).unwrap();
            assert!(second.commit(None).unwrap_err().is_conflict(), "{delivers_faults} {shrinks_first}");
        }
    }
}

/// As a commit without a pager says it.
#[test]
fn a_store_is_asked_for_no_byte_of_an_absent_block() {
    let world = world();
    let base = world.engine.snapshot().unwrap();
    let edit = Edit::of(&*base, "f").block(&*base, 0, 5);
    Edit::commit(&*world.failing, &*base, &[edit]).unwrap();
    world.failing.fail(StoreOp::Read, 1, ErrorKind::Io);
    let now = reader(&world);
    assert!(!is_fill(0, &read(&world, &now, 0..BLOCK)));
    assert!(is_fill(BLOCK, &read(&world, &now, BLOCK..3 * BLOCK - 3)));
}
