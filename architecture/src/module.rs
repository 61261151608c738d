//! A module of a crate: the names that it defines and binds, and the paths that it mentions. The reader fills it in, so
//! that paths can be resolved without the source.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

/// A path as written: `crate::pager::Table` is three segments.
pub(crate) type Segments = Vec<String>;

/// One module of a crate: a file, or an inline module inside of one.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Relative to the crate's `src`.
    pub(crate) file: PathBuf,
    /// Index of the module that declares this one; the root has none.
    pub(crate) parent: Option<usize>,
    pub(crate) children: HashMap<String, usize>,
    /// Names of the items that are defined here.
    pub(crate) items: HashSet<String>,
    /// Names that `use` declarations bind, with the path that each stands for.
    pub(crate) bound: HashMap<String, Segments>,
    /// Paths of `use path::*`.
    pub(crate) globs: Vec<Segments>,
    /// Every path that the module mentions, in `use` declarations and in code.
    pub(crate) mentioned: BTreeSet<Segments>,
    pub(crate) has_unsafe: bool,
}
