//! Bytes of blocks, from the chunks over them.

use std::sync::Arc;

use bigarray_core::Result;

use super::catalog::Entry;
use super::chunks::Wanted;
use super::source::Source;
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::ChunkPayload;

impl Source {
    /// Fills `buf` with the bytes of an array from byte `from` on: zeros behind its end, its fill value where nothing is
    /// stored.
    pub(crate) fn read(self: &Arc<Self>, entry: &Arc<Entry>, from: usize, buf: &mut [u8]) -> Result<()> {
        let inside = entry.descriptor.nbytes().saturating_sub(from).min(buf.len());
        // Chunks at the end are stored whole; what another program left behind the array's end is no part of it.
        buf[inside..].fill(0);
        let pieces: Vec<_> = entry.metadata.grid().chunks_over(from..from + inside).collect();
        let indices: Vec<_> = pieces.iter().map(|piece| ChunkIndices(piece.index.clone())).collect();
        let references = self.references(entry, &indices)?;
        let stored = pieces.iter().zip(&references).filter_map(|(piece, payload)| Some((piece, payload.as_ref()?)));
        let wanted = stored.map(|(piece, payload)| {
            if matches!(payload, ChunkPayload::Virtual(_)) {
                return Err(entry.refuse_virtual());
            }
            Ok(Wanted { index: piece.index.clone(), payload: payload.clone() })
        });
        let mut chunks = self.chunks(entry, wanted.collect::<Result<Vec<_>>>()?)?.into_iter();
        for (piece, payload) in pieces.iter().zip(&references) {
            let into = &mut buf[piece.array.start - from..piece.array.end - from];
            match payload.as_ref().and_then(|_| chunks.next()) {
                Some(chunk) => into.copy_from_slice(&chunk[piece.chunk_offset..piece.chunk_offset + into.len()]),
                None => fill(entry, piece.array.start, into),
            }
        }
        Ok(())
    }
}

/// Fills `into` with the elements of an array that are not stored, from byte `from` on.
fn fill(entry: &Entry, from: usize, into: &mut [u8]) {
    let Some(element) = entry.metadata.fill() else { return into.fill(0) };
    for (byte, value) in into.iter_mut().zip(element.iter().cycle().skip(from % element.len())) {
        *byte = *value;
    }
}
