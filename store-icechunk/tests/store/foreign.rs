//! What other programs write to the same repository.

use std::ops::ControlFlow;
use std::sync::Arc;

use bigarray_core::store::Origin;
use bigarray_core::{BlockNo, BlockSize, PAGE};
use bigarray_store_icechunk::objects::{Backend, Location};
use bigarray_testing::{Edit, array_of, page_of};
use bytes::Bytes;
use icechunk::Repository;
use icechunk::format::snapshot::ArrayShape;
use icechunk::format::{ChunkIndices, Path};
use icechunk::session::Session;

use crate::{assert_page, id_of, now, open, url};

const BLOCK: usize = BlockSize::MIN.bytes();

/// Another program makes changes, and commits them.
fn with_session(url: &str, change: impl AsyncFnOnce(&mut Session)) {
    let backend = Backend::new(&Location::parse(url).unwrap(), &crate::options()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let repository = Repository::open(backend.storage()).execute().await.unwrap();
        let mut session = repository.writable_session("main").await.unwrap();
        change(&mut session).await;
        session.commit("of another program").execute().await.unwrap();
    });
}

/// A chunk of a mebibyte, as an array without compression has it.
fn chunk(byte: u8) -> Bytes {
    let mut chunk = vec![byte; 1 << 20];
    let sum = crc32c::crc32c(&chunk);
    chunk.extend(sum.to_le_bytes());
    chunk.into()
}

async fn put(session: &mut Session, path: &str, index: u32, bytes: Bytes) {
    let (path, index) = (Path::new(path).unwrap(), ChunkIndices(vec![index]));
    let payload = session.get_chunk_writer(&path, &index).unwrap()(bytes).await.unwrap();
    session.set_chunk_ref(path, index, Some(payload)).await.unwrap();
}

/// zarr-python leaves what was behind an array's end in its last chunk: it is no part of the array, also when that grows.
#[test]
fn what_is_behind_the_end_never_shows() {
    let url = url();
    let store = open(&url);
    // One chunk, and half a block of another.
    let length = 16 * BLOCK + BLOCK / 2;
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(16)).reshape(&[length])]).unwrap();
    let before = now(&*store);
    with_session(&url, async |session| put(session, "/a", 1, chunk(0xab)).await);
    let base = now(&*store);
    let error = Edit::commit(&*store, &*before, &[Edit::of(&*before, "a").page(&*before, 16, 0, 1)]).unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert_bytes(&*base, 16, 0, 0xab);
    assert_page(&*base, 16, 8, None);
    Edit::commit(&*store, &*base, &[Edit::of(&*base, "a").reshape(&[40 * BLOCK])]).unwrap();
    let grown = now(&*store);
    assert_bytes(&*grown, 16, 7, 0xab);
    for (block, page) in [(16, 8), (16, 15), (17, 0), (31, 15), (32, 0)] {
        assert_page(&*grown, block, page, None);
    }
    // Nor when a page is written in the same commit.
    with_session(&url, async |session| put(session, "/a", 2, chunk(0xcd)).await);
    let base = now(&*store);
    let edit = Edit::of(&*base, "a").reshape(&[60 * BLOCK]).page(&*base, 39, 15, 7);
    Edit::commit(&*store, &*base, &[edit]).unwrap();
    let grown = now(&*store);
    assert_bytes(&*grown, 39, 14, 0xcd);
    assert_page(&*grown, 39, 15, Some(7));
    assert_page(&*grown, 40, 0, None);
}

#[track_caller]
fn assert_bytes(snapshot: &dyn bigarray_core::store::Snapshot, block: u64, page: u32, byte: u8) {
    let mut read = vec![0; PAGE];
    snapshot.read(id_of(snapshot, "a"), bigarray_core::BlockNo(block), page, &mut read).unwrap();
    assert!(read.iter().all(|read| *read == byte), "page {page} of block {block}");
}

/// A chunk of a tiled array lies over several blocks, and a block under several chunks, each with many runs.
#[test]
fn tiled_arrays_are_read_right_and_never_as_holes() {
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(1))]).unwrap();
    with_session(&url, async |session| {
        let shape = ArrayShape::new([(2048, 2), (2048, 2)]).unwrap();
        let json = br#"{"zarr_format":3,"node_type":"array","shape":[2048,2048],"data_type":"uint8","fill_value":0,
            "chunk_grid":{"name":"regular","configuration":{"chunk_shape":[1024,1024]}},
            "chunk_key_encoding":{"name":"default"},"codecs":[{"name":"bytes"}]}"#;
        let path = Path::new("/tiles").unwrap();
        session.add_array(path.clone(), shape, None, Bytes::from_static(json)).await.unwrap();
        for (row, column) in [(0, 1), (1, 0), (1, 1)] {
            let index = ChunkIndices(vec![row, column]);
            let bytes = Bytes::from(vec![(1 + 2 * row + column) as u8; 1 << 20]);
            let payload = session.get_chunk_writer(&path, &index).unwrap()(bytes).await.unwrap();
            session.set_chunk_ref(path.clone(), index, Some(payload)).await.unwrap();
        }
    });
    let now = now(&*store);
    let array = now.array("tiles").unwrap().unwrap();
    let mut visited = Vec::new();
    now.blocks(array.id, 0..u64::MAX, &mut |block, record| {
        visited.push((block, record));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(visited.windows(2).all(|two| two[0].0 < two[1].0), "{visited:?}");
    for block in 0..array.block_size.blocks_for(array.nbytes()) {
        let block = BlockNo(block);
        let record = now.block(array.id, block).unwrap();
        assert_eq!(record.as_ref(), visited.iter().find(|(at, _)| *at == block).map(|(_, record)| record));
        let mut bytes = vec![0xee; array.block_size.bytes()];
        now.read(array.id, block, 0, &mut bytes).unwrap();
        for (at, byte) in (array.block_size.start_of(block)..).zip(&bytes).take_while(|(at, _)| *at < array.nbytes()) {
            let tile = (at / 2048 / 1024, at % 2048 / 1024);
            let expected = if tile == (0, 0) { 0 } else { 1 + 2 * tile.0 + tile.1 };
            assert_eq!(usize::from(*byte), expected, "byte {at}");
        }
        for segment in record.iter().flat_map(|record| &record.segments).filter(|s| s.origin == Origin::Hole) {
            let hole = segment.pages.start as usize * PAGE..segment.pages.end as usize * PAGE;
            assert!(bytes[hole].iter().all(|byte| *byte == 0), "{block:?}: {segment:?} is no hole");
        }
    }
}

/// An array of bytes as another program describes it.
fn document(shape: &[u64], chunk: &[u64], fill: u8) -> Bytes {
    let json = format!(
        r#"{{"zarr_format":3,"node_type":"array","shape":{shape:?},"data_type":"uint8","fill_value":{fill},
        "chunk_grid":{{"name":"regular","configuration":{{"chunk_shape":{chunk:?}}}}},
        "chunk_key_encoding":{{"name":"default"}},"codecs":[{{"name":"bytes"}}]}}"#
    );
    json.into_bytes().into()
}

fn shape_of(shape: &[u64], chunk: &[u64]) -> ArrayShape {
    let chunks = |(len, chunk): (&u64, &u64)| (*len, u32::try_from(len.div_ceil(*chunk)).unwrap());
    ArrayShape::new(shape.iter().zip(chunk).map(chunks)).unwrap()
}

/// zarr-python's `resize` leaves the chunks that stay as they are, and what they show is elsewhere, or new, all the same.
/// Spans that idle and conflicts go by versions alone.
#[test]
fn growth_is_no_change_of_the_blocks_before_the_end() {
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(1))]).unwrap();
    // Filled, and in tiles; each row is a block.
    let blocks = BLOCK as u64;
    for (name, chunk, fill) in [("filled", [2, blocks], 7), ("tiled", [2, blocks / 2], 0)] {
        let path = Path::new(&format!("/{name}")).unwrap();
        with_session(&url, async |session| {
            let document = document(&[4, blocks], &chunk, fill);
            session.add_array(path.clone(), shape_of(&[4, blocks], &chunk), None, document).await.unwrap();
            let bytes = Bytes::from(vec![1; chunk.iter().product::<u64>() as usize]);
            let payload = session.get_chunk_writer(&path, &ChunkIndices(vec![0, 0])).unwrap()(bytes).await;
            session.set_chunk_ref(path.clone(), ChunkIndices(vec![0, 0]), Some(payload.unwrap())).await.unwrap();
        });
        let before = now(&*store);
        with_session(&url, async |session| {
            let other = [40, blocks];
            let document = document(&other, &chunk, fill);
            session.update_array(&path, shape_of(&other, &chunk), None, document).await.unwrap();
        });
        let after = now(&*store);
        let version = |snapshot: &dyn bigarray_core::store::Snapshot| {
            snapshot.block(id_of(snapshot, name), BlockNo(0)).unwrap().unwrap().version
        };
        assert_eq!(version(&*before), version(&*after), "{name}");
    }
}

#[test]
fn another_shape_is_a_change_though_no_chunk_is_another() {
    // Chunk, shape, another shape, fill value, and how many chunks of the first row of chunks are stored.
    type Lengths = &'static [u64];
    let cases: [(Lengths, Lengths, Lengths, u8, u32); 6] = [
        // An end within a chunk.
        (&[100], &[100], &[50], 0, 1),
        (&[100], &[50], &[100], 0, 1),
        // Rows of another length, in chunks that stay runs, and in tiles.
        (&[1, 10], &[4, 10], &[4, 20], 0, 1),
        (&[30, 4], &[30, 8], &[30, 16], 0, 2),
        (&[30, 4], &[20, 8], &[30, 8], 0, 2),
        // The same end where the fill value is behind it.
        (&[1000], &[100], &[150], 7, 1),
    ];
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(1))]).unwrap();
    for (number, (chunk, shape, other, fill, stored)) in cases.into_iter().enumerate() {
        let name = format!("case_{number}");
        let path = Path::new(&format!("/{name}")).unwrap();
        with_session(&url, async |session| {
            let document = document(shape, chunk, fill);
            session.add_array(path.clone(), shape_of(shape, chunk), None, document).await.unwrap();
            for at in 0..stored {
                let mut index = vec![0; chunk.len()];
                *index.last_mut().unwrap() = at;
                let bytes = Bytes::from(vec![1 + at as u8; chunk.iter().product::<u64>() as usize]);
                let payload = session.get_chunk_writer(&path, &ChunkIndices(index.clone())).unwrap()(bytes).await;
                session.set_chunk_ref(path.clone(), ChunkIndices(index), Some(payload.unwrap())).await.unwrap();
            }
            // The row of chunks below, so that rows of another length move it.
            if shape.len() == 2 && chunk[0] == 1 {
                let index = ChunkIndices(vec![1, 0]);
                let payload = session.get_chunk_writer(&path, &index).unwrap()(Bytes::from(vec![9; 10])).await;
                session.set_chunk_ref(path.clone(), index, Some(payload.unwrap())).await.unwrap();
            }
        });
        let before = now(&*store);
        with_session(&url, async |session| {
            session.update_array(&path, shape_of(other, chunk), None, document(other, chunk, fill)).await.unwrap();
        });
        let after = now(&*store);
        let seen = |snapshot: &dyn bigarray_core::store::Snapshot| {
            let array = snapshot.array(&name).unwrap().unwrap();
            let mut bytes = vec![0xee; PAGE];
            snapshot.read(array.id, BlockNo(0), 0, &mut bytes).unwrap();
            let version = snapshot.block(array.id, BlockNo(0)).unwrap().map(|record| record.version);
            (array.changed, version, bytes)
        };
        let (before, after) = (seen(&*before), seen(&*after));
        assert_ne!(before.2, after.2, "{name}: the case shows nothing");
        assert_ne!(before.1, after.1, "{name}: the block's version");
        assert_ne!(before.0, after.0, "{name}: the array's version");
    }
}

/// A shrink by another program renews no token, and its rows may have been zeros: then no block is another.
#[test]
fn what_another_program_cut_off_cannot_be_depended_on() {
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(1))]).unwrap();
    let (chunk, path) = ([1 << 16], Path::new("/b").unwrap());
    with_session(&url, async |session| {
        let shape = [4 << 16];
        session.add_array(path.clone(), shape_of(&shape, &chunk), None, document(&shape, &chunk, 0)).await.unwrap();
    });
    let base = now(&*store);
    with_session(&url, async |session| {
        let shape = [1 << 16];
        session.update_array(&path, shape_of(&shape, &chunk), None, document(&shape, &chunk, 0)).await.unwrap();
    });
    // A commit that stores nothing goes by the newest state that is known.
    assert_eq!(now(&*store).array("b").unwrap().unwrap().shape, [1 << 16]);
    let error = Edit::commit(&*store, &*base, &[Edit::of(&*base, "b").depend(2..3)]).unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

/// An array `b` of four chunks of a block each, cut to one and a half by its shape alone, as implementations of Zarr do.
fn cut_by_its_shape(url: &str) {
    let (chunk, path) = ([BLOCK as u64], Path::new("/b").unwrap());
    let length = |length: usize| ([length as u64], shape_of(&[length as u64], &chunk));
    with_session(url, async |session| {
        let (shape, counts) = length(4 * BLOCK);
        session.add_array(path.clone(), counts, None, document(&shape, &chunk, 0)).await.unwrap();
        for at in 0..4 {
            put(session, "/b", at, vec![1 + at as u8; BLOCK].into()).await;
        }
    });
    with_session(url, async |session| {
        let (shape, counts) = length(BLOCK + BLOCK / 2);
        session.update_array(&path, counts, None, document(&shape, &chunk, 0)).await.unwrap();
    });
}

/// The first byte of each half of a block.
fn halves(snapshot: &dyn bigarray_core::store::Snapshot, name: &str) -> Vec<u8> {
    let array = snapshot.array(name).unwrap().unwrap();
    let blocks = array.block_size.blocks_for(array.nbytes());
    let half = |block, page| {
        let mut read = vec![0xee; PAGE];
        snapshot.read(array.id, BlockNo(block), page, &mut read).unwrap();
        read[0]
    };
    (0..blocks).flat_map(|block| [half(block, 0), half(block, 8)]).collect()
}

/// Icechunk drops chunks that another program left behind the end, with the commit that sets the shape. Nothing else of the
/// array is lost for them, and they do not come back as it grows.
#[test]
fn chunks_that_another_program_left_behind_the_end_are_gone() {
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(1))]).unwrap();
    cut_by_its_shape(&url);
    let base = now(&*store);
    assert_eq!(halves(&*base, "b"), [1, 1, 2, 0]);
    let mut visited = Vec::new();
    base.blocks(id_of(&*base, "b"), 0..u64::MAX, &mut |block, _| {
        visited.push(block.0);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(visited, [0, 1]);
    // With something else in the same transaction, a renamed array is a new one with the same chunks.
    let edits = [Edit::of(&*base, "b").rename("c"), Edit::of(&*base, "a").attr("unit", Some("K".into()))];
    Edit::commit(&*store, &*base, &edits).unwrap();
    assert_eq!(halves(&*now(&*store), "c"), [1, 1, 2, 0]);

    cut_by_its_shape(&url);
    let base = now(&*store);
    let edit = Edit::of(&*base, "b").reshape(&[6 * BLOCK]).page(&*base, 3, 8, 7);
    Edit::commit(&*store, &*base, &[edit]).unwrap();
    assert_eq!(halves(&*now(&*store), "b"), [1, 1, 2, 0, 0, 0, 0, page_of(7)[0], 0, 0, 0, 0]);
}

/// An array that cannot be read is told with its reason, and does not keep the others from being used.
#[test]
fn an_array_that_cannot_be_read_says_why() {
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(1))]).unwrap();
    with_session(&url, async |session| {
        let shape = ArrayShape::new([(1, 1)]).unwrap();
        let json = br#"{"zarr_format":3,"node_type":"array","shape":[1],"data_type":"of tomorrow"}"#;
        session.add_array(Path::new("/b").unwrap(), shape, None, Bytes::from_static(json)).await.unwrap();
    });
    let now: Arc<dyn bigarray_core::store::Snapshot> = now(&*store);
    let error = now.array("b").unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("of tomorrow"), "{error}");
    assert_eq!(now.arrays().unwrap().len(), 1);
    let listed: Vec<_> = now.unreadable().unwrap().iter().map(|(name, why)| (name.clone(), why.to_string())).collect();
    assert_eq!(listed, [("b".to_owned(), error.to_string())]);
    Edit::commit(&*store, &*now, &[Edit::of(&*now, "a").page(&*now, 0, 0, 1)]).unwrap();
    let error = Edit::commit(&*store, &*now, &[Edit::create("b", array_of(1))]).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}
