//! Waiting for the commit lock: an event tells of it, and a limit ends it.

use std::time::Duration;

use bigarray::ndarray::Ix1;
use bigarray::{Database, Result};
use bigarray_testing::EventLog;

use crate::support::TestDb;

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
    let events = EventLog::default();
    let mut attempts = 0;
    let outer = std::thread::Builder::new().name("the-outer".to_owned());
    let error = std::thread::scope(|scope| {
        let outer = outer.spawn_scoped(scope, || {
            db.transact(|txn| {
                attempts += 1;
                txn.array::<u64, Ix1>("counter")?.view_mut()[0] += 100;
                let inner = scope.spawn(|| tracing::subscriber::with_default(events.clone(), || count(&db)));
                inner.join().unwrap()
            })
        });
        outer.unwrap().join().unwrap().unwrap_err()
    });
    let text = error.to_string();
    assert!(error.is_in_use() && text.contains("the commit lock") && text.contains("the-outer"), "{error:?}");
    assert!(events.has(&["the commit lock", "the-outer"]), "{:?}", events.events());
    assert_eq!(attempts, 5);
    // The commit that the thread made before stands, and the commit lock is free.
    count(&db).unwrap();
    assert_eq!(db.array::<u64, Ix1>("counter").unwrap().view()[0], 5);
}
