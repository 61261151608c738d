//! A disk with a few pages left: a write stops half-way, which LMDB takes for a broken disk.

mod outside;
mod support;

use std::fs::File;
use std::io::Write as _;

use bigarray_core::{PAGE, Result};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::{Edit, array_of};
use nix::sys::statvfs::statvfs;
use serde_json::json;

use outside::Mount;
use support::{assert_page, check, commit, now, open};

/// Writes more pages of the index at once than are left.
const VALUE_BYTES: usize = 600 << 10;

fn set_attr(store: &LmdbStore, bytes: usize, n: u64) -> Result<()> {
    let base = now(store);
    let value = json!(n.to_string().repeat(bytes).get(..bytes));
    let edit = Edit::of(&*base, "a").attr("value", Some(value)).page(&*base, 0, 1, n);
    Edit::commit(store, &*base, &[edit]).map(drop)
}

/// Fills the disk, except for `left` pages.
fn fill(ballast: &mut File, left: u64) {
    let zeros = vec![0; PAGE];
    let mut pages = 0;
    while ballast.write_all(&zeros).is_ok() {
        pages += 1;
    }
    ballast.set_len((pages - left) * PAGE as u64).unwrap();
}

#[test]
fn a_disk_with_a_few_pages_left_refuses_the_commit_and_the_database_goes_on_without_reopening() {
    for left in 0..=40 {
        // A new database each time: a failed commit leaves room for the next.
        let Some(mount) = Mount::tmpfs(8 << 20) else { return };
        let store = open(&mount.at.join("a.bigarray"));
        commit(&store, |base| Edit::create("a", array_of(1)).page(base, 0, 0, 7));
        let path = mount.at.join("ballast");
        let mut ballast = File::create(&path).unwrap();
        fill(&mut ballast, left);
        assert_eq!(statvfs(&path).unwrap().blocks_available(), left);
        let error = set_attr(&store, VALUE_BYTES, left).expect_err("a commit that does not fit");
        assert!(error.is_store_full(), "{left} pages left: {error:?}");
        ballast.set_len(0).unwrap();
        set_attr(&store, 100 + left as usize, left).unwrap_or_else(|e| panic!("{left} pages were left: {e:?}"));
        assert_page(&*now(&store), "a", 0, 0, Some(7));
        assert_page(&*now(&store), "a", 0, 1, Some(left));
        check(&store);
    }
}

#[test]
fn a_disk_with_a_few_pages_left_refuses_to_create_a_database_as_full() {
    let Some(mount) = Mount::tmpfs(16 << 20) else { return };
    let mut ballast = File::create(mount.at.join("ballast")).unwrap();
    for left in 0..=12 {
        fill(&mut ballast, left);
        let error = outside::open(&mount.at.join("a.bigarray")).err().expect("a database that does not fit");
        assert!(error.is_store_full(), "{left} pages left: {error:?}");
        ballast = File::create(mount.at.join("ballast")).unwrap();
    }
    open(&mount.at.join("a.bigarray"));
}
