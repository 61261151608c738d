use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Engine;
use crate::descriptor::{Descriptor, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Ranges;
use crate::pager::{Access, Pager};
use crate::store::Snapshot;

/// An array of one committed state, open for reading. Cloning costs nothing; the last clone lets the state go.
#[derive(Clone)]
pub struct Reader(Arc<ReadSpan>);

/// What all readers of one array of one state share.
pub(super) struct ReadSpan {
    name: String,
    descriptor: Descriptor,
    attrs: Map<String, Value>,
    /// No span for an array of no bytes, nor for one that no addresses are left for.
    pager: Result<Option<Arc<Pager>>>,
    engine: Arc<Engine>,
    snapshot: Arc<dyn Snapshot>,
}

impl Reader {
    pub(super) fn open(engine: &Arc<Engine>, snapshot: &Arc<dyn Snapshot>, name: &str) -> Result<Reader> {
        let Some(descriptor) = snapshot.array(name)? else { return Err(not_found(name)) };
        let key = (descriptor.id, snapshot.version());
        if let Some(shared) = engine.pool().readers.get(&key).and_then(std::sync::Weak::upgrade) {
            return Ok(Reader(shared));
        }
        let pager = match descriptor.nbytes() {
            0 => Ok(None),
            _ => engine.acquire(name, &descriptor, snapshot).map(Some),
        };
        let pager = or_too_large(pager)?;
        let attrs = snapshot.attrs(descriptor.id)?.into_iter().collect();
        let (engine, snapshot) = (engine.clone(), snapshot.clone());
        let span = Arc::new(ReadSpan { name: name.to_owned(), descriptor, attrs, pager, engine, snapshot });
        span.engine.pool().readers.insert(key, Arc::downgrade(&span));
        Ok(Reader(span))
    }

    /// Name of the array in this state.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What the array is in this state.
    pub fn descriptor(&self) -> &Descriptor {
        &self.0.descriptor
    }

    /// Its attributes.
    pub fn attrs(&self) -> &Map<String, Value> {
        &self.0.attrs
    }

    /// The state it is of.
    pub fn version(&self) -> Version {
        self.0.snapshot.version()
    }

    /// Address of its first byte, with all its bytes behind; dangling if it has none.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) where no address range could be had.
    pub fn base(&self) -> Result<NonNull<u8>> {
        base_of(&self.0.pager)
    }

    /// Loads the blocks of a byte range, with errors as values.
    pub fn prefetch(&self, bytes: Range<usize>) -> Result<()> {
        match &self.0.pager {
            Ok(Some(pager)) => {
                pager.prefetch(&bytes, false).map_err(|e| e.context(format_args!("array {:?}", self.name())))
            }
            Ok(None) => Ok(()),
            Err(error) => Err(again(error)),
        }
    }

    /// What accesses to expect.
    pub fn advise(&self, access: Access) {
        if let Ok(Some(pager)) = &self.0.pager {
            pager.advise(access);
        }
    }
}

impl Drop for ReadSpan {
    fn drop(&mut self) {
        let key = (self.descriptor.id, self.snapshot.version());
        {
            let mut pool = self.engine.pool();
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

/// Lets an array be opened that no addresses are left for; what needs them fails later.
pub(super) fn or_too_large<T>(pager: Result<T>) -> Result<Result<T>> {
    match pager {
        Err(error) if !error.is_too_large() => Err(error),
        pager => Ok(pager),
    }
}

/// The error that opening met, for each call that needs what is missing.
pub(super) fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

pub(super) fn base_of(pager: &Result<Option<Arc<Pager>>>) -> Result<NonNull<u8>> {
    match pager {
        Ok(Some(pager)) => Ok(pager.base()),
        // Aligned for any element there is.
        Ok(None) => Ok(NonNull::<Aligned>::dangling().cast()),
        Err(error) => Err(again(error)),
    }
}

#[repr(align(4096))]
struct Aligned;
