//! Everything that a snapshot shows, to be compared.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bigarray_core::store::{BlockRecord, Origin, Segment, Snapshot, State};
use bigarray_core::{ArrayId, BlockNo, Descriptor, PAGE, Version};
use serde_json::Value;

use super::super::Versions;

/// Version and bytes of a block.
type Shown = (Version, Vec<u8>);

#[derive(Clone, PartialEq)]
pub(super) struct Photograph {
    version: Version,
    arrays: Vec<(String, Descriptor)>,
    attrs: BTreeMap<String, Vec<(String, Value)>>,
    pub(super) blocks: BTreeMap<(String, u64), Shown>,
}

/// Looks at all of `snapshot`, and that its records are well formed and agree with its bytes.
#[track_caller]
pub(super) fn of(snapshot: &dyn Snapshot, versions: Versions) -> Photograph {
    let arrays = snapshot.arrays().expect("arrays");
    // No array has an empty name.
    let mut attrs = BTreeMap::from([(String::new(), snapshot.attrs(ArrayId::DATABASE).expect("attrs"))]);
    let mut blocks = BTreeMap::new();
    for (name, array) in &arrays {
        assert_eq!(snapshot.array(name).expect("array").as_ref(), Some(array), "array and arrays agree");
        attrs.insert(name.clone(), snapshot.attrs(array.id).expect("attrs"));
        for (block, record) in records(snapshot, array.id) {
            assert_eq!(
                snapshot.block(array.id, block).expect("block").as_ref(),
                Some(&record),
                "block and blocks agree"
            );
            assert_ne!(record.version, Version(0), "{record:?}");
            if versions == Versions::Numbers {
                assert!(record.version <= snapshot.version(), "{record:?}");
                assert!(record.version <= array.changed, "{record:?} is newer than its array's {:?}", array.changed);
            }
            assert_well_formed(&record, array.block_size.pages());
            let mut bytes = vec![0xee; array.block_size.bytes()];
            snapshot.read(array.id, block, 0, &mut bytes).expect("read");
            for segment in &record.segments {
                assert_holds(snapshot, segment, &bytes);
            }
            blocks.insert((name.clone(), block.0), (record.version, bytes));
        }
    }
    Photograph { version: snapshot.version(), arrays, attrs, blocks }
}

pub(super) fn records(state: &(impl State + ?Sized), array: ArrayId) -> Vec<(BlockNo, BlockRecord)> {
    let mut records = Vec::new();
    let visit = &mut |block, record| {
        records.push((block, record));
        ControlFlow::Continue(())
    };
    state.blocks(array, 0..u64::MAX, visit).expect("blocks");
    records
}

#[track_caller]
fn assert_well_formed(record: &BlockRecord, pages: u32) {
    let segments = &record.segments;
    let bounds: Vec<u32> = segments.iter().map(|s| s.pages.start).chain([pages]).collect();
    assert_eq!(bounds[0], 0, "{record:?} does not begin with page 0");
    for (segment, next) in segments.iter().zip(&bounds[1..]) {
        assert!(segment.pages.start < segment.pages.end && segment.pages.end == *next, "{record:?}: gap or overlap");
    }
    for pair in segments.windows(2) {
        let joined = match (pair[0].origin, pair[1].origin) {
            (Origin::Extent(a), Origin::Extent(b)) => a + (pair[0].pages.len() * PAGE) as u64 == b,
            (a, b) => a == b,
        };
        assert!(!joined, "{record:?}: neighbours are one segment");
    }
}

/// What a segment says of its bytes is so.
#[track_caller]
fn assert_holds(snapshot: &dyn Snapshot, segment: &Segment, block: &[u8]) {
    let bytes = &block[segment.pages.start as usize * PAGE..segment.pages.end as usize * PAGE];
    match segment.origin {
        Origin::Hole => assert!(bytes.iter().all(|b| *b == 0), "{segment:?} reads as something"),
        Origin::Extent(offset) => {
            assert!(offset.is_multiple_of(PAGE as u64), "{segment:?} is not page aligned");
            let mut in_file = vec![0; bytes.len()];
            snapshot.file().read_at(offset, &mut in_file).expect("extent");
            assert!(in_file == bytes, "{segment:?}: the file holds other bytes than read gives");
        }
        Origin::Produced => {}
    }
}

impl Photograph {
    #[track_caller]
    pub(super) fn assert_same(&self, other: &Photograph, after: &str) {
        assert_eq!(self.version, other.version, "{after}: version");
        self.assert_same_content(other, after);
    }

    /// The same, but for the numbers of the states: a store may use some for invisible changes.
    #[track_caller]
    pub(super) fn assert_same_content(&self, other: &Photograph, after: &str) {
        assert_eq!(self.arrays, other.arrays, "{after}: arrays");
        assert_eq!(self.attrs, other.attrs, "{after}: attributes");
        let versions = |p: &Photograph| p.blocks.iter().map(|(k, (v, _))| (k.clone(), *v)).collect::<Vec<_>>();
        assert_eq!(versions(self), versions(other), "{after}: blocks and their versions");
        for (key, (_, bytes)) in &self.blocks {
            let differs = bytes.iter().zip(&other.blocks[key].1).position(|(a, b)| a != b);
            assert_eq!(differs, None, "{after}: first differing byte of {key:?}");
        }
    }
}
