//! What readers and commits make of records that do not fit each other.

use bigarray_core::store::Store as _;
use bigarray_core::testing::{Edit, array_of};
use bigarray_core::{BlockNo, BlockSize, Descriptor, PAGE};

use super::{A, Sound, page_bytes};
use crate::alloc::Bitmap;
use crate::record::{encode_fit, fit_key};

/// A list that contradicts the bitmaps: nothing that is stored is written over.
#[test]
fn a_chunk_that_is_listed_as_free_and_is_not_is_never_claimed() {
    let sound = Sound::new();
    sound.write(|txn| {
        let key = fit_key(Bitmap::WHOLE, 0);
        txn.put(txn.dbs().fits, &key, &encode_fit(&key)).unwrap();
    });
    let base = sound.store.snapshot().unwrap();
    // Large enough to be written to chunks of its own.
    let array = Descriptor { shape: vec![4 << 20], block_size: BlockSize::MAX, ..array_of(2) };
    let edit = (0..2).fold(Edit::create("b", array), |edit, block| edit.block(&*base, block, 7));
    let committed = Edit::commit(&*sound.store, &*base, &[edit]);
    let mut bytes = vec![0; PAGE];
    let read = sound.store.snapshot().unwrap().read(A, BlockNo(0), 0, &mut bytes);
    assert!(read.is_ok() && bytes == page_bytes(0), "{committed:?}; then reading what was there: {read:?}");
    assert!(committed.as_ref().is_err_and(|e| e.is_corrupt() && e.to_string().contains("chunk 0")), "{committed:?}");
}
