//! Chunks that are mapped from the disk cache: which can be, and their files.

use std::sync::Arc;

use bigarray_core::store::{CachedPages, DataFile};
use bigarray_core::{BlockNo, PAGE};
use futures::{StreamExt, stream};
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::{ChunkPayload, ChunkRef};

use super::cache::Place;
use super::catalog::Entry;
use super::chunks::Wanted;
use super::open_files::Which;
use super::source::Source;
use crate::disk_cache::ChunkFile;
use crate::zarr::Piece;

/// Files over one block that are mapped at most: each takes a mapping.
const MOST_FILES: usize = 8;

/// Files that are opened at a time ahead of a reader.
const AT_ONCE: usize = 8;

impl Source {
    /// The files that have all stored pages of a block, which is to be mapped; none if it has to be read. What is in memory
    /// is copied from there.
    pub(super) fn cached(self: &Arc<Self>, entry: &Arc<Entry>, block: BlockNo) -> Vec<CachedPages> {
        self.files_over(entry, block).unwrap_or_default()
    }

    fn files_over(self: &Arc<Self>, entry: &Arc<Entry>, block: BlockNo) -> Option<Vec<CachedPages>> {
        let disk = self.disk.as_ref()?;
        let pieces = mappable_pieces(entry, block)?;
        let indices: Vec<_> = pieces.iter().map(|piece| ChunkIndices(piece.index.clone())).collect();
        let mut wanted: Vec<(Piece, ChunkRef)> = Vec::new();
        for (piece, payload) in pieces.into_iter().zip(self.references(entry, &indices).ok()?) {
            match payload {
                None => {}
                Some(ChunkPayload::Ref(at)) if !self.cache.has(&place_of(&at)) => wanted.push((piece, at)),
                Some(_) => return None,
            }
        }
        let open: Option<Vec<_>> = wanted.iter().map(|(_, at)| self.open_files.get(&self.which(entry, at))).collect();
        let files = match open {
            Some(files) => {
                files.iter().for_each(|file| disk.used(file));
                files
            }
            None => {
                let (source, entry) = (Arc::clone(self), Arc::clone(entry));
                let places: Vec<_> = wanted.iter().map(|(_, at)| at.clone()).collect();
                let opened = self.repository.runtime().run_within(self.objects.limit(0), async move {
                    let files = places.iter().map(|at| source.file_of(&entry, at));
                    Ok(futures::future::join_all(files).await)
                });
                opened.ok()?.into_iter().collect::<Option<Vec<_>>>()?
            }
        };
        self.reads(entry, block);
        let start = entry.descriptor.block_size.start_of(block);
        let page = |byte: usize| ((byte - start) / PAGE) as u32;
        let cached = wanted.into_iter().zip(files).map(|((piece, _), file)| {
            let pages = page(piece.array.start)..page(piece.array.end);
            CachedPages { pages, file: file as Arc<dyn DataFile>, offset: piece.chunk_offset as u64 }
        });
        Some(cached.collect())
    }

    /// Opens the files of those chunks of `wanted` that are on disk and can be mapped, ahead of a reader, and gives the
    /// others.
    pub(super) async fn open_ahead(&self, entry: &Entry, wanted: Vec<Wanted>) -> Vec<Wanted> {
        if self.disk.is_none() {
            return wanted;
        }
        let others = stream::iter(wanted).map(|chunk| async move {
            let is_there = match &chunk.payload {
                ChunkPayload::Ref(at) if is_mappable(entry, &chunk.index) => self.file_of(entry, at).await.is_some(),
                _ => false,
            };
            (!is_there).then_some(chunk)
        });
        others.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    /// The file of a chunk, if it is on disk and right. One task looks, and others that want it wait for it.
    async fn file_of(&self, entry: &Entry, at: &ChunkRef) -> Option<Arc<ChunkFile>> {
        let (disk, which) = (self.disk.as_ref()?, self.which(entry, at));
        match self.open_files.0.get_value_or_guard_async(&which).await {
            Ok(file) => {
                disk.used(&file);
                Some(file)
            }
            Err(guard) => {
                let (key, bytes) = which.clone();
                let file = disk.file(key, bytes).await?;
                let _ = guard.insert(Arc::clone(&file));
                Some(file)
            }
        }
    }

    fn which(&self, entry: &Entry, at: &ChunkRef) -> Which {
        (self.key(entry, at), entry.metadata.grid().chunk_bytes())
    }
}

fn place_of(at: &ChunkRef) -> Place {
    (at.id.clone(), at.offset)
}

/// Whether chunks have runs of the array's bytes, and what is not stored is zeros.
fn is_plain(entry: &Entry) -> bool {
    entry.is_linear() && entry.metadata.fill().is_none()
}

/// Whether all of a chunk is whole pages of the array.
fn is_mappable(entry: &Entry, index: &[u32]) -> bool {
    let bytes = entry.bytes_of_chunk(&ChunkIndices(index.to_vec()));
    is_plain(entry) && bytes.start.is_multiple_of(PAGE) && bytes.end.is_multiple_of(PAGE)
}

/// The parts of chunks that make up a block, if each is whole pages of both. What a chunk has behind the end of the array
/// would show in the page that the array ends in.
fn mappable_pieces(entry: &Entry, block: BlockNo) -> Option<Vec<Piece>> {
    if !is_plain(entry) {
        return None;
    }
    let pieces: Vec<_> = entry.metadata.grid().chunks_over(entry.bytes_of_block(block)).take(MOST_FILES + 1).collect();
    let is_whole = |piece: &Piece| {
        [piece.array.start, piece.array.end, piece.chunk_offset].iter().all(|byte| byte.is_multiple_of(PAGE))
    };
    (pieces.len() <= MOST_FILES && pieces.iter().all(is_whole)).then_some(pieces)
}
