//! A server behind a proxy that answers late, answers 500, cuts and loses answers, or falls silent. Where
//! `BIGARRAY_TEST_S3` names a server; otherwise `faults` and `lost_answers` do the like in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bigarray_core::store::Store;
use bigarray_store_icechunk::{IcechunkStore, Options};
use bigarray_testing::{Edit, Fate, Proxy, array_of};

use crate::{assert_page, id_of, now, open, server, url};

/// A proxy before the server, and a database of one array that is reached directly.
fn proxied(round_trip: Duration) -> Option<(Proxy, String)> {
    let Some(server) = server() else {
        println!("SKIPPED: BIGARRAY_TEST_S3 is not set");
        return None;
    };
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(64))]).unwrap();
    let host = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
    Some((Proxy::before(&host, round_trip), url))
}

fn through(proxy: &Proxy, url: &str, deadline: Duration) -> Arc<IcechunkStore> {
    let options = Options { endpoint: Some(proxy.url()), deadline, ..Options::default() };
    IcechunkStore::open(url, &options).unwrap()
}

/// Every `n`th request meets `fate`.
fn now_and_then(n: usize, fate: Fate) -> impl FnMut(&str) -> Fate + Send {
    let count = AtomicUsize::new(0);
    move |_| if count.fetch_add(1, Ordering::Relaxed) % n == n - 1 { fate } else { Fate::Pass }
}

const PATIENT: Duration = Duration::from_secs(60);

#[test]
fn commits_and_reads_pass_over_failed_cut_and_lost_answers() {
    for fate in [Fate::Fail, Fate::CutAnswer(300), Fate::LoseAnswer, Fate::Drop] {
        let Some((proxy, url)) = proxied(Duration::from_millis(2)) else { return };
        let store = through(&proxy, &url, PATIENT);
        proxy.on_request(now_and_then(7, fate));
        for block in 0..10 {
            let base = now(&*store);
            let edit = Edit::of(&*base, "a").block(&*base, block, 100 * (block + 1));
            Edit::commit(&*store, &*base, &[edit]).unwrap_or_else(|e| panic!("{fate:?}, block {block}: {e}"));
        }
        let reader = through(&proxy, &url, PATIENT);
        let snapshot = now(&*reader);
        for block in 0..10 {
            assert_page(&*snapshot, block, 3, Some(100 * (block + 1) + 3));
        }
        // Each commit is in the log once, after those that made the repository and the array.
        let log = open(&url).history().unwrap().log(100).unwrap();
        assert_eq!(log.len(), 12, "{fate:?}");
        assert!(proxy.requests() > 100, "{fate:?}: the proxy saw {} requests", proxy.requests());
    }
}

#[test]
fn a_silent_server_is_unavailable_until_it_speaks_again() {
    let Some((proxy, url)) = proxied(Duration::ZERO) else { return };
    let store = through(&proxy, &url, Duration::from_secs(2));
    let base = now(&*store);
    let edit = Edit::of(&*base, "a").block(&*base, 0, 100);
    Edit::commit(&*store, &*base, &[edit]).unwrap();
    let reader = through(&proxy, &url, Duration::from_secs(2));
    let snapshot = now(&*reader);
    proxy.on_request(|_| Fate::Hang);
    let mut page = vec![0xee; 4096];
    let error = snapshot.read(id_of(&*now(&*open(&url)), "a"), bigarray_core::BlockNo(0), 0, &mut page).unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    let error = reader.snapshot().map(drop).unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(!error.to_string().contains("testtest"), "{error}");
    proxy.on_request(|_| Fate::Pass);
    assert_page(&*snapshot, 0, 0, Some(100));
    now(&*reader);
}
