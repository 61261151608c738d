//! How much of a range is in memory.

mod support;

use bigarray_core::{EngineOptions, PAGE};
use bigarray_testing::SimOptions;
use support::{BLOCK, World};

/// All of the array is stored.
fn stored(options: EngineOptions) -> World {
    World::of(SimOptions::default(), options, |world, transaction| world.write(transaction, 0, &[7; 3 * BLOCK]))
}

#[test]
fn of_copied_blocks_those_count_that_were_loaded() {
    let world = stored(EngineOptions { copy: true, ..EngineOptions::default() });
    let reader = world.reader();
    assert_eq!(reader.resident_bytes(0..3 * BLOCK).unwrap(), 0);
    reader.prefetch(0..2 * BLOCK).unwrap();
    assert_eq!(reader.resident_bytes(0..2 * BLOCK).unwrap(), 2 * BLOCK);
    assert_eq!(reader.resident_bytes(2 * BLOCK..3 * BLOCK).unwrap(), 0);
    assert_eq!(reader.resident_bytes(BLOCK + 5..2 * BLOCK + 5).unwrap(), BLOCK - 5);
}

#[test]
fn of_mapped_blocks_a_page_in_parts_counts_only_if_it_is_cached() {
    let world = stored(EngineOptions::default());
    let reader = world.reader();
    let span = world.memory.span_at(reader.base().unwrap());
    assert_eq!(span.load(PAGE..PAGE + 1).unwrap(), [7]);
    // Page 1 is cached, and no other.
    let resident = |bytes| reader.resident_bytes(bytes).unwrap();
    assert_eq!(resident(PAGE - 100..PAGE + 60), 60);
    assert_eq!(resident(2 * PAGE - 100..2 * PAGE + 60), 100);
    assert_eq!(resident(10..20), 0);
    assert_eq!(resident(PAGE + 10..PAGE + 20), 10);
    assert_eq!(resident(PAGE - 100..3 * PAGE + 60), PAGE);
    assert_eq!(resident(0..BLOCK), PAGE);
}

#[test]
fn where_no_fault_is_delivered_all_that_is_open_is_resident() {
    let world = World::with(SimOptions { delivers_faults: false, ..SimOptions::default() }, |_, _| ());
    assert_eq!(world.reader().resident_bytes(0..3 * BLOCK).unwrap(), 3 * BLOCK);
}
