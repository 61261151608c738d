//! A record that does not suit its array: the load fails, and says so. No thread waits for ever, and no other block is
//! touched.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bigarray_core::store::{BlockRecord, Change, CommitLock, Committed, DataFile, Snapshot, State, Store};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Descriptor, Engine, EngineOptions, PAGE, Result, Version};
use bigarray_testing::{Edit, MemStore, Signal, SimMemory, SimOptions, array_of};

/// A store of which every array seems to have blocks of another size than its records are of.
struct Other(MemStore, BlockSize);

struct OtherState(Arc<dyn Snapshot>, BlockSize);

impl Store for Other {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(OtherState(self.0.snapshot()?, self.1)))
    }
    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
        self.0.commit(change, lock)
    }
    fn commit_lock(&self) -> Result<Box<dyn CommitLock>> {
        self.0.commit_lock()
    }
}

impl Snapshot for OtherState {
    fn version(&self) -> Version {
        self.0.version()
    }
    fn file(&self) -> &Arc<dyn DataFile> {
        self.0.file()
    }
    fn read(&self, array: ArrayId, block: BlockNo, first_page: u32, buf: &mut [u8]) -> Result<()> {
        self.0.read(array, block, first_page, buf)
    }
}

impl State for OtherState {
    fn array(&self, name: &str) -> Result<Option<Descriptor>> {
        Ok(self.0.array(name)?.map(|array| Descriptor { block_size: self.1, ..array }))
    }
    fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        self.0.arrays()
    }
    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<serde_json::Value>> {
        self.0.attr(array, name)
    }
    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, serde_json::Value)>> {
        self.0.attrs(array)
    }
    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>> {
        self.0.attr_versions(array)
    }
    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>> {
        self.0.block(array, block)
    }
    fn blocks(
        &self,
        array: ArrayId,
        range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        self.0.blocks(array, range, visit)
    }
}

/// Reads page `page` of an array of 32 pages, of which block 0 is stored in a record of `of`, where blocks have `seems`.
fn assert_corrupt(of: BlockSize, seems: BlockSize, page: usize) {
    for delivers_faults in [true, false] {
        let plain = MemStore::new();
        let base = plain.snapshot().unwrap();
        let array = Descriptor { block_size: of, ..array_of(2) };
        Edit::commit(&plain, &*base, &[Edit::create("a", array).block(&*base, 0, 1)]).unwrap();
        let memory = SimMemory::with(plain.file(), SimOptions { delivers_faults, ..SimOptions::default() });
        let store = Arc::new(Other(plain, seems));
        let engine = Engine::new(store, Arc::new(memory.clone()), EngineOptions::default());
        let reader = engine.reader(&engine.snapshot().unwrap(), "a");
        if !delivers_faults {
            assert!(reader.unwrap_err().is_corrupt());
            continue;
        }
        let reader = reader.unwrap();
        let bytes = page * PAGE..(page + 1) * PAGE;
        let error = reader.prefetch(bytes.clone()).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("array \"a\""), "{error}");
        assert_eq!(memory.span_at(reader.base().unwrap()).load(bytes), Err(Signal::Bus));
    }
}

#[test]
fn a_record_of_too_few_pages_is_corrupt() {
    assert_corrupt(BlockSize::MIN, BlockSize::new(2 * BlockSize::MIN.bytes()).unwrap(), 20);
}

#[test]
fn a_record_of_too_many_pages_is_corrupt() {
    assert_corrupt(BlockSize::new(2 * BlockSize::MIN.bytes()).unwrap(), BlockSize::MIN, 3);
}
