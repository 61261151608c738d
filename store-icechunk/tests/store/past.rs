//! States of the past, and what compacting leaves.

use std::time::Duration;

use bigarray_core::store::Store;
use bigarray_testing::{Edit, array_of};

use crate::{assert_page, now, open, url};

fn commit(store: &dyn Store, tag: u64) {
    let base = now(store);
    Edit::commit(store, &*base, &[Edit::of(&*base, "a").page(&*base, 0, 0, tag)]).unwrap();
}

#[test]
fn states_are_found_by_commit_and_tag() {
    let store = open(&url());
    let history = store.history().unwrap();
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(1))]).unwrap();
    for tag in 1..=3 {
        commit(&*store, tag);
        if tag == 2 {
            history.tag("two").unwrap();
            // As after an answer that was lost.
            history.tag("two").unwrap();
        }
    }
    assert!(history.tag("two").unwrap_err().is_already_exists());
    assert!(history.tag("").unwrap_err().is_invalid());
    let log = history.log(3).unwrap();
    assert_eq!(log[0].version, now(&*store).version());
    assert!(log.is_sorted_by(|a, b| a.version > b.version && a.time > b.time));
    for (commit, tag) in log.iter().zip([3, 2, 1]) {
        assert_page(&*history.at(&commit.id).unwrap(), 0, 0, Some(tag));
    }
    assert_eq!(history.tags().unwrap(), [("two".to_owned(), log[1].id.clone())]);
    assert_page(&*history.at("two").unwrap(), 0, 0, Some(2));
    for none in ["three", "ZZZZZZZZZZZZZZZZZZZZ", "é"] {
        assert!(history.at(none).err().unwrap().is_not_found(), "{none}");
    }
}

/// The newest state and those with tags stay, with their chunks.
#[test]
fn compacting_keeps_what_is_newest_and_what_has_a_tag() {
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(1))]).unwrap();
    for tag in 1..=20 {
        commit(&*store, tag);
        if tag == 5 {
            store.history().unwrap().tag("five").unwrap();
        }
    }
    let old = store.history().unwrap().log(3).unwrap()[2].id.clone();
    let compacted = store.history().unwrap().compact(Duration::ZERO).unwrap();
    assert!(compacted.states >= 17 && compacted.objects >= 17 * 3, "{compacted:?}");
    let history = store.history().unwrap();
    assert!(history.at(&old).err().unwrap().is_not_found());
    for store in [&store, &open(&url)] {
        assert_page(&*now(&**store), 0, 0, Some(20));
        assert_page(&*store.history().unwrap().at("five").unwrap(), 0, 0, Some(5));
    }
    commit(&*store, 21);
    assert_page(&*now(&*store), 0, 0, Some(21));
}
