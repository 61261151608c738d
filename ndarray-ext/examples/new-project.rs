//! Sets up a program that uses bigarray from this checkout: a manifest, the README's first example, the versions of all
//! dependencies that are tested here. Run it by
//!
//! ```text
//! cargo run --example new-project -- ../climate
//! ```
//!
//! A directory that has files is left as it is.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The folder of the crate `bigarray`.
const CRATE: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let (Some(dir), None) = (arguments.next(), arguments.next()) else {
        return Err("give the directory of the new program: cargo run --example new-project -- ../climate".into());
    };
    let dir = PathBuf::from(dir);
    let name = package_name(&dir)?;
    let checkout = Path::new(CRATE).parent().ok_or("the checkout has no folder")?;

    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    if fs::read_dir(&dir)?.next().is_some() {
        return Err(format!("{} has files already; give a directory that is new or empty", dir.display()).into());
    }
    fs::create_dir(dir.join("src"))?;
    fs::write(dir.join("Cargo.toml"), manifest(&name, checkout))?;
    fs::write(dir.join("src/main.rs"), first_example()?)?;
    fs::write(dir.join(".gitignore"), "/target\n*.bigarray\n")?;
    fs::copy(checkout.join("Cargo.lock"), dir.join("Cargo.lock"))?;

    println!("{} has Cargo.toml, Cargo.lock and src/main.rs, the first example of the README.", dir.display());
    println!("Run it, which takes a minute the first time:\n");
    println!("    cd {} && cargo run", dir.display());
    Ok(())
}

/// The name of the directory, if cargo takes it for that of a package.
fn package_name(dir: &Path) -> Result<String> {
    let name = std::path::absolute(dir)?.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.chars().all(plain) {
        return Err(format!("{name:?} is no name for a package: a-z first, then a-z, 0-9, - and _ are").into());
    }
    if name == "bigarray" {
        return Err("a package cannot be called as the crate that it uses: give another name than \"bigarray\"".into());
    }
    Ok(name)
}

fn manifest(name: &str, checkout: &Path) -> String {
    // Debug's quotes and escapes are TOML's for all paths but those with control characters.
    let (library, sys) = (checkout.join("ndarray-ext"), checkout.join("uffd/sys"));
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[dependencies]
bigarray = {{ path = {library:?} }}

# The published userfaultfd-sys needs libclang to build. With libclang installed, leave the two lines out.
[patch.crates-io]
userfaultfd-sys = {{ path = {sys:?} }}

# Loops over numbers are slow without.
[profile.dev]
opt-level = 1

# Its own, also if a folder around it has one.
[workspace]
"#
    )
}

/// The first program of the README.
fn first_example() -> Result<&'static str> {
    let (_, from) = README.split_once("\n```rust").ok_or("the README has no example")?;
    let (_, code) = from.split_once('\n').ok_or("the README's example has no line")?;
    let (code, _) = code.split_once("\n```").ok_or("the README's example has no end")?;
    Ok(code)
}
