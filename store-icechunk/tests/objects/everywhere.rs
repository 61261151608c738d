//! What holds on each kind of storage.

use bigarray_store_icechunk::Options;
use bigarray_store_icechunk::objects::{Objects, explain};
use bytes::Bytes;
use icechunk::Repository;
use icechunk::format::Path;
use icechunk::storage::VersionInfo;

use crate::{PATIENCE, number, open, race, set_number};

/// All of it, below a prefix that is empty.
pub(crate) fn check(objects: &Objects) {
    objects.runtime().run(conditions(objects)).unwrap();
    chunks(objects);
    versions(objects);
    race(objects, "count", 5);
    assert_eq!(number(objects, "count").unwrap().0, 42);
    objects.delete(&["count".to_owned()]).unwrap();
    commits(objects);
}

/// They are kept, and asking twice costs nothing.
fn conditions(objects: &Objects) -> impl Future<Output = bigarray_core::Result<()>> + Send + use<> {
    let backend = objects.backend().clone();
    async move {
        backend.require_conditions().await?;
        let before = backend.requests();
        backend.require_conditions().await?;
        assert_eq!(backend.requests(), before);
        Ok(())
    }
}

fn chunks(objects: &Objects) {
    let before = objects.backend().requests();
    let bytes = Bytes::from((0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    objects.put("ONE", bytes.clone()).unwrap();
    objects.put("TWO", bytes.slice(..3)).unwrap();
    // A put whose answer was lost is made again.
    objects.put("TWO", bytes.slice(..3)).unwrap();
    assert_eq!(objects.get("ONE", 0..100_000).unwrap(), bytes);
    assert_eq!(objects.get("ONE", 99_999..100_000).unwrap(), bytes.slice(99_999..));
    assert_eq!(objects.get("ONE", 256..256).unwrap(), Bytes::new());
    let after = objects.backend().requests();
    assert_eq!((after.gets - before.gets, after.puts - before.puts), (2, 3));
    assert_eq!((after.bytes_got - before.bytes_got, after.bytes_put - before.bytes_put), (100_001, 100_006));

    let url = objects.backend().location().to_string();
    for (id, range) in [("NONE", 0..1), ("TWO", 0..4), ("TWO", 3..4), ("TWO", 5..9)] {
        let error = objects.get(id, range).unwrap_err();
        assert!(error.is_corrupt(), "{error:?}");
        assert!(error.to_string().contains(&url) && error.to_string().contains(id), "{error}");
    }

    let mut listed = objects.list("chunks").unwrap();
    listed.sort_by(|a, b| a.path.cmp(&b.path));
    let found: Vec<_> = listed.iter().map(|object| (object.path.as_str(), object.size)).collect();
    assert_eq!(found, [("chunks/ONE", 100_000), ("chunks/TWO", 3)]);
    assert!(listed.iter().all(|object| object.modified > 1_700_000_000), "{listed:?}");
    assert!(objects.list("overwritten").unwrap().is_empty());
    objects.delete(&["chunks/ONE".to_owned(), "chunks/TWO".to_owned(), "chunks/NONE".to_owned()]).unwrap();
    assert!(objects.list("chunks").unwrap().is_empty());
}

fn versions(objects: &Objects) {
    assert!(number(objects, "count").unwrap_err().is_not_found());
    assert!(set_number(objects, "count", 1, VersionInfo::for_creation()).unwrap());
    assert!(!set_number(objects, "count", 5, VersionInfo::for_creation()).unwrap());
    let (one, first) = number(objects, "count").unwrap();
    assert!(set_number(objects, "count", one + 1, first.clone()).unwrap());
    assert!(!set_number(objects, "count", 5, first).unwrap());
    assert_eq!(number(objects, "count").unwrap().0, 2);
}

/// icechunk's commits, seen by another session.
fn commits(objects: &Objects) {
    let storage = objects.backend().storage();
    let work = async move {
        let repository = Repository::create(storage.clone()).execute().await.unwrap();
        for name in ["/a", "/b"] {
            let mut session = repository.writable_session("main").await.unwrap();
            session.add_group(Path::new(name).unwrap(), Bytes::from_static(b"{}")).await.unwrap();
            session.commit(name).execute().await.unwrap();
        }
        let again = Repository::open(storage).execute().await.unwrap();
        let session = again.writable_session("main").await.unwrap();
        for name in ["/a", "/b"] {
            session.get_group(&Path::new(name).unwrap()).await.unwrap();
        }
        Ok(())
    };
    objects.runtime().run_within(PATIENCE, work).unwrap();
}

#[test]
fn in_memory() {
    let objects = open("memory://everywhere", &Options::default()).unwrap();
    check(&objects);
    // The same place by the same name, and another one by another name.
    let same = open("memory://everywhere", &Options::default()).unwrap();
    assert!(!same.list("snapshots").unwrap().is_empty());
    assert!(open("memory://elsewhere", &Options::default()).unwrap().list("snapshots").unwrap().is_empty());
}

#[test]
fn in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    check(&open(&format!("file://{}/new/arrays", dir.path().display()), &Options::default()).unwrap());
}

#[test]
fn inside_runtimes_of_the_caller() {
    for mut builder in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        builder.worker_threads(1).enable_all().build().unwrap().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            for url in ["memory://inside".to_owned(), format!("file://{}", dir.path().display())] {
                let objects = open(&url, &Options::default()).unwrap();
                objects.put("A", Bytes::from_static(b"abc")).unwrap();
                let same = objects.clone();
                let got = tokio::spawn(async move { same.get("A", 1..3).unwrap() }).await.unwrap();
                assert_eq!(got, Bytes::from_static(b"bc"));
                objects.delete(&["chunks/A".to_owned()]).unwrap();
            }
        });
    }
}

#[test]
fn a_repository_does_not_come_back_from_its_bytes() {
    let objects = open("memory://bytes", &Options::default()).unwrap();
    let text = serde_json::to_string(&*objects.backend().storage()).unwrap();
    assert!(serde_json::from_str::<icechunk::ObjectStorage>(&text).is_err(), "{text}");
    let error = explain("reading", &std::io::Error::other("no flatbuffer"));
    assert!(error.is_corrupt() && error.to_string() == "reading: no flatbuffer");
}
