//! The tables of space of a write transaction, as the allocator sees them.

use std::cell::RefCell;

use bigarray_core::Result;

use crate::alloc::{Bitmap, FreedKey, Growth, Owner, Pages, Run, SpaceTable};
use crate::data::Data;
use crate::index::WriteTxn;
use crate::record::{
    Meta, chunk_key, class_key, decode_bitmap, decode_claim, decode_class, decode_freed, encode_bitmap, encode_claim,
    encode_class, encode_freed, freed_key, parse_class_key, parse_freed_key, parse_owner,
};

/// Shares the transaction with the rest of the commit: it borrows the transaction for the time of each call.
pub(crate) struct TxnSpace<'t, 'i> {
    txn: &'t RefCell<WriteTxn<'i>>,
    data: &'t Data,
    /// The file became longer, and must be synced before a record may rely on that.
    pub(crate) lengthened: bool,
}

impl<'t, 'i> TxnSpace<'t, 'i> {
    pub(crate) fn new(txn: &'t RefCell<WriteTxn<'i>>, data: &'t Data) -> Self {
        TxnSpace { txn, data, lengthened: false }
    }
}

impl SpaceTable for TxnSpace<'_, '_> {
    fn txn_id(&self) -> u64 {
        self.txn.borrow().id()
    }

    fn end(&self) -> Result<u64> {
        self.txn.borrow().tables().meta(Meta::CHUNKS_END)
    }

    fn extend_file(&mut self, end: u64) -> Result<Growth> {
        match self.data.lengthen(end) {
            Ok(lengthened) => self.lengthened |= lengthened,
            Err(full) if full.is_store_full() => return Ok(Err(full)),
            Err(e) => return Err(e),
        }
        self.txn.borrow_mut().put_meta(Meta::CHUNKS_END, end)?;
        Ok(Ok(()))
    }

    fn bitmap(&self, chunk: u64) -> Result<Option<Bitmap>> {
        let (txn, key) = (self.txn.borrow(), chunk_key(chunk));
        txn.tables().get(txn.dbs().chunks, &key)?.map(|value| decode_bitmap(&key, value)).transpose()
    }

    fn set_bitmap(&mut self, chunk: u64, free: Option<&Bitmap>) -> Result<()> {
        let (mut txn, key) = (self.txn.borrow_mut(), chunk_key(chunk));
        let db = txn.dbs().chunks;
        match free {
            Some(free) => txn.put(db, &key, &encode_bitmap(&key, free)),
            None => txn.delete(db, &key).map(drop),
        }
    }

    fn first_in_class(&self, class: u8, from: u64) -> Result<Option<u64>> {
        let txn = self.txn.borrow();
        let mut found = None;
        txn.tables().scan(txn.dbs().fits, &class_key(class, from), |key, value| {
            decode_class(key, value)?;
            let (of, chunk) = parse_class_key(key)?;
            found = (of == class).then_some(chunk);
            Ok(false)
        })?;
        Ok(found)
    }

    fn set_listed(&mut self, class: u8, chunk: u64, listed: bool) -> Result<()> {
        let (mut txn, key) = (self.txn.borrow_mut(), class_key(class, chunk));
        let db = txn.dbs().fits;
        if listed { txn.put(db, &key, &encode_class(&key)) } else { txn.delete(db, &key).map(drop) }
    }

    fn first_freed(&self) -> Result<Option<(FreedKey, Vec<Run>)>> {
        let txn = self.txn.borrow();
        let mut found = None;
        txn.tables().scan(txn.dbs().freed, &[], |key, value| {
            found = Some((parse_freed_key(key)?, decode_freed(key, value)?));
            Ok(false)
        })?;
        Ok(found)
    }

    fn put_freed(&mut self, at: FreedKey, runs: &[Run]) -> Result<()> {
        let (mut txn, key) = (self.txn.borrow_mut(), freed_key(at));
        let db = txn.dbs().freed;
        txn.put(db, &key, &encode_freed(&key, runs))
    }

    fn delete_freed(&mut self, at: FreedKey) -> Result<()> {
        let mut txn = self.txn.borrow_mut();
        let db = txn.dbs().freed;
        txn.delete(db, &freed_key(at)).map(drop)
    }

    fn claim(&self, owner: &Owner) -> Result<Option<Vec<Pages>>> {
        let (txn, key) = (self.txn.borrow(), owner.to_bytes());
        txn.tables().get(txn.dbs().claims, &key)?.map(|value| decode_claim(&key, value)).transpose()
    }

    fn set_claim(&mut self, owner: &Owner, pages: Option<&[Pages]>) -> Result<()> {
        let (mut txn, key) = (self.txn.borrow_mut(), owner.to_bytes());
        let db = txn.dbs().claims;
        match pages {
            Some(pages) => txn.put(db, &key, &encode_claim(&key, pages)),
            None => txn.delete(db, &key).map(drop),
        }
    }

    fn next_claim(&self, after: Option<&Owner>) -> Result<Option<Owner>> {
        let txn = self.txn.borrow();
        let after = after.map(|owner| owner.to_bytes());
        let from = after.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        let mut found = None;
        txn.tables().scan(txn.dbs().claims, from, |key, _| {
            if key == from {
                return Ok(true);
            }
            found = Some(parse_owner(key)?);
            Ok(false)
        })?;
        Ok(found)
    }
}
