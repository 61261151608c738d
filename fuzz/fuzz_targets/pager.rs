//! `cargo +nightly fuzz run pager`
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|scenario: bigarray_fuzz::Scenario| bigarray_fuzz::run(&scenario));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("run by cargo-fuzz: cargo +nightly fuzz run pager");
    std::process::exit(2);
}
