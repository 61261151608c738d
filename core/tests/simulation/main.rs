//! One seed drives transactions, readers, faults and failures over the fakes, against a model of plain vectors.
//!
//! The store scribbles over every page that no state refers to, so a reader that sees anything but its own state fails
//! here. The same seed gives the same run.

mod mode;
mod model;
mod steps;
mod world;

use std::ops::Range;

use bigarray_testing::{SimOp, Versions};

use mode::{MAP, Mode};
use model::{BLOCK, bytes_array};
use world::World;

fn simulate(mode: Mode, seeds: Range<u64>) {
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| World::new(mode, seed).run(12));
        assert!(outcome.is_ok(), "seed {seed} in {mode:?}");
    }
}

#[test]
fn mapped_blocks_show_each_state_its_own_bytes() {
    simulate(MAP, 0..60);
}

#[test]
fn copied_blocks_show_each_state_its_own_bytes() {
    simulate(Mode { copy: true, ..MAP }, 0..60);
}

#[test]
fn eager_spans_show_each_state_its_own_bytes() {
    simulate(Mode { faults: false, ..MAP }, 0..60);
}

#[test]
fn without_kernel_faults_each_state_shows_its_own_bytes() {
    simulate(Mode { kernel_faults: false, ..MAP }, 0..30);
    simulate(Mode { kernel_faults: false, copy: true, ..MAP }, 0..30);
}

#[test]
fn produced_blocks_show_each_state_its_own_bytes() {
    simulate(Mode { produced: 3, ..MAP }, 0..30);
    simulate(Mode { produced: 3, faults: false, ..MAP }, 0..30);
}

#[test]
fn within_a_budget_of_a_few_blocks_each_state_shows_its_own_bytes() {
    for budget in [2, 3, 5] {
        for mode in [MAP, Mode { copy: true, ..MAP }, Mode { produced: 3, ..MAP }, Mode { faults: false, ..MAP }] {
            simulate(Mode { budget, ..mode }, 0..30);
        }
        simulate(Mode { budget, kernel_faults: false, copy: true, ..MAP }, 0..15);
        simulate(Mode { budget, mappings: 12, ..MAP }, 0..15);
    }
}

#[test]
fn long_transactions_within_a_budget_show_their_own_bytes() {
    let long = Mode { steps: 16, budget: 3, ..MAP };
    for mode in [long, Mode { copy: true, ..long }, Mode { faults: false, ..long }, Mode { compressed: true, ..long }] {
        simulate(mode, 0..8);
        simulate(Mode { mappings: 12, ..mode }, 0..8);
        simulate(Mode { kernel_faults: false, ..mode }, 0..8);
        if mode.faults {
            simulate(Mode { kernel_faults: false, produced: 3, ..mode }, 0..8);
        }
        simulate(Mode { kernel_faults: false, mappings: 12, ..mode }, 0..8);
        simulate(Mode { budget: 0, ..mode }, 0..8);
    }
}

#[test]
fn compressed_blocks_show_each_state_its_own_bytes() {
    for budget in [0, 3] {
        simulate(Mode { compressed: true, budget, ..MAP }, 0..30);
        simulate(Mode { compressed: true, budget, copy: true, ..MAP }, 0..15);
    }
    simulate(Mode { compressed: true, faults: false, ..MAP }, 0..30);
}

#[test]
fn where_versions_are_hashes_each_state_shows_its_own_bytes() {
    let hashes = Mode { versions: Versions::Hashes, ..MAP };
    for mode in
        [hashes, Mode { copy: true, ..hashes }, Mode { produced: 1, ..hashes }, Mode { faults: false, ..hashes }]
    {
        simulate(mode, 0..30);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
    }
}

#[test]
fn where_look_ups_may_block_each_state_shows_its_own_bytes() {
    let blocking = Mode { lookups_may_block: true, ..MAP };
    let far = Mode { produced: 1, versions: Versions::Hashes, ..blocking };
    for mode in [blocking, far, Mode { compressed: true, ..blocking }, Mode { kernel_faults: false, ..far }] {
        simulate(mode, 0..20);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
        simulate(Mode { copy: true, budget: 5, ..mode }, 0..8);
    }
}

#[test]
fn where_blocks_are_mapped_from_a_cache_each_state_shows_its_own_bytes() {
    let far = Mode { produced: 1, versions: Versions::Hashes, lookups_may_block: true, caches: true, ..MAP };
    let modes = [
        far,
        Mode { produced: 2, ..far },
        Mode { produced: 0, compressed: true, ..far },
        Mode { hiccups: true, ..far },
        Mode { kernel_faults: false, ..far },
        Mode { mappings: 40, ..far },
        Mode { copy: true, ..far },
    ];
    for mode in modes {
        simulate(mode, 0..20);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
    }
    // What an eager span has to copy must fit into the budget.
    simulate(Mode { faults: false, ..far }, 0..20);
}

#[test]
fn where_storage_is_unavailable_now_and_then_each_state_shows_its_own_bytes() {
    let hiccups = Mode { hiccups: true, ..MAP };
    let far = Mode { produced: 1, lookups_may_block: true, ..hiccups };
    for mode in [hiccups, far, Mode { copy: true, ..hiccups }, Mode { compressed: true, ..hiccups }] {
        simulate(mode, 0..20);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
    }
    let trace = |seed| {
        let mut world = World::new(far, seed);
        world.run(8);
        world.memory.trace()
    };
    assert_eq!(trace(3), trace(3));
    assert!(trace(3).iter().any(|event| event.op == SimOp::Pause));
}

#[test]
fn where_equal_pages_are_merged_what_is_written_to_them_is_not_lost() {
    let merging = Mode { merges: true, copy: true, ..MAP };
    for mode in
        [merging, Mode { copy: false, compressed: true, ..merging }, Mode { copy: false, produced: 3, ..merging }]
    {
        for budget in [0, 2, 5] {
            simulate(Mode { budget, ..mode }, 0..20);
            simulate(Mode { budget, moves: false, ..mode }, 0..10);
        }
    }
}

#[test]
fn what_a_device_stores_is_not_lost_while_blocks_give_way() {
    let devices = Mode { devices: true, budget: 5, ..MAP };
    for mode in [devices, Mode { copy: true, ..devices }, Mode { compressed: true, ..devices }] {
        simulate(mode, 0..20);
        simulate(Mode { merges: true, ..mode }, 0..10);
    }
}

#[test]
fn where_pages_cannot_be_taken_out_each_state_shows_its_own_bytes() {
    for mode in [MAP, Mode { copy: true, ..MAP }, Mode { compressed: true, ..MAP }] {
        simulate(Mode { budget: 3, moves: false, ..mode }, 0..20);
    }
}

#[test]
fn where_mappings_run_out_blocks_are_copied() {
    simulate(Mode { mappings: 12, ..MAP }, 0..30);
    simulate(Mode { mappings: 12, faults: false, ..MAP }, 0..30);
}

#[test]
fn where_arrays_have_a_fill_value_each_state_shows_its_own_bytes() {
    let fill = Mode { fill: true, ..MAP };
    let far = Mode { produced: 1, versions: Versions::Hashes, lookups_may_block: true, ..fill };
    let modes = [
        fill,
        far,
        Mode { copy: true, ..fill },
        Mode { compressed: true, ..fill },
        Mode { produced: 3, ..fill },
        Mode { kernel_faults: false, ..fill },
        Mode { versions: Versions::Hashes, ..fill },
        Mode { mappings: 12, ..fill },
        Mode { hiccups: true, ..fill },
        Mode { merges: true, ..fill },
        Mode { caches: true, ..far },
        Mode { moves: false, ..fill },
    ];
    for mode in modes {
        simulate(mode, 0..30);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
    }
    simulate(Mode { devices: true, budget: 5, ..fill }, 0..20);
    // What an eager span has to copy must fit into the budget.
    simulate(Mode { faults: false, ..fill }, 0..30);
    simulate(Mode { faults: false, steps: 16, ..fill }, 0..8);
    simulate(Mode { faults: false, compressed: true, mappings: 12, ..fill }, 0..30);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(MAP, seed);
        world.run(8);
        world.memory.trace()
    };
    assert_eq!(trace(3), trace(3));
}

#[test]
fn an_array_that_outgrows_its_span_keeps_what_was_written() {
    for copy in [false, true] {
        let mut world = World::new(Mode { copy, ..MAP }, 1);
        // No room beyond the array itself: the large reservations fail.
        for nth in 0..14 {
            world.memory.fail(SimOp::Reserve, nth);
        }
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.create("a", bytes_array(BLOCK)).unwrap();
        let mut data = vec![0; BLOCK];
        for _ in 0..5 {
            world.write(&mut writer, &mut data);
        }
        let base = writer.base().unwrap();
        for len in [40 * BLOCK, (64 << 30) + 5] {
            writer.set_shape(&[len]).unwrap();
        }
        assert_ne!(writer.base().unwrap(), base);
        let got = world.memory.span_at(writer.base().unwrap()).load(0..BLOCK + 5000).unwrap();
        assert_eq!(got[..BLOCK], data);
        assert!(got[BLOCK..].iter().all(|&b| b == 0));
        drop(writer);
        transaction.commit(None).unwrap();
        let readers = world.readers();
        assert_eq!(world.memory.span_at(readers["a"].base().unwrap()).load(0..BLOCK).unwrap(), data);
    }
}
