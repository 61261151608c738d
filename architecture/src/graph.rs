//! Imports between the files of a crate, and the circles that they make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::reader::Crate;
use crate::resolve::Target;

/// The files of one crate and what each takes from which other.
pub struct Graph {
    /// Every file, with the files above it: those of the modules that it is declared in, up to the root.
    above: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    imports: BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>,
    /// Paths into other crates, by file.
    foreign: BTreeMap<PathBuf, BTreeSet<String>>,
    with_unsafe: BTreeSet<PathBuf>,
}

impl Graph {
    /// The graph of `krate`.
    pub fn of(krate: &Crate) -> Graph {
        let mut graph = Graph {
            above: BTreeMap::new(),
            imports: BTreeMap::new(),
            foreign: BTreeMap::new(),
            with_unsafe: BTreeSet::new(),
        };
        for (index, module) in krate.modules.iter().enumerate() {
            let file = &module.file;
            let mut above = BTreeSet::new();
            let mut at = module.parent;
            while let Some(parent) = at {
                above.insert(krate.modules[parent].file.clone());
                at = krate.modules[parent].parent;
            }
            above.remove(file);
            graph.above.insert(file.clone(), above);
            if module.has_unsafe {
                graph.with_unsafe.insert(file.clone());
            }
            for path in &module.mentioned {
                // `use path::*` is an import of the module. A module that is only named is none: what is taken of it is
                // another path.
                let (path, is_glob) = match path.split_last() {
                    Some((last, module)) if last == "*" => (module, true),
                    _ => (path.as_slice(), false),
                };
                match krate.resolve(index, path) {
                    Some(Target::Item(to, name)) => graph.import(file, &krate.modules[to].file, name),
                    Some(Target::Module(to)) if is_glob => graph.import(file, &krate.modules[to].file, "*".to_owned()),
                    Some(Target::Module(_)) => {}
                    None => _ = graph.foreign.entry(file.clone()).or_default().insert(path.join("::")),
                }
            }
        }
        graph
    }

    fn import(&mut self, from: &Path, to: &Path, name: String) {
        if from != to {
            let names = self.imports.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
            names.insert(name);
        }
    }

    /// Every file, relative to the crate's `src`.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.above.keys().map(PathBuf::as_path)
    }

    /// The files that `from` imports from, with the names of the items.
    pub fn imports(&self, from: &Path) -> impl Iterator<Item = (&Path, &BTreeSet<String>)> {
        self.imports.get(from).into_iter().flatten().map(|(to, names)| (to.as_path(), names))
    }

    /// Paths that `file` mentions and that lead into other crates, or nowhere, such as local names.
    pub fn foreign(&self, file: &Path) -> impl Iterator<Item = &str> {
        self.foreign.get(file).into_iter().flatten().map(String::as_str)
    }

    /// Files with unsafe code.
    pub fn with_unsafe(&self) -> impl Iterator<Item = &Path> {
        self.with_unsafe.iter().map(PathBuf::as_path)
    }

    /// Whether one of the files declares the other, directly or by modules between.
    pub fn are_parent_and_child(&self, a: &Path, b: &Path) -> bool {
        let is_above = |a: &Path, b: &Path| self.above.get(b).is_some_and(|above| above.contains(a));
        is_above(a, b) || is_above(b, a)
    }

    /// Groups of files each of which can be reached from each by imports, without those between a module and its
    /// children.
    pub fn circles(&self) -> Vec<BTreeSet<PathBuf>> {
        let reached: BTreeMap<&Path, BTreeSet<&Path>> = self.files().map(|file| (file, self.reached(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, others) in &reached {
            let circle: BTreeSet<PathBuf> = others
                .iter()
                .filter(|other| reached[**other].contains(file))
                .map(|other| other.to_path_buf())
                .collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reached<'a>(&'a self, file: &'a Path) -> BTreeSet<&'a Path> {
        let mut reached = BTreeSet::new();
        let mut next = vec![file];
        while let Some(from) = next.pop() {
            for (to, _) in self.imports(from) {
                if !self.are_parent_and_child(from, to) && reached.insert(to) {
                    next.push(to);
                }
            }
        }
        reached
    }
}
