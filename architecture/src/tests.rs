//! Crates that are made up, a property each.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::floors::{House, Upward, misplaced_span_parts};
use crate::graph::Graph;
use crate::reader;

fn graph(files: &[(&str, &str)]) -> Graph {
    let sources: HashMap<PathBuf, String> =
        files.iter().map(|(file, source)| (PathBuf::from(file), (*source).to_owned())).collect();
    Graph::of(&reader::parse(&sources).unwrap())
}

fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let names = |circle: &BTreeSet<PathBuf>| circle.iter().map(|file| file.display().to_string()).collect();
    graph(files).circles().iter().map(names).collect()
}

fn imports(graph: &Graph, from: &str) -> Vec<String> {
    graph.imports(Path::new(from)).map(|(to, _)| to.display().to_string()).collect()
}

#[test]
fn a_circle_of_three_files_is_found() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B(Box<crate::c::C>);"),
        ("c.rs", "use super::a; pub struct C(Vec<a::A>);"),
        ("d.rs", "use crate::a::A; pub struct D(A);"),
    ];
    assert_eq!(circles(&files), [["a.rs", "b.rs", "c.rs"]]);
}

#[test]
fn parent_and_child_are_no_circle() {
    let files = [
        ("lib.rs", "mod a; pub struct Shared; fn f(_: a::b::B) {}"),
        ("a/mod.rs", "pub mod b; pub struct A(b::B);"),
        ("a/b.rs", "use super::A; pub struct B(Option<Box<A>>, crate::Shared);"),
    ];
    assert!(circles(&files).is_empty());
    let graph = graph(&files);
    assert_eq!(imports(&graph, "a/b.rs"), ["a/mod.rs", "lib.rs"]);
    assert!(graph.are_parent_and_child(Path::new("lib.rs"), Path::new("a/b.rs")));
}

#[test]
fn siblings_that_import_each_other_by_their_parents_re_exports_are_a_circle() {
    let files = [
        ("lib.rs", "mod room;"),
        ("room/mod.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
        ("room/a.rs", "use super::B; pub struct A(B);"),
        ("room/b.rs", "use crate::room::A; pub struct B(Box<A>);"),
    ];
    assert_eq!(circles(&files), [["room/a.rs", "room/b.rs"]]);
}

#[test]
fn a_path_inside_of_a_function_or_a_macro_is_an_import() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "pub fn f() { use crate::b as other; other::g(); assert!(1 < crate::c::h(), \"{}\", 1); }"),
        ("b.rs", "pub fn g() {}"),
        ("c.rs", "pub fn h() -> i32 { super::d::K }"),
        ("d.rs", "pub const K: i32 = 2;"),
    ];
    let graph = graph(&files);
    assert_eq!(imports(&graph, "a.rs"), ["b.rs", "c.rs"]);
    assert_eq!(imports(&graph, "c.rs"), ["d.rs"]);
}

#[test]
fn an_item_with_the_name_of_its_crate_is_of_another_crate() {
    let files = [("lib.rs", "mod a;"), ("a.rs", "use other::other; pub fn f() { other(); other::g(); }")];
    let graph = graph(&files);
    assert_eq!(graph.foreign(Path::new("a.rs")).collect::<Vec<_>>(), ["other", "other::g", "other::other"]);
}

#[test]
fn a_module_that_is_only_named_is_not_imported() {
    let files = [
        ("lib.rs", "mod a; mod room;"),
        ("a.rs", "use crate::room; pub fn f() { room::inner::g(); }"),
        ("room/mod.rs", "pub mod inner;"),
        ("room/inner.rs", "pub fn g() {}"),
    ];
    assert_eq!(imports(&graph(&files), "a.rs"), ["room/inner.rs"]);
}

#[test]
fn tests_are_left_out() {
    let files = [
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod missing;"),
        ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; fn f() { unsafe { g() } } }"),
        ("b.rs", "use crate::a::A; pub struct B(A); impl B { #[cfg(test)] unsafe fn g() {} }"),
    ];
    let graph = graph(&files);
    assert!(imports(&graph, "a.rs").is_empty());
    assert_eq!(graph.with_unsafe().count(), 0);
}

#[test]
fn unsafe_code_and_foreign_paths_are_seen() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use std::{fs, io::Read}; pub fn f() { unsafe { g() } }"),
        ("b.rs", "pub unsafe fn f() {}"),
        ("c.rs", "pub struct C; unsafe impl Send for C {}"),
        ("d.rs", "pub fn f() { vec![unsafe { g() }]; }"),
    ];
    let graph = graph(&files);
    assert_eq!(graph.with_unsafe().map(|file| file.display().to_string()).collect::<String>(), "a.rsb.rsc.rsd.rs");
    let foreign: Vec<&str> = graph.foreign(Path::new("a.rs")).collect();
    assert!(foreign.contains(&"std::fs") && foreign.contains(&"std::io::Read"), "{foreign:?}");
}

const HOUSE: House =
    House { dir: "made-up", uses: &[], floors: &[&["low"], &["room", "room/high"], &["room/cellar"], &["attic"]] };

#[test]
fn an_import_against_the_floors_is_found() {
    let files = [
        ("lib.rs", "mod attic; mod low; mod room;"),
        ("low.rs", "pub struct Low(crate::room::Room);"),
        ("room/mod.rs", "mod cellar; mod high; pub struct Room(cellar::Cellar, crate::low::Low);"),
        ("room/high.rs", "use super::Room; pub struct High(Room);"),
        ("room/cellar.rs", "pub struct Cellar;"),
        ("attic.rs", "use crate::low::Low; pub struct Attic(Low);"),
    ];
    let graph = graph(&files);
    assert!(HOUSE.unknown(&graph).is_empty());
    assert_eq!(HOUSE.place(Path::new("room/cellar.rs")), Some((2, "room/cellar")));
    assert_eq!(HOUSE.upward(&graph), [Upward { from: "low.rs".into(), to: "room/mod.rs".into() }]);
}

#[test]
fn a_part_of_the_span_in_another_room_is_found() {
    let with_load = |load| {
        let core = graph(&[
            ("lib.rs", "mod contract; mod pager;"),
            ("contract/mod.rs", "pub mod memory;"),
            ("contract/memory/mod.rs", "mod span; pub use span::*;"),
            (
                "contract/memory/span.rs",
                "pub trait Span {} pub trait Install {} pub trait Protect {} pub trait Replace {} \
                 pub trait SpanBytes {} pub trait TrackWrites {}",
            ),
            (
                "pager/mod.rs",
                "mod contents; mod eviction; mod load; mod rebind; mod track; fn f(_: crate::contract::memory::Span) {}",
            ),
            ("pager/contents.rs", "use crate::contract::memory::SpanBytes;"),
            ("pager/eviction.rs", "use crate::contract::memory::Protect;"),
            ("pager/load.rs", load),
            ("pager/rebind.rs", "use crate::contract::memory::Replace;"),
            ("pager/track.rs", "use crate::contract::memory::TrackWrites;"),
        ]);
        misplaced_span_parts(&core)
    };
    assert_eq!(with_load("use crate::contract::memory::Install;"), [""; 0]);
    let misplaced = with_load("use crate::contract::memory::{Install, Replace};");
    assert_eq!(misplaced, ["pager/load.rs names Replace, which only pager/rebind takes"]);
    assert_eq!(with_load("use std::fmt;"), ["pager/load does not take Install"]);
}

#[test]
fn a_file_without_a_room_and_a_room_without_a_file_are_told() {
    let graph = graph(&[
        ("lib.rs", "mod low; mod lower; mod room;"),
        ("low.rs", ""),
        ("lower.rs", ""),
        ("room.rs", "mod high; mod cellar;"),
        ("room/high.rs", ""),
        ("room/cellar.rs", ""),
    ]);
    assert_eq!(HOUSE.unknown(&graph), ["lower.rs is in no room", "the room \"attic\" is empty"]);
}
