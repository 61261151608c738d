//! A data file in memory, for stores and memories that make no system call.

use std::fs::File;

use bigarray_core::store::DataFile;
use bigarray_core::sync::RwLock;
use bigarray_core::{Error, ErrorKind, Result};

/// A file in memory, to be mapped by [`SimMemory`](super::SimMemory) only.
#[derive(Debug, Default)]
pub struct MemFile(RwLock<Vec<u8>>);

impl MemFile {
    /// A file that holds `bytes`.
    pub fn new(bytes: Vec<u8>) -> MemFile {
        MemFile(RwLock::new(bytes))
    }

    /// Writes `bytes` from byte `offset` on; a file that ends before is filled up with zeros.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) {
        let mut file = self.0.write();
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if file.len() < end {
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
    }
}

impl DataFile for MemFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let file = self.0.read();
        let bytes = usize::try_from(offset).ok().and_then(|start| file.get(start..start.checked_add(buf.len())?));
        let Some(bytes) = bytes else {
            let (wanted, len) = (buf.len(), file.len());
            let message = format!("{wanted} bytes at {offset} of a data file of {len} bytes: it is truncated");
            return Err(Error::new(ErrorKind::Corrupt, message));
        };
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn as_file(&self) -> Option<&File> {
        None
    }
}
