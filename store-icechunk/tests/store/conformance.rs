//! The conformance suite of stores, on objects and in a directory.

use bigarray_store_icechunk::IcechunkStore;
use bigarray_testing::store_suite::StoreFixture;

fn fixture(url: String) -> StoreFixture {
    let open = move || IcechunkStore::open(&url, &crate::options()).expect("a database") as _;
    let fixture = StoreFixture::new(open()).reopening(open);
    fixture.with_versions_of_contents().renewing_ids().mapping_nothing()
}

mod on_objects {
    use super::*;

    fn make() -> StoreFixture {
        fixture(crate::url())
    }

    bigarray_testing::store_suite!(make);
}

mod in_a_directory {
    use super::*;

    fn make() -> StoreFixture {
        let dir = tempfile::tempdir().expect("a folder");
        fixture(format!("file://{}", dir.path().join("a").display())).keeping(dir)
    }

    bigarray_testing::store_suite!(make);
}
