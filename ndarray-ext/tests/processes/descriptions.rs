//! What `Database::describe` says, in every way in which pages come and go.

use bigarray::{Database, FaultMode, Pager};

use crate::support::{Faults, TestDb, copies, faults};

#[test]
fn a_description_says_how_pages_come_and_go_here() {
    let db = TestDb::with(Database::options().memory_budget(64 << 20));
    let description = db.describe().unwrap();
    let expected = match faults() {
        Faults::All => FaultMode::KernelAndUser,
        Faults::UserOnly => FaultMode::UserOnly,
        Faults::None => FaultMode::None,
    };
    assert_eq!(description.faults, expected);
    assert_eq!(description.resolvers > 0, expected != FaultMode::None);
    let copies = copies() || db.is_at_url() || std::env::var("BIGARRAY_PAGER").is_ok_and(|pager| pager == "copy");
    assert_eq!(description.pager, if copies { Pager::Copy } else { Pager::Map });
    if std::env::var("BIGARRAY_PAGEMAP").is_ok_and(|pagemap| pagemap == "legacy") {
        assert!(!description.pagemap_scan && !description.tracks_writes);
    }
    assert_eq!(description.budget_bytes, 64 << 20);
    assert!(description.mappings > 0 && description.most_mappings <= description.max_map_count);
    assert!(description.descriptors.is_some_and(|open| open > 0));
}

#[test]
fn a_description_knows_its_storage() {
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create::<u8, _>("A", 1 << 20)?.view_mut().fill(1);
        Ok(())
    })
    .unwrap();
    let before = db.describe().unwrap();
    let snapshot = db.snapshot().unwrap();
    let after = db.describe().unwrap();
    if db.is_at_url() {
        assert!(after.cache.is_some_and(|cache| cache.contains("MiB")));
        assert_eq!((after.readers, after.stored_bytes), (None, None));
    } else {
        assert_eq!(after.readers.unwrap(), before.readers.unwrap() + 1);
        assert!(after.stored_bytes.unwrap() >= 1 << 20);
    }
    drop(snapshot);
    assert!(!after.read_only);
}

#[test]
fn a_description_is_a_report_with_a_line_for_each_subject() {
    let db = TestDb::with(Database::options().memory_budget(64 << 20));
    let text = db.describe().unwrap().to_string();
    for subject in
        ["database", "faults", "memory", "pager", "budget", "mappings", "descriptors", "addresses", "huge pages"]
    {
        assert!(text.lines().any(|line| line.starts_with(subject)), "{subject:?} is missing in\n{text}");
    }
    assert!(text.contains("budget       64.0 MiB, 0 bytes used"), "{text}");
    assert!(text.contains(db.name()), "{text}");
}
