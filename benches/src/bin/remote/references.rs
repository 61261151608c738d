//! Arrays of very many blocks, without writing them: all their chunks are the first one.

use bigarray_benches::Outcome;
use icechunk::Repository;
use icechunk::format::{ChunkIndices, Path};

use crate::ground::{Ground, Place};

/// Makes each of `chunks` chunks of the array "a" refer to the bytes of its first.
pub(crate) fn repeat_the_first(ground: &Ground, place: &Place, chunks: usize) -> Outcome<()> {
    let (backend, _) = place.backend()?;
    ground.runtime().block_on(async {
        let repository = Repository::open(backend.storage()).execute().await?;
        let mut session = repository.writable_session("main").await?;
        let array = Path::new("/a")?;
        let first = session.get_chunk_ref(&array, &ChunkIndices(vec![0])).await?;
        for chunk in 1..u32::try_from(chunks)? {
            session.set_chunk_ref(array.clone(), ChunkIndices(vec![chunk]), first.clone()).await?;
        }
        session.commit("the first chunk, everywhere").execute().await?;
        Outcome::Ok(())
    })
}
