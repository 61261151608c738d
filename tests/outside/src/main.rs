//! A program with the codec LZ4, or without: what either can do with an array that is stored with it.

use bigarray::{ArrayOptions, Codec, Database, ndarray::Ix1};

fn main() {
    let db = Database::open("a.bigarray").unwrap();
    let options = ArrayOptions::new().codec(Codec::Lz4 { shuffle: true });
    let create = |name| {
        db.transact(|txn| {
            txn.create_with::<f32, _>(name, 1 << 20, &options)?.view_mut().fill(1.5);
            Ok(())
        })
    };
    if cfg!(feature = "lz4") {
        create("a").unwrap();
        assert_eq!(db.array::<f32, Ix1>("a").unwrap().view().sum(), 1.5 * (1 << 20) as f32);
        return;
    }
    let txn = db.begin().unwrap();
    let errors = [db.array::<f32, Ix1>("a").err(), txn.array::<f32, Ix1>("a").err(), create("b").err()];
    for error in errors.map(|error| error.expect("a codec that is not compiled in")) {
        assert!(error.is_unsupported() && error.to_string().contains("LZ4"), "{error}");
        println!("{error}");
    }
    drop(txn);
    let names = || -> Vec<String> { db.snapshot().unwrap().arrays().unwrap().into_iter().map(|a| a.name).collect() };
    assert_eq!(names(), ["a"], "what there is can be listed");
    db.transact(|txn| txn.rename("a", "b")).unwrap();
    assert_eq!(names(), ["b"]);
    db.transact(|txn| txn.remove("b")).unwrap();
    assert!(names().is_empty());
}
