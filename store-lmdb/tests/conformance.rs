//! Core's suite for stores. Every test ends with a check of the database.

mod support;

use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_testing::store_suite::StoreFixture;

use support::Db;

fn make() -> StoreFixture {
    let db = Db::new();
    let store: Arc<dyn Store> = db.open();
    let path = db.path.clone();
    StoreFixture::new(store).reopening(move || support::open(&path)).keeping(db)
}

bigarray_testing::store_suite!(make);
