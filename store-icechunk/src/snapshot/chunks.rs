//! Decoded chunks: fetched once, however many ask, and kept in memory, and on disk, for as long as there is room.

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::{Error, Result};
use bytes::Bytes;
use icechunk::format::ChunkId;
use icechunk::format::manifest::{ChunkPayload, ChunkRef};

use super::cache::{Guard, Place};
use super::catalog::Entry;
use super::source::Source;
use crate::disk_cache::Key;
use crate::zarr::DECODING;

/// Chunks that lie in one object are fetched together up to so many bytes, which is what a commit packs into one.
const TOGETHER_BYTES: u64 = 8 << 20;

/// Chunks that are fetched together may have so many bytes between them: less than what another request costs.
const GAP_BYTES: u64 = 256 << 10;

/// A chunk that no other task brings.
type Missing<'a> = (Wanted, ChunkRef, Guard<'a>);

/// A chunk that is to be read.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) index: Vec<u32>,
    pub(crate) payload: ChunkPayload,
}

impl Source {
    /// The decoded chunks `wanted`, in their order. What is not in memory is fetched, all at once.
    ///
    /// # Errors
    /// [`Unsupported`](bigarray_core::ErrorKind::Unsupported) for a chunk outside of the repository,
    /// [`Corrupt`](bigarray_core::ErrorKind::Corrupt), [`Unavailable`](bigarray_core::ErrorKind::Unavailable).
    pub(crate) fn chunks(self: &Arc<Self>, entry: &Arc<Entry>, wanted: Vec<Wanted>) -> Result<Vec<Bytes>> {
        let mut found: Vec<Option<Bytes>> = Vec::with_capacity(wanted.len());
        let mut missing = Vec::new();
        for chunk in wanted {
            found.push(match &chunk.payload {
                ChunkPayload::Inline(bytes) => Some(entry.decode(&chunk.index, bytes.clone(), self.url())?),
                ChunkPayload::Ref(at) => self.cache.get(&(at.id.clone(), at.offset)),
                _ => return Err(entry.refuse_virtual()),
            });
            if found.last().is_some_and(Option::is_none) {
                missing.push(chunk);
            }
        }
        if !missing.is_empty() {
            let (source, entry) = (Arc::clone(self), Arc::clone(entry));
            let bytes =
                missing.iter().map(|chunk| if let ChunkPayload::Ref(at) = &chunk.payload { at.length } else { 0 });
            let limit = self.objects.limit(bytes.sum());
            let fetched =
                self.repository.runtime().run_within(limit, async move { source.fetch(&entry, missing).await })?;
            let mut fetched = fetched.into_iter();
            for chunk in found.iter_mut().filter(|chunk| chunk.is_none()) {
                *chunk = fetched.next();
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Whether a chunk needs no request.
    pub(super) fn has(&self, payload: &ChunkPayload) -> bool {
        place_of(payload).is_none_or(|place| self.cache.has(&place))
    }

    /// Begins to fetch chunks, for which no thread waits yet.
    pub(super) fn fetch_apart(self: &Arc<Self>, entry: &Arc<Entry>, wanted: Vec<Wanted>) {
        for together in together(wanted) {
            let (source, entry) = (Arc::clone(self), Arc::clone(entry));
            // A reader that comes to them sees the error, if it still is one then.
            self.repository.runtime().spawn(async move { drop(source.fetch_together(&entry, together).await) });
        }
    }

    /// Fetches `wanted`, which are no inline chunks, in their order.
    async fn fetch(&self, entry: &Arc<Entry>, wanted: Vec<Wanted>) -> Result<Vec<Bytes>> {
        let order: Vec<Place> = wanted.iter().filter_map(|chunk| place_of(&chunk.payload)).collect();
        let parts = together(wanted).into_iter().map(|part| self.fetch_together(entry, part));
        let mut found = Vec::new();
        for part in futures::future::join_all(parts).await {
            found.extend(part?);
        }
        let of = |place: &Place| found.iter().find(|(at, _)| at == place).map(|(_, chunk)| chunk.clone());
        Ok(order.iter().filter_map(of).collect())
    }

    /// Fetches chunks of one object, those that no other task fetches already and that are not on disk: by one request, or
    /// several where what lies between them is there.
    async fn fetch_together(&self, entry: &Entry, wanted: Vec<Wanted>) -> Result<Vec<(Place, Bytes)>> {
        let mut found = Vec::new();
        let mut missing: Vec<Missing<'_>> = Vec::new();
        // In the order of offsets, so that no two tasks wait for each other.
        for chunk in wanted {
            let ChunkPayload::Ref(at) = chunk.payload.clone() else { continue };
            let place = (at.id.clone(), at.offset);
            match self.cache.get_or_guard(&place).await {
                Ok(bytes) => found.push((place, bytes)),
                Err(guard) => missing.push((chunk, at, guard)),
            }
        }
        let missing = self.take_from_disk(entry, missing, &mut found).await;
        let parts = near(missing, |(_, at, _)| Some(at)).into_iter().map(|part| self.fetch_missing(entry, part));
        for part in futures::future::join_all(parts).await {
            found.extend(part?);
        }
        Ok(found)
    }

    /// Fetches chunks of one object by one request.
    async fn fetch_missing(&self, entry: &Entry, missing: Vec<Missing<'_>>) -> Result<Vec<(Place, Bytes)>> {
        let mut found = Vec::new();
        let Some((_, first, _)) = missing.first() else { return Ok(found) };
        let start = first.offset;
        let end = missing.iter().map(|(_, at, _)| at.offset + at.length).max().unwrap_or(start);
        let bytes = self.objects.getting(&first.id.to_string(), start..end).await?;
        let mut new = Vec::new();
        for (chunk, at, guard) in missing {
            let part = (at.offset - start) as usize..(at.offset - start + at.length) as usize;
            let of_object = |error: Error| error.context(format_args!("object chunks/{}", at.id));
            // A slice would keep all that came with it in memory.
            let is_alone = part.len() == bytes.len();
            let stored = if is_alone { bytes.clone() } else { Bytes::copy_from_slice(&bytes[part]) };
            let decoded = entry.decode(&chunk.index, stored, self.url()).map_err(of_object)?;
            if self.disk.is_some() {
                new.push((self.key(entry, &at), decoded.clone()));
            }
            // Without room for it, it is fetched again.
            let _ = guard.insert(decoded.clone());
            found.push(((at.id, at.offset), decoded));
        }
        if let Some(disk) = &self.disk {
            disk.keep(new);
        }
        Ok(found)
    }

    /// Adds to `found` those of `missing` that are on disk, and gives the others.
    async fn take_from_disk<'a>(
        &self,
        entry: &Entry,
        missing: Vec<Missing<'a>>,
        found: &mut Vec<(Place, Bytes)>,
    ) -> Vec<Missing<'a>> {
        let Some(disk) = self.disk.as_ref().filter(|_| !missing.is_empty()) else { return missing };
        let bytes = entry.metadata.grid().chunk_bytes();
        let on_disk = disk.get(missing.iter().map(|(_, at, _)| (self.key(entry, at), bytes)).collect()).await;
        let mut others = Vec::new();
        for ((chunk, at, guard), decoded) in missing.into_iter().zip(on_disk) {
            match decoded {
                Some(decoded) => {
                    let _ = guard.insert(decoded.clone());
                    found.push(((at.id, at.offset), decoded));
                }
                None => others.push((chunk, at, guard)),
            }
        }
        others
    }

    /// Which chunk it is, among those of all databases.
    pub(super) fn key(&self, entry: &Entry, at: &ChunkRef) -> Key {
        let how = format!("decoding {DECODING}: {:?}", entry.metadata.chain());
        Key::new(self.repository.backend().server(), self.url(), &at.id.to_string(), at.offset, at.length, &how)
    }
}

fn place_of(payload: &ChunkPayload) -> Option<Place> {
    match payload {
        ChunkPayload::Ref(at) => Some((at.id.clone(), at.offset)),
        _ => None,
    }
}

/// Sorts chunks into parts that one request brings each: of one object, near to each other.
fn together(mut wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    wanted.retain(|chunk| place_of(&chunk.payload).is_some());
    wanted.sort_by_key(|chunk| place_of(&chunk.payload));
    wanted.dedup_by(|a, b| a.payload == b.payload);
    near(wanted, |chunk| match &chunk.payload {
        ChunkPayload::Ref(at) => Some(at),
        _ => None,
    })
}

/// Cuts chunks, in the order of their places, where one is too far from those before it, or of another object.
fn near<T>(chunks: Vec<T>, at: impl Fn(&T) -> Option<&ChunkRef>) -> Vec<Vec<T>> {
    let mut parts: Vec<(ChunkId, Range<u64>, Vec<T>)> = Vec::new();
    for chunk in chunks {
        let Some(at) = at(&chunk) else { continue };
        let (id, range) = (at.id.clone(), at.offset..at.offset + at.length);
        match parts.last_mut() {
            Some((of, bytes, part))
                if *of == id && range.start <= bytes.end + GAP_BYTES && range.end - bytes.start <= TOGETHER_BYTES =>
            {
                bytes.end = range.end.max(bytes.end);
                part.push(chunk);
            }
            _ => parts.push((id, range, vec![chunk])),
        }
    }
    parts.into_iter().map(|(_, _, part)| part).collect()
}
