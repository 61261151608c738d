//! The store suite on the in-memory store.

use std::sync::Arc;

use bigarray_testing::store_suite::StoreFixture;
use bigarray_testing::{MemStore, MemStoreOptions, Versions};

fn fixture(options: MemStoreOptions) -> StoreFixture {
    let store = MemStore::with(options);
    StoreFixture::new(Arc::new(store.clone())).keeping(Checked(store))
}

/// Sees at the end of a test that no page was lost.
struct Checked(MemStore);

impl Drop for Checked {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.check();
        }
    }
}

mod extents {
    fn make() -> super::StoreFixture {
        super::fixture(super::MemStoreOptions::default())
    }
    bigarray_testing::store_suite!(make);
}

mod some_blocks_produced {
    fn make() -> super::StoreFixture {
        super::fixture(super::MemStoreOptions { produced_every: 2, ..Default::default() })
    }
    bigarray_testing::store_suite!(make);
}

/// As little as a store has to tell.
mod versions_of_contents {
    fn make() -> super::StoreFixture {
        let options = super::MemStoreOptions { versions: super::Versions::Hashes, ..Default::default() };
        super::fixture(options).with_versions_of_contents()
    }
    bigarray_testing::store_suite!(make);
}

/// The adapters pass everything on.
mod adapted {
    use bigarray_testing::{Counted, Failing};

    fn make() -> super::StoreFixture {
        let store = super::MemStore::new();
        let adapted = Counted::new(Failing::new(store.clone()));
        super::StoreFixture::new(super::Arc::new(adapted)).keeping(super::Checked(store))
    }
    bigarray_testing::store_suite!(make);
}
