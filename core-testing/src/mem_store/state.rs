//! One committed state as immutable data: what a commit does not touch, the next state shares.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bigarray_core::store::{BlockRecord, CachedPages, DataFile, Origin, Segment, Snapshot, State};
use bigarray_core::{ArrayId, BlockNo, Descriptor, PAGE, Result, Version};
use serde_json::Value;

use super::super::MemFile;
use super::versions::{Versions, digest_of};

/// Pages of a block that one file has.
const CACHED_PAGES: usize = 11;

/// What such a file has around them.
const AROUND: u8 = 0xbd;

/// Where one page is.
#[derive(Clone, Debug)]
pub(super) enum PageAt {
    Hole,
    /// Page of the data file.
    File(u64),
    /// Kept outside the data file, as compressed bytes would be.
    Produced(Arc<[u8]>),
}

impl PageAt {
    fn origin(&self) -> Origin {
        match self {
            PageAt::Hole => Origin::Hole,
            PageAt::File(page) => Origin::Extent(page * PAGE as u64),
            PageAt::Produced(_) => Origin::Produced,
        }
    }

    pub(super) fn file_page(&self) -> Option<u64> {
        match self {
            PageAt::File(page) => Some(*page),
            PageAt::Hole | PageAt::Produced(_) => None,
        }
    }

    pub(super) fn read(&self, file: &dyn DataFile, buf: &mut [u8]) -> Result<()> {
        match self {
            PageAt::Hole => buf.fill(0),
            PageAt::File(page) => file.read_at(page * PAGE as u64, buf)?,
            PageAt::Produced(bytes) => buf.copy_from_slice(bytes),
        }
        Ok(())
    }
}

/// A stored block, page by page: laying a commit over it is an assignment.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) version: Version,
    /// Of its bytes; kept where versions are hashes.
    pub(super) digest: u64,
    pub(super) pages: Vec<PageAt>,
}

impl Block {
    pub(super) fn file_pages(&self) -> impl Iterator<Item = u64> {
        self.pages.iter().filter_map(PageAt::file_page)
    }

    /// Its produced pages in files, a few in each, between pages that are none of them.
    pub(super) fn cached(&self) -> Vec<CachedPages> {
        let mut cached = Vec::new();
        for (pages, origin) in self.record().segments.into_iter().map(|segment| (segment.pages, segment.origin)) {
            if origin != Origin::Produced {
                continue;
            }
            for start in pages.clone().step_by(CACHED_PAGES) {
                let pages = start..pages.end.min(start + CACHED_PAGES as u32);
                let offset = u64::from(1 + start % 3) * PAGE as u64;
                let file = MemFile::new(vec![AROUND; offset as usize + (pages.len() + 1) * PAGE]);
                for (n, page) in self.pages[pages.start as usize..pages.end as usize].iter().enumerate() {
                    let PageAt::Produced(bytes) = page else { unreachable!("a segment of produced pages") };
                    file.write_at(offset + (n * PAGE) as u64, bytes);
                }
                cached.push(CachedPages { pages, file: Arc::new(file), offset });
            }
        }
        cached
    }

    pub(super) fn record(&self) -> BlockRecord {
        let pages = (0..).zip(&self.pages).map(|(n, page)| Segment { pages: n..n + 1, origin: page.origin() });
        BlockRecord::new(self.version, self.pages.len() as u32, pages)
    }
}

/// An attribute as a commit left it.
pub(super) type Attr = (Version, Option<Value>);

#[derive(Clone, Default)]
pub(super) struct Committed {
    pub(super) version: Version,
    pub(super) versions: Versions,
    pub(super) arrays: BTreeMap<String, Descriptor>,
    /// With the version of each. Those that were removed have no value, or are not there.
    pub(super) attrs: BTreeMap<ArrayId, Arc<BTreeMap<String, Attr>>>,
    pub(super) blocks: BTreeMap<ArrayId, Arc<BTreeMap<u64, Arc<Block>>>>,
}

impl Committed {
    /// Every page of the data file that this state refers to.
    pub(super) fn file_pages(&self) -> impl Iterator<Item = u64> {
        self.blocks.values().flat_map(|blocks| blocks.values()).flat_map(|block| block.file_pages())
    }

    pub(super) fn block_at(&self, array: ArrayId, block: BlockNo) -> Option<&Arc<Block>> {
        self.blocks.get(&array)?.get(&block.0)
    }
}

impl State for Committed {
    fn array(&self, name: &str) -> Result<Option<Descriptor>> {
        Ok(self.arrays.get(name).cloned())
    }

    fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        Ok(self.arrays.iter().map(|(name, array)| (name.clone(), array.clone())).collect())
    }

    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>> {
        Ok(self.attrs.get(&array).and_then(|attrs| attrs.get(name)).and_then(|(_, value)| value.clone()))
    }

    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, Value)>> {
        let attrs = self.attrs.get(&array).into_iter().flat_map(|attrs| attrs.iter());
        Ok(attrs.filter_map(|(name, (_, value))| Some((name.clone(), value.clone()?))).collect())
    }

    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>> {
        let attrs = self.attrs.get(&array).into_iter().flat_map(|attrs| attrs.iter());
        Ok(attrs.map(|(name, (version, _))| (name.clone(), *version)).collect())
    }

    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>> {
        Ok(self.block_at(array, block).map(|block| block.record()))
    }

    fn same_block(&self, base: &dyn Snapshot, array: ArrayId, block: BlockNo) -> Result<bool> {
        let version = |record: Option<BlockRecord>| record.map_or(Version(0), |record| record.version);
        let there = self.block_at(array, block);
        match self.versions {
            Versions::Numbers => Ok(version(there.map(|there| there.record())) == version(base.block(array, block)?)),
            Versions::Hashes => {
                let Some(array) = self.arrays.values().find(|found| found.id == array) else { return Ok(false) };
                let mut bytes = vec![0; array.block_size.bytes()];
                if let Some(fill) = &array.fill {
                    fill.write(array.block_size.start_of(block), &mut bytes);
                }
                let digest = there.map_or_else(|| digest_of(&bytes), |there| there.digest);
                if array.fill.is_none() || base.block(array.id, block)?.is_some() {
                    base.read(array.id, block, 0, &mut bytes)?;
                }
                Ok(digest == digest_of(&bytes))
            }
        }
    }

    fn blocks(
        &self,
        array: ArrayId,
        range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        for (number, block) in self.blocks.get(&array).into_iter().flat_map(|blocks| blocks.range(range.clone())) {
            if visit(BlockNo(*number), block.record()).is_break() {
                break;
            }
        }
        Ok(())
    }
}
