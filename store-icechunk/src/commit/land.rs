//! The last steps of a commit: edits of a session of Icechunk, whose commit is a compare-and-swap.

use icechunk::format::manifest::ChunkPayload;
use icechunk::format::snapshot::{ArrayShape, DimensionName};
use icechunk::format::{ChunkIndices, Path};
use icechunk::session::{Session, SessionResult};

use bytes::Bytes;

/// One edit of a session.
pub(super) enum Edit {
    /// Removes an array.
    Remove(Path),
    /// Makes a group without attributes.
    Group(Path),
    /// Gives the root group other metadata.
    DescribeRoot(Bytes),
    /// Makes an array.
    Add(Path, Document),
    /// Takes references of chunks away. Before another shape is set: then their indices may be none of the array.
    Drop(Path, Vec<ChunkIndices>),
    /// Gives an array other metadata.
    Describe(Path, Document),
    /// Sets references of chunks, or takes them away.
    Refer(Path, Vec<(ChunkIndices, Option<ChunkPayload>)>),
    /// Gives an array another name, in a session for moves alone.
    Move(Path, Path),
}

/// The metadata of an array.
pub(super) struct Document {
    pub(super) shape: ArrayShape,
    pub(super) dimension_names: Option<Vec<DimensionName>>,
    pub(super) json: Bytes,
}

/// The metadata of a group without attributes.
const GROUP: &[u8] = br#"{"zarr_format":3,"node_type":"group"}"#;

/// Makes `edits` in a session, in their order. Nothing leaves this process.
pub(super) async fn apply(session: &mut Session, edits: Vec<Edit>) -> SessionResult<()> {
    for edit in edits {
        match edit {
            Edit::Remove(path) => session.delete_array(path).await?,
            Edit::Group(path) => session.add_group(path, Bytes::from_static(GROUP)).await?,
            Edit::DescribeRoot(json) => session.update_group(&Path::root(), json).await?,
            Edit::Add(path, is) => session.add_array(path, is.shape, is.dimension_names, is.json).await?,
            Edit::Drop(path, chunks) => session.delete_chunks(&path, chunks).await?,
            Edit::Describe(path, is) => session.update_array(&path, is.shape, is.dimension_names, is.json).await?,
            Edit::Refer(path, references) => {
                for (index, payload) in references {
                    session.set_chunk_ref(path.clone(), index, payload).await?;
                }
            }
            Edit::Move(from, to) => session.move_node(from, to).await?,
        }
    }
    Ok(())
}
