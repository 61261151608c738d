//! Shape and bytes: how an array lies in its span, and which bytes a window of it covers.

use std::ops::{Bound, Range, RangeBounds};

use bigarray_core::{Descriptor, Error, ErrorKind, Order, PAGE, Result};
use ndarray::{Dimension, Shape, ShapeBuilder};

use crate::element::Element;

/// The shape of an array and where its elements are.
#[derive(Clone, Debug)]
pub(crate) struct Layout<D> {
    pub(crate) dim: D,
    pub(crate) order: Order,
    item_size: usize,
}

/// Consecutive slices along the growth axis: they lie together in memory.
#[derive(Clone, Debug)]
pub(crate) struct Window<D> {
    /// Bytes of the array that it covers.
    pub(crate) bytes: Range<usize>,
    dim: D,
    order: Order,
}

impl<D: Dimension> Window<D> {
    /// Shape and strides, as ndarray wants to hear them.
    pub(crate) fn shape(&self) -> Shape<D> {
        self.dim.clone().set_f(self.order == Order::ColumnMajor)
    }

    /// How many elements it has.
    pub(crate) fn len(&self) -> usize {
        self.dim.size()
    }
}

impl<D: Dimension> Layout<D> {
    /// The layout of an array `name` of elements `T`.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] unless the product of its lengths (zeros aside, as ndarray counts) fits an `isize` in
    /// bytes.
    pub(crate) fn new<T: Element>(name: &str, dim: D, order: Order) -> Result<Layout<D>> {
        const {
            assert!(size_of::<T>() > 0, "an element of no bytes");
            assert!(align_of::<T>() <= PAGE, "an element of which not every page can begin with one");
        }
        let item_size = size_of::<T>();
        let bytes = dim.slice().iter().filter(|n| **n > 0).try_fold(item_size, |bytes, n| bytes.checked_mul(*n));
        if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            let why = format!(
                "array {name:?}: shape {:?} of {item_size}-byte elements is more than the {} bytes an array can have",
                dim.slice(),
                isize::MAX
            );
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        Ok(Layout { dim, order, item_size })
    }

    /// The layout of a stored array that is asked for as one of elements `T` and dimension `D`.
    ///
    /// # Errors
    /// [`ErrorKind::DtypeMismatch`] and [`ErrorKind::ShapeMismatch`], naming what is stored and what was asked for.
    pub(crate) fn of_stored<T: Element>(name: &str, stored: &Descriptor) -> Result<Layout<D>> {
        let asked = T::dtype();
        let ndim = stored.shape.len();
        let what = || {
            let dimension = D::NDIM.map_or("any dimension".to_string(), |n| format!("dimension {n}"));
            format!(
                "array {name:?} has elements of type {} and dimension {ndim} (shape {:?}), but was opened as {asked} of \
                 {dimension}",
                stored.dtype, stored.shape
            )
        };
        if stored.dtype != asked || stored.item_size != size_of::<T>() {
            let hint = if swapped(&stored.dtype) == asked {
                ": the bytes have the endianness of another kind of machine; convert them when importing"
            } else {
                ""
            };
            return Err(Error::new(ErrorKind::DtypeMismatch, what() + hint));
        }
        if D::NDIM.is_some_and(|n| n != ndim) {
            return Err(Error::new(ErrorKind::ShapeMismatch, what() + ": IxDyn opens any dimension"));
        }
        let mut dim = D::zeros(ndim);
        dim.slice_mut().copy_from_slice(&stored.shape);
        Layout::new::<T>(name, dim, stored.order)
    }

    /// The axis along which the array grows.
    pub(crate) fn growth_axis(&self) -> Option<usize> {
        let last = self.dim.ndim().checked_sub(1)?;
        Some(if self.order == Order::RowMajor { 0 } else { last })
    }

    /// Length of the growth axis. An array of dimension 0 is one row.
    pub(crate) fn rows(&self) -> usize {
        self.growth_axis().map_or(1, |axis| self.dim[axis])
    }

    /// Bytes from one row to the next.
    pub(crate) fn row_bytes(&self) -> usize {
        let growth = self.growth_axis();
        let lengths = self.dim.slice().iter().enumerate();
        lengths.filter(|(axis, _)| Some(*axis) != growth).map(|(_, n)| n).product::<usize>() * self.item_size
    }

    /// Bytes of all elements.
    pub(crate) fn nbytes(&self) -> usize {
        self.rows() * self.row_bytes()
    }

    /// The whole array.
    pub(crate) fn whole(&self) -> Window<D> {
        Window { bytes: 0..self.nbytes(), dim: self.dim.clone(), order: self.order }
    }

    /// The shape with another length of the growth axis.
    pub(crate) fn with_rows(&self, rows: usize) -> D {
        let mut dim = self.dim.clone();
        if let Some(axis) = self.growth_axis() {
            dim[axis] = rows;
        }
        dim
    }

    /// The rows `range` of the array `name`.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for rows that the array does not have.
    pub(crate) fn window(&self, name: &str, range: impl RangeBounds<usize>) -> Result<Window<D>> {
        let rows = self.checked(name, range)?;
        if self.dim.ndim() == 0 && rows.is_empty() {
            let why = format!("array {name:?} has dimension 0: rows {rows:?} are not a view of it, 0..1 is");
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        let dim = self.with_rows(rows.len());
        Ok(Window { bytes: self.bytes_of(rows), dim, order: self.order })
    }

    /// The bytes of the rows `range` of the array `name`.
    ///
    /// # Errors
    /// As [`window`](Layout::window).
    pub(crate) fn bytes(&self, name: &str, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
        Ok(self.bytes_of(self.checked(name, range)?))
    }

    fn bytes_of(&self, rows: Range<usize>) -> Range<usize> {
        rows.start * self.row_bytes()..rows.end * self.row_bytes()
    }

    fn checked(&self, name: &str, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
        let (from, to) = (range.start_bound().cloned(), range.end_bound().cloned());
        let start = match from {
            Bound::Included(n) => Some(n),
            Bound::Excluded(n) => n.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match to {
            Bound::Included(n) => n.checked_add(1),
            Bound::Excluded(n) => Some(n),
            Bound::Unbounded => Some(self.rows()),
        };
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= self.rows() => Ok(start..end),
            _ => {
                let axis = self.growth_axis().map_or("it is one row".to_string(), |axis| {
                    format!("its axis {axis}, along which it grows, has length {}", self.rows())
                });
                let why = format!("array {name:?} of shape {:?}: no rows {from:?} to {to:?}; {axis}", self.dim.slice());
                Err(Error::new(ErrorKind::ShapeMismatch, why))
            }
        }
    }
}

/// A type name with the other byte order.
fn swapped(dtype: &str) -> String {
    let swap = |c| match c {
        '<' => '>',
        '>' => '<',
        c => c,
    };
    dtype.chars().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bigarray_core::{ArrayId, BlockSize, Codec, Version};
    use ndarray::{Dim, Ix0, Ix1, Ix2, IxDyn};

    fn stored(dtype: &str, item_size: usize, shape: &[usize]) -> Descriptor {
        Descriptor {
            id: ArrayId(1),
            dtype: dtype.into(),
            item_size,
            shape: shape.into(),
            order: Order::RowMajor,
            block_size: BlockSize::MAX,
            codec: Codec::None,
            changed: Version(0),
            reshaped: Version(0),
            named: Version(0),
        }
    }

    #[test]
    fn shapes_beyond_isize_are_too_large_and_named() {
        let error = Layout::new::<f64>("big", Dim([1 << 40, 1 << 30]), Order::RowMajor).unwrap_err();
        assert!(error.is_too_large());
        assert!(error.to_string().contains("\"big\"") && error.to_string().contains("1099511627776"), "{error}");
        assert!(Layout::new::<u8>("n", Dim([usize::MAX]), Order::RowMajor).unwrap_err().is_too_large());
        assert!(Layout::new::<u8>("n", Dim([isize::MAX as usize]), Order::RowMajor).is_ok());
        // A zero elsewhere does not excuse the others: ndarray refuses such a shape.
        assert!(Layout::new::<u8>("n", Dim([0, usize::MAX, 2]), Order::RowMajor).unwrap_err().is_too_large());
    }

    #[test]
    fn zero_lengths_have_no_bytes() {
        let layout = Layout::new::<f64>("n", Dim([3, 0]), Order::RowMajor).unwrap();
        assert_eq!((layout.rows(), layout.row_bytes(), layout.nbytes()), (3, 0, 0));
        assert_eq!(layout.window("n", 1..3).unwrap().bytes, 0..0);
    }

    #[test]
    fn rows_follow_the_order() {
        let c = Layout::new::<u16>("n", Dim([5, 3, 2]), Order::RowMajor).unwrap();
        assert_eq!(c.window("n", 1..3).unwrap().bytes, 12..36);
        let f = Layout::new::<u16>("n", Dim([5, 3, 2]), Order::ColumnMajor).unwrap();
        assert_eq!(f.window("n", 1..).unwrap().bytes, 30..60);
        assert_eq!(f.window("n", ..=0).unwrap().bytes, 0..30);
    }

    #[test]
    fn rows_out_of_range_name_the_length() {
        let layout = Layout::new::<u16>("n", Dim([5, 3]), Order::RowMajor).unwrap();
        #[expect(clippy::reversed_empty_ranges, reason = "what a caller may get wrong")]
        for range in [2..6, 6..6, 4..3] {
            let error = layout.window("n", range).unwrap_err();
            assert!(error.is_shape_mismatch() && error.to_string().contains("length 5"), "{error}");
        }
        assert!(layout.window("n", ..=usize::MAX).unwrap_err().is_shape_mismatch());
        assert!(layout.window("n", 5..5).unwrap().bytes.is_empty());
    }

    #[test]
    fn dimension_zero_is_one_row() {
        let layout = Layout::new::<u32>("n", Ix0(), Order::ColumnMajor).unwrap();
        assert_eq!(layout.window("n", 0..1).unwrap().bytes, 0..4);
        assert!(layout.window("n", 0..0).unwrap_err().is_shape_mismatch());
        assert_eq!(layout.bytes("n", 0..0).unwrap(), 0..0);
    }

    #[test]
    fn mismatches_name_stored_and_asked() {
        let error = Layout::<Ix2>::of_stored::<f64>("w", &stored("<f4", 4, &[2, 3])).unwrap_err();
        assert!(error.is_dtype_mismatch());
        for part in ["\"w\"", "<f4", "<f8", "dimension 2"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let error = Layout::<Ix1>::of_stored::<f32>("w", &stored("<f4", 4, &[2, 3])).unwrap_err();
        assert!(error.is_shape_mismatch());
        for part in ["\"w\"", "<f4", "dimension 2", "dimension 1", "[2, 3]"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(Layout::<IxDyn>::of_stored::<f32>("w", &stored("<f4", 4, &[2, 3])).is_ok());
    }

    #[test]
    fn foreign_endianness_is_said_to_be_that() {
        let error = Layout::<Ix1>::of_stored::<f64>("w", &stored(">f8", 8, &[2])).unwrap_err();
        assert!(error.is_dtype_mismatch() && error.to_string().contains("endianness"), "{error}");
    }
}
