//! The element of an array of `bool`.

use std::fmt;

use bytemuck::{Pod, Zeroable};

use crate::element::Element;

/// The element of an array of `bool`: a byte that is 0 or 1, as NumPy's `bool_` (`|b1`) and Zarr's `bool` are.
///
/// Rust's `bool` itself cannot be an element: a mapped byte is seen before it could be checked, and one that is neither 0
/// nor 1 is no `bool`. [`bools`](crate::BigArray::bools) checks rows, and shows them as `bool`; [`get`](Bool::get) checks one
/// element.
///
/// ```
/// use bigarray::ndarray::Ix2;
/// use bigarray::{Bool, Database};
///
/// # let dir = tempfile::tempdir().unwrap();
/// let db = Database::open(dir.path().join("a.bigarray"))?;
/// db.transact(|txn| {
///     let mut land = txn.create::<Bool, _>("land", (180, 360))?;
///     land.view_mut()[[90, 10]] = true.into();
///     Ok(())
/// })?;
/// let land = db.array::<Bool, Ix2>("land")?;
/// assert!(land.view()[[90, 10]].get());
/// assert_eq!(land.bools(..)?.iter().filter(|&&is_land| is_land).count(), 1);
/// # Ok::<(), bigarray::Error>(())
/// ```
///
/// An ndarray of `bool` is stored element by element:
///
/// ```
/// # use bigarray::{Bool, Database, ndarray::{Ix2, arr2}};
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = Database::open(dir.path().join("a.bigarray"))?;
/// let mask = arr2(&[[true, false], [false, true]]);
/// db.transact(|txn| {
///     txn.create::<Bool, _>("mask", mask.dim())?.view_mut().zip_mut_with(&mask, |to, &from| *to = from.into());
///     Ok(())
/// })?;
/// assert_eq!(db.array::<Bool, Ix2>("mask")?.bools(..)?, mask);
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bool(u8);

impl Bool {
    /// Its value.
    ///
    /// ```
    /// use bigarray::Bool;
    ///
    /// assert!(Bool::from(true).get());
    /// ```
    ///
    /// # Panics
    /// If the byte is neither 0 nor 1. [`bools`](crate::BigArray::bools) says that as an error.
    pub fn get(self) -> bool {
        match self.0 {
            0 => false,
            1 => true,
            byte => panic!("the byte {byte} is neither 0 (false) nor 1 (true)"),
        }
    }

    /// Its byte, whatever that is.
    ///
    /// ```
    /// use bigarray::Bool;
    ///
    /// assert_eq!(Bool::from(true).byte(), 1);
    /// ```
    pub fn byte(self) -> u8 {
        self.0
    }

    /// Whether the byte is 0 or 1.
    pub(crate) fn is_bool(self) -> bool {
        self.0 <= 1
    }
}

impl From<bool> for Bool {
    fn from(value: bool) -> Bool {
        Bool(u8::from(value))
    }
}

impl fmt::Debug for Bool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("false"),
            1 => f.write_str("true"),
            byte => write!(f, "Bool({byte})"),
        }
    }
}

impl Element for Bool {
    fn dtype() -> String {
        "|b1".to_owned()
    }
}
