//! Records of the index that are not found: an answer is right, or an error. Without its record a block would look like a
//! hole, and an attribute or an array would seem not to exist.

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bigarray_core::store::Store as _;
use bigarray_core::{ArrayId, BlockNo, Engine, EngineOptions, PAGE, Result};
use bigarray_store_lmdb::{LmdbStore, Options};
use bigarray_testing::{Edit, SimMemory, SimOptions, array_of};
use lmdb::Transaction as _;
use serde_json::json;

use support::{Db, commit, now};

const NAMES: [&str; 2] = ["alpha", "beta"];
/// Blocks of each array. Every second one is a hole.
const BLOCKS: u64 = 8;

fn fill(db: &Db) {
    let store = db.open();
    for (name, tag) in [("alpha", 100), ("beta", 200)] {
        commit(&store, |base| {
            let edit = Edit::create(name, array_of(BLOCKS as usize)).attr("unit", Some(json!("K")));
            (0..BLOCKS).step_by(2).fold(edit, |edit, block| edit.page(base, block, 3, tag + block))
        });
    }
}

fn open_to_read(path: &Path) -> Result<Arc<LmdbStore>> {
    LmdbStore::open(&Options { read_only: true, ..Options::new(path) })
}

/// The answers to all questions about the arrays.
fn look(path: &Path) -> Result<Vec<Result<String>>> {
    let store = open_to_read(path)?;
    let base = store.snapshot()?;
    let mut seen = vec![base.arrays().map(|arrays| format!("{arrays:?}"))];
    for (name, id) in NAMES.into_iter().zip([ArrayId(1), ArrayId(2)]) {
        seen.push(base.array(name).map(|array| format!("{array:?}")));
        seen.push(base.attr(id, "unit").map(|attr| format!("{attr:?}")));
        seen.push(base.attrs(id).map(|attrs| format!("{attrs:?}")));
        let list = |from, to| -> Result<String> {
            let mut found = Vec::new();
            base.blocks(id, from..to, &mut |block, _| {
                found.push(block.0);
                ControlFlow::Continue(())
            })?;
            Ok(format!("{found:?}"))
        };
        seen.push(list(0, u64::MAX));
        for block in 0..BLOCKS {
            seen.push(list(block, block + 1));
            seen.push(base.block(id, BlockNo(block)).map(|record| format!("{record:?}")));
            let mut bytes = vec![0; 16 * PAGE];
            seen.push(base.read(id, BlockNo(block), 0, &mut bytes).map(|()| format!("{:08x}", crc32c::crc32c(&bytes))));
        }
    }
    Ok(seen)
}

/// The error, if an answer is one. Checks that all other answers are `expected`.
#[track_caller]
fn judge(seen: Result<Vec<Result<String>>>, expected: &[String], label: &str) -> Option<bigarray_core::Error> {
    let seen = match seen {
        Ok(seen) => seen,
        Err(e) => return Some(e),
    };
    let mut failed = None;
    for (seen, expected) in seen.into_iter().zip(expected) {
        match seen {
            Ok(seen) => assert_eq!(&seen, expected, "{label}"),
            Err(e) => {
                assert!(e.is_corrupt(), "{label}: {e:?}");
                failed = Some(e);
            }
        }
    }
    failed
}

/// The places of a key in the index, in pages in use and others, without the two meta pages.
fn places(index: &[u8], key: &[u8]) -> Vec<usize> {
    (2 * 4096..index.len() - key.len()).filter(|at| index[*at..].starts_with(key)).collect()
}

/// Flips bits of `keys` in all their places, one at a time: a third of the bits.
fn flip_bits_of(keys: &[Vec<u8>]) {
    let db = Db::new();
    fill(&db);
    let path = db.path.join("index");
    let index = fs::read(&path).unwrap();
    let expected: Vec<String> = look(&db.path).unwrap().into_iter().map(Result::unwrap).collect();
    for key in keys {
        let mut noticed = 0;
        for at in places(&index, key) {
            for bit in (at % 3..8 * key.len()).step_by(3) {
                let mut damaged = index.clone();
                damaged[at + bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, damaged).unwrap();
                let label = format!("bit {bit} of key {:?} at byte {at}", key.escape_ascii().to_string());
                if let Some(e) = judge(look(&db.path), &expected, &label) {
                    assert!(e.is_corrupt(), "{label}: {e:?}");
                    let checked = open_to_read(&db.path).and_then(|store| store.check(false));
                    assert!(checked.is_err_and(|e| e.is_corrupt()), "{label}");
                    noticed += 1;
                }
            }
        }
        assert!(noticed > 0, "key {:?} is not in use", key.escape_ascii().to_string());
    }
    fs::write(&path, index).unwrap();
}

fn key_of(array: u64, rest: &[u8]) -> Vec<u8> {
    [&array.to_be_bytes(), rest].concat()
}

#[test]
fn a_flipped_bit_in_the_key_of_a_block_never_shows_a_hole_in_its_place() {
    flip_bits_of(&[0u64, 4, 6].map(|block| key_of(1, &block.to_be_bytes())));
    flip_bits_of(&[0u64, 2, 6].map(|block| key_of(2, &block.to_be_bytes())));
}

#[test]
fn a_flipped_bit_in_the_key_of_an_array_or_an_attribute_never_hides_it() {
    flip_bits_of(&[b"alpha".to_vec(), b"beta".to_vec(), key_of(1, b"unit"), key_of(2, b"unit")]);
}

#[test]
fn a_flipped_bit_in_a_key_of_meta_is_noticed() {
    flip_bits_of(&[b"format".to_vec(), b"chunks-end".to_vec()]);
}

/// Deletes a record behind the back of the store.
fn delete(path: &Path, table: &str, key: &[u8]) {
    let env = lmdb::Environment::new()
        .set_flags(lmdb::EnvironmentFlags::NO_SUB_DIR | lmdb::EnvironmentFlags::NO_LOCK)
        .set_max_dbs(20)
        .open(&path.join("index"))
        .unwrap();
    let table = env.open_db(Some(table)).unwrap();
    let mut txn = env.begin_rw_txn().unwrap();
    txn.del(table, &key, None).unwrap();
    txn.commit().unwrap();
}

/// Checks which calls notice that a record of "alpha" is missing.
fn lacks(path: &Path, what: &str) {
    let named = |e: bigarray_core::Error| {
        let text = e.to_string();
        assert!(e.is_corrupt() && text.contains("alpha") && text.contains(what), "{e:?}");
    };
    let store = LmdbStore::open(&Options::new(path)).unwrap();
    let base = now(&store);
    named(base.check_records("alpha").unwrap_err());
    base.check_records("beta").unwrap();
    named(store.check(false).unwrap_err());
    // As opening an array does.
    for verify in [true, false] {
        let memory = SimMemory::with(base.file().clone(), SimOptions::default());
        let options = EngineOptions { verify, ..EngineOptions::default() };
        let engine = Engine::new(store.clone(), Arc::new(memory), options);
        let transaction = engine.begin().unwrap();
        for opened in [engine.reader(&base, "alpha").map(drop), transaction.open("alpha").map(drop)] {
            match opened {
                Err(e) if verify => named(e),
                opened => assert!(opened.is_ok() && !verify, "{opened:?}"),
            }
        }
        engine.reader(&base, "beta").unwrap();
    }
}

#[test]
fn a_lost_record_of_a_block_is_noticed_by_all_that_read_every_record() {
    let db = Db::new();
    fill(&db);
    delete(&db.path, "blocks", &key_of(1, &4u64.to_be_bytes()));
    lacks(&db.path, "blocks");
    // Also by a commit that deletes all of them.
    let store = LmdbStore::open(&Options::new(&db.path)).unwrap();
    let base = now(&store);
    for edit in [Edit::of(&*base, "alpha").remove(), Edit::of(&*base, "alpha").drop_from(&*base, 0)] {
        let error = Edit::commit(&*store, &*base, &[edit]).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("blocks"), "{error}");
    }
    Edit::commit(&*store, &*base, &[Edit::of(&*base, "beta").remove()]).unwrap();
    drop((base, store));
    fs::remove_dir_all(&db.path).unwrap();
}

#[test]
fn a_lost_record_of_an_attribute_is_noticed() {
    let db = Db::new();
    fill(&db);
    delete(&db.path, "attrs", &key_of(1, b"unit"));
    lacks(&db.path, "attributes");
    fs::remove_dir_all(&db.path).unwrap();
}

#[test]
fn a_lost_record_of_an_array_is_noticed_when_arrays_are_listed() {
    let db = Db::new();
    fill(&db);
    delete(&db.path, "arrays", b"alpha");
    let store = open_to_read(&db.path).unwrap();
    let error = now(&store).arrays().unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("1 arrays, which are not the 2"), "{error}");
    drop(store);
    fs::remove_dir_all(&db.path).unwrap();
}

/// Tallies follow each kind of change; the check at the end of the test compares them.
#[test]
fn an_array_found_complete_is_checked_again_only_after_another_process_changed_it() {
    let db = Db::new();
    fill(&db);
    let store = db.open();
    let ids: Vec<ArrayId> = NAMES.iter().map(|name| support::id_of(&*now(&store), name)).collect();
    assert_eq!(ids, [ArrayId(1), ArrayId(2)]);
    let seen = || NAMES.iter().try_for_each(|name| now(&store).check_records(name));
    seen().unwrap();
    commit(&store, |base| Edit::of(base, "alpha").page(base, 4, 3, 7).page(base, 5, 0, 8));
    seen().unwrap();
    commit(&store, |base| Edit::of(base, "alpha").attr("unit", None).attr("scale", Some(json!(2))));
    seen().unwrap();
    commit(&store, |base| Edit::of(base, "beta").drop_from(base, 3).attr("unit", Some(json!("m"))));
    seen().unwrap();
    commit(&store, |base| Edit::of(base, "beta").drop_from(base, 0).rename("gamma"));
    now(&store).check_records("gamma").unwrap();
    commit(&store, |base| Edit::of(base, "alpha").remove());
    store.check(true).unwrap();
    assert_eq!(now(&store).arrays().unwrap().len(), 1);
}
