//! Damaged pages of the index. LMDB trusts its pages, so verification checks them first. A damaged page that LMDB read
//! nevertheless would end the process of these tests.

mod support;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::thread;

use bigarray_core::store::Store as _;
use bigarray_core::{ErrorKind, Report, Result};
use bigarray_store_lmdb::{LmdbStore, Options};
use bigarray_testing::{Edit, array_of};
use serde_json::json;

use support::Db;

const PAGE: usize = 4096;
const ARRAYS: u64 = 40;

/// A database whose index has tables of several levels, values on pages of their own, and free pages.
fn filled(db: &Db) -> Arc<LmdbStore> {
    let store = LmdbStore::open(&Options::new(&db.path)).unwrap();
    for n in 0..ARRAYS {
        let base = store.snapshot().unwrap();
        let edit = Edit::create(&format!("{n:03} {}", "long name ".repeat(20)), array_of(1));
        let large = json!("x".repeat(150 * n as usize));
        Edit::commit(&*store, &*base, &[edit.page(&*base, 0, 3, n).attr("large", Some(large))]).unwrap();
    }
    store
}

fn index_of(db: &Db) -> (File, u64) {
    let file = OpenOptions::new().read(true).write(true).open(db.path.join("index")).unwrap();
    let pages = file.metadata().unwrap().len() / PAGE as u64;
    (file, pages)
}

/// Verifies while a page has another content.
fn verify_with(store: &LmdbStore, index: &File, page: u64, edit: impl FnOnce(&mut [u8])) -> Result<Report> {
    let mut was = vec![0; PAGE];
    index.read_exact_at(&mut was, page * PAGE as u64).unwrap();
    let mut bytes = was.clone();
    edit(&mut bytes);
    index.write_all_at(&bytes, page * PAGE as u64).unwrap();
    let report = store.verify(&mut |_| {});
    index.write_all_at(&was, page * PAGE as u64).unwrap();
    report
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]))
}

#[test]
fn damage_in_a_page_of_the_index_is_reported_and_never_ends_the_process() {
    let db = Db::new();
    let store = filled(&db);
    let sound = store.verify(&mut |_| {}).unwrap();
    assert!(sound.is_sound(), "{sound:?}");
    let (index, pages) = index_of(&db);
    assert!(pages > 40, "{pages}");
    let mut told = 0;
    for page in 2..pages {
        let zeroed = verify_with(&store, &index, page, |bytes| bytes.fill(0)).unwrap();
        if !zeroed.is_sound() {
            let text = zeroed.damages()[0].to_string();
            let names_page = text.contains("index: its page");
            // From its second page on, a value that takes several pages is plain bytes.
            assert!(names_page || text.contains("its checksum does not fit"), "{text}");
            told += usize::from(names_page);
        }
        // Number, flags and bounds of the page, and the place of its first node; then sizes and flags of that node.
        for at in [0, 4, 10, 11, 12, 13, 14, 15, 16, 17, 100, 2000, 4000, 4090] {
            check_kind(verify_with(&store, &index, page, |bytes| bytes[at] ^= 1 << ((page as usize + at) % 8)));
        }
        for at in 0..8 {
            check_kind(verify_with(&store, &index, page, |bytes| {
                let node = u16_at(bytes, 16) + at;
                if let Some(byte) = bytes.get_mut(node) {
                    *byte ^= 5;
                }
            }));
        }
        check_kind(verify_with(&store, &index, page, |bytes| bytes.fill(0xff)));
    }
    assert!(told > 20, "{told} of {pages}");
    assert!(store.verify(&mut |_| {}).unwrap().is_sound());
}

/// Damage that LMDB finds itself is an error.
fn check_kind(report: Result<Report>) {
    if let Err(e) = report {
        assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Io), "{e}");
    }
}

#[test]
fn keys_out_of_order_are_reported_and_the_rest_is_checked() {
    let db = Db::new();
    let store = filled(&db);
    let (index, pages) = index_of(&db);
    let mut gone_on = 0;
    for page in 2..pages {
        let report = verify_with(&store, &index, page, |bytes| {
            const LEAF: usize = 2;
            if u16_at(bytes, 10) == LEAF && u16_at(bytes, 12) >= 16 + 4 {
                let (first, second) = bytes[16..20].split_at_mut(2);
                first.swap_with_slice(second);
            }
        });
        let Ok(report) = report else { continue };
        let is_told = report.damages().iter().any(|damage| damage.what.contains("has keys out of order"));
        gone_on += usize::from(is_told && report.verified_bytes() == ARRAYS * PAGE as u64);
    }
    assert!(gone_on > 0);
}

#[test]
fn a_sound_index_passes_while_others_commit() {
    let db = Db::new();
    let store = filled(&db);
    let verifying = store.clone();
    let verified = thread::spawn(move || {
        for _ in 0..50 {
            let report = verifying.verify(&mut |_| {}).unwrap();
            assert!(report.is_sound(), "{report:?}");
        }
    });
    let mut n = 0;
    while !verified.is_finished() {
        n += 1;
        let base = store.snapshot().unwrap();
        let name = format!("{:03} {}", n % ARRAYS, "long name ".repeat(20));
        let large = json!("y".repeat(n as usize % 99 * 100));
        let edit = Edit::of(&*base, &name).page(&*base, 0, 3, n).attr("large", Some(large));
        Edit::commit(&*store, &*base, &[edit]).unwrap();
    }
    verified.join().unwrap();
}

#[test]
fn progress_is_told_while_the_pages_of_the_index_are_looked_at() {
    let db = Db::new();
    let store = filled(&db);
    let (_, pages) = index_of(&db);
    let mut before_the_payload = 0;
    let report = store.verify(&mut |progress| before_the_payload += u64::from(progress.total_bytes == 0)).unwrap();
    assert!(report.is_sound(), "{report:?}");
    // Once in the beginning, and once for the few records; the rest is of the pages.
    assert!(before_the_payload >= 2 + pages / 64, "{before_the_payload} for {pages} pages");
}
