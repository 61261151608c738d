//! What is emptied in the midst of mappings splits them, as far as there is room for more.

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::{BlockSize, Engine, EngineOptions, Transaction};
use bigarray_testing::{MemStore, SimMemory, SimOp, SimOptions, array_of};

const BLOCK: usize = BlockSize::MIN.bytes();
/// So many that those written to are given back rather than mapped anew by the commit.
const BLOCKS: usize = 141;

fn write(memory: &SimMemory, transaction: &Transaction, at: usize, bytes: &[u8]) {
    let mut writer = transaction.open("a").unwrap();
    writer.expose_mut(at..at + bytes.len()).unwrap();
    memory.span_at(writer.base().unwrap()).store(at, bytes).unwrap();
}

/// Writes to every second block of an array that is one mapping, commits or aborts, and says what was emptied for that.
fn emptied(delivers_faults: bool, most_mappings: usize, commits: bool) -> Vec<Range<usize>> {
    let store = MemStore::new();
    let options = SimOptions { delivers_faults, most_mappings, ..SimOptions::default() };
    let memory = SimMemory::with(store.file(), options);
    let engine = Engine::new(Arc::new(store), Arc::new(memory.clone()), EngineOptions::default());
    let transaction = engine.begin().unwrap();
    drop(transaction.create("a", array_of(BLOCKS)).unwrap());
    write(&memory, &transaction, 0, &[1; BLOCKS * BLOCK]);
    transaction.commit(None).unwrap();

    let transaction = engine.begin().unwrap();
    let mut expected = vec![1; BLOCKS * BLOCK];
    for block in (1..BLOCKS).step_by(2) {
        write(&memory, &transaction, block * BLOCK, &[2]);
        expected[block * BLOCK] = if commits { 2 } else { 1 };
    }
    let seen = memory.trace().len();
    if commits {
        transaction.commit(None).unwrap()
    } else {
        drop(transaction)
    }
    let reader = engine.reader(&engine.snapshot().unwrap(), "a").unwrap();
    assert!(memory.span_at(reader.base().unwrap()).load(0..BLOCKS * BLOCK).unwrap() == expected);
    memory.trace().into_iter().skip(seen).filter(|event| event.op == SimOp::Reset).map(|event| event.range).collect()
}

#[test]
fn where_there_is_room_only_what_was_written_is_emptied() {
    for (faults, commits) in [(true, true), (true, false), (false, true), (false, false)] {
        let each: Vec<_> = (1..BLOCKS).step_by(2).map(|block| block * BLOCK..(block + 1) * BLOCK).collect();
        assert_eq!(emptied(faults, 1000, commits), each, "faults: {faults}, commits: {commits}");
    }
}

#[test]
fn where_there_is_none_all_between_goes_too_and_comes_back() {
    for (faults, commits) in [(true, true), (true, false), (false, true), (false, false)] {
        let all = emptied(faults, BLOCKS - 2, commits);
        assert!(matches!(&all[..], [one] if *one == (BLOCK..(BLOCKS - 1) * BLOCK)), "faults: {faults}: {all:?}");
    }
}
