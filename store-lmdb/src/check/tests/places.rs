//! Uses of pages: two, none, outside the file; and size classes.

use super::*;
use crate::codec::{Algorithm, Encoding, Packed};
use crate::record::{Location, Unit};

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
    finds(&["pages 0..512 of chunk 2 are free and claimed by client", both], |txn| put_claim(txn, 1024..1536));
    finds(&["pages 0..512 of chunk 3 are claimed by client", both], |txn| put_claim(txn, 1536..2048));
    finds(&["pages 19..30 of chunk 1 are free and claimed by client", both], |txn| put_claim(txn, 531..542));
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
    finds(&["of chunk 18014398509481983 are claimed", "outside the file"], |txn| put_claim(txn, 2048..(1 << 63) - 1));
    finds(&["too few for 5 chunks"], |txn| txn.put_meta(Meta::CHUNKS_END, 5).unwrap());
}

#[test]
fn a_chunk_listed_under_a_wrong_size_class_is_found() {
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
fn a_compressed_block_is_counted_once_and_its_bytes_are_checked() {
    // Bytes that are no LZ4, with a right or a wrong checksum.
    let bytes = [0xff; 100];
    let sum = crc32c::crc32c(&bytes);
    for (told, words) in [(sum ^ 1, "do not fit their checksum"), (sum, "cannot be decompressed")] {
        let sound = Sound::new();
        sound.store.shared.data.write_at(CHUNK + 21 * PAGE as u64, &bytes).unwrap();
        sound.write(|txn| put_unit(txn, told, 100, &[(0, 3), (7, 9)]));
        let report = sound.store.check(false).unwrap();
        assert_eq!((report.blocks, report.segments, report.stored_pages), (3, 4, 18));
        match sound.store.check(true) {
            // Without the codec only the checksum is compared.
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
