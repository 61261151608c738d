//! An array open in a transaction: creating, opening, changing and removing it.

use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;

use serde_json::{Map, Value};

use super::open_array::OpenArray;
use super::reader::{address_in, not_found};
use super::transaction::{Place, Transaction, in_use};
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind, Result};
use crate::pager::{Access, Prefetch};
use crate::signals;

/// An array open in a transaction. Dropping it closes it; what was changed stays with the transaction.
pub struct Writer<'t> {
    pub(super) transaction: Lender<'t>,
    pub(super) at: usize,
    /// `None` only while being dropped.
    array: Option<Box<OpenArray>>,
}

/// How an open array has its transaction.
pub(super) enum Lender<'t> {
    Borrowed(&'t Transaction),
    /// What owns it lives as long as the array is open.
    Owner(Box<dyn Deref<Target = Transaction> + Send + Sync>),
}

impl Deref for Lender<'_> {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        match self {
            Lender::Borrowed(transaction) => transaction,
            Lender::Owner(owner) => owner,
        }
    }
}

impl Transaction {
    /// Creates an array of its fill value, or of zeros, and opens it.
    ///
    /// # Errors
    /// [`AlreadyExists`](ErrorKind::AlreadyExists); [`Invalid`](ErrorKind::Invalid) for a name that no array can have;
    /// [`DtypeMismatch`](ErrorKind::DtypeMismatch) for a fill value that is no element, and
    /// [`Unsupported`](ErrorKind::Unsupported) for one that the store cannot keep;
    /// [`StoreFull`](ErrorKind::StoreFull) and others of spilling what is in memory of the arrays before.
    pub fn create(&self, name: &str, descriptor: Descriptor) -> Result<Writer<'_>> {
        self.engine.store.check_array_name(name)?;
        let mut arrays = self.arrays.lock();
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        if self.is_taken(&arrays, name)? {
            let why = format!("array {name:?} exists already; open it, as open_or_create does, or remove it first");
            return Err(Error::new(ErrorKind::AlreadyExists, why));
        }
        descriptor.check_size(name)?;
        self.check_codec(name, &descriptor)?;
        descriptor.check_fill(name)?;
        self.engine.store.check_fill(&descriptor).map_err(|e| e.context(format_args!("array {name:?}")))?;
        self.spill_closed_arrays(&mut arrays)?;
        let mut array = Box::new(self.created(name, descriptor.clone()));
        array.ensure_span()?;
        let at = arrays.places.len();
        arrays.places.push(Place::CheckedOut(Box::new((name.to_owned(), descriptor))));
        arrays.names.insert(name.to_owned(), Some(at));
        drop(arrays);
        Ok(Writer::new(Lender::Borrowed(self), at, array))
    }

    /// Opens an array. Several may be open, each once.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`InUse`](ErrorKind::InUse) if it is open; as [`create`](Transaction::create)
    /// of spilling.
    pub fn open(&self, name: &str) -> Result<Writer<'_>> {
        let (at, array) = self.check_out(name)?;
        Ok(Writer::new(Lender::Borrowed(self), at, array))
    }

    /// The same for a handle that keeps `owner`, which always leads to the same transaction.
    ///
    /// # Errors
    /// As [`open`](Transaction::open).
    pub fn open_owned(
        owner: impl Deref<Target = Transaction> + Send + Sync + 'static,
        name: &str,
    ) -> Result<Writer<'static>> {
        let (at, array) = owner.check_out(name)?;
        Ok(Writer::new(Lender::Owner(Box::new(owner)), at, array))
    }

    /// Takes an array from its place.
    fn check_out(&self, name: &str) -> Result<(usize, Box<OpenArray>)> {
        let mut arrays = self.arrays.lock();
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        let at = self.place_of(&mut arrays, name)?;
        let Place::Idle(array) = &mut arrays.places[at] else { return Err(in_use(name, "opened again")) };
        let Some(now) = array.metadata.after.clone() else { return Err(not_found(name)) };
        self.check_codec(name, &now.1)?;
        self.spill_closed_arrays(&mut arrays)?;
        let Place::Idle(array) = &mut arrays.places[at] else { return Err(in_use(name, "opened again")) };
        array.ensure_span()?;
        match std::mem::replace(&mut arrays.places[at], Place::CheckedOut(Box::new(now))) {
            Place::Idle(array) => Ok((at, array)),
            Place::CheckedOut(_) => Err(in_use(name, "opened again")),
        }
    }
}

impl<'t> Writer<'t> {
    fn new(transaction: Lender<'t>, at: usize, array: Box<OpenArray>) -> Writer<'t> {
        Writer { transaction, at, array: Some(array) }
    }

    pub(super) fn array(&self) -> &OpenArray {
        self.array.as_ref().expect("a writer has its array until it is dropped")
    }

    pub(super) fn array_mut(&mut self) -> &mut OpenArray {
        self.array.as_mut().expect("a writer has its array until it is dropped")
    }

    fn now(&self) -> &(String, Descriptor) {
        self.array().metadata.after.as_ref().expect("an open array cannot be removed")
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
        &self.array().metadata.attrs
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a name that no attribute can have.
    pub fn set_attr(&mut self, name: &str, value: Value) -> Result<()> {
        let named = |error: Error| error.context(format_args!("array {:?}", self.name()));
        self.transaction.engine.store.check_attr_name(name).map_err(named)?;
        let array = self.array_mut();
        array.metadata.attrs.insert(name.to_owned(), value);
        array.metadata.attrs_set.insert(name.to_owned());
        Ok(())
    }

    /// Removes an attribute, and returns what it was.
    pub fn remove_attr(&mut self, name: &str) -> Option<Value> {
        let metadata = &mut self.array_mut().metadata;
        let removed = metadata.attrs.remove(name);
        if removed.is_some() {
            metadata.attrs_set.insert(name.to_owned());
        }
        removed
    }

    /// The commit is to conflict if another transaction changed any of the blocks that `bytes` lie in since the
    /// snapshot, or shrank, reshaped, renamed or removed the array. What this transaction created has nothing to depend
    /// on.
    pub fn depend_on(&mut self, bytes: Range<usize>) {
        let now = self.descriptor();
        let blocks = now.block_size.blocks_in(&now.placed(&bytes));
        self.array_mut().metadata.depends.insert(blocks.start as usize..blocks.end as usize);
    }

    /// Address of its first byte, with all its bytes behind; dangling if it has none. Stands until the next call that
    /// takes `&mut self`.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) where no address range could be had.
    pub fn base(&self) -> Result<NonNull<u8>> {
        self.address(0..self.descriptor().nbytes())
    }

    /// Address of the first of `bytes`, with the others behind; dangling if there are none. It stands until the next
    /// call that takes `&mut self`. Where no address range could be had for all of the array, one is taken for these.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) where none could be had.
    pub fn address(&self, bytes: Range<usize>) -> Result<NonNull<u8>> {
        let bytes = self.descriptor().placed(&bytes);
        Ok(address_in(self.array().span_over(&bytes)?.as_deref(), &bytes))
    }

    /// To be called before a byte range is handed out mutably: writes are looked for in such ranges only. Also a
    /// quiescent point: what was written before may be spilled, and the addresses of windows are given back.
    ///
    /// # Errors
    /// Of spilling, also earlier, in a fault, if there is more in memory than may be since. The range must not be
    /// handed out then.
    pub fn expose_mut(&mut self, bytes: Range<usize>) -> Result<()> {
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        self.array().refuse_if_hopeless()?;
        self.array_mut().quiescent_point()?;
        self.expose(&bytes);
        Ok(())
    }

    /// The same where no error can be returned: it fails the commit.
    pub fn expose_mut_deferring_error(&mut self, bytes: Range<usize>) {
        // Where storage is only unavailable, what was written stays in memory until another time.
        if let Err(why) = self.array_mut().quiescent_point()
            && !why.is_unavailable()
            && let Ok(Some(pager)) = &self.array().pager
        {
            pager.fail_commit(&why);
        }
        self.expose(&bytes);
    }

    /// `bytes` are handed out mutably.
    pub(super) fn expose(&mut self, bytes: &Range<usize>) {
        let placed = self.descriptor().placed(bytes);
        self.array_mut().expose(placed);
    }

    /// Spills all that was changed, and gives the memory back.
    ///
    /// # Errors
    /// [`StoreFull`](crate::ErrorKind::StoreFull), [`Io`](crate::ErrorKind::Io), and the first failure to load any of
    /// the array's pages. What was changed is still there.
    pub fn flush(&mut self) -> Result<()> {
        let _held = signals::hold_between_waits();
        self.array_mut().spill()
    }

    /// Loads the blocks of a byte range, with errors as values. Where system calls cannot wait for faults, also makes
    /// them writable.
    pub fn prefetch(&self, bytes: Range<usize>) -> Result<()> {
        let bytes = self.descriptor().placed(&bytes);
        let Some(pager) = self.array().span_over(&bytes)? else { return Ok(()) };
        pager.prefetch(&bytes, pager.is_user_mode()).map_err(|e| e.context(format_args!("array {:?}", self.name())))
    }

    /// See [`Reader::prefetch_ahead`](crate::Reader::prefetch_ahead).
    pub fn prefetch_ahead(&self, bytes: Range<usize>) -> Result<Prefetch> {
        let bytes = self.descriptor().placed(&bytes);
        self.array().span_over(&bytes)?.map_or_else(|| Ok(Prefetch::done()), |pager| pager.prefetch_ahead(&bytes))
    }

    /// Bytes of a byte range that an access finds without storage.
    pub fn resident_bytes(&self, bytes: Range<usize>) -> Result<usize> {
        let bytes = self.descriptor().placed(&bytes);
        self.array().span_over(&bytes)?.map_or(Ok(0), |pager| pager.resident_bytes(&bytes))
    }

    /// Whether anything was ever stored to a block that `bytes` lie in, by this transaction too. No thread may be writing.
    ///
    /// # Errors
    /// Of the look-up, and the first failure to load any of the array's pages.
    pub fn is_written(&self, bytes: Range<usize>) -> Result<bool> {
        let _held = signals::hold_between_waits();
        self.array()
            .is_written(&self.descriptor().placed(&bytes))
            .map_err(|e| e.context(format_args!("array {:?}", self.name())))
    }

    /// See [`Reader::waits_in_system_calls`](crate::Reader::waits_in_system_calls).
    pub fn waits_in_system_calls(&self) -> bool {
        self.transaction.engine.memory.delivers_kernel_faults()
    }

    /// See [`Reader::budget_bytes`](crate::Reader::budget_bytes).
    pub fn budget_bytes(&self) -> usize {
        self.transaction.engine.memory_use().budget_bytes
    }

    /// What accesses to expect.
    pub fn advise(&self, access: Access) {
        self.array().windows.advise(&self.array().pager, access);
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if let Some(array) = self.array.take() {
            let mut arrays = self.transaction.arrays.lock();
            arrays.untracked_bytes = arrays.untracked_bytes.saturating_add(array.untracked.bytes());
            arrays.places[self.at] = Place::Idle(array);
        }
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("name", &self.name()).field("descriptor", self.descriptor()).finish()
    }
}
