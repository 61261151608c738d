//! Waiting for the commit lock: told, and ended where a limit is set.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bigarray::ndarray::Ix1;
use bigarray::{Database, Result};
use support::TestDb;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

fn count(db: &Database) -> Result<()> {
    db.transact(|txn| {
        txn.array::<u64, Ix1>("counter")?.view_mut()[0] += 1;
        Ok(())
    })
}

fn counter(limit: Duration) -> TestDb {
    let db = TestDb::with(Database::options().wait_timeout(limit));
    db.transact(|txn| txn.create::<u64, _>("counter", 1).map(drop)).unwrap();
    db
}

/// Each attempt conflicts with what the thread committed, until it is made with the commit lock, for which the thread
/// waits.
#[test]
fn a_thread_that_transacts_inside_transact_and_is_joined_is_told_of_and_ends_at_the_limit() {
    let db = counter(Duration::from_secs(2));
    let heard = Recorder::default();
    let mut attempts = 0;
    let outer = std::thread::Builder::new().name("the-outer".to_owned());
    let error = std::thread::scope(|scope| {
        let outer = outer.spawn_scoped(scope, || {
            db.transact(|txn| {
                attempts += 1;
                txn.array::<u64, Ix1>("counter")?.view_mut()[0] += 100;
                let inner = scope.spawn(|| tracing::subscriber::with_default(heard.clone(), || count(&db)));
                inner.join().unwrap()
            })
        });
        outer.unwrap().join().unwrap().unwrap_err()
    });
    let text = error.to_string();
    assert!(error.is_in_use() && text.contains("the commit lock") && text.contains("the-outer"), "{error:?}");
    let heard = heard.0.lock().unwrap();
    assert!(heard.iter().any(|text| text.contains("the commit lock") && text.contains("the-outer")), "{heard:?}");
    assert_eq!(attempts, 5);
    // What the thread committed before stands, and the commit lock is free.
    drop(heard);
    count(&db).unwrap();
    assert_eq!(db.array::<u64, Ix1>("counter").unwrap().view()[0], 5);
}

/// The texts of all events of a thread.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Visit for Recorder {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
