//! Where the snapshots of an open store take what they show from.

use std::sync::Arc;

use bigarray_core::store::DataFile;
use bigarray_core::{Error, ErrorKind, Result};
use bigarray_process::Origin;
use icechunk::format::ManifestId;
use icechunk::format::manifest::Manifest;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::announced::Announced;
use super::cache::ChunkCache;
use super::open_files::OpenFiles;
use crate::disk_cache::ChunkFiles;
use crate::objects::Objects;
use crate::repository::Repository;

/// Bytes of manifests that are kept in memory: some six million references.
const MANIFESTS_BYTES: u64 = 128 << 20;

/// About what a manifest takes, for the cache to choose its size by.
const MANIFEST_BYTES: u64 = 256 << 10;

/// The repository, the payload of its chunks, and what of both is in memory.
pub(crate) struct Source {
    pub(crate) repository: Arc<Repository>,
    pub(crate) objects: Objects,
    pub(crate) manifests: Cache<ManifestId, Arc<Manifest>, ManifestBytes>,
    pub(crate) cache: ChunkCache,
    pub(super) disk: Option<Arc<ChunkFiles>>,
    pub(super) open_files: OpenFiles,
    pub(super) announced: Announced,
    pub(super) cache_bytes: u64,
    pub(crate) origin: Origin,
    no_file: Arc<dyn DataFile>,
}

impl Source {
    /// That of an open repository. Up to `cache_bytes` of decoded chunks are kept in memory, others on `disk`.
    pub(crate) fn new(
        repository: Arc<Repository>,
        objects: Objects,
        cache_bytes: u64,
        disk: Option<Arc<ChunkFiles>>,
    ) -> Source {
        let estimate = (MANIFESTS_BYTES / MANIFEST_BYTES) as usize;
        Source {
            repository,
            objects,
            manifests: Cache::with_weighter(estimate, MANIFESTS_BYTES, ManifestBytes),
            cache: ChunkCache::new(cache_bytes),
            disk,
            open_files: OpenFiles::new(),
            announced: Announced::default(),
            cache_bytes,
            origin: Origin::here(),
            no_file: Arc::new(NoFile),
        }
    }

    /// The database's address, for errors.
    pub(crate) fn url(&self) -> &str {
        self.repository.url()
    }

    /// A file that no extent lies in.
    pub(crate) fn no_file(&self) -> &Arc<dyn DataFile> {
        &self.no_file
    }

    /// Refuses in a process forked from the one that opened the store: the runtime's threads are not there.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.origin.check(format_args!("database {}", self.url()))
    }
}

/// What a manifest weighs in the cache.
#[derive(Clone)]
pub(crate) struct ManifestBytes;

impl Weighter<ManifestId, Arc<Manifest>> for ManifestBytes {
    fn weight(&self, _: &ManifestId, manifest: &Arc<Manifest>) -> u64 {
        manifest.bytes().len() as u64
    }
}

/// No record of this store has an extent.
struct NoFile;

impl DataFile for NoFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let text = format!("{} bytes at {offset} of a data file that object storage does not have", buf.len());
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    fn as_file(&self) -> Option<&std::fs::File> {
        None
    }
}
