//! From a path as it is written in a module to the module that defines the item.

use std::collections::HashSet;

use crate::module::Segments;
use crate::reader::Crate;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To a module itself.
    Module(usize),
    /// To the item of this name that a module defines.
    Item(usize, String),
}

impl Crate {
    /// Where `path` leads from module `from`; `None` for paths of other crates, local names and generic parameters.
    pub(crate) fn resolve(&self, from: usize, path: &[String]) -> Option<Target> {
        self.follow(from, path, &mut HashSet::new())
    }

    /// `tried` holds what was asked before, so that re-exports in a ring end.
    fn follow(&self, from: usize, path: &[String], tried: &mut HashSet<(usize, Segments)>) -> Option<Target> {
        if !tried.insert((from, path.to_vec())) {
            return None;
        }
        let mut at = from;
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => at = 0,
                "self" => {}
                "super" => at = self.modules[at].parent?,
                _ => break,
            }
            rest = after;
        }
        while let Some((name, after)) = rest.split_first() {
            let module = &self.modules[at];
            if let Some(child) = module.children.get(name) {
                (at, rest) = (*child, after);
            } else if module.items.contains(name) {
                return Some(Target::Item(at, name.clone()));
            } else if let Some(bound) = module.bound.get(name) {
                // `use async_trait::async_trait`: the item of another crate that has the crate's name.
                if bound.first() == Some(name) {
                    return None;
                }
                return self.follow(at, &[bound, after].concat(), tried);
            } else {
                // A glob of another crate leads nowhere, and the name of that crate would be looked for in it again.
                let of_this_crate = |glob: &&Segments| {
                    glob.first().is_some_and(|first| {
                        let is_relative = matches!(first.as_str(), "crate" | "self" | "super");
                        is_relative || module.children.contains_key(first) || module.bound.contains_key(first)
                    })
                };
                let mut globs = module.globs.iter().filter(of_this_crate);
                return globs.find_map(|glob| self.follow(at, &[glob, rest].concat(), tried));
            }
        }
        Some(Target::Module(at))
    }
}
