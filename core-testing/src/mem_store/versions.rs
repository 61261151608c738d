//! How the versions of a [`MemStore`](super::MemStore) come about.

use std::hash::{DefaultHasher, Hash, Hasher};

use bigarray_core::Version;

/// What the versions of blocks, attributes and arrays are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// Numbers of commits: what was stored has another version, whatever was stored.
    #[default]
    Numbers,
    /// Hashes of what is there, which do not grow. They tell no more than a store has to tell: what was changed back has
    /// the version that it had, and so has a block to which the bytes were stored that were there. Blocks of zeros, and
    /// attributes that were removed, are absent. Blocks are kept two by two: a store to one of them gives both another
    /// version. Shapes alone have numbers, scrambled.
    Hashes,
}

/// A hash that is the same in every run, and never that of what is absent.
pub(super) fn digest_of(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish() | 1
}

impl Versions {
    /// The version of what has no bytes to be hashed and was changed by the commit `number`.
    pub(super) fn of_commit(self, number: Version) -> Version {
        match self {
            Versions::Numbers => number,
            Versions::Hashes => Version(digest_of(&number)),
        }
    }

    /// The version of `what`, which was changed by the commit `number`.
    pub(super) fn of(self, number: Version, what: &(impl Hash + ?Sized)) -> Version {
        match self {
            Versions::Numbers => number,
            Versions::Hashes => Version(digest_of(what)),
        }
    }
}
