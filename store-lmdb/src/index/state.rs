//! A transaction's tables as core's [`State`]: the same look-ups for a snapshot and inside a commit.

use std::ops::{ControlFlow, Range};

use bigarray_core::store::{BlockRecord, State};
use bigarray_core::{ArrayId, BlockNo, Descriptor, Result, Version};
use lmdb::Transaction;
use serde_json::Value;

use super::Tables;
use crate::record::{
    self, StoredAttr, StoredBlock, Sums, attr_key, attr_name, block_key, check_array_name, check_attr_name,
    decode_array, decode_attr, decode_block, decode_sums, numbered_key, parse_numbered_key,
};

impl<T: Transaction> Tables<'_, T> {
    /// What is stored of a block; `None` if nothing was ever stored to it.
    pub(crate) fn stored_block(&self, array: ArrayId, block: BlockNo) -> Result<Option<StoredBlock>> {
        let key = block_key(array, block);
        self.get(self.dbs().blocks, &key)?.map(|value| decode_block(&key, value)).transpose()
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
        self.scan(self.dbs().blocks, &block_key(array, BlockNo(range.start)), |key, value| {
            let (id, block) = parse_numbered_key("blocks", key)?;
            if id != array || block >= range.end {
                return Ok(false);
            }
            visit(BlockNo(block), decode_block(key, value)?)
        })
    }

    /// Every attribute that the array has or had, in order of names.
    fn stored_attrs(&self, array: ArrayId) -> Result<Vec<(String, StoredAttr)>> {
        let mut found = Vec::new();
        self.scan(self.dbs().attrs, &attr_key(array, ""), |key, value| {
            let (id, name) = attr_name(key)?;
            if id == array {
                found.push((name.to_owned(), decode_attr(key, value)?));
            }
            Ok(id == array)
        })?;
        Ok(found)
    }

    /// Checksums of the pages of a MiB of an array; zeros if none is stored.
    pub(crate) fn sums(&self, array: ArrayId, mib: u64) -> Result<Sums> {
        let key = numbered_key(array, mib);
        self.get(self.dbs().sums, &key)?.map_or(Ok([0; record::SUMS]), |value| decode_sums(&key, value))
    }
}

impl<T: Transaction> State for Tables<'_, T> {
    fn array(&self, name: &str) -> Result<Option<Descriptor>> {
        check_array_name(name)?;
        let value = self.get(self.dbs().arrays, name.as_bytes())?;
        value.map(|value| Ok(decode_array(name.as_bytes(), value)?.1)).transpose()
    }

    fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        let mut found = Vec::new();
        self.scan(self.dbs().arrays, &[], |key, value| {
            found.push(decode_array(key, value)?);
            Ok(true)
        })?;
        Ok(found)
    }

    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>> {
        check_attr_name(name)?;
        let key = attr_key(array, name);
        let stored = self.get(self.dbs().attrs, &key)?.map(|value| decode_attr(&key, value)).transpose()?;
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
