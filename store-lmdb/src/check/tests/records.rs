//! Damaged, missing and contradictory records.

use bigarray_testing::Rng;

use super::*;

#[test]
fn a_damaged_record_is_found_in_every_table() {
    for (name, table) in TABLES {
        finds(&[&format!("of table {name} is corrupt: its checksum does not fit")], |txn| {
            let db = table(txn.dbs());
            let (key, mut value) = first_record(txn, db);
            *value.last_mut().unwrap() ^= 1;
            txn.put(db, &key, &value).unwrap();
        });
    }
}

#[test]
fn random_records_with_right_checksums_are_refused_or_harmless() {
    let sound = Sound::new();
    let mut rng = Rng::new(7);
    let mut refused = 0;
    for _ in 0..200 {
        let table = TABLES[rng.below(TABLES.len())].1;
        let mut put = None;
        sound.write(|txn| {
            let db = table(txn.dbs());
            let (key, value) = first_record(txn, db);
            let (mut bad_key, mut bad_value) = (key.clone(), value[..value.len() - 4].to_vec());
            for _ in 0..=rng.below(3) {
                // In the key, or in the value if there is one.
                let bytes = if rng.one_in(3) || bad_value.is_empty() { &mut bad_key } else { &mut bad_value };
                let at = rng.below(bytes.len());
                bytes[at] = rng.draw() as u8;
            }
            txn.delete(db, &key).unwrap();
            txn.put(db, &bad_key, &seal(&bad_key, bad_value)).unwrap();
            put = Some((bad_key, key, value));
        });
        if let Err(e) = sound.store.check(true) {
            assert!(e.is_corrupt() || e.is_unsupported(), "{e:?}");
            refused += 1;
        }
        let (bad_key, key, value) = put.unwrap();
        sound.write(|txn| {
            let db = table(txn.dbs());
            txn.delete(db, &bad_key).unwrap();
            txn.put(db, &key, &value).unwrap();
        });
    }
    sound.store.check(true).unwrap();
    assert!(refused > 150, "only {refused} were found");
}

#[test]
fn arrays_that_contradict_their_ids_are_found() {
    finds(&["array \"b\": has the same id 1 as array \"a\""], |txn| put_array(txn, "b", &descriptor(txn, A)));
    finds(&["array \"b\": has id 2, and 2 is the next to be given"], |txn| {
        put_array(txn, "b", &descriptor(txn, ArrayId(2)));
    });
    finds(&["array \"a\": was changed by commit 99, and 3 is the last"], |txn| {
        put_array(txn, "a", &Descriptor { changed: Version(99), ..descriptor(txn, A) });
    });
}

#[test]
fn records_of_no_array_are_found() {
    finds(
        &[
            "attribute \"unit\" belongs to no array (id 1)",
            "block 0 belongs to no array (id 1)",
            "checksums of MiB 0 belong to no array (id 1)",
        ],
        |txn| assert!(txn.delete(txn.dbs().arrays, b"a").unwrap()),
    );
}

#[test]
fn blocks_that_do_not_fit_their_array_are_found() {
    finds(&["array \"a\", block 2: lies behind the end, the array has blocks 0..2"], |txn| {
        put_array(txn, "a", &Descriptor { shape: vec![2 * 16 * PAGE / 8], ..descriptor(txn, A) });
    });
    finds(&["array \"a\", block 0: lies before the first row, the array has blocks 1..4"], |txn| {
        put_array(txn, "a", &Descriptor { skip: 16 * PAGE, ..descriptor(txn, A) });
    });
    finds(&["array \"a\", block 0: has 16 pages instead of 512"], |txn| {
        put_array(txn, "a", &Descriptor { block_size: BlockSize::MAX, ..descriptor(txn, A) });
    });
    finds(&["array \"a\", block 0: of commit 2, while the array's last is 1"], |txn| {
        put_array(txn, "a", &Descriptor { changed: Version(1), ..descriptor(txn, A) });
    });
}

#[test]
fn checksums_that_do_not_fit_the_stored_pages_are_found() {
    finds(&["array \"a\", block 0: page 0 has checksum", "instead of 00000000"], |txn| {
        assert!(txn.delete(txn.dbs().sums, &numbered_key(A, 0)).unwrap());
    });
    finds(&["array \"a\": blocks 16..32: MiB 1 has checksums, but nothing of it is stored as it is"], |txn| {
        put_sums(txn, 1, &[0; PAGES_PER_RECORD])
    });
    finds(&["array \"a\": blocks 0..16: page 16 of the array has a checksum, but is not stored as it is"], |txn| {
        put_sums(txn, 0, &[5; PAGES_PER_RECORD])
    });
}

/// An impossible number in a key, in a record with a right checksum.
#[test]
fn checksums_of_impossible_pages_are_found() {
    finds(&["array \"a\"", "has a checksum, but is not stored as it is"], |txn| {
        // The last possible page lies in the middle of its MiB.
        put_block(txn, u64::MAX / 16, &[(15, run(1, 20, 1))]);
        put_sums(txn, u64::MAX, &[7; PAGES_PER_RECORD]);
    });
}

/// If a block record and everything that refers to it is missing, the block is a hole: only the tally shows it.
#[test]
fn missing_and_older_records_are_found_by_the_tallies() {
    for (what, missing) in
        [("blocks", (|dbs| dbs.blocks) as HandleOf), ("sums", |dbs| dbs.sums), ("attrs", |dbs| dbs.attrs)]
    {
        let sound = Sound::new();
        sound.damage(|txn| {
            let db = missing(txn.dbs());
            let (key, _) = first_record(txn, db);
            assert!(txn.delete(db, &key).unwrap());
        });
        let text = sound.store.check(false).unwrap_err().to_string();
        assert!(text.contains("array \"a\"") && text.contains("there should be"), "{what}: {text}");
    }
    let sound = Sound::new();
    let mut before = None;
    sound.damage(|txn| before = Some(first_record(txn, txn.dbs().attrs)));
    let (key, before) = before.unwrap();
    sound.write(|txn| {
        let attr = StoredAttr { version: Version(2), value: Some(json!("K")) };
        txn.put(txn.dbs().attrs, &key, &encode_attr(&key, "unit", &attr).unwrap()).unwrap();
    });
    sound.damage(|txn| txn.put(txn.dbs().attrs, &key, &before).unwrap());
    let text = sound.store.check(false).unwrap_err().to_string();
    assert!(text.contains("1 records of attributes were found, which are not the 1"), "{text}");
    // An array without its record.
    let sound = Sound::new();
    sound.damage(|txn| assert!(txn.delete(txn.dbs().arrays, b"a").unwrap()));
    let text = sound.store.check(false).unwrap_err().to_string();
    assert!(text.contains("0 sound arrays were found, which are not the 1"), "{text}");
}
