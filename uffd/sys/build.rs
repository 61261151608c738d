//! Tells `bigarray-uffd` that this crate is used, and not the published one, by the key `links` of the manifest.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::metadata=IN_USE=1");
}
