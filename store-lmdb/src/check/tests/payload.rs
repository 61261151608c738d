//! Damaged bytes, and how a report describes them.

use bigarray_core::Progress;
use bigarray_core::store::{DataFile as _, Store as _};

use super::*;

#[test]
fn damaged_bytes_are_found_only_by_a_check_of_the_payload() {
    let sound = Sound::new();
    sound.store.shared.data.write_at(CHUNK + 20 * PAGE as u64 + 77, b"x").unwrap();
    sound.store.check(false).unwrap();
    let text = sound.store.check(true).unwrap_err().to_string();
    assert!(text.contains("array \"a\", block 2: page 3 has checksum"), "{text}");
}

#[test]
fn a_data_file_that_is_cut_off_is_found() {
    let sound = Sound::new();
    sound.store.shared.data.writable().unwrap().set_len(CHUNK + 5).unwrap();
    let text = sound.store.check(true).unwrap_err().to_string();
    assert!(text.contains(&format!("has {} bytes, too few for 4 chunks", CHUNK + 5)), "{text}");
    assert!(text.contains("pages 0..512 of chunk 3 are claimed by client"), "{text}");
}

#[test]
fn each_damaged_byte_is_reported_with_its_array_and_block_and_the_check_goes_on() {
    let sound = Sound::new();
    let data = &sound.store.shared.data;
    let stored: Vec<(u64, u64)> = (0..16).map(|page| (page, 0)).chain([(20, 2)]).collect();
    for &(page, block) in &stored {
        let at = CHUNK + page * PAGE as u64 + 13 * page;
        let mut byte = [0];
        data.read_at(at, &mut byte).unwrap();
        data.write_at(at, &[byte[0] ^ 4]).unwrap();
        let report = sound.store.verify(&mut |_| {}).unwrap();
        let damages = report.damages();
        assert_eq!(damages.len(), 1, "{damages:?}");
        assert_eq!((damages[0].array.as_deref(), damages[0].block), (Some("a"), Some(block)));
        assert!(damages[0].what.contains("has checksum"), "{}", damages[0]);
        data.write_at(at, &byte).unwrap();
    }
    // All at once.
    for (page, _) in stored {
        data.write_at(CHUNK + page * PAGE as u64, b"xyz").unwrap();
    }
    let report = sound.store.verify(&mut |_| {}).unwrap();
    let blocks: Vec<_> = report.damages().iter().map(|damage| damage.block).collect();
    assert_eq!(blocks, [Some(0), Some(2)]);
    assert!(report.damages()[0].what.contains("and 15 more of its pages"), "{}", report.damages()[0]);
}

#[test]
fn damage_of_a_record_names_its_array_and_block() {
    let sound = Sound::new();
    sound.write(|txn| {
        for (_, table) in TABLES {
            let db = table(txn.dbs());
            let (key, mut value) = first_record(txn, db);
            *value.last_mut().unwrap() ^= 1;
            txn.put(db, &key, &value).unwrap();
        }
        // The record of the array is sound.
        put_array(txn, "a", &descriptor(txn, A));
    });
    let report = sound.store.verify(&mut |_| {}).unwrap();
    let found = |array: Option<&str>, block, words: &str| {
        let is_it = |d: &Damage| d.array.as_deref() == array && d.block == block && d.what.contains(words);
        assert!(report.damages().iter().any(is_it), "{words} in {report:?}");
    };
    found(Some("a"), None, "of table attrs is corrupt");
    found(Some("a"), Some(0), "of table blocks is corrupt");
    found(Some("a"), None, "of table sums is corrupt");
    for table in ["chunks", "fits", "freed", "claims"] {
        found(None, None, &format!("of table {table} is corrupt"));
    }
}

#[test]
fn damages_beyond_the_limit_of_a_report_are_counted() {
    let sound = Sound::new();
    sound.write(|txn| {
        for i in 0..1234 {
            put_array(txn, &format!("a{i:04}"), &descriptor(txn, ArrayId(100 + i)));
        }
    });
    let report = sound.store.verify(&mut |_| {}).unwrap();
    assert_eq!((report.damages().len(), report.more_damages()), (1000, 234));
    assert!(!report.is_sound());
}

#[test]
fn progress_is_reported_up_to_the_end() {
    let sound = Sound::new();
    let mut told = Vec::new();
    let report = sound.store.verify(&mut |progress| told.push(progress)).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.verified_bytes(), 17 * PAGE as u64);
    assert_eq!(told.first(), Some(&Progress::default()));
    assert_eq!(told.last(), Some(&Progress::new(17 * PAGE as u64, 17 * PAGE as u64)));
    assert!(told.is_sorted_by_key(|progress| progress.done_bytes));
}
