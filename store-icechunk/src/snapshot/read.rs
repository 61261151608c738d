//! Bytes of blocks, from the chunks over them.

use std::sync::Arc;

use bigarray_core::Result;

use super::catalog::Entry;
use super::chunks::Wanted;
use super::source::Source;
use crate::zarr::Piece;
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::ChunkPayload;

/// Chunks over one block are fetched together up to so many bytes, decoded; of tiled arrays there may be hundreds.
const AT_ONCE_BYTES: usize = 64 << 20;

impl Source {
    /// Fills `buf` with the bytes of an array from byte `from` on: its fill value behind its end, and where nothing is
    /// stored.
    pub(crate) fn read(self: &Arc<Self>, entry: &Arc<Entry>, from: usize, buf: &mut [u8]) -> Result<()> {
        let inside = entry.descriptor.nbytes().saturating_sub(from).min(buf.len());
        // Chunks at the end are stored whole; what another program left behind the array's end is no part of it.
        fill(entry, from + inside, &mut buf[inside..]);
        let grid = entry.metadata.grid();
        let pieces: Vec<_> = grid.chunks_over(from..from + inside).collect();
        // The pieces of a chunk follow each other.
        let chunks: Vec<&[Piece]> = pieces.chunk_by(|a, b| a.index == b.index).collect();
        let at_once = (AT_ONCE_BYTES / grid.chunk_bytes().max(1)).max(1);
        chunks.chunks(at_once).try_for_each(|chunks| self.read_chunks(entry, chunks, from, buf))
    }

    /// Fills in the pieces of `chunks`, which are fetched together.
    fn read_chunks(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        chunks: &[&[Piece]],
        from: usize,
        buf: &mut [u8],
    ) -> Result<()> {
        let indices: Vec<_> = chunks.iter().map(|pieces| ChunkIndices(pieces[0].index.clone())).collect();
        let references = self.references(entry, &indices)?;
        let stored = indices.iter().zip(&references).filter_map(|(index, payload)| Some((index, payload.as_ref()?)));
        let wanted = stored.map(|(index, payload)| {
            if matches!(payload, ChunkPayload::Virtual(_)) {
                return Err(entry.refuse_virtual());
            }
            Ok(Wanted { index: index.0.clone(), payload: payload.clone() })
        });
        let mut decoded = self.chunks(entry, wanted.collect::<Result<Vec<_>>>()?)?.into_iter();
        for (pieces, payload) in chunks.iter().zip(&references) {
            let chunk = payload.as_ref().and_then(|_| decoded.next());
            for piece in *pieces {
                let into = &mut buf[piece.array.start - from..piece.array.end - from];
                match &chunk {
                    Some(chunk) => into.copy_from_slice(&chunk[piece.chunk_offset..piece.chunk_offset + into.len()]),
                    None => fill(entry, piece.array.start, into),
                }
            }
        }
        Ok(())
    }
}

/// Fills `into` with the elements of an array that are not stored, from byte `from` on.
fn fill(entry: &Entry, from: usize, into: &mut [u8]) {
    match entry.metadata.fill() {
        Some(fill) => fill.write(from, into),
        None => into.fill(0),
    }
}
