//! `Database::verify` names array and block of all damage and of nothing else, while other threads commit.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bigarray::ndarray::{Array2, Axis, Ix2};
use bigarray::{ArrayOptions, Codec, Database};

const PAGE: u64 = 4096;

/// Arrays of each kind: in one piece, in several, compressed, mostly holes.
fn filled(db: &Database) {
    db.transact(|txn| {
        let small = ArrayOptions::new().block_size(64 << 10);
        txn.create_with::<f64, _>("plain", (40, 1000), &small)?.view_mut().fill(1.5);
        let mut packed =
            txn.create_with::<u64, _>("packed", (40, 1000), &small.clone().codec(Codec::Lz4 { shuffle: true }))?;
        for (n, x) in packed.view_mut().iter_mut().enumerate() {
            *x = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        }
        drop(packed);
        txn.create_with::<f64, _>("holes", (1000, 1000), &small)?.rows_mut(700..701)?.fill(2.5);
        Ok(())
    })
    .unwrap();
    db.transact(|txn| {
        txn.array::<f64, Ix2>("plain")?.rows_mut(20..21)?.fill(3.5);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_flipped_byte_in_any_page_of_the_data_is_reported_with_its_array_and_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let db = Database::open(&path).unwrap();
    filled(&db);
    let report = db.verify(|_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let stored_pages = report.verified_bytes() / PAGE;
    let data = File::options().read(true).write(true).open(path.join("data")).unwrap();
    let mut damaged = std::collections::BTreeMap::<String, u64>::new();
    for page in 0..data.metadata().unwrap().len() / PAGE {
        let (at, mut byte) = (page * PAGE + page % 64, [0]);
        data.read_exact_at(&mut byte, at).unwrap();
        data.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
        let report = db.verify(|_| {}).unwrap();
        data.write_all_at(&byte, at).unwrap();
        let [damage] = report.damages() else {
            assert!(report.is_sound(), "page {page}: {report:?}");
            continue;
        };
        if page == 0 {
            assert!(damage.array.is_none() && damage.what.contains("header"), "{damage}");
            continue;
        }
        assert!(damage.block.is_some() && damage.what.contains("checksum"), "page {page}: {damage}");
        *damaged.entry(damage.array.clone().unwrap()).or_default() += 1;
    }
    assert_eq!(damaged.values().sum::<u64>(), stored_pages, "{damaged:?}");
    assert_eq!(damaged.keys().map(String::as_str).collect::<Vec<_>>(), ["holes", "packed", "plain"]);
    assert!(db.verify(|_| {}).unwrap().is_sound());
}

#[test]
fn commits_meanwhile_are_no_damage_and_do_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.bigarray")).unwrap();
    filled(&db);
    let (ends, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 0.0;
            while !ends.load(Ordering::Relaxed) {
                n += 1.0;
                db.transact(|txn| {
                    let mut array = txn.array::<f64, Ix2>("plain")?;
                    array.append(Axis(0), Array2::from_elem((30, 1000), n).view())?;
                    array.rows_mut(0..10)?.fill(n);
                    // Each time other pages, and those of before are free again.
                    array.resize((40, 1000))?;
                    Ok(())
                })
                .unwrap();
                commits.fetch_add(1, Ordering::Relaxed);
            }
        });
        let verified = (0..20).map(|_| {
            // The commits go on between the words on how far it is: it waits for one there.
            let before = commits.load(Ordering::Relaxed);
            let mut waited = false;
            let report = db.verify(|_| {
                while !waited && commits.load(Ordering::Relaxed) < before + 2 && !writer.is_finished() {
                    thread::yield_now();
                }
                waited = true;
            });
            report.unwrap()
        });
        let damaged: Vec<_> = verified.filter(|report| !report.is_sound()).collect();
        ends.store(true, Ordering::Relaxed);
        assert!(damaged.is_empty(), "{damaged:?}");
    });
    assert!(db.verify(|_| {}).unwrap().is_sound());
}
