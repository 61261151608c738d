//! The rules of ARCHITECTURE.md that can be read off the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use bigarray_architecture::floors::{HOUSES, House};
use bigarray_architecture::graph::Graph;
use bigarray_architecture::reader;
use serde_json::Value;

/// Circles that are known, by crate. The list only ever gets shorter: a circle that is gone fails the test, too.
const KNOWN_CIRCLES: &[(&str, &[&str])] = &[
    ("core", &["engine/commit", "engine/slot", "engine/transaction", "engine/unsearched", "engine/writer"]),
    (
        "core",
        &[
            "pager/budget",
            "pager/dirty",
            "pager/evict",
            "pager/fault",
            "pager/plan",
            "pager/read_ahead",
            "pager/table",
            "pager/victims",
        ],
    ),
    ("core", &["pager/flush", "pager/refresh"]),
    ("core", &["testing/sim/fault", "testing/sim/span", "testing/sim/user", "testing/sim/world"]),
    ("uffd", &["aside", "memory", "probe", "self_test", "span"]),
    (
        "store-lmdb",
        &[
            "ahead/claim",
            "ahead/mod",
            "check/mod",
            "commit/full_disk",
            "commit/mod",
            "commit/tidy",
            "opening/guards",
            "opening/mod",
            "opening/registry",
            "shared",
            "snapshot",
            "store",
        ],
    ),
    ("store-lmdb", &["alloc/allocator", "alloc/claims", "alloc/table"]),
    ("store-lmdb", &["commit/pack", "commit/payload"]),
    ("store-lmdb", &["index/environment", "index/readers", "index/txn"]),
    ("store-lmdb", &["index/error", "index/map", "index/reserve", "index/room"]),
    ("store-lmdb", &["record/header", "record/meta"]),
];

/// What core must not name: it makes no system call.
const SYSTEM: &[&str] = &["libc", "nix", "std::fs", "std::net", "std::os", "std::process"];

/// What core may name of that: an open file goes from the store to the memory through it.
const HANDED_ON: &[&str] = &["std::fs::File"];

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
        let found: BTreeSet<Vec<String>> = graph
            .circles()
            .iter()
            .map(|circle| circle.iter().map(|file| file.with_extension("").display().to_string()).collect())
            .collect();
        let known = KNOWN_CIRCLES.iter().filter(|(dir, _)| *dir == house.dir);
        let known: BTreeSet<Vec<String>> =
            known.map(|(_, circle)| circle.iter().map(|file| (*file).to_owned()).collect()).collect();
        let (new, gone): (Vec<_>, Vec<_>) = (found.difference(&known).collect(), known.difference(&found).collect());
        let dir = house.dir;
        assert!(
            new.is_empty() && gone.is_empty(),
            "{dir}: new circles {new:#?}, known ones that are gone {gone:#?}; \
             `cargo run -p bigarray-architecture -- {dir}` tells what ties them"
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
    let is_system = |path: &str| {
        SYSTEM
            .iter()
            .any(|module| path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
    };
    for file in graph.files() {
        let named: Vec<&str> =
            graph.foreign(file).filter(|path| is_system(path) && !HANDED_ON.contains(path)).collect();
        assert!(named.is_empty(), "core/src/{} names {named:?}", file.display());
    }
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
