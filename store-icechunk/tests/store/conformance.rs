//! The conformance suite of stores, on objects, in a directory, and with a disk cache.

use bigarray_store_icechunk::{DiskCache, IcechunkStore, Options};
use bigarray_testing::store_suite::StoreFixture;

fn fixture(url: String, options: Options) -> StoreFixture {
    let open = move || IcechunkStore::open(&url, &options).expect("a database") as _;
    let fixture = StoreFixture::new(open()).reopening(open);
    fixture.with_versions_of_contents().renewing_ids().mapping_nothing()
}

mod on_objects {
    use super::*;

    fn make() -> StoreFixture {
        fixture(crate::url(), crate::options())
    }

    bigarray_testing::store_suite!(make);
}

mod in_a_directory {
    use super::*;

    fn make() -> StoreFixture {
        let dir = tempfile::tempdir().expect("a folder");
        fixture(format!("file://{}", dir.path().join("a").display()), crate::options()).keeping(dir)
    }

    bigarray_testing::store_suite!(make);
}

mod with_a_disk_cache {
    use super::*;

    fn make() -> StoreFixture {
        let dir = tempfile::tempdir().expect("a folder");
        // Chunks have to give way, and nothing stays in memory.
        let disk_cache = Some(DiskCache { directory: dir.path().join("cache"), bytes: 4 << 20 });
        fixture(crate::url(), Options { disk_cache, cache_bytes: 0, ..crate::options() }).keeping(dir)
    }

    bigarray_testing::store_suite!(make);
}
