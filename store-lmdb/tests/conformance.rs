//! Core's suite for stores. Every test ends with a check of the database.

mod common;

use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::testing::store_suite::StoreFixture;

use common::Db;

fn make() -> StoreFixture {
    let db = Db::new();
    let store: Arc<dyn Store> = db.open();
    let path = db.path.clone();
    StoreFixture::new(store).reopening(move || common::open(&path)).keeping(db)
}

bigarray_core::store_suite!(make);
