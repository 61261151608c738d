//! Reading and committing with records that contradict each other, or need a codec that is not compiled in.

use bigarray_core::store::Store as _;
use bigarray_core::{BlockNo, BlockSize, Codec, Descriptor, PAGE};
use bigarray_testing::{Edit, array_of};

use super::{A, Sound, descriptor, page_bytes, put_array};
use crate::alloc::Bitmap;
use crate::record::{class_key, encode_class};

/// The record is wrong, not the caller that asks for a page of the array's blocks.
#[test]
fn a_record_of_fewer_pages_than_the_blocks_of_its_array_have_is_corrupt_when_it_is_read() {
    let sound = Sound::new();
    let read = |page| {
        let snapshot = sound.store.snapshot().unwrap();
        snapshot.read(A, BlockNo(0), page, &mut [0; PAGE])
    };
    assert!(read(16).unwrap_err().is_invalid());
    sound.write(|txn| put_array(txn, "a", &Descriptor { block_size: BlockSize::MAX, ..descriptor(txn, A) }));
    let error = read(16).unwrap_err();
    assert!(error.is_corrupt(), "{error:?}");
    for value in ["block 0", "id 1", "of 16 pages", "of 512"] {
        assert!(error.to_string().contains(value), "{error} does not tell of {value}");
    }
}

#[test]
fn a_record_of_fewer_pages_than_the_blocks_of_its_array_have_is_corrupt_when_pages_are_laid_over_it() {
    let sound = Sound::new();
    sound.write(|txn| put_array(txn, "a", &Descriptor { block_size: BlockSize::MAX, ..descriptor(txn, A) }));
    let base = sound.store.snapshot().unwrap();
    let error = Edit::commit(&*sound.store, &*base, &[Edit::of(&*base, "a").page(&*base, 0, 40, 7)]).unwrap_err();
    assert!(error.is_corrupt(), "{error:?}");
    for value in ["block 0", "\"a\"", "of 16 pages", "of 512"] {
        assert!(error.to_string().contains(value), "{error} does not tell of {value}");
    }
}

/// docs/format.md, `arrays`: "such an array can be listed, renamed and removed".
#[test]
fn an_array_with_a_codec_that_is_not_compiled_in_can_be_listed_renamed_and_removed() {
    for codec in [Codec::Lz4 { shuffle: true }, Codec::Zstd { level: 3, shuffle: false }] {
        let sound = Sound::new();
        sound.write(|txn| put_array(txn, "a", &Descriptor { codec, ..descriptor(txn, A) }));
        let base = sound.store.snapshot().unwrap();
        Edit::commit(&*sound.store, &*base, &[Edit::of(&*base, "a").rename("b")]).unwrap();
        let base = sound.store.snapshot().unwrap();
        let listed: Vec<_> = base.arrays().unwrap().into_iter().map(|(name, array)| (name, array.codec)).collect();
        assert_eq!(listed, [("b".to_owned(), codec)]);
        Edit::commit(&*sound.store, &*base, &[Edit::of(&*base, "b").remove()]).unwrap();
        sound.store.check(true).unwrap();
    }
}

/// With a list that contradicts the bitmaps, no stored page is overwritten.
#[test]
fn a_chunk_that_is_listed_as_free_and_is_not_is_never_claimed() {
    let sound = Sound::new();
    sound.write(|txn| {
        let key = class_key(Bitmap::WHOLE, 1);
        txn.put(txn.dbs().fits, &key, &encode_class(&key)).unwrap();
    });
    let base = sound.store.snapshot().unwrap();
    // Large enough to be written to chunks of its own.
    let array = Descriptor { shape: vec![4 << 20], block_size: BlockSize::MAX, ..array_of(2) };
    let edit = (0..2).fold(Edit::create("b", array), |edit, block| edit.block(&*base, block, 7));
    let committed = Edit::commit(&*sound.store, &*base, &[edit]);
    let mut bytes = vec![0; PAGE];
    let read = sound.store.snapshot().unwrap().read(A, BlockNo(0), 0, &mut bytes);
    assert!(read.is_ok() && bytes == page_bytes(0), "{committed:?}; then reading what was there: {read:?}");
    assert!(committed.as_ref().is_err_and(|e| e.is_corrupt() && e.to_string().contains("chunk 1")), "{committed:?}");
}
