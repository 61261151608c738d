//! A subscriber of `tracing` is code of the program: it may touch views of the very database that emits, and wait for
//! locks whose holders do.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bigarray::ndarray::Ix1;
use bigarray::{BigArray, Database, OpenOptions};
use bigarray_testing::message_of;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::child::{alone, this_test};
use crate::support::{Faults, TestDb, faults, small_blocks};

const LEN: usize = 2 << 20;

/// Less than each array, so that what is touched is evicted, and what is written to is spilled.
fn little_memory() -> OpenOptions {
    Database::options().memory_budget(8 << 20).wait_timeout(Duration::from_secs(300))
}

/// Touches a view at each call, with a lock that all its calls take.
#[derive(Clone, Default)]
struct Touching(Arc<Shared>);

#[derive(Default)]
struct Shared {
    array: OnceLock<BigArray<u64, Ix1>>,
    calls: AtomicUsize,
    heard: Mutex<BTreeSet<String>>,
    threads: Mutex<BTreeSet<String>>,
}

impl Touching {
    fn hear(&self, name: Option<&str>) {
        let Shared { array, calls, heard, threads } = &*self.0;
        let mut heard = heard.lock().unwrap();
        heard.extend(name.map(str::to_owned));
        threads.lock().unwrap().insert(thread::current().name().unwrap_or_default().to_owned());
        if let Some(array) = array.get() {
            let at = calls.fetch_add(1, Ordering::Relaxed) * 99_991 % LEN;
            assert_eq!(array.view()[at], at as u64);
        }
    }

    fn has_heard(&self, name: &str) -> bool {
        self.0.heard.lock().unwrap().contains(name)
    }
}

impl Subscriber for Touching {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.hear(None);
        metadata.target().starts_with("bigarray")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.hear(Some(span.metadata().name()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.hear(Some(&message_of(event)));
    }

    fn enter(&self, _: &Id) {
        self.hear(None);
    }

    fn exit(&self, _: &Id) {
        self.hear(None);
    }
}

/// Writes to all of an array, more than there is memory for, and commits.
fn rewrite(db: &Database, name: &str, with: u64) {
    let txn = db.begin().unwrap();
    let mut a = txn.array::<u64, Ix1>(name).unwrap();
    a.view_mut().iter_mut().for_each(|x| *x = with);
    a.flush().unwrap();
    a.view_mut()[0] += 1;
    drop(a);
    txn.commit().unwrap();
}

#[test]
fn a_subscriber_may_touch_views_and_hold_a_lock_meanwhile() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let subscriber = Touching::default();
    tracing::subscriber::set_global_default(subscriber.clone()).unwrap();
    let db = TestDb::with(little_memory());
    db.commit(|txn| {
        for name in ["seen", "one", "two"] {
            let mut a = txn.create_with::<u64, _>(name, LEN, &small_blocks()).unwrap();
            a.view_mut().iter_mut().zip(0..).for_each(|(x, i)| *x = i);
        }
        txn.create::<u64, _>("counter", 1).unwrap();
    });
    assert!(subscriber.0.array.set(db.array("seen").unwrap()).is_ok());

    thread::scope(|scope| {
        for name in ["one", "two"] {
            let db = &db;
            scope.spawn(move || (0..3).for_each(|i| rewrite(db, name, i)));
            scope.spawn(move || {
                for _ in 0..10 {
                    let count = |txn: &mut bigarray::Transaction| {
                        txn.array::<u64, Ix1>("counter")?.view_mut()[0] += 1;
                        Ok(())
                    };
                    db.transact(count).unwrap();
                }
            });
        }
    });
    let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
    for txn in [&one, &two] {
        txn.array::<u64, Ix1>("counter").unwrap().view_mut()[0] += 1;
    }
    one.commit().unwrap();
    assert!(two.commit().unwrap_err().is_conflict());
    assert_eq!(db.array::<u64, Ix1>("counter").unwrap().view()[0], 21);

    let mut expected = vec!["open", "memory", "commit", "search", "store", "remap", "spill", "conflict"];
    if !db.is_at_url() {
        expected.push("stored");
    }
    if faults() != Faults::None {
        expected.push("faults");
    }
    let since = Instant::now();
    for name in expected {
        // A batch of faults is reported a while later.
        while !subscriber.has_heard(name) {
            assert!(since.elapsed() < Duration::from_secs(120), "{name:?} was never heard of");
            thread::sleep(Duration::from_millis(10));
        }
    }
    let threads = subscriber.0.threads.lock().unwrap();
    for name in ["bigarray-monitor", "bigarray-resolver"] {
        assert!(!threads.contains(name), "{threads:?}");
    }
}
