//! `cargo +nightly fuzz run --features libfuzzer pager`
#![no_main]

libfuzzer_sys::fuzz_target!(|scenario: bigarray_fuzz::Scenario| bigarray_fuzz::run(&scenario));
