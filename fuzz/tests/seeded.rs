//! What the fuzzer runs, on random programs from seeds. A program that fails is made as short as it can be and still
//! fail, then printed; it belongs into `kept.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arbitrary::{Arbitrary, Unstructured};
use bigarray_fuzz::{Op, Paging, Scenario, run};
use bigarray_testing::Rng;

/// Programs a mode of paging.
const PROGRAMS: u64 = 200;

fn scenario(paging: Paging, seed: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let mut bytes = vec![0; 1000];
    rng.fill(&mut bytes);
    let mut scenario = Scenario::arbitrary(&mut Unstructured::new(&bytes)).expect("any bytes are a scenario");
    scenario.setup.paging = paging;
    // Where calls fail errors are allowed: most programs are to run without.
    if !seed.is_multiple_of(3) {
        scenario.ops.retain(|op| !matches!(op, Op::Fail(..) | Op::ShortOfAddresses(_)));
    }
    scenario
}

fn fails(scenario: &Scenario) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(scenario))).is_err()
}

/// Drops steps as long as it still fails.
fn shortened(mut scenario: Scenario) -> Scenario {
    let mut len = scenario.ops.len();
    while len > 0 {
        let mut at = 0;
        while at < scenario.ops.len() {
            let mut shorter = scenario.clone();
            shorter.ops.drain(at..(at + len).min(scenario.ops.len()));
            if fails(&shorter) { scenario = shorter } else { at += len }
        }
        len /= 2;
    }
    scenario
}

fn random_programs(paging: Paging) {
    for seed in 0..PROGRAMS {
        let scenario = scenario(paging, seed);
        if fails(&scenario) {
            let shortest = shortened(scenario);
            println!("seed {seed} fails, and so does {shortest:#?}");
            run(&shortest);
        }
    }
}

#[test]
fn random_programs_agree_with_the_model_when_mapped() {
    random_programs(Paging::Map);
}

#[test]
fn random_programs_agree_with_the_model_when_copied() {
    random_programs(Paging::Copy);
}

#[test]
fn random_programs_agree_with_the_model_in_user_mode() {
    random_programs(Paging::UserMode);
    random_programs(Paging::UserModeCopy);
}

#[test]
fn random_programs_agree_with_the_model_when_eager() {
    random_programs(Paging::Eager);
}
