//! A database with something in every table, damaged in one place after the other.

mod unfit;

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::store::{DataFile as _, Store as _};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Codec, Damage, Descriptor, Order, PAGE, Progress, Report, Version};
use bigarray_testing::Rng;
use lmdb::Database;
use serde_json::json;

use super::{CheckReport, Limits, look};
use crate::alloc::{Bitmap, CHUNK, FreedKey, Owner, Run};
use crate::codec::{Algorithm, Encoding, Packed};
use crate::index::{Dbs, ReadTxn, WriteTxn};
use crate::record::{
    Location, Meta, PAGES_PER_RECORD, StoredAttr, StoredBlock, StoredSegment, Tallies, Tally, Unit, attr_key,
    block_key, chunk_key, class_key, count_array, decode_array, encode_array, encode_attr, encode_bitmap, encode_block,
    encode_checksums, encode_claim, encode_class, encode_freed, freed_key, numbered_key, seal,
};
use crate::{LmdbStore, Options};

const A: ArrayId = ArrayId(1);

/// A database with one array "a" of three blocks of 16 pages: the first is stored, the second is a hole, of the third
/// one page is stored. The first of the file's four chunks is as in a new database, the second in part use, the third
/// free, the fourth claimed.
struct Sound {
    store: Arc<LmdbStore>,
    _dir: tempfile::TempDir,
}

fn run(chunk: u64, first: u16, pages: u16) -> Run {
    Run { chunk, first, pages }
}

fn page_bytes(page: usize) -> Vec<u8> {
    vec![page as u8 + 1; PAGE]
}

impl Sound {
    fn new() -> Sound {
        let dir = tempfile::tempdir().unwrap();
        let store = LmdbStore::open(&Options::new(dir.path().join("checked.bigarray"))).unwrap();
        let sound = Sound { store, _dir: dir };
        let data = &sound.store.shared.data;
        data.lengthen(4).unwrap();
        let mut sums = [0; PAGES_PER_RECORD];
        for (page, at) in (0..16).zip(0..16).chain([(35, 20)]) {
            let bytes = page_bytes(page);
            sums[page] = crc32c::crc32c(&bytes);
            data.write_at(CHUNK + (at * PAGE) as u64, &bytes).unwrap();
        }
        sound.write(|txn| {
            txn.put_meta(Meta::CHUNKS_END, 4).unwrap();
            txn.put_meta(Meta::NEXT_ARRAY, 2).unwrap();
            put_array(txn, "a", &descriptor(txn, A));
            let key = attr_key(A, "unit");
            let attr = StoredAttr { version: Version(txn.id()), value: Some(json!("°C")) };
            txn.put(txn.dbs().attrs, &key, &encode_attr(&key, "unit", &attr).unwrap()).unwrap();
            put_block(txn, 0, &[(0, run(1, 0, 16))]);
            put_block(txn, 2, &[(3, run(1, 20, 1))]);
            put_sums(txn, 0, &sums);
            put_freed(txn, 0, &[run(1, 16, 4)]);
            let mut free = Bitmap::EMPTY;
            free.add(&run(1, 21, 491));
            put_free(txn, 1, &free);
            put_free(txn, 2, &Bitmap::FULL);
            put_claim(txn, 3..4);
        });
        sound
    }

    /// Looks at everything, payload too.
    fn look(&self, limits: Limits) -> (CheckReport, Report) {
        let shared = &self.store.shared;
        let (counts, findings) =
            look(&ReadTxn::begin(&shared.index).unwrap(), &shared.data, true, limits, &mut |_| {}).unwrap();
        (counts, findings.into_report(0))
    }

    /// Edits records, and counts them again.
    fn write(&self, edit: impl FnOnce(&mut WriteTxn<'_>)) {
        self.damage(|txn| {
            edit(txn);
            count(txn);
        });
    }

    /// Edits records, and leaves what is known of all of them as it is.
    fn damage(&self, edit: impl FnOnce(&mut WriteTxn<'_>)) {
        let mut txn = WriteTxn::begin(&self.store.shared.index).unwrap();
        edit(&mut txn);
        txn.commit().unwrap();
    }
}

/// All records of a table.
fn records(txn: &WriteTxn<'_>, db: Database) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(true)
    };
    txn.tables().scan(db, &[], visit).unwrap();
    found
}

/// Makes what is known of all records true.
fn count(txn: &mut WriteTxn<'_>) {
    let dbs = *txn.dbs();
    let mut all = Tally::default();
    for (key, value) in records(txn, dbs.arrays) {
        let Ok((name, array, _)) = decode_array(&key, &value) else { continue };
        count_array(&mut all, &name, array.id);
        let of = |db| {
            let mut tally = Tally::default();
            let own = |key: &[u8]| key.starts_with(&array.id.0.to_be_bytes());
            records(txn, db).iter().filter(|(key, _)| own(key)).for_each(|(key, value)| tally.add(key, value));
            tally
        };
        let tallies = Tallies { blocks: of(dbs.blocks), sums: of(dbs.sums), attrs: of(dbs.attrs) };
        txn.put(dbs.arrays, &key, &encode_array(&name, &array, tallies).unwrap()).unwrap();
    }
    txn.put_arrays_tally(all).unwrap();
}

fn descriptor(txn: &WriteTxn<'_>, id: ArrayId) -> Descriptor {
    Descriptor {
        id,
        dtype: "<f8".to_owned(),
        item_size: 8,
        shape: vec![3 * 16 * PAGE / 8],
        order: Order::RowMajor,
        block_size: BlockSize::MIN,
        codec: Codec::None,
        changed: Version(txn.id()),
        reshaped: Version(txn.id()),
        named: Version(txn.id()),
    }
}

fn put_array(txn: &mut WriteTxn<'_>, name: &str, descriptor: &Descriptor) {
    txn.put(txn.dbs().arrays, name.as_bytes(), &encode_array(name, descriptor, Tallies::default()).unwrap()).unwrap();
}

fn put_block(txn: &mut WriteTxn<'_>, block: u64, segments: &[(u32, Run)]) {
    put_block_of(txn, A, block, segments);
}

fn put_block_of(txn: &mut WriteTxn<'_>, array: ArrayId, block: u64, segments: &[(u32, Run)]) {
    // Of the commit that made the array.
    let version = Version(2);
    let segments = segments.iter().map(|(first, run)| StoredSegment::plain(*first, *run)).collect();
    let key = block_key(array, BlockNo(block));
    txn.put(txn.dbs().blocks, &key, &encode_block(&key, &StoredBlock { version, pages: 16, segments })).unwrap();
}

fn put_sums(txn: &mut WriteTxn<'_>, mib: u64, sums: &[u32; PAGES_PER_RECORD]) {
    let key = numbered_key(A, mib);
    txn.put(txn.dbs().sums, &key, &encode_checksums(&key, sums)).unwrap();
}

fn put_freed(txn: &mut WriteTxn<'_>, part: u32, runs: &[Run]) {
    let key = freed_key(FreedKey { txn: txn.id(), part });
    txn.put(txn.dbs().freed, &key, &encode_freed(&key, runs)).unwrap();
}

fn put_free(txn: &mut WriteTxn<'_>, chunk: u64, free: &Bitmap) {
    put_bitmap(txn, chunk, free);
    let key = class_key(free.class().unwrap(), chunk);
    txn.put(txn.dbs().fits, &key, &encode_class(&key)).unwrap();
}

fn put_bitmap(txn: &mut WriteTxn<'_>, chunk: u64, free: &Bitmap) {
    let key = chunk_key(chunk);
    txn.put(txn.dbs().chunks, &key, &encode_bitmap(&key, free)).unwrap();
}

fn put_claim(txn: &mut WriteTxn<'_>, chunks: Range<u64>) {
    let key = Owner { client: 1, token: chunks.start, serial: txn.id() }.to_bytes();
    txn.put(txn.dbs().claims, &key, &encode_claim(&key, std::slice::from_ref(&chunks))).unwrap();
}

/// Damages a sound database; the check finds it and says all of `words`, also where it keeps next to nothing in memory.
#[track_caller]
fn finds(words: &[&str], damage: impl FnOnce(&mut WriteTxn<'_>)) {
    let sound = Sound::new();
    sound.write(damage);
    let error = sound.store.check(false).unwrap_err();
    assert!(error.is_corrupt(), "{error:?}");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert!(text.contains("checked.bigarray"), "{text}");
    let (counts, report) = sound.look(Limits::default());
    assert!(!report.is_sound());
    let (counts_in_parts, in_parts) = sound.look(Limits { arrays: 1, chunks: 1, pieces: 1 });
    assert_eq!((counts_in_parts, sorted(&in_parts)), (counts, sorted(&report)));
}

/// All that is told of the damages.
fn sorted(report: &Report) -> Vec<String> {
    let mut damages: Vec<String> = report.damages().iter().map(Damage::to_string).collect();
    damages.sort();
    damages
}

#[test]
fn a_sound_database_passes_and_is_counted() {
    let sound = Sound::new();
    let expected = CheckReport {
        arrays: 1,
        blocks: 2,
        segments: 2,
        stored_pages: 17,
        freed_pages: 4,
        claimed_pages: 512,
        free_pages: 511 + 491 + 512,
        verified_pages: 0,
    };
    assert_eq!(sound.store.check(false).unwrap(), expected);
    assert_eq!(sound.store.check(true).unwrap(), CheckReport { verified_pages: 17, ..expected });
}

#[test]
fn an_empty_database_passes() {
    let dir = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(&Options::new(dir.path().join("empty"))).unwrap();
    assert_eq!(store.check(true).unwrap(), CheckReport { free_pages: 511, ..CheckReport::default() });
}

#[test]
fn bytes_that_changed_are_found_only_where_they_are_looked_at() {
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

/// Picks a table's handle.
type HandleOf = fn(&Dbs) -> Database;

/// All tables but `meta`.
const TABLES: [(&str, HandleOf); 8] = [
    ("arrays", |dbs| dbs.arrays),
    ("attrs", |dbs| dbs.attrs),
    ("blocks", |dbs| dbs.blocks),
    ("sums", |dbs| dbs.sums),
    ("chunks", |dbs| dbs.chunks),
    ("fits", |dbs| dbs.fits),
    ("freed", |dbs| dbs.freed),
    ("claims", |dbs| dbs.claims),
];

/// The first record of a table.
fn first_record(txn: &WriteTxn<'_>, db: Database) -> (Vec<u8>, Vec<u8>) {
    let mut record = None;
    txn.tables()
        .scan(db, &[], |key, value| {
            record = Some((key.to_vec(), value.to_vec()));
            Ok(false)
        })
        .unwrap();
    record.unwrap()
}

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
fn records_that_were_never_written_by_us_are_judged_and_not_obeyed() {
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
fn a_page_with_two_uses_is_found() {
    let both = "at the same time";
    finds(&["pages 8..9 of chunk 1 are part of array \"a\", block 0 and part of array \"a\", block 1", both], |txn| {
        put_block(txn, 1, &[(0, run(1, 8, 1))]);
    });
    finds(&["pages 0..16 of chunk 1 are freed by commit 3 and part of array \"a\", block 0", both], |txn| {
        put_freed(txn, 0, &[run(1, 15, 1)]);
    });
    finds(&["pages 16..20 of chunk 1 are free and freed by commit 2", both], |txn| {
        let mut free = Bitmap::EMPTY;
        free.add(&run(1, 18, 494));
        put_bitmap(txn, 1, &free);
    });
    finds(&["pages 0..512 of chunk 2 are free and claimed by client", both], |txn| put_claim(txn, 2..3));
    finds(&["pages 0..512 of chunk 3 are claimed by client", both], |txn| put_claim(txn, 3..4));
    finds(&["pages 9..10 of chunk 3 are claimed by client", "and part of array \"a\", block 1", both], |txn| {
        put_block(txn, 1, &[(0, run(3, 9, 1))]);
    });
    finds(&["pages 20..21 of chunk 1 are part of array \"a\", block 2", both], |txn| {
        put_block(txn, 2, &[(3, run(1, 20, 1)), (5, run(1, 20, 1))]);
    });
}

#[test]
fn a_page_without_a_use_is_found() {
    finds(&["pages 20..21 of chunk 1 are neither free nor used"], |txn| {
        assert!(txn.delete(txn.dbs().blocks, &block_key(A, BlockNo(2))).unwrap());
    });
    finds(&["pages 21..512 of chunk 1 are neither free nor used"], |txn| {
        assert!(txn.delete(txn.dbs().chunks, &chunk_key(1)).unwrap());
    });
    finds(&["pages 16..20 of chunk 1 are neither free nor used"], |txn| {
        let key = freed_key(FreedKey { txn: txn.id() - 1, part: 0 });
        assert!(txn.delete(txn.dbs().freed, &key).unwrap());
    });
}

#[test]
fn a_page_outside_the_file_is_found() {
    finds(&["pages 0..1 of chunk 4 are part of array \"a\", block 1, but lie outside the file"], |txn| {
        put_block(txn, 1, &[(0, run(4, 0, 1))]);
    });
    finds(&["of chunk 18446744073709551614 are claimed", "outside the file"], |txn| put_claim(txn, 4..u64::MAX));
    finds(&["too few for 5 chunks"], |txn| txn.put_meta(Meta::CHUNKS_END, 5).unwrap());
}

#[test]
fn a_chunk_listed_under_another_run_than_it_has_is_found() {
    finds(&["chunk 2 is not listed by its longest free run"], |txn| {
        assert!(txn.delete(txn.dbs().fits, &class_key(Bitmap::WHOLE, 2)).unwrap());
    });
    finds(&["chunk 1 is listed under 9, where its longest free run does not belong"], |txn| {
        let key = class_key(Bitmap::WHOLE, 1);
        txn.put(txn.dbs().fits, &key, &encode_class(&key)).unwrap();
    });
    finds(&["chunk 3 is recorded, but none of its pages is free"], |txn| put_bitmap(txn, 3, &Bitmap::EMPTY));
}

/// A record of block 1 that is compressed to one page, which is the 21st of chunk 1.
fn put_unit(txn: &mut WriteTxn<'_>, sum: u32, bytes: u32, pages: &[(u32, u16)]) {
    let encoding = Encoding { algorithm: Algorithm::Lz4, shuffled_by: 8 };
    let unit = Unit { chunk: 1, page: 21, packed: Packed { encoding, bytes, sum } };
    let segments =
        pages.iter().map(|(first, n)| StoredSegment { first: *first, pages: *n, location: Location::Unit(unit) });
    let key = block_key(A, BlockNo(1));
    let block = StoredBlock { version: Version(2), pages: 16, segments: segments.collect() };
    txn.put(txn.dbs().blocks, &key, &encode_block(&key, &block)).unwrap();
    let mut free = Bitmap::EMPTY;
    free.add(&run(1, 22, 490));
    put_bitmap(txn, 1, &free);
}

#[test]
fn a_compressed_block_is_counted_once_and_its_bytes_are_looked_at() {
    // What is no LZ4, under a checksum that fits or does not.
    let bytes = [0xff; 100];
    let sum = crc32c::crc32c(&bytes);
    for (told, words) in [(sum ^ 1, "do not fit their checksum"), (sum, "cannot be decompressed")] {
        let sound = Sound::new();
        sound.store.shared.data.write_at(CHUNK + 21 * PAGE as u64, &bytes).unwrap();
        sound.write(|txn| put_unit(txn, told, 100, &[(0, 3), (7, 9)]));
        let report = sound.store.check(false).unwrap();
        assert_eq!((report.blocks, report.segments, report.stored_pages), (3, 4, 18));
        match sound.store.check(true) {
            // Without the codec, the checksum is all that can be seen of it.
            Ok(_) => assert!(told == sum && !cfg!(feature = "lz4")),
            Err(e) => {
                assert!(e.is_corrupt() && e.to_string().contains(words) && e.to_string().contains("block 1"), "{e}")
            }
        }
    }
}

#[test]
fn a_block_that_became_a_hole_passes() {
    let sound = Sound::new();
    sound.write(|txn| put_block(txn, 1, &[]));
    let report = sound.store.check(true).unwrap();
    assert_eq!((report.blocks, report.segments, report.stored_pages), (3, 2, 17));
}

#[test]
fn compressed_pages_with_another_use_or_a_checksum_are_found() {
    finds(&["pages 21..23 of chunk 1 are free and part of array \"a\", block 1", "at the same time"], |txn| {
        put_unit(txn, 1, 2 * PAGE as u32, &[(0, 16)]);
    });
    finds(&["page 16 of the array has a checksum, but is not stored as it is"], |txn| {
        put_unit(txn, 1, 5, &[(0, 16)]);
        let mut sums = txn.tables().checksums(A, 0).unwrap();
        sums[16] = 9;
        put_sums(txn, 0, &sums);
    });
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
fn what_belongs_to_no_array_is_found() {
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
fn blocks_that_do_not_suit_their_array_are_found() {
    finds(&["array \"a\", block 2: lies behind the end, the array has 2 blocks"], |txn| {
        put_array(txn, "a", &Descriptor { shape: vec![2 * 16 * PAGE / 8], ..descriptor(txn, A) });
    });
    finds(&["array \"a\", block 0: has 16 pages instead of 512"], |txn| {
        put_array(txn, "a", &Descriptor { block_size: BlockSize::MAX, ..descriptor(txn, A) });
    });
    finds(&["array \"a\", block 0: of commit 2, while the array's last is 1"], |txn| {
        put_array(txn, "a", &Descriptor { changed: Version(1), ..descriptor(txn, A) });
    });
}

#[test]
fn checksums_that_do_not_suit_what_is_stored_are_found() {
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

#[test]
fn many_findings_are_counted() {
    finds(&["array \"a00\": has id 100", "array \"a07\": has id 107", "and 12 more"], |txn| {
        for i in 0..20 {
            put_array(txn, &format!("a{i:02}"), &descriptor(txn, ArrayId(100 + i)));
        }
    });
}

/// A number that no array can have in a key, under a checksum that fits.
#[test]
fn checksums_of_pages_that_cannot_be_are_found() {
    finds(&["array \"a\"", "has a checksum, but is not stored as it is"], |txn| {
        // The last number there is lies in the middle of its MiB.
        put_block(txn, u64::MAX / 16, &[(15, run(1, 20, 1))]);
        put_sums(txn, u64::MAX, &[7; PAGES_PER_RECORD]);
    });
}

#[test]
fn each_damaged_byte_of_payload_is_told_with_its_array_and_block_and_the_rest_is_looked_at() {
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
fn damage_of_a_record_names_the_array_and_the_block_that_it_is_of() {
    let sound = Sound::new();
    sound.write(|txn| {
        for (_, table) in TABLES {
            let db = table(txn.dbs());
            let (key, mut value) = first_record(txn, db);
            *value.last_mut().unwrap() ^= 1;
            txn.put(db, &key, &value).unwrap();
        }
        // The array itself is known still.
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
fn more_damages_than_a_report_keeps_are_counted() {
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
fn progress_is_told_up_to_the_end() {
    let sound = Sound::new();
    let mut told = Vec::new();
    let report = sound.store.verify(&mut |progress| told.push(progress)).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.verified_bytes(), 17 * PAGE as u64);
    assert_eq!(told.first(), Some(&Progress::default()));
    assert_eq!(told.last(), Some(&Progress::new(17 * PAGE as u64, 17 * PAGE as u64)));
    assert!(told.is_sorted_by_key(|progress| progress.done_bytes));
}

/// Arrays that are gone through a few at a time are each looked at once.
#[test]
fn a_sound_database_of_many_arrays_passes_in_parts() {
    let sound = Sound::new();
    sound.write(|txn| {
        // Names in another order than ids.
        for i in 0..50 {
            put_array(txn, &format!("b{:02}", i * 7 % 50), &descriptor(txn, ArrayId(2 + i)));
        }
        txn.put_meta(Meta::NEXT_ARRAY, 52).unwrap();
    });
    let (counts, report) = sound.look(Limits { arrays: 3, chunks: 2, pieces: 1 });
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((counts.arrays, counts.blocks, counts.verified_pages), (51, 2, 17));
    assert_eq!(sound.look(Limits::default()).0, counts);
}

/// A sound record that is missing, all that refers to it included, would be a hole, and needs no other evidence.
#[test]
fn records_that_are_missing_or_older_are_found_by_what_is_known_of_all() {
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
    // An array that is gone with all its records, but for the pages that they refer to.
    let sound = Sound::new();
    sound.damage(|txn| assert!(txn.delete(txn.dbs().arrays, b"a").unwrap()));
    let text = sound.store.check(false).unwrap_err().to_string();
    assert!(text.contains("0 sound arrays were found, which are not the 1"), "{text}");
}
