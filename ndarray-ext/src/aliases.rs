//! Names of the handles of each dimension, as ndarray has them of its arrays.
//!
//! ```
//! use bigarray::{BigArray2, Database, Result};
//!
//! fn climatology(db: &Database) -> Result<BigArray2<f32>> {
//!     db.array("climatology")
//! }
//! ```

use ndarray::{Ix1, Ix2, Ix3, Ix4, Ix5, Ix6, IxDyn};

use crate::{BigArray, BigArrayMut};

/// An array of dimension 1 of a snapshot.
pub type BigArray1<T> = BigArray<T, Ix1>;
/// An array of dimension 2 of a snapshot.
pub type BigArray2<T> = BigArray<T, Ix2>;
/// An array of dimension 3 of a snapshot.
pub type BigArray3<T> = BigArray<T, Ix3>;
/// An array of dimension 4 of a snapshot.
pub type BigArray4<T> = BigArray<T, Ix4>;
/// An array of dimension 5 of a snapshot.
pub type BigArray5<T> = BigArray<T, Ix5>;
/// An array of dimension 6 of a snapshot.
pub type BigArray6<T> = BigArray<T, Ix6>;
/// An array of any dimension of a snapshot.
pub type BigArrayD<T> = BigArray<T, IxDyn>;
/// An array of dimension 1 in a transaction.
pub type BigArrayMut1<'t, T> = BigArrayMut<'t, T, Ix1>;
/// An array of dimension 2 in a transaction.
pub type BigArrayMut2<'t, T> = BigArrayMut<'t, T, Ix2>;
/// An array of dimension 3 in a transaction.
pub type BigArrayMut3<'t, T> = BigArrayMut<'t, T, Ix3>;
/// An array of dimension 4 in a transaction.
pub type BigArrayMut4<'t, T> = BigArrayMut<'t, T, Ix4>;
/// An array of dimension 5 in a transaction.
pub type BigArrayMut5<'t, T> = BigArrayMut<'t, T, Ix5>;
/// An array of dimension 6 in a transaction.
pub type BigArrayMut6<'t, T> = BigArrayMut<'t, T, Ix6>;
/// An array of any dimension in a transaction.
pub type BigArrayMutD<'t, T> = BigArrayMut<'t, T, IxDyn>;
