//! An array of a snapshot, open for reading. All readers of one state share a span, so that pages are loaded once.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Engine;
use super::windows::{WholeSpan, Windows};
use crate::descriptor::{Descriptor, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Ranges;
use crate::pager::{Access, Binding, Pager, Prefetch};
use crate::signals;
use crate::store::Snapshot;

/// An array of one committed state, open for reading. Cloning costs nothing; the last clone lets the state go.
pub struct Reader {
    shared: Arc<ReadSpan>,
    /// Where it has no span: those over parts of it. A clone has none yet.
    windows: Windows,
}

impl Clone for Reader {
    fn clone(&self) -> Reader {
        Reader::of(self.shared.clone())
    }
}

/// What all readers of one array of one state share.
pub(super) struct ReadSpan {
    name: String,
    descriptor: Descriptor,
    attrs: Map<String, Value>,
    /// No span for an array of no bytes, nor for one that no addresses are left for.
    pager: WholeSpan,
    engine: Arc<Engine>,
    snapshot: Arc<dyn Snapshot>,
}

impl Reader {
    pub(super) fn open(engine: &Arc<Engine>, snapshot: &Arc<dyn Snapshot>, name: &str) -> Result<Reader> {
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        let Some(descriptor) = snapshot.array(name)? else { return Err(not_found(name)) };
        let key = (descriptor.id, snapshot.version());
        if let Some(shared) = engine.pool.lock().readers.get(&key).and_then(std::sync::Weak::upgrade) {
            return Ok(Reader::of(shared));
        }
        engine.check_records(&**snapshot, name)?;
        engine.store.check_codec(descriptor.codec).map_err(|e| e.context(format_args!("array {name:?}")))?;
        let pager = match descriptor.nbytes() {
            0 => Ok(None),
            _ => engine.acquire(&descriptor, Binding::stored_array(name, &descriptor, snapshot)).map(Some),
        };
        let pager = or_too_large(pager)?;
        let attrs = snapshot.attrs(descriptor.id)?.into_iter().collect();
        let (engine, snapshot) = (engine.clone(), snapshot.clone());
        let span = Arc::new(ReadSpan { name: name.to_owned(), descriptor, attrs, pager, engine, snapshot });
        span.engine.pool.lock().readers.insert(key, Arc::downgrade(&span));
        Ok(Reader::of(span))
    }

    fn of(shared: Arc<ReadSpan>) -> Reader {
        Reader { shared, windows: Windows::default() }
    }

    /// The span, if it has one, or a window over `bytes`; and where in it they are.
    fn span_over(&self, bytes: &Range<usize>) -> Result<(Option<Arc<Pager>>, Range<usize>)> {
        let ReadSpan { name, descriptor, pager, engine, snapshot, .. } = &*self.shared;
        let bytes = descriptor.placed(bytes);
        let open = || engine.window(descriptor, Binding::stored_array(name, descriptor, snapshot), &bytes);
        Ok((self.windows.over(pager, &bytes, &open, &|_| Ok(()))?, bytes))
    }

    /// Name of the array in this state.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What the array is in this state.
    pub fn descriptor(&self) -> &Descriptor {
        &self.shared.descriptor
    }

    /// Its attributes.
    pub fn attrs(&self) -> &Map<String, Value> {
        &self.shared.attrs
    }

    /// The state it is of.
    pub fn version(&self) -> Version {
        self.shared.snapshot.version()
    }

    /// Address of its first byte, with all its bytes behind; dangling if it has none.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) where no address range could be had.
    pub fn base(&self) -> Result<NonNull<u8>> {
        self.address(0..self.descriptor().nbytes())
    }

    /// Address of the first of `bytes`, with the others behind; dangling if there are none. It stands as long as this
    /// reader does. Where no address range could be had for all of the array, one is taken for these.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) where none could be had; a clone that is dropped gives back those it took.
    pub fn address(&self, bytes: Range<usize>) -> Result<NonNull<u8>> {
        let (span, bytes) = self.span_over(&bytes)?;
        Ok(address_in(span.as_deref(), &bytes))
    }

    /// Loads the blocks of a byte range, with errors as values.
    pub fn prefetch(&self, bytes: Range<usize>) -> Result<()> {
        let (Some(pager), bytes) = self.span_over(&bytes)? else { return Ok(()) };
        pager.prefetch(&bytes, false).map_err(|e| e.context(format_args!("array {:?}", self.name())))
    }

    /// Begins to load the blocks of a byte range, and waits for none of them. What it loads takes at most half of the memory
    /// budget; where that is full, an eighth of it at most is given back for it, of blocks that came long before.
    ///
    /// The prefetch ends early, and without an error, when that is used up, and when the array is given back or becomes
    /// shorter. A failure is told by [`Prefetch::wait`], and poisons nothing.
    pub fn prefetch_ahead(&self, bytes: Range<usize>) -> Result<Prefetch> {
        let (span, bytes) = self.span_over(&bytes)?;
        span.map_or_else(|| Ok(Prefetch::done()), |pager| pager.prefetch_ahead(&bytes))
    }

    /// Bytes of a byte range that an access finds without storage.
    pub fn resident_bytes(&self, bytes: Range<usize>) -> Result<usize> {
        let (span, bytes) = self.span_over(&bytes)?;
        span.map_or(Ok(0), |pager| pager.resident_bytes(&bytes))
    }

    /// Whether anything was ever stored to a block that `bytes` lie in.
    ///
    /// # Errors
    /// Of the look-up.
    pub fn is_written(&self, bytes: Range<usize>) -> Result<bool> {
        let _held = signals::hold_between_waits();
        let ReadSpan { descriptor, snapshot, .. } = &*self.shared;
        is_stored(&**snapshot, descriptor, descriptor.block_size.blocks_in(&descriptor.placed(&bytes)))
    }

    /// Whether a system call that is handed bytes of the array waits for what is missing, as a load does. If not, it
    /// fails: what was prefetched may be let go of again.
    pub fn waits_in_system_calls(&self) -> bool {
        self.shared.engine.memory.delivers_kernel_faults()
    }

    /// The memory that all arrays of the database may take together; `usize::MAX` where nothing limits it.
    pub fn budget_bytes(&self) -> usize {
        self.shared.engine.memory_use().budget_bytes
    }

    /// What accesses to expect.
    pub fn advise(&self, access: Access) {
        self.windows.advise(&self.shared.pager, access);
    }
}

impl Drop for ReadSpan {
    fn drop(&mut self) {
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        let key = (self.descriptor.id, self.snapshot.version());
        {
            let mut pool = self.engine.pool.lock();
            // Another reader may have come after the last `Arc` was gone.
            if pool.readers.get(&key).is_some_and(|shared| shared.strong_count() == 0) {
                pool.readers.remove(&key);
            }
        }
        if let Ok(Some(pager)) = std::mem::replace(&mut self.pager, Ok(None))
            && pager.release(&[], &Ranges::default(), Some((self.descriptor.id, self.descriptor.changed))).is_ok()
        {
            self.engine.put_idle(self.descriptor.id, pager);
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("name", &self.name()).field("descriptor", self.descriptor()).finish()
    }
}

pub(super) fn not_found(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no array {name:?}"))
}

/// Whether any of `blocks` is stored.
pub(super) fn is_stored(snapshot: &dyn Snapshot, array: &Descriptor, blocks: Range<u64>) -> Result<bool> {
    let mut is_stored = false;
    snapshot.blocks(array.id, blocks, &mut |_, _| {
        is_stored = true;
        ControlFlow::Break(())
    })?;
    Ok(is_stored)
}

/// Lets an array be opened that no addresses are left for; what needs them fails later.
pub(super) fn or_too_large<T>(pager: Result<T>) -> Result<Result<T>> {
    match pager {
        Err(error) if !error.is_too_large() => Err(error),
        pager => Ok(pager),
    }
}

/// The address of the first of `bytes` in their span. Aligned for any element there is, if they need none.
pub(super) fn address_in(span: Option<&Pager>, bytes: &Range<usize>) -> NonNull<u8> {
    match span {
        Some(span) if !bytes.is_empty() => span.address_of(bytes.start),
        _ => NonNull::<Aligned>::dangling().cast(),
    }
}

#[repr(align(4096))]
struct Aligned;
