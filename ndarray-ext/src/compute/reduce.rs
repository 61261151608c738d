//! The methods of the handles that reduce an array, or go over all of its blocks.

use std::ops::Range;

use bigarray_core::{Error, ErrorKind, Result};
use ndarray::{Array, Axis, Dimension, RemoveAxis};

use super::accumulate::{Extremes, Moments, NanCount};
use super::block_views::BlockViews;
use super::histogram::{Histogram, histogram};
use super::lanes::{along, whole};
use super::number::Number;
use crate::array::BigArray;
use crate::array_mut::BigArrayMut;
use crate::element::Element;
use crate::process::OfProcess;
use crate::view::Source;

/// Refuses what is no number of degrees of freedom to take from `count`.
fn check_ddof(source: &OfProcess<impl Source>, ddof: f64, count: usize) -> Result<()> {
    if (0.0..=count as f64).contains(&ddof) {
        return Ok(());
    }
    let (name, shape) = (source.name(), &source.descriptor().shape);
    let why = format!("array {name:?} of shape {shape:?}: ddof is {ddof}, and 0 to {count}, the elements, can be");
    Err(Error::new(ErrorKind::Invalid, why))
}

/// The methods that reduce an array whole.
macro_rules! whole_array {
    () => {
        /// The sum of all elements, NaN if one of them is. Floats are added in 64 bits, with what rounding loses; integers
        /// exactly. 0 of none.
        ///
        /// ndarray's own [`sum`](ndarray::ArrayRef::sum) of a view adds up in the type of the elements: of millions of
        /// `f32` it is wrong in the third digit, and of 70,000 ones in `f16` it is 2048 or infinite. This one goes by
        /// rayon's threads over pieces that were loaded, and the next are loaded meanwhile, within the memory budget. The
        /// same array has the same sum, to the last bit, with any number of threads.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("a", 3_000_000)?.view_mut().fill(0.1); Ok(()) })?;
        /// let a = db.array::<f32, bigarray::ndarray::Ix1>("a")?;
        /// assert!((a.sum()? - 300_000.0).abs() < 0.01);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// What storage reports; [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the array.
        pub fn sum(&self) -> Result<T::Sum> {
            Ok(whole::<T, T::Total>(&self.source)?.into())
        }

        /// The mean of all elements, NaN if one of them is; `None` if there are none, as ndarray's. The accuracy is that of
        /// [`sum`](Self::sum).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<u8, _>("image", (100, 100))?.view_mut().fill(7);
        /// #     txn.create::<u8, _>("none", (0, 100)).map(drop)
        /// # })?;
        /// use bigarray::ndarray::Ix2;
        ///
        /// assert_eq!(db.array::<u8, Ix2>("image")?.mean()?, Some(7.0));
        /// assert_eq!(db.array::<u8, Ix2>("none")?.mean()?, None);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum`](Self::sum).
        pub fn mean(&self) -> Result<Option<f64>> {
            let total = whole::<T, T::Total>(&self.source)?;
            Ok((!self.is_empty()).then(|| T::total_to_f64(total) / self.len() as f64))
        }

        /// The variance of all elements: the squares of what they differ from their mean by, divided by their number less
        /// `ddof`, the *delta degrees of freedom*: 0 for a population, 1 for a sample. NaN if an element is NaN or
        /// infinite, and where that is a division by 0. As ndarray's, in 64 bits. The elements are read once.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<f32, _>("a", 4)?.view_mut().assign(&bigarray::ndarray::aview1(&[1.0, 2.0, 3.0, 4.0]));
        /// #     Ok(())
        /// # })?;
        /// let a = db.array::<f32, bigarray::ndarray::Ix1>("a")?;
        /// assert_eq!(a.var(0.0)?, 1.25);
        /// assert_eq!(a.std(1.0)?, (5.0_f64 / 3.0).sqrt());
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum`](Self::sum); [`Invalid`](crate::ErrorKind::Invalid) for a `ddof` that is less than 0, or greater than
        /// the number of elements.
        pub fn var(&self, ddof: f64) -> Result<f64> {
            check_ddof(&self.source, ddof, self.len())?;
            Ok(whole::<T, Moments>(&self.source)?.var(ddof))
        }

        /// The standard deviation of all elements: the square root of [`var`](Self::var), which has an example.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
        /// #     Ok(())
        /// # })?;
        /// use bigarray::ndarray::Ix2;
        ///
        /// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
        /// assert_eq!(a.std(0.0)?, (17.5_f64 / 6.0).sqrt());
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`var`](Self::var).
        pub fn std(&self, ddof: f64) -> Result<f64> {
            Ok(self.var(ddof)?.sqrt())
        }

        /// The least and the greatest element. NaN are passed over; `None` if there is nothing else.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<f32, _>("a", 3)?.view_mut().assign(&bigarray::ndarray::aview1(&[2.0, f32::NAN, -1.0]));
        /// #     Ok(())
        /// # })?;
        /// let a = db.array::<f32, bigarray::ndarray::Ix1>("a")?; // 2, NaN, -1
        /// assert_eq!(a.min_max()?, Some((-1.0, 2.0)));
        /// assert_eq!(a.count_nan()?, 1);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum`](Self::sum).
        pub fn min_max(&self) -> Result<Option<(T, T)>> {
            Ok(whole::<T, Extremes<T>>(&self.source)?.value())
        }

        /// How many elements are NaN. Of integers none is, and nothing is read.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
        /// #     Ok(())
        /// # })?;
        /// use bigarray::ndarray::Ix2;
        ///
        /// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
        /// assert_eq!(a.count_nan()?, 0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum`](Self::sum).
        pub fn count_nan(&self) -> Result<usize> {
            Ok(if T::HAS_NAN { whole::<T, NanCount>(&self.source)?.0 } else { 0 })
        }

        /// How many elements lie in each of `bins` parts of `range`, which are of equal width. A bin has its lower edge and
        /// not its upper one; the last has both. Elements beyond the range, and NaN, are counted beside. Elements are
        /// compared in 64 bits.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<f32, _>("a", 5)?.view_mut().assign(&bigarray::ndarray::aview1(&[0.0, 1.0, 2.0, 4.0, 9.0]));
        /// #     Ok(())
        /// # })?;
        /// let a = db.array::<f32, bigarray::ndarray::Ix1>("a")?; // 0, 1, 2, 4, 9
        /// let (least, greatest) = a.min_max()?.unwrap();
        /// assert_eq!(a.histogram(f64::from(least)..f64::from(greatest), 3)?.counts, [3, 1, 1]);
        /// let histogram = a.histogram(1.0..4.0, 3)?;
        /// assert_eq!((histogram.below, histogram.counts, histogram.above), (1, vec![1, 1, 1], 1));
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum`](Self::sum); [`Invalid`](crate::ErrorKind::Invalid) for no bins, more than 2²⁴, and a range that is
        /// empty or not finite.
        pub fn histogram(&self, range: Range<f64>, bins: usize) -> Result<Histogram> {
            histogram::<T>(&self.source, &range, bins)
        }
    };
}

/// The methods that reduce an array along an axis.
macro_rules! along_an_axis {
    () => {
        /// The sums of the lanes along `axis`, which the result does not have. They are those that [`sum`](Self::sum) would
        /// give, in any order and along any axis: the array is read once, front to back, and beside the accumulators of the
        /// lanes (8 to 24 bytes each) little is held. An axis of length 0 gives zeros.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
        /// #     Ok(())
        /// # })?;
        /// use bigarray::ndarray::{Axis, Ix2, array};
        ///
        /// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
        /// assert_eq!(a.sum_axis(Axis(0))?, array![5, 7, 9]);
        /// assert_eq!(a.mean_axis(Axis(1))?.unwrap(), array![2.0, 5.0]);
        /// assert_eq!(a.std_axis(Axis(0), 0.0)?, array![1.5, 1.5, 1.5]);
        /// assert_eq!(a.min_max_axis(Axis(1))?.unwrap(), (array![1, 4], array![3, 6]));
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum`](Self::sum); [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if there is no such axis;
        /// [`TooLarge`](crate::ErrorKind::TooLarge) if there is no memory for the result.
        pub fn sum_axis(&self, axis: Axis) -> Result<Array<T::Sum, D::Smaller>> {
            Ok(along::<T, D, T::Total>(&self.source, axis)?.map(Into::into))
        }

        /// The means of the lanes along `axis`; `None` if it has length 0, as ndarray's. See [`sum_axis`](Self::sum_axis).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
        /// #     Ok(())
        /// # })?;
        /// use bigarray::ndarray::{Axis, Ix2, array};
        ///
        /// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
        /// assert_eq!(a.mean_axis(Axis(1))?.unwrap(), array![2.0, 5.0]);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum_axis`](Self::sum_axis).
        pub fn mean_axis(&self, axis: Axis) -> Result<Option<Array<f64, D::Smaller>>> {
            let sums = along::<T, D, T::Total>(&self.source, axis)?;
            let count = sums.length;
            Ok((count > 0).then(|| sums.map(|total| T::total_to_f64(total) / count as f64)))
        }

        /// The variances of the lanes along `axis`, each as [`var`](Self::var) has it. See [`sum_axis`](Self::sum_axis).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
        /// #     Ok(())
        /// # })?;
        /// use bigarray::ndarray::{Axis, Ix2, array};
        ///
        /// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
        /// assert_eq!(a.var_axis(Axis(0), 0.0)?, array![2.25, 2.25, 2.25]);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum_axis`](Self::sum_axis); [`Invalid`](crate::ErrorKind::Invalid) for a `ddof` that is less than 0, or
        /// greater than the length of the axis.
        pub fn var_axis(&self, axis: Axis, ddof: f64) -> Result<Array<f64, D::Smaller>> {
            check_ddof(&self.source, ddof, self.shape().get(axis.index()).copied().unwrap_or(usize::MAX))?;
            Ok(along::<T, D, Moments>(&self.source, axis)?.map(|moments| moments.var(ddof)))
        }

        /// The standard deviations of the lanes along `axis`, each as [`std`](Self::std) has it. See
        /// [`sum_axis`](Self::sum_axis).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
        /// #     Ok(())
        /// # })?;
        /// use bigarray::ndarray::{Axis, Ix2, array};
        ///
        /// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
        /// assert_eq!(a.std_axis(Axis(0), 0.0)?, array![1.5, 1.5, 1.5]);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`var_axis`](Self::var_axis).
        pub fn std_axis(&self, axis: Axis, ddof: f64) -> Result<Array<f64, D::Smaller>> {
            Ok(self.var_axis(axis, ddof)?.mapv_into(f64::sqrt))
        }

        /// The least and the greatest elements of the lanes along `axis`; `None` if it has length 0. NaN are passed over;
        /// what has nothing else is NaN. See [`sum_axis`](Self::sum_axis).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
        /// #     Ok(())
        /// # })?;
        /// use bigarray::ndarray::{Axis, Ix2, array};
        ///
        /// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
        /// assert_eq!(a.min_max_axis(Axis(1))?.unwrap(), (array![1, 4], array![3, 6]));
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum_axis`](Self::sum_axis).
        pub fn min_max_axis(&self, axis: Axis) -> Result<Option<(Array<T, D::Smaller>, Array<T, D::Smaller>)>> {
            let extremes = along::<T, D, Extremes<T>>(&self.source, axis)?;
            Ok((extremes.length > 0).then(|| {
                let both = extremes.map(|extremes| extremes.value().unwrap_or((T::OF_NONE, T::OF_NONE)));
                (both.map(|both| both.0), both.map(|both| both.1))
            }))
        }

        /// How many elements of each lane along `axis` are NaN. See [`sum_axis`](Self::sum_axis).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("a", (2, 3))?.view_mut()[[1, 2]] = f32::NAN; Ok(()) })?;
        /// use bigarray::ndarray::{Axis, Ix2, array};
        ///
        /// let gaps = db.array::<f32, Ix2>("a")?.count_nan_axis(Axis(0))?;
        /// assert_eq!(gaps, array![0, 0, 1]);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`sum_axis`](Self::sum_axis).
        pub fn count_nan_axis(&self, axis: Axis) -> Result<Array<usize, D::Smaller>> {
            Ok(along::<T, D, NanCount>(&self.source, axis)?.map(|count| count.0))
        }
    };
}

/// Over all blocks, by several threads.
impl<T: Element, D: Dimension> BigArray<T, D> {
    /// All of the array, block by block, for rayon's threads: to [`map`](BlockViews::map) or to
    /// [`fold`](BlockViews::fold). Blocks are loaded ahead, and errors of storage come as values.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("a", (1000, 1000))?.view_mut().fill(0.5); Ok(()) })?;
    /// let a = db.array::<f32, bigarray::ndarray::Ix2>("a")?;
    /// let positive = a.par_blocks().fold(|| 0, |n, _rows, block| n + block.iter().filter(|x| **x > 0.0).count(), |a, b| a + b)?;
    /// assert_eq!(positive, 1_000_000);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn par_blocks(&self) -> BlockViews<'_, T, D> {
        BlockViews::of_snapshot(&self.source)
    }
}

/// Over all blocks, by several threads.
impl<T: Element, D: Dimension> BigArrayMut<'_, T, D> {
    /// As [`BigArray::par_blocks`]: what the transaction sees.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| {
    /// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
    /// #     Ok(())
    /// # })?;
    /// use bigarray::ndarray::Ix2;
    ///
    /// let txn = db.begin()?;
    /// let a = txn.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
    /// assert_eq!(a.par_blocks().map(|_, rows| rows.len())?.iter().sum::<usize>(), 6);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn par_blocks(&self) -> BlockViews<'_, T, D> {
        BlockViews::in_transaction(&self.source)
    }
}

/// Reductions of all elements, in 64 bits.
impl<T: Number, D: Dimension> BigArray<T, D> {
    whole_array!();
}

/// Reductions of all elements, in 64 bits.
impl<T: Number, D: Dimension> BigArrayMut<'_, T, D> {
    whole_array!();
}

/// Reductions along an axis, in 64 bits.
impl<T: Number, D: RemoveAxis> BigArray<T, D> {
    along_an_axis!();
}

/// Reductions along an axis, in 64 bits.
impl<T: Number, D: RemoveAxis> BigArrayMut<'_, T, D> {
    along_an_axis!();
}
