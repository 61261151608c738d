//! The check of the index's structure on sound files of many sizes, and on files with damaged pages.

use std::fs;
use std::sync::OnceLock;

use bigarray_core::store::Store;
use bigarray_testing::{Edit, array_of};
use lmdb::{Cursor, EnvironmentFlags, Transaction};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::index::Env;
use crate::locks::files::Directory;
use crate::{LmdbStore, Options};

/// An index with tables of several levels, values on pages of their own, and free pages.
fn index() -> &'static [u8] {
    static INDEX: OnceLock<Vec<u8>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = LmdbStore::open(&Options::new(dir.path())).unwrap();
        for n in 0..60 {
            let base = store.snapshot().unwrap();
            let edit = Edit::create(&format!("{n:03} {}", "long name ".repeat(20)), array_of(1));
            let large = serde_json::Value::from("x".repeat(100 * n as usize));
            Edit::commit(&*store, &*base, &[edit.page(&*base, 0, 3, n).attr("large", Some(large))]).unwrap();
        }
        drop(store);
        fs::read(dir.path().join("index")).unwrap()
    })
}

/// Checks a file of these bytes as opening does, then reads all of it by LMDB, where a page that is not safe would end the
/// process.
fn check_and_read(bytes: &[u8]) -> Result<usize> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    fs::write(&path, bytes).unwrap();
    let structure = Structure::read(File::open(&path).unwrap(), &path)?;
    structure.check()?;
    let flags = EnvironmentFlags::NO_SUB_DIR | EnvironmentFlags::NO_LOCK | EnvironmentFlags::READ_ONLY;
    let directory = Directory::find_or_make(&Options::new(dir.path()))?;
    let env = Env::open(&directory, "index", flags, Some(64 << 20), None)?;
    let txn = env.lmdb().begin_ro_txn().unwrap();
    let mut bytes = 0;
    // SAFETY: no other transaction of this environment opens tables.
    let main = unsafe { txn.open_db(None) }.unwrap();
    let names: Vec<Vec<u8>> =
        txn.open_ro_cursor(main).unwrap().iter_start().map(|row| row.unwrap().0.to_vec()).collect();
    for name in names {
        let Ok(name) = String::from_utf8(name) else { continue };
        // SAFETY: as above.
        let Ok(table) = (unsafe { txn.open_db(Some(&name)) }) else { continue };
        for row in txn.open_ro_cursor(table).unwrap().iter_start() {
            let (key, value) = row.unwrap();
            bytes += key.iter().chain(value).filter(|byte| **byte != 0).count();
        }
    }
    Ok(bytes)
}

#[test]
fn a_sound_index_passes() {
    assert!(index().len() > 40 * 4096);
    assert!(check_and_read(index()).unwrap() > 100_000);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damage_that_would_end_the_process_is_found_first(
        page in any::<prop::sample::Index>(),
        // Most fields that LMDB trusts are at the beginning of a page.
        changes in prop::collection::vec((prop_oneof![0usize..200, 0usize..4096], any::<u8>()), 1..6),
        from in prop::option::of(any::<prop::sample::Index>()),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut bytes = index().to_vec();
        let pages = bytes.len() / 4096;
        let at = page.index(pages) * 4096;
        match from {
            // Another page of the same file, as after a write that was lost or went to a wrong place.
            Some(from) => bytes.copy_within(from.index(pages) * 4096..(from.index(pages) + 1) * 4096, at),
            None => changes.iter().for_each(|(offset, byte)| bytes[at + offset] = *byte),
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Err(error) = check_and_read(&bytes) {
            prop_assert!(error.is_corrupt() || error.is_unsupported(), "{error:?}");
        }
    }
}
