//! One committed state, as core sees it.

mod ahead;
mod announced;
mod cache;
mod catalog;
mod chunks;
mod mapped;
mod open_files;
mod read;
mod records;
mod references;
mod source;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bigarray_core::store::{BlockRecord, CachedPages, DataFile, Snapshot, State};
use bigarray_core::{ArrayId, BlockNo, Descriptor, Error, ErrorKind, PAGE, Result, Version, signals};
use icechunk::format::SnapshotId;
use serde_json::Value;

pub(crate) use catalog::{Catalog, Entry};
pub(crate) use chunks::Wanted;
pub(crate) use source::Source;

use self::catalog::version_of;
use crate::errors::Located;
use crate::zarr;

/// A state of the repository's branch. Snapshots of Icechunk are immutable, so nothing has to be held for it.
pub(crate) struct IcechunkSnapshot {
    pub(crate) source: Arc<Source>,
    pub(crate) id: SnapshotId,
    pub(crate) catalog: Catalog,
    version: Version,
}

impl IcechunkSnapshot {
    /// That of `snapshot`. What is the same in `before`, an earlier state, is taken from there.
    pub(crate) fn new(
        source: &Arc<Source>,
        snapshot: &icechunk::format::snapshot::Snapshot,
        before: Option<&IcechunkSnapshot>,
    ) -> Result<IcechunkSnapshot> {
        let catalog = Catalog::of(snapshot, source.url(), before.map(|before| &before.catalog))?;
        let flushed_at = snapshot.flushed_at().at(source.url(), "a snapshot")?;
        let version = Version(flushed_at.timestamp_micros().try_into().unwrap_or(0));
        Ok(IcechunkSnapshot { source: Arc::clone(source), id: snapshot.id(), catalog, version })
    }

    /// The array of that id, where it is called by this process.
    fn entry(&self, array: ArrayId) -> Result<Option<&Arc<Entry>>> {
        self.source.check_process()?;
        Ok(self.catalog.of_id(array))
    }

    fn unreadable_error(&self, name: &str, reason: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("array {name:?} of {}: {reason}", self.source.url()))
    }
}

impl State for IcechunkSnapshot {
    fn array(&self, name: &str) -> Result<Option<Descriptor>> {
        self.source.check_process()?;
        if let Some(entry) = self.catalog.array(name) {
            return Ok(Some(entry.descriptor.clone()));
        }
        if let Some(reason) = self.catalog.why_unreadable(name) {
            return Err(self.unreadable_error(name, reason));
        }
        zarr::check_array_name(name)?;
        Ok(None)
    }

    fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        self.source.check_process()?;
        Ok(self.catalog.arrays().map(|entry| (entry.name.clone(), entry.descriptor.clone())).collect())
    }

    fn unreadable(&self) -> Result<Vec<(String, Error)>> {
        self.source.check_process()?;
        let unreadable = self.catalog.unreadable();
        Ok(unreadable.map(|(name, reason)| (name.to_owned(), self.unreadable_error(name, reason))).collect())
    }

    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>> {
        if array == ArrayId::DATABASE {
            return Ok(self.attrs(array)?.into_iter().find_map(|(other, value)| (other == name).then_some(value)));
        }
        Ok(self.entry(array)?.and_then(|entry| entry.metadata.attribute(name).cloned()))
    }

    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, Value)>> {
        if array == ArrayId::DATABASE {
            self.source.check_process()?;
            return Ok(self.catalog.root()?.attributes());
        }
        let Some(entry) = self.entry(array)? else { return Ok(Vec::new()) };
        let attributes = entry.metadata.attributes();
        let mut attrs: Vec<_> = attributes.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        attrs.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(attrs)
    }

    /// Those that are there: what was set and removed again is as it was.
    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>> {
        let attrs = self.attrs(array)?.into_iter();
        Ok(attrs.map(|(name, value)| (name, version_of(&value.to_string()))).collect())
    }

    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>> {
        let _held = signals::hold_between_waits();
        self.entry(array)?.map_or(Ok(None), |entry| self.source.block(entry, block))
    }

    fn same_block(&self, base: &dyn Snapshot, array: ArrayId, block: BlockNo) -> Result<bool> {
        let version = |record: Option<BlockRecord>| record.map_or(Version(0), |record| record.version);
        if version(self.block(array, block)?) == version(base.block(array, block)?) {
            return Ok(true);
        }
        // Another block of the same chunk may be what differs.
        let Some(entry) = self.entry(array)? else { return Ok(false) };
        let mut bytes = vec![0; 2 * entry.descriptor.block_size.bytes()];
        let (now, then) = bytes.split_at_mut(entry.descriptor.block_size.bytes());
        self.read(array, block, 0, now)?;
        base.read(array, block, 0, then)?;
        Ok(now == then)
    }

    fn blocks(
        &self,
        array: ArrayId,
        range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        let _held = signals::hold_between_waits();
        self.entry(array)?.map_or(Ok(()), |entry| self.source.blocks(entry, range, visit))
    }
}

impl Snapshot for IcechunkSnapshot {
    fn version(&self) -> Version {
        self.version
    }

    fn file(&self) -> &Arc<dyn DataFile> {
        self.source.no_file()
    }

    fn read(&self, array: ArrayId, block: BlockNo, first_page: u32, buf: &mut [u8]) -> Result<()> {
        let _held = signals::hold_between_waits();
        let Some(entry) = self.entry(array)? else {
            let text = format!("{}: there is no array of the id {} in this state", self.source.url(), array.0);
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        self.source.reads(entry, block);
        let from = entry.descriptor.block_size.start_of(block) + first_page as usize * PAGE;
        self.source.read(entry, from, buf)
    }

    fn lookups_may_block(&self) -> bool {
        true
    }

    fn will_need(&self, array: ArrayId, blocks: Range<u64>, by_mapping: bool) {
        if let Ok(Some(entry)) = self.entry(array) {
            self.source.will_need(entry, blocks, by_mapping);
        }
    }

    fn cached(&self, array: ArrayId, block: BlockNo) -> Vec<CachedPages> {
        let _held = signals::hold_between_waits();
        self.entry(array).ok().flatten().map_or(Vec::new(), |entry| self.source.cached(entry, block))
    }
}
