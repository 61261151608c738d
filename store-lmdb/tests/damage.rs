//! Damaged bytes are never shown.

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use bigarray_core::store::{Origin, Store as _};
use bigarray_core::{BlockNo, PAGE};
use bigarray_store_lmdb::{LmdbStore, Options};
use bigarray_testing::{Edit, array_of};

use support::{Db, assert_page, commit, id_of, now};

/// Writes three blocks of "a", the middle one in two segments.
fn written(db: &Db) -> std::sync::Arc<LmdbStore> {
    let store = db.open();
    commit(&store, |base| {
        (0..3).fold(Edit::create("a", array_of(3)), |edit, block| edit.block(base, block, 100 * block))
    });
    commit(&store, |base| {
        (8..16).fold(Edit::of(base, "a"), |edit, page| edit.page(base, 1, page, 500 + u64::from(page)))
    });
    store
}

#[test]
fn a_flipped_bit_is_reported_with_array_block_and_page_and_the_rest_reads_on() {
    let db = Db::new();
    let store = written(&db);
    let base = now(&store);
    let record = base.block(id_of(&*base, "a"), BlockNo(1)).unwrap().unwrap();
    let Origin::Extent(offset) = record.segments[1].origin else { panic!("{record:?}") };
    let at = offset + 3 * PAGE as u64 + 17;
    let flip = || {
        let data = File::options().read(true).write(true).open(db.path.join("data")).unwrap();
        let mut byte = [0];
        data.read_exact_at(&mut byte, at).unwrap();
        data.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    };
    flip();

    let mut block = vec![0; 16 * PAGE];
    let error = base.read(id_of(&*base, "a"), BlockNo(1), 0, &mut block).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    for part in ["page 11", "block 1", "id 1"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    for page in (0..8).chain(12..16) {
        assert_page(&*base, "a", 1, page, Some(if page < 8 { 100 } else { 500 } + u64::from(page)));
    }
    assert!(store.check(false).is_ok());
    let error = store.check(true).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("page 11"), "{error}");
    flip();
}

#[test]
fn a_data_file_that_was_cut_off_is_noticed_at_once() {
    let db = Db::new();
    let store = written(&db);
    let old = now(&store);
    let path = db.path.join("data");
    let whole = std::fs::read(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(8 * PAGE as u64).unwrap();

    let mut bytes = vec![0; PAGE];
    let error = old.read(id_of(&*old, "a"), BlockNo(2), 0, &mut bytes).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("block 2"), "{error}");
    drop(old);
    let error = store.snapshot().err().expect("a state whose bytes are gone");
    assert!(error.is_corrupt() && error.to_string().contains("cut off"), "{error}");
    drop(store);
    let error = LmdbStore::open(&Options::new(&db.path)).err().expect("a database whose bytes are gone");
    assert!(error.is_corrupt() && error.to_string().contains("cut off"), "{error}");
    std::fs::write(&path, whole).unwrap();
}
