use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

use serde_json::{Map, Value};

use super::reader::{again, base_of};
use super::slot::Slot;
use super::transaction::{Place, Transaction};
use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::pager::Access;

/// An array open in a transaction. Dropping it closes it; what was changed stays with the transaction.
pub struct Writer<'t> {
    pub(super) transaction: &'t Transaction,
    pub(super) at: usize,
    /// `None` only while being dropped.
    slot: Option<Box<Slot>>,
}

impl<'t> Writer<'t> {
    pub(super) fn new(transaction: &'t Transaction, at: usize, slot: Box<Slot>) -> Writer<'t> {
        Writer { transaction, at, slot: Some(slot) }
    }

    pub(super) fn slot(&self) -> &Slot {
        self.slot.as_ref().expect("a writer has its slot until it is dropped")
    }

    pub(super) fn slot_mut(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("a writer has its slot until it is dropped")
    }

    fn now(&self) -> &(String, Descriptor) {
        self.slot().after.as_ref().expect("an open array cannot be removed")
    }

    /// Name of the array.
    pub fn name(&self) -> &str {
        &self.now().0
    }

    /// What the array is now.
    pub fn descriptor(&self) -> &Descriptor {
        &self.now().1
    }

    /// Its attributes now.
    pub fn attrs(&self) -> &Map<String, Value> {
        &self.slot().attrs
    }

    /// Sets an attribute.
    pub fn set_attr(&mut self, name: &str, value: Value) {
        self.slot_mut().attrs.insert(name.to_owned(), value);
    }

    /// Address of its first byte, with all its bytes behind; dangling if it has none. Stands until the next call that
    /// takes `&mut self`.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) where no address range could be had.
    pub fn base(&self) -> Result<NonNull<u8>> {
        base_of(&self.slot().pager)
    }

    /// To be called before a byte range is handed out mutably: writes are looked for in such ranges only.
    pub fn expose_mut(&mut self, bytes: Range<usize>) {
        self.slot_mut().exposed.insert(bytes);
    }

    /// Loads the blocks of a byte range, with errors as values. Where system calls cannot wait for faults, also makes
    /// them writable.
    pub fn prefetch(&self, bytes: Range<usize>) -> Result<()> {
        match &self.slot().pager {
            Ok(Some(pager)) => pager
                .prefetch(&bytes, pager.is_user_mode())
                .map_err(|e| e.context(format_args!("array {:?}", self.name()))),
            Ok(None) => Ok(()),
            Err(error) => Err(again(error)),
        }
    }

    /// What accesses to expect.
    pub fn advise(&mut self, access: Access) {
        if let Ok(Some(pager)) = &self.slot().pager {
            pager.advise(access);
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.transaction.arrays_lock().slots[self.at] = Place::Home(slot);
        }
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("name", &self.name()).field("descriptor", self.descriptor()).finish()
    }
}
