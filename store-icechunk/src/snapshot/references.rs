//! Where the bytes of chunks are: references, which manifests hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bigarray_core::{Result, signals};
use icechunk::format::manifest::{ChunkPayload, Manifest};
use icechunk::format::{ChunkIndices, IcechunkFormatErrorKind};

use super::catalog::Entry;
use super::source::Source;
use crate::errors::Located;

impl Source {
    /// The references of chunks of an array, in the order of `chunks`; `None` for those that are not stored. What is not
    /// in memory is fetched, all at once.
    pub(crate) fn references(&self, entry: &Entry, chunks: &[ChunkIndices]) -> Result<Vec<Option<ChunkPayload>>> {
        let places: Vec<Option<usize>> = chunks.iter().map(|index| entry.manifest_of(&index.0)).collect();
        let manifests = self.manifests(entry, places.iter().flatten().copied())?;
        let found = chunks.iter().zip(places).map(|(index, place)| {
            let Some(place) = place else { return Ok(None) };
            match manifests[&place].get_chunk_payload(&entry.node, index) {
                Ok(payload) => Ok(Some(payload)),
                Err(error) if matches!(error.kind, IcechunkFormatErrorKind::ChunkCoordinatesNotFound { .. }) => {
                    Ok(None)
                }
                error => error.at(self.url(), format_args!("array {:?}: a manifest", entry.name)).map(Some),
            }
        });
        found.collect()
    }

    /// The manifests of an array whose numbers are `wanted`, by number.
    pub(crate) fn manifests(
        &self,
        entry: &Entry,
        wanted: impl IntoIterator<Item = usize>,
    ) -> Result<BTreeMap<usize, Arc<Manifest>>> {
        let (mut found, missing) = self.known_manifests(entry, wanted);
        if !missing.is_empty() {
            let fetched = self.repository.manifests(&entry.name, entry.ids_of(&missing))?;
            self.keep(&fetched);
            found.extend(missing.into_iter().zip(fetched));
        }
        Ok(found)
    }

    /// Those of the manifests `wanted` that are in memory, and the numbers of the others.
    pub(super) fn known_manifests(
        &self,
        entry: &Entry,
        wanted: impl IntoIterator<Item = usize>,
    ) -> (BTreeMap<usize, Arc<Manifest>>, BTreeSet<usize>) {
        // A fault that a signal handler waits for may look here too.
        let _held = signals::hold();
        let (mut found, mut missing) = (BTreeMap::new(), BTreeSet::new());
        for number in wanted {
            if found.contains_key(&number) || missing.contains(&number) {
                continue;
            }
            match self.manifests.get(&entry.manifests[number].id) {
                Some(manifest) => _ = found.insert(number, manifest),
                None => _ = missing.insert(number),
            }
        }
        (found, missing)
    }

    /// Keeps manifests in memory, as long as there is room.
    pub(super) fn keep(&self, manifests: &[Arc<Manifest>]) {
        let _held = signals::hold();
        for manifest in manifests {
            self.manifests.insert(manifest.id(), Arc::clone(manifest));
        }
    }
}
