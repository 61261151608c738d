//! Rooms and floors: what may import what.
//!
//! A room is a file or a folder of a crate. Rooms of one floor may import each other, and those of the floors below. The
//! order is that of the code map in ARCHITECTURE.md.

use std::path::{Path, PathBuf};

use crate::graph::Graph;

/// One crate and its floors.
pub struct House {
    /// Its directory.
    pub dir: &'static str,
    /// Directories of the workspace's crates that it is built on.
    pub uses: &'static [&'static str],
    /// Floors from the bottom up, each with its rooms: paths in `src` without `.rs`. The longest that fits a file is its
    /// room. `lib` needs no floor: it declares all the others.
    pub floors: &'static [&'static [&'static str]],
}

/// The crates whose files are checked.
pub const HOUSES: &[House] = &[
    House {
        dir: "core",
        uses: &[],
        floors: &[
            &["error", "failure", "geometry", "metrics", "signals", "sync"],
            &["descriptor"],
            &["contract", "verify"],
            &["conflict", "page_map"],
            &["pager/eviction/ghosts", "pager/eviction/spills", "pager/scratch", "pager/spill_map"],
            &["pager/load/futile", "pager/load/loading", "pager/load/streams"],
            &["pager/binding", "pager/eviction/policy"],
            &["pager/eviction/budget", "pager/load/plan"],
            &["pager/block", "pager/reports"],
            &["pager/table"],
            &["pager/contents", "pager/track"],
            &["pager/eviction", "pager/load"],
            &["pager/rebind"],
            &["pager"],
            &["txn/untracked", "txn/windows"],
            &["txn/reader"],
            &["txn/open_array", "txn/pool"],
            &["txn/transaction"],
            &["txn/commit", "txn/savepoint", "txn/writer"],
            &["txn/resize"],
            &["txn"],
        ],
    },
    House {
        dir: "core-testing",
        uses: &["core"],
        floors: &[
            &["adapter", "events", "history", "mem_file", "proxy", "rng", "role"],
            &["edit", "gate", "hiccups", "mem_store", "sim"],
            &["memory_suite", "store_suite"],
        ],
    },
    House {
        dir: "process",
        uses: &["core"],
        floors: &[&["handlers"], &["unshared", "word"], &["origin"], &["per_process", "temporary"]],
    },
    House {
        dir: "uffd",
        uses: &["core", "process"],
        floors: &[
            &["jobs", "options", "signals", "spans", "stderr"],
            &["available", "ioctl", "limits", "shortage"],
            &["mapping", "memory_file", "pagemap", "read_ahead", "write_protect"],
            &["aside", "monitor", "write_tracking"],
            &["self_test", "threads"],
            &["probe"],
            &["inner"],
            &["description", "span"],
            &["memory"],
        ],
    },
    House {
        dir: "store-lmdb",
        uses: &["core", "process"],
        floors: &[
            &["calls", "crash", "options"],
            &["alloc", "codec"],
            &["record"],
            &["locks"],
            &["data", "index", "queue"],
            &["checked", "dead_readers", "durability", "reading"],
            &["closing"],
            &["shared"],
            &["description", "snapshot"],
            &["check", "space"],
            &["opening", "spill"],
            &["commit"],
            &["store"],
        ],
    },
    House {
        dir: "store-icechunk",
        uses: &["core", "process"],
        floors: &[
            &["checksum"],
            &["options", "zarr"],
            &["objects"],
            &["clock", "disk_cache", "errors"],
            &["repository"],
            &["compact", "snapshot"],
            &["spill"],
            &["shared"],
            &["commit", "history"],
            &["store"],
        ],
    },
    House {
        dir: "ndarray-ext",
        uses: &["core", "process", "store-icechunk", "store-lmdb", "uffd"],
        floors: &[
            &["boolean", "element", "guide", "info", "process", "python"],
            &["array_options", "dtype", "home", "layout", "npy", "options", "prefetch"],
            &["blocks", "budget", "view"],
            &["handle", "removal"],
            &["aliases", "array", "array_mut"],
            &["any_array", "any_array_mut"],
            &["bools", "grow"],
            &["snapshot", "transaction"],
            &["compute", "from_npy"],
            &["database"],
            &["description", "follow", "history", "remote", "space", "transact"],
        ],
    },
    House {
        dir: "cli",
        uses: &["ndarray-ext"],
        floors: &[
            &["failure", "interrupt", "progress", "sketch", "units"],
            &["address", "dtype", "output", "summary"],
            &["convert", "plot"],
            &["open", "select"],
            &["formats"],
            &["args"],
            &["commands"],
        ],
    },
];

/// The traits of a span (`contract/memory/span.rs` of core), each with the one room that takes it. A room that reached
/// another's could take memory away that a view shows.
pub const SPAN_PARTS: &[(&str, &str)] = &[
    ("Install", "pager/load"),
    ("Protect", "pager/eviction"),
    ("Replace", "pager/rebind"),
    ("Span", "pager/mod"),
    ("SpanBytes", "pager/contents"),
    ("TrackWrites", "pager/track"),
];

/// Files that name a trait of [`SPAN_PARTS`] which another room takes, and traits that no room takes.
pub fn misplaced_span_parts(core: &Graph) -> Vec<String> {
    let contract = Path::new("contract/memory/span.rs");
    let named: Vec<(&Path, &str)> = core
        .files()
        .filter(|file| !file.starts_with("contract"))
        .flat_map(|file| core.imports(file).map(move |(to, names)| (file, to, names)))
        .filter(|(_, to, _)| *to == contract)
        .flat_map(|(file, _, names)| names.iter().map(move |name| (file, name.as_str())))
        .collect();
    let mut misplaced = Vec::new();
    for (part, room) in SPAN_PARTS {
        let in_room = |file: &Path| file.with_extension("").starts_with(room);
        let users: Vec<&Path> = named.iter().filter(|(_, name)| name == part).map(|(file, _)| *file).collect();
        let outside = users.iter().filter(|file| !in_room(file));
        misplaced.extend(outside.map(|file| format!("{} names {part}, which only {room} takes", file.display())));
        if !users.iter().any(|file| in_room(file)) {
            misplaced.push(format!("{room} does not take {part}"));
        }
    }
    misplaced
}

/// An import of a file from a floor above its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Upward {
    /// The file that imports.
    pub from: PathBuf,
    /// The file that it imports from.
    pub to: PathBuf,
}

impl House {
    /// The floor of `file`, counted from the bottom, and its room; `None` for `lib.rs`, and for a file without a room.
    pub fn place(&self, file: &Path) -> Option<(usize, &'static str)> {
        let stem = file.with_extension("");
        let rooms =
            self.floors.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (floor, *room)));
        rooms.filter(|(_, room)| stem.starts_with(room)).max_by_key(|(_, room)| room.len())
    }

    /// Imports that go up. Those between a module and its children do not count.
    pub fn upward(&self, graph: &Graph) -> Vec<Upward> {
        let floor = |file: &Path| self.place(file).map(|(floor, _)| floor);
        let mut upward = Vec::new();
        for from in graph.files() {
            for (to, _) in graph.imports(from) {
                let goes_up = floor(from).zip(floor(to)).is_some_and(|(from, to)| to > from);
                if goes_up && !graph.are_parent_and_child(from, to) {
                    upward.push(Upward { from: from.to_owned(), to: to.to_owned() });
                }
            }
        }
        upward
    }

    /// Files that are in no room, and rooms without a file.
    pub fn unknown(&self, graph: &Graph) -> Vec<String> {
        let homeless = graph.files().filter(|file| *file != Path::new("lib.rs") && self.place(file).is_none());
        let mut unknown: Vec<String> = homeless.map(|file| format!("{} is in no room", file.display())).collect();
        for room in self.floors.iter().copied().flatten() {
            if !graph.files().any(|file| self.place(file).is_some_and(|(_, of)| of == *room)) {
                unknown.push(format!("the room {room:?} is empty"));
            }
        }
        unknown
    }
}
