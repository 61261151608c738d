//! Faults of a block that is in memory: its thread waits for a page that is there, as far as the table knows.

mod support;

use bigarray_core::EngineOptions;
use bigarray_testing::{Signal, SimOp, SimOptions};
use support::{BLOCK, World};

/// A clean copy is loaded again after 1,024 futile faults, and after 65,536 it is poisoned. The same fault once did both:
/// the block was poisoned and evicted, and the access went on with what was loaded after that.
#[test]
fn a_clean_block_that_cannot_be_evicted_is_poisoned_in_the_end_and_stays_so() {
    let options = EngineOptions { copy: true, ..EngineOptions::default() };
    let world = World::of(SimOptions::default(), options, |world, transaction| {
        world.write(transaction, 0, &[7; BLOCK]);
    });
    let reader = world.reader();
    let span = world.memory.span_at(reader.base().unwrap());
    assert_eq!(span.load(0..1).unwrap(), [7]);
    for nth in 0..63 {
        world.memory.fail(SimOp::Evict, nth);
    }
    for _ in 0..1 << 16 {
        span.repeat_fault(0);
    }
    assert_eq!(world.memory.pending_failures(), 0);
    assert_eq!(span.load(0..1), Err(Signal::Bus));
    assert!(reader.prefetch(0..1).unwrap_err().to_string().contains("block 0"));
}
