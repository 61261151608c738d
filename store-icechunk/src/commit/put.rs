//! Payload on its way to storage: each chunk is put once, several at a time; small ones share an object.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver};

use bigarray_core::{Error, ErrorKind, Result, signals};
use bytes::Bytes;
use icechunk::format::ChunkId;
use icechunk::format::manifest::{ChunkPayload, ChunkRef};

use crate::objects::Objects;

/// A chunk of so many bytes or fewer is kept in the manifest: an object for it costs a request to write and one to read.
const INLINE_BYTES: usize = 512;

/// A chunk of at least so many bytes has an object of its own.
const ALONE_BYTES: usize = 1 << 20;

/// Smaller chunks are put as soon as they are so many bytes together. Requests, not bytes, are what they cost.
const PACK_BYTES: usize = 4 << 20;

/// The payload of one commit.
pub(super) struct Uploads {
    objects: Objects,
    /// So many objects are under way at a time.
    depth: usize,
    running: VecDeque<Receiver<Result<()>>>,
    pack: Pack,
}

/// Small chunks that wait for others.
struct Pack {
    id: ChunkId,
    bytes: Vec<u8>,
}

impl Pack {
    fn new() -> Pack {
        Pack { id: ChunkId::random(), bytes: Vec::new() }
    }
}

impl Uploads {
    pub(super) fn new(objects: &Objects, depth: usize) -> Uploads {
        Uploads { objects: objects.clone(), depth, running: VecDeque::new(), pack: Pack::new() }
    }

    /// Where a chunk is going to be. It is there after [`finish`](Uploads::finish).
    ///
    /// # Errors
    /// Those of objects that were put before.
    pub(super) fn put(&mut self, chunk: Vec<u8>) -> Result<ChunkPayload> {
        let length = chunk.len() as u64;
        if chunk.len() <= INLINE_BYTES {
            return Ok(ChunkPayload::Inline(chunk.into()));
        }
        if chunk.len() >= ALONE_BYTES {
            let id = ChunkId::random();
            self.start(&id, chunk.into())?;
            return Ok(ChunkPayload::Ref(ChunkRef { id, offset: 0, length }));
        }
        let offset = self.pack.bytes.len() as u64;
        let id = self.pack.id.clone();
        self.pack.bytes.extend_from_slice(&chunk);
        if self.pack.bytes.len() >= PACK_BYTES {
            self.start_pack()?;
        }
        Ok(ChunkPayload::Ref(ChunkRef { id, offset, length }))
    }

    /// Waits until all of it is stored.
    ///
    /// # Errors
    /// The first.
    pub(super) fn finish(&mut self) -> Result<()> {
        if !self.pack.bytes.is_empty() {
            self.start_pack()?;
        }
        while let Some(oldest) = self.running.pop_front() {
            wait(&oldest)?;
        }
        Ok(())
    }

    fn start_pack(&mut self) -> Result<()> {
        let pack = std::mem::replace(&mut self.pack, Pack::new());
        self.start(&pack.id, pack.bytes.into())
    }

    fn start(&mut self, id: &ChunkId, bytes: Bytes) -> Result<()> {
        if self.running.len() >= self.depth
            && let Some(oldest) = self.running.pop_front()
        {
            wait(&oldest)?;
        }
        let (done, running) = mpsc::sync_channel(1);
        let put = self.objects.putting(&id.to_string(), bytes);
        self.objects.runtime().spawn(async move {
            // A commit that failed waits for none of the others.
            let _ = done.send(put.await);
        });
        self.running.push_back(running);
        Ok(())
    }
}

fn wait(running: &Receiver<Result<()>>) -> Result<()> {
    let late = || Err(Error::new(ErrorKind::Unavailable, "the put of a chunk was given up; nothing is stored"));
    signals::let_through(|| running.recv()).unwrap_or_else(|_| late())
}
