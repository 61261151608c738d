//! Arrays that are created from NumPy's files, read piece by piece.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bigarray_core::{Error, ErrorKind, Result, signals};
use ndarray::Dimension;

use crate::array_mut::BigArrayMut;
use crate::array_options::ArrayOptions;
use crate::dtype::in_rust;
use crate::element::Element;
use crate::layout::swapped;
use crate::npy::NpyHeader;
use crate::transaction::Transaction;

/// Characters of a type that is another one, in errors.
const SHOWN: usize = 300;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Arrays from NumPy's files.
impl Transaction {
    /// Creates the array `name` with what the file `path` holds, which NumPy's `save` writes: its shape, its order and its
    /// elements, read piece by piece.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # let path = dir.path().join("grid.npy");
    /// use bigarray::ndarray::Ix2;
    ///
    /// db.transact(|txn| {
    ///     txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(1.5);
    ///     Ok(())
    /// })?;
    /// db.array::<f32, Ix2>("grid")?.write_npy(&path)?;
    /// db.transact(|txn| txn.read_npy::<f32, Ix2>("copy", &path).map(drop))?;
    /// assert_eq!(db.array::<f32, Ix2>("copy")?.view()[[39, 29]], 1.5);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a file of another format; [`DtypeMismatch`](ErrorKind::DtypeMismatch) and
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if its elements or its dimension are others; [`Io`](ErrorKind::Io) if
    /// it cannot be read, or is too short. Then there is no array of that name. And as [`create`](Transaction::create).
    pub fn read_npy<T: Element, D: Dimension>(
        &self,
        name: &str,
        path: impl AsRef<Path>,
    ) -> Result<BigArrayMut<'_, T, D>> {
        let path = path.as_ref();
        let failed = |e| Error::io(format_args!("array {name:?}: opening {}", path.display()), e);
        let mut file = File::open(path).map_err(failed)?;
        self.read_npy_from(name, &mut file, &ArrayOptions::new())
            .map_err(|e| e.context(format_args!("reading {}", path.display())))
    }

    /// The same from any reader, which is left behind the last element. The array has `options`, but for its order, which
    /// is that of the file. Not for [`transact`](crate::Database::transact), which may run again with a reader that is at
    /// its end.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::{ArrayOptions, Codec, ndarray::Ix2};
    ///
    /// let mut file = Vec::new();
    /// db.array::<f32, Ix2>("grid")?.write_npy_to(&mut file)?;
    /// let txn = db.begin()?;
    /// let compressed = ArrayOptions::new().codec(Codec::Lz4 { shuffle: true });
    /// let copy = txn.read_npy_from::<f32, Ix2>("copy", &mut &file[..], &compressed)?;
    /// assert_eq!(copy.view()[[39, 29]], 0.5);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`read_npy`](Transaction::read_npy).
    pub fn read_npy_from<T: Element, D: Dimension>(
        &self,
        name: &str,
        from: &mut (impl Read + ?Sized),
        options: &ArrayOptions,
    ) -> Result<BigArrayMut<'_, T, D>> {
        let _held = signals::hold_between_waits();
        let named = |e: Error| e.context(format_args!("array {name:?}"));
        let header = NpyHeader::read(from).map_err(named)?;
        if header.dtype != T::dtype() {
            let stored: String = header.dtype.chars().take(SHOWN).collect();
            let hint = if swapped(&header.dtype) == T::dtype() { "; its byte order is the other one" } else { "" };
            let (stored, asked) = (in_rust(&stored), in_rust(&T::dtype()));
            let text = format!("array {name:?}: the file has elements of {stored}, not {asked}{hint}");
            return Err(Error::new(ErrorKind::DtypeMismatch, text));
        }
        let shape = header.shape;
        if D::NDIM.is_some_and(|ndim| ndim != shape.len()) {
            let text = format!("array {name:?}: the file has an array of shape {shape:?}: IxDyn opens any dimension");
            return Err(Error::new(ErrorKind::ShapeMismatch, text));
        }
        let mut dim = D::zeros(shape.len());
        dim.slice_mut().copy_from_slice(&shape);
        let mut array = self.create_dim(name, dim, &options.clone().order(header.order))?;
        match fill(&mut array, from) {
            Ok(()) => Ok(array),
            Err(error) => {
                drop(array);
                // The first error says more.
                let _ = self.remove(name);
                Err(named(error))
            }
        }
    }
}

/// Fills the array from `from`, some rows at a time: past the memory budget, those before are spilled.
fn fill<T: Element, D: Dimension>(array: &mut BigArrayMut<'_, T, D>, from: &mut (impl Read + ?Sized)) -> Result<()> {
    let (mut buffer, mut done, all) = (vec![0; PIECE], 0, array.nbytes());
    for rows in array.blocks() {
        let mut view = array.rows_mut(rows)?;
        let elements = view.as_slice_memory_order_mut().expect("rows are one run of bytes");
        // Not into the view itself: a system call may not wait for its pages.
        for piece in bytemuck::cast_slice_mut::<T, u8>(elements).chunks_mut(PIECE) {
            let read = &mut buffer[..piece.len()];
            let outcome = signals::let_through(|| from.read_exact(read));
            outcome.map_err(|e| Error::io(format_args!("reading bytes {done}.. of {all}"), e))?;
            piece.copy_from_slice(read);
            done += piece.len();
        }
    }
    Ok(())
}
