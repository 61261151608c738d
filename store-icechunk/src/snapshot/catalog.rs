//! Which arrays a state has: each is a node of Icechunk, whose metadata is a `zarr.json`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use bigarray_core::{ArrayId, BlockNo, Descriptor, Error, ErrorKind, Result, Version};
use bytes::Bytes;
use icechunk::format::manifest::{ManifestExtents, ManifestRef};
use icechunk::format::snapshot::{NodeData, NodeSnapshot, Snapshot};
use icechunk::format::{ChunkIndices, ManifestId, NodeId, Path};

use crate::errors::Located;
use crate::zarr::{self, Group, Metadata};

/// The arrays and groups of one state, by name.
pub(crate) struct Catalog {
    arrays: BTreeMap<String, Arc<Entry>>,
    by_id: HashMap<ArrayId, Arc<Entry>>,
    /// Arrays that cannot be read, and why.
    unreadable: BTreeMap<String, String>,
    groups: BTreeSet<String>,
    /// The root group, whose attributes are those of the database; `None` if there is none yet.
    root: Option<Result<Group>>,
}

/// One array.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) path: Path,
    pub(crate) node: NodeId,
    pub(crate) metadata: Metadata,
    pub(crate) descriptor: Descriptor,
    pub(crate) manifests: Vec<ManifestPlace>,
    /// What `metadata` is made from.
    document: Bytes,
}

/// A manifest that refers to chunks of an array.
#[derive(PartialEq)]
pub(crate) struct ManifestPlace {
    pub(crate) id: ManifestId,
    /// How many it takes in storage.
    pub(crate) bytes: u64,
    /// Indices of the chunks that it refers to lie within.
    pub(crate) extents: ManifestExtents,
}

impl Catalog {
    /// That of `snapshot`. Entries that are the same in `before`, an earlier state, are taken from there.
    pub(crate) fn of(snapshot: &Snapshot, url: &str, before: Option<&Catalog>) -> Result<Catalog> {
        let mut catalog = Catalog {
            arrays: BTreeMap::new(),
            by_id: HashMap::new(),
            unreadable: BTreeMap::new(),
            groups: BTreeSet::new(),
            root: None,
        };
        for node in snapshot.iter() {
            catalog.add(node.at(url, "a snapshot")?, snapshot, url, before)?;
        }
        Ok(catalog)
    }

    fn add(&mut self, node: NodeSnapshot, snapshot: &Snapshot, url: &str, before: Option<&Catalog>) -> Result<()> {
        let path = node.path.to_string();
        let name = zarr::name_of(&path).unwrap_or_default().to_owned();
        let NodeData::Array { manifests, .. } = node.node_data else {
            if name.is_empty() {
                let root = Group::parse(&node.user_data);
                self.root = Some(root.map_err(|error| error.context(url)));
            }
            self.groups.insert(name);
            return Ok(());
        };
        let place = |manifest: ManifestRef| {
            let info = snapshot.manifest_info(&manifest.object_id).at(url, "a snapshot")?;
            let bytes = info.map_or(0, |info| info.size_bytes);
            Ok(ManifestPlace { id: manifest.object_id, bytes, extents: manifest.extents })
        };
        let manifests = manifests.into_iter().map(place).collect::<Result<Vec<_>>>()?;
        let known = before
            .and_then(|before| before.by_id.get(&id_of(&node.id)))
            .filter(|entry| entry.name == name && entry.document == node.user_data && entry.manifests == manifests);
        let entry = match known {
            Some(entry) => Arc::clone(entry),
            None => match Metadata::parse(&node.user_data) {
                Ok(metadata) => Arc::new(Entry::new(name, node.path, node.id, metadata, node.user_data, manifests)),
                Err(reason) => {
                    self.unreadable.insert(name, reason.to_string());
                    return Ok(());
                }
            },
        };
        self.by_id.insert(entry.descriptor.id, Arc::clone(&entry));
        self.arrays.insert(entry.name.clone(), entry);
        Ok(())
    }

    /// The array of that name.
    pub(crate) fn array(&self, name: &str) -> Option<&Arc<Entry>> {
        self.arrays.get(name)
    }

    /// The array of that id.
    pub(crate) fn of_id(&self, id: ArrayId) -> Option<&Arc<Entry>> {
        self.by_id.get(&id)
    }

    /// Every array that can be read, in order of names.
    pub(crate) fn arrays(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.arrays.values()
    }

    /// Every array that cannot be read, in order of names, and why.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unreadable.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// Whether another array of the group that `name` is in has an axis of that name.
    pub(crate) fn has_axis(&self, name: &str, axis: &str) -> bool {
        let group = |name: &str| name.rsplit_once('/').map_or(0, |(group, _)| group.len());
        let prefix = &name[..group(name)];
        let mut others = self
            .arrays
            .values()
            .filter(|other| other.name != name && group(&other.name) == prefix.len() && other.name.starts_with(prefix));
        others.any(|other| {
            let names = other.metadata.dimension_names();
            names.is_some_and(|names| names.iter().flatten().any(|name| name == axis))
        })
    }

    /// Why the array of that name cannot be read.
    pub(crate) fn why_unreadable(&self, name: &str) -> Option<&str> {
        self.unreadable.get(name).map(String::as_str)
    }

    /// Whether a group has that name; that of the root is empty.
    pub(crate) fn has_group(&self, name: &str) -> bool {
        self.groups.contains(name)
    }

    /// The root group; one without attributes if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`]: its metadata is none of a group.
    pub(crate) fn root(&self) -> Result<Group> {
        self.root.clone().unwrap_or_else(|| Ok(Group::default()))
    }

    /// Whether an array has that name, readable or not.
    pub(crate) fn has_array(&self, name: &str) -> bool {
        self.arrays.contains_key(name) || self.unreadable.contains_key(name)
    }
}

impl Entry {
    fn new(
        name: String,
        path: Path,
        node: NodeId,
        metadata: Metadata,
        document: Bytes,
        manifests: Vec<ManifestPlace>,
    ) -> Entry {
        let ids: Vec<&ManifestId> = manifests.iter().map(|place| &place.id).collect();
        // zarr-python resizes without a change of any chunk, and the bytes of chunks are elsewhere then.
        let changed = version_of(&(ids, metadata.shape()));
        let descriptor = metadata.descriptor(id_of(&node), changed, version_of(&name));
        Entry { name, path, node, metadata, descriptor, manifests, document }
    }

    /// The bytes of the array in `block`.
    pub(crate) fn bytes_of_block(&self, block: BlockNo) -> Range<usize> {
        let (bytes, end) = (self.descriptor.block_size.range_of(block), self.descriptor.nbytes());
        bytes.start.min(end)..bytes.end.min(end)
    }

    /// The bytes of the array in a chunk; none, if it is not in the array.
    pub(crate) fn bytes_of_chunk(&self, index: &ChunkIndices) -> Range<usize> {
        self.metadata.grid().pieces_of(&index.0).next().map_or(0..0, |piece| piece.array)
    }

    /// Whether each chunk is one run of bytes. If not, [`bytes_of_chunk`](Entry::bytes_of_chunk) are those of its first run.
    pub(crate) fn is_linear(&self) -> bool {
        self.metadata.grid().is_linear()
    }

    /// The chunks over `bytes` of the array, each once; in the order of their bytes, if each is one run.
    pub(crate) fn chunks_over(&self, bytes: &Range<usize>) -> Vec<ChunkIndices> {
        let pieces = self.metadata.grid().chunks_over(bytes.clone());
        let mut chunks: Vec<_> = pieces.map(|piece| ChunkIndices(piece.index)).collect();
        // The pieces of a chunk follow each other.
        chunks.dedup();
        chunks
    }

    /// The bytes of the chunk that `stored` are.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the array and the chunk.
    pub(crate) fn decode(&self, index: &[u32], stored: Bytes, url: &str) -> Result<Bytes> {
        let chunk = self.metadata.chain().decode(stored);
        chunk.map_err(|e| e.context(format_args!("{url}: array {:?}, chunk {index:?}", self.name)))
    }

    /// The error for a reference that this store does not follow.
    pub(crate) fn refuse_virtual(&self) -> Error {
        let name = &self.name;
        let text = format!("array {name:?}: a chunk of it lies outside of the repository: virtual chunks are not read");
        Error::new(ErrorKind::Unsupported, text)
    }

    /// Ids of manifests, and the bytes that they take.
    pub(crate) fn ids_of(&self, numbers: &BTreeSet<usize>) -> Vec<(ManifestId, u64)> {
        numbers.iter().map(|number| (self.manifests[*number].id.clone(), self.manifests[*number].bytes)).collect()
    }

    /// The manifest that refers to the chunk at `index`, if any does.
    pub(crate) fn manifest_of(&self, index: &[u32]) -> Option<usize> {
        self.manifests.iter().position(|place| place.extents.contains(index))
    }
}

/// Icechunk keeps a node's id through a move.
pub(crate) fn id_of(node: &NodeId) -> ArrayId {
    ArrayId(u64::from_be_bytes(node.0))
}

/// A version that tells `what` from everything else; not 0.
pub(crate) fn version_of(what: &impl Hash) -> Version {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    Version(hasher.finish().max(1))
}
