//! The handle of one committed state: its arrays and attributes, for reading.

use std::fmt;
use std::sync::Arc;

use bigarray_core::{Error, Result, store};
use ndarray::Dimension;

use crate::array::BigArray;
use crate::element::Element;
use crate::home::Home;
use crate::info::ArrayInfo;
use crate::process::OfProcess;

/// One committed state of a database, for reading.
///
/// Many can live at once, each as old as it is. As long as one lives the storage it refers to is not reused, so a
/// forgotten one makes the data file grow.
#[derive(Clone)]
pub struct Snapshot {
    home: Arc<Home>,
    state: OfProcess<Arc<dyn store::Snapshot>>,
}

impl Snapshot {
    pub(crate) fn new(home: Arc<Home>, state: Arc<dyn store::Snapshot>) -> Snapshot {
        Snapshot { home, state: OfProcess::new(state) }
    }

    /// The array `name`, whose elements are of type `T` and which has the dimension `D`; `IxDyn` opens any.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`DtypeMismatch`](crate::ErrorKind::DtypeMismatch),
    /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if the dimension is another,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if its codec is not compiled in.
    pub fn array<T: Element, D: Dimension>(&self, name: &str) -> Result<BigArray<T, D>> {
        self.home.check_process()?;
        BigArray::new(self.home.engine.reader(&self.state, name)?)
    }

    /// Every array, in order of names.
    ///
    /// # Errors
    /// What storage reports.
    pub fn arrays(&self) -> Result<Vec<ArrayInfo>> {
        self.home.check_process()?;
        Ok(self.state.arrays()?.iter().map(|(name, descriptor)| ArrayInfo::new(name, descriptor)).collect())
    }

    /// Arrays that other programs stored and that cannot be opened here, in order of names, each with the error that
    /// opening it is, which says why. [`arrays`](Snapshot::arrays) leaves them out. None in a directory.
    ///
    /// # Errors
    /// What storage reports.
    pub fn unreadable(&self) -> Result<Vec<(String, Error)>> {
        self.home.check_process()?;
        self.state.unreadable()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("dir", &self.home.dir).field("version", &self.state.version().0).finish()
    }
}
