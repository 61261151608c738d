//! Where the bytes of chunks are: references, which manifests hold.

use std::collections::BTreeMap;
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

    /// Whether the reference of a chunk is found without a request.
    pub(super) fn knows(&self, entry: &Entry, index: &ChunkIndices) -> bool {
        let _held = signals::hold();
        entry.manifest_of(&index.0).is_none_or(|at| self.manifests.get(&entry.manifests[at].id).is_some())
    }

    /// The manifests of an array whose numbers are `wanted`, by number.
    pub(crate) fn manifests(
        &self,
        entry: &Entry,
        wanted: impl IntoIterator<Item = usize>,
    ) -> Result<BTreeMap<usize, Arc<Manifest>>> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        for number in wanted {
            if found.contains_key(&number) || missing.contains(&number) {
                continue;
            }
            // A fault that a signal handler waits for may look here too.
            let known = {
                let _held = signals::hold();
                self.manifests.get(&entry.manifests[number].id)
            };
            match known {
                Some(manifest) => {
                    found.insert(number, manifest);
                }
                None => missing.push(number),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let places = missing.iter().map(|number| &entry.manifests[*number]);
        let fetched = self.repository.manifests(&entry.name, places.map(|at| (at.id.clone(), at.bytes)).collect())?;
        for (number, manifest) in missing.into_iter().zip(fetched) {
            let _held = signals::hold();
            self.manifests.insert(manifest.id(), Arc::clone(&manifest));
            found.insert(number, manifest);
        }
        Ok(found)
    }
}
