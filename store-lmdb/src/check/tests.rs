//! The check, on a database with something in every table that is damaged in one place after another.

mod payload;
mod places;
mod records;
mod unfit;

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::{ArrayId, BlockNo, BlockSize, Codec, Damage, Descriptor, Order, PAGE, Report, Version};
use lmdb::Database;
use serde_json::json;

use super::{CheckReport, Limits, look};
use crate::alloc::{Bitmap, CHUNK, FreedKey, Owner, Run};
use crate::index::{Dbs, ReadTxn, WriteTxn};
use crate::record::{
    Meta, PAGES_PER_RECORD, StoredAttr, StoredBlock, StoredSegment, Tallies, Tally, attr_key, block_key, chunk_key,
    class_key, count_array, decode_array, encode_array, encode_attr, encode_bitmap, encode_block, encode_checksums,
    encode_claim, encode_class, encode_freed, freed_key, numbered_key, seal,
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
            put_claim(txn, 1536..2048);
        });
        sound
    }

    /// Checks everything, payload too.
    fn look(&self, limits: Limits) -> (CheckReport, Report) {
        let shared = &self.store.shared;
        let (counts, findings) =
            look(&ReadTxn::begin(&shared.index).unwrap(), &shared.data, true, limits, &mut |_| {}).unwrap();
        (counts, findings.into_report(0))
    }

    /// Edits records, and updates the tallies.
    fn write(&self, edit: impl FnOnce(&mut WriteTxn<'_>)) {
        self.damage(|txn| {
            edit(txn);
            count(txn);
        });
    }

    /// Edits records, and leaves the tallies as they are.
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

/// Sets all tallies to those of the records.
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
        skip: 0,
        codec: Codec::None,
        fill: None,
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

fn put_claim(txn: &mut WriteTxn<'_>, pages: Range<u64>) {
    let key = Owner { client: 1, token: pages.start, serial: txn.id() }.to_bytes();
    txn.put(txn.dbs().claims, &key, &encode_claim(&key, std::slice::from_ref(&pages))).unwrap();
}

/// Damages a sound database. The check has to find it with all of `words`, also with the smallest limits.
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

/// The texts of all damages.
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
fn many_findings_are_counted() {
    finds(&["array \"a00\": has id 100", "array \"a07\": has id 107", "and 12 more"], |txn| {
        for i in 0..20 {
            put_array(txn, &format!("a{i:02}"), &descriptor(txn, ArrayId(100 + i)));
        }
    });
}

/// With small limits, each array is still checked once.
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
