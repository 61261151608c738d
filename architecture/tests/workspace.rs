//! The rules of ARCHITECTURE.md that can be read off the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use bigarray_architecture::examples::without_example;
use bigarray_architecture::floors::{HOUSES, House, misplaced_span_parts};
use bigarray_architecture::graph::Graph;
use bigarray_architecture::reader;
use serde_json::Value;

/// What core must not name: it makes no system call.
const SYSTEM: &[&str] = &["libc", "nix", "std::fs", "std::net", "std::os", "std::process"];

/// What core may name of that: an open file goes from the store to the memory through it.
const HANDED_ON: &[&str] = &["std::fs::File"];

/// What no file but core's `sync` must name, so that a model checker can take its place there.
const LOCKS: &[&str] = &[
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::MutexGuard",
    "std::sync::PoisonError",
    "std::sync::RwLock",
    "std::sync::RwLockReadGuard",
    "std::sync::RwLockWriteGuard",
];

static GRAPHS: LazyLock<Vec<(&House, Graph)>> = LazyLock::new(|| {
    let graph = |house: &House| Graph::of(&reader::read(&root().join(house.dir).join("src")).unwrap());
    HOUSES.iter().map(|house| (house, graph(house))).collect()
});

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn files_make_no_circle() {
    for (house, graph) in &*GRAPHS {
        let (dir, circles) = (house.dir, graph.circles());
        assert!(
            circles.is_empty(),
            "{dir}: {circles:#?}\n`cargo run -p bigarray-architecture -- {dir}` tells what ties them"
        );
    }
}

#[test]
fn nothing_is_imported_from_a_floor_above() {
    for (house, graph) in &*GRAPHS {
        let upward = house.upward(graph);
        assert!(upward.is_empty(), "{}: {upward:#?}", house.dir);
        assert!(house.unknown(graph).is_empty(), "{}: {:#?} (see `floors.rs`)", house.dir, house.unknown(graph));
    }
}

#[test]
fn every_file_begins_with_what_it_is() {
    for file in rust_files(root()) {
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().find(|line| !line.is_empty() && !line.starts_with("#!"));
        assert!(first.is_some_and(|line| line.starts_with("//! ")), "{}: no `//!` line at its head", file.display());
    }
}

/// The Rust files below `dir`, those of builds aside.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if entry.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

#[test]
fn every_file_or_its_folder_stands_in_the_code_map() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (house, graph) in &*GRAPHS {
        let (_, section) = page.split_once(&format!("\n### `{}`", house.dir)).expect("the map has all crates");
        let rows = section.lines().skip(1).take_while(|line| !line.starts_with("### "));
        let names: BTreeSet<&str> = rows
            .filter(|line| line.starts_with("| "))
            .flat_map(|row| row.split('`').skip(1).step_by(2))
            .map(|name| name.trim_end_matches('/'))
            .collect();
        let stands = |file: &Path| {
            let stem = file.with_extension("");
            let own = stem.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // A `mod` stands there with the other files of its folder.
            let folder = stem.parent().filter(|_| own == "mod");
            names.contains(own)
                || stem.ancestors().filter_map(Path::to_str).any(|path| names.contains(path))
                || folder.is_some_and(|folder| names.iter().any(|name| Path::new(name).starts_with(folder)))
        };
        let missing: Vec<_> =
            graph.files().filter(|file| *file != Path::new("lib.rs") && !stands(file)).map(Path::display).collect();
        assert!(missing.is_empty(), "{}: not in the code map of ARCHITECTURE.md: {missing:?}", house.dir);
    }
}

#[test]
fn crates_depend_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    for house in HOUSES {
        let manifest = root().join(house.dir).join("Cargo.toml");
        let package =
            packages.iter().find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest));
        let used: BTreeSet<PathBuf> =
            package.unwrap_or_else(|| panic!("no package in {:?}", house.dir))["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .filter_map(|dependency| dependency["path"].as_str())
                .map(PathBuf::from)
                .collect();
        let allowed: BTreeSet<PathBuf> = house.uses.iter().map(|dir| root().join(dir)).collect();
        assert_eq!(used, allowed, "what {:?} depends on", house.dir);
    }
}

#[test]
fn core_names_no_system_call() {
    let (_, graph) = GRAPHS.iter().find(|(house, _)| house.dir == "core").unwrap();
    for file in graph.files() {
        let named: Vec<&str> =
            graph.foreign(file).filter(|path| is_of(path, SYSTEM) && !HANDED_ON.contains(path)).collect();
        assert!(named.is_empty(), "core/src/{} names {named:?}", file.display());
    }
}

#[test]
fn the_locks_of_std_are_named_in_one_file() {
    let mut naming = Vec::new();
    for (house, graph) in &*GRAPHS {
        for file in graph.files() {
            // The module itself, or a glob of it, stands for all of them.
            let named: Vec<&str> =
                graph.foreign(file).filter(|path| *path == "std::sync" || is_of(path, LOCKS)).collect();
            if !named.is_empty() {
                naming.push((format!("{}/src/{}", house.dir, file.display()), named));
            }
        }
    }
    assert!(
        matches!(&naming[..], [(file, _)] if file == "core/src/sync.rs"),
        "{naming:#?}\ntake the locks of `bigarray_core::sync`"
    );
}

/// Whether `path` is one of `modules`, or leads into one.
fn is_of(path: &str, modules: &[&str]) -> bool {
    modules.iter().any(|module| path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

#[test]
fn each_room_of_the_pager_takes_its_part_of_the_span() {
    let (_, graph) = GRAPHS.iter().find(|(house, _)| house.dir == "core").unwrap();
    let misplaced = misplaced_span_parts(graph);
    assert!(misplaced.is_empty(), "{misplaced:#?} (see `SPAN_PARTS` in `floors.rs`)");
}

#[test]
fn every_public_item_of_the_product_has_an_example() {
    let missing = without_example(&root().join("ndarray-ext/src")).unwrap();
    assert!(missing.is_empty(), "no example that runs: {missing:#?}");
}

#[test]
fn unsafe_is_where_the_page_says() {
    let page = fs::read_to_string(root().join("docs/soundness.md")).unwrap();
    let (_, table) = page.split_once("## Where unsafe is").expect("the page has this section");
    let said: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(file, _)| file).collect();
    let found: BTreeSet<String> = GRAPHS
        .iter()
        .flat_map(|(house, graph)| graph.with_unsafe().map(|file| format!("{}/src/{}", house.dir, file.display())))
        .collect();
    assert_eq!(found, said.iter().map(|file| (*file).to_owned()).collect(), "found, and what docs/soundness.md lists");
}
