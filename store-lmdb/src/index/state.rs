//! The tables of a transaction as core's [`State`]: the same look-ups for a snapshot and inside a commit.

use std::ops::{ControlFlow, Range};

use bigarray_core::store::{BlockRecord, State, check_array_name, check_attr_name};
use bigarray_core::{ArrayId, BlockNo, Descriptor, Error, ErrorKind, Result, Version};
use lmdb::{Database, Transaction};
use serde_json::Value;

use super::Tables;
use crate::record::{
    self, Checksums, StoredAttr, StoredBlock, Tallies, Tally, attr_key, attr_name, block_key, count_array,
    decode_array, decode_attr, decode_block, decode_checksums, numbered_key, parse_numbered_key, unseal,
};

/// Records that are counted at a time.
const TALLIED_AT_ONCE: usize = 4096;

impl<T: Transaction> Tables<'_, T> {
    /// The record of a block; `None` if it was never stored to.
    pub(crate) fn stored_block(&self, array: ArrayId, block: BlockNo) -> Result<Option<StoredBlock>> {
        let key = block_key(array, block);
        self.find("blocks", self.dbs().blocks, &key)?.map(|value| decode_block(&key, value)).transpose()
    }

    /// Visits the stored blocks in `range`, ascending, until `visit` says `false`.
    pub(crate) fn stored_blocks(
        &self,
        array: ArrayId,
        range: Range<u64>,
        mut visit: impl FnMut(BlockNo, StoredBlock) -> Result<bool>,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let start = block_key(array, BlockNo(range.start));
        self.check_beside("blocks", self.dbs().blocks, &start)?;
        self.scan(self.dbs().blocks, &start, |key, value| {
            let (id, block) = parse_numbered_key("blocks", key)?;
            if id != array || block >= range.end {
                // It may be a record of this range under a damaged key.
                return unseal("blocks", key, value).map(|_| false);
            }
            visit(BlockNo(block), decode_block(key, value)?)
        })
    }

    /// Every attribute that the array, or the database, has or had, ordered by name.
    fn stored_attrs(&self, array: ArrayId) -> Result<Vec<(String, StoredAttr)>> {
        if array == ArrayId::DATABASE {
            return Ok(self.database_attrs()?.into_iter().collect());
        }
        let mut found = Vec::new();
        let start = attr_key(array, "");
        self.check_beside("attrs", self.dbs().attrs, &start)?;
        self.scan(self.dbs().attrs, &start, |key, value| {
            unseal("attrs", key, value)?;
            let (id, name) = attr_name(key)?;
            if id == array {
                found.push((name.to_owned(), decode_attr(key, value)?));
            }
            Ok(id == array)
        })?;
        Ok(found)
    }

    /// The array of that name, and the tallies of its records.
    pub(crate) fn stored_array(&self, name: &str) -> Result<Option<(Descriptor, Tallies)>> {
        let value = self.find("arrays", self.dbs().arrays, name.as_bytes())?;
        value.map(|value| decode_array(name.as_bytes(), value).map(|(_, array, records)| (array, records))).transpose()
    }

    /// Adds records of `array` in the table `name`, whose keys begin with its id, to `tally`: a part of them, from the key
    /// `from` on. Returns the key to go on from; `None` at the end.
    pub(crate) fn add_to_tally(
        &self,
        name: &str,
        db: Database,
        array: ArrayId,
        from: &[u8],
        tally: &mut Tally,
    ) -> Result<Option<Vec<u8>>> {
        let (mut left, mut next) = (TALLIED_AT_ONCE, None);
        self.scan(db, from, |key, value| {
            unseal(name, key, value)?;
            if !key.starts_with(&array.0.to_be_bytes()) {
                return Ok(false);
            }
            if left == 0 {
                next = Some(key.to_vec());
                return Ok(false);
            }
            left -= 1;
            tally.add(key, value);
            Ok(true)
        })?;
        Ok(next)
    }

    /// Checksums of the pages of one MiB of an array; zeros if there is no record.
    pub(crate) fn checksums(&self, array: ArrayId, mib: u64) -> Result<Checksums> {
        let key = numbered_key(array, mib);
        self.get(self.dbs().sums, &key)?
            .map_or(Ok([0; record::PAGES_PER_RECORD]), |value| decode_checksums(&key, value))
    }
}

impl<T: Transaction> State for Tables<'_, T> {
    fn array(&self, name: &str) -> Result<Option<Descriptor>> {
        check_array_name(name)?;
        Ok(self.stored_array(name)?.map(|(array, _)| array))
    }

    fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        let (mut found, mut tally) = (Vec::new(), Tally::default());
        self.scan(self.dbs().arrays, &[], |key, value| {
            let (name, array, _) = decode_array(key, value)?;
            count_array(&mut tally, &name, array.id);
            found.push((name, array));
            Ok(true)
        })?;
        let stored = self.arrays_tally()?;
        if tally != stored {
            let text =
                format!("the index lists {} arrays, which are not the {} there should be", found.len(), stored.records);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(found)
    }

    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>> {
        check_attr_name(name)?;
        if array == ArrayId::DATABASE {
            return Ok(self.database_attrs()?.remove(name).and_then(|stored| stored.value));
        }
        let key = attr_key(array, name);
        let stored = self.find("attrs", self.dbs().attrs, &key)?.map(|value| decode_attr(&key, value)).transpose()?;
        Ok(stored.and_then(|stored| stored.value))
    }

    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, Value)>> {
        let stored = self.stored_attrs(array)?.into_iter();
        Ok(stored.filter_map(|(name, stored)| Some((name, stored.value?))).collect())
    }

    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>> {
        Ok(self.stored_attrs(array)?.into_iter().map(|(name, stored)| (name, stored.version)).collect())
    }

    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>> {
        Ok(self.stored_block(array, block)?.map(|stored| stored.to_record()))
    }

    fn blocks(
        &self,
        array: ArrayId,
        range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        self.stored_blocks(array, range, |block, stored| Ok(visit(block, stored.to_record()).is_continue()))
    }
}
