//! Says what to do where the build is about to need libclang.
//!
//! The published `userfaultfd-sys` generates its bindings by libclang while it is built. Where libclang is missing, that
//! build ends in a panic which names neither bigarray nor the way out: a line in the manifest of the program, which no
//! dependency can write. So it is shown before.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by the crate in `sys`, where the manifest of the program puts it in place of the published one.
    if env::var_os("DEP_USERFAULTFD_BY_HAND_IN_USE").is_some() {
        return;
    }
    println!(
        "cargo::warning=bigarray: the crate userfaultfd-sys as published needs libclang (apt install libclang-dev)."
    );
    let by_hand = Path::new(env!("CARGO_MANIFEST_DIR")).join("sys");
    if by_hand.is_dir() {
        println!("cargo::warning=bigarray: to build without it, add these lines to the Cargo.toml of your program:");
        println!("cargo::warning=    [patch.crates-io]");
        println!("cargo::warning=    userfaultfd-sys = {{ path = {:?} }}", by_hand.display().to_string());
    }
}
