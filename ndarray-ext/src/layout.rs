//! Windows: how the rows of an array lie in its span, as ndarray sees them.

use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};

use bigarray_core::{Descriptor, Error, ErrorKind, Order, PAGE, Result};
use ndarray::{Dimension, Ix1, IxDyn, Shape, ShapeBuilder};

use crate::dtype::in_rust;
use crate::element::Element;

/// A descriptor seen as one of dimension `D`, which it has.
pub(crate) struct Layout<'a, D> {
    name: &'a str,
    array: &'a Descriptor,
    dimension: PhantomData<D>,
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

impl Window<Ix1> {
    /// The elements `range` of an array, counted in storage order, whatever its dimension.
    pub(crate) fn of_elements(range: Range<usize>, item_size: usize) -> Window<Ix1> {
        let bytes = range.start * item_size..range.end * item_size;
        Window { bytes, dim: Ix1(range.len()), order: Order::RowMajor }
    }
}

/// Refuses a stored array that is asked for as one of elements `T` and dimension `D`, unless it is.
///
/// # Errors
/// [`ErrorKind::DtypeMismatch`] and [`ErrorKind::ShapeMismatch`], naming what is stored and what was asked for;
/// [`ErrorKind::TooLarge`] for more bytes than ndarray can count.
pub(crate) fn check<T: Element, D: Dimension>(name: &str, stored: &Descriptor) -> Result<()> {
    const {
        assert!(size_of::<T>() > 0, "an element of no bytes");
        assert!(align_of::<T>() <= PAGE, "an element of which not every page can begin with one");
    }
    let asked = T::dtype();
    let ndim = stored.shape.len();
    let what = || {
        let dimension = D::NDIM.map_or("any dimension".to_string(), |n| format!("dimension {n}"));
        let (has, shape) = (in_rust(&stored.dtype), &stored.shape);
        let asked = in_rust(&asked);
        format!(
            "array {name:?} has elements of type {has} and dimension {ndim} (shape {shape:?}), but was opened as {asked} of {dimension}"
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
    stored.check_size(name)
}

impl<'a, D: Dimension> Layout<'a, D> {
    /// That of the array `name`, which [`check`] let pass.
    pub(crate) fn new(name: &'a str, array: &'a Descriptor) -> Layout<'a, D> {
        Layout { name, array, dimension: PhantomData }
    }

    /// The shape.
    pub(crate) fn dim(&self) -> D {
        self.with_rows(self.array.rows())
    }

    /// The shape with `rows` in place of the length of the growth axis.
    fn with_rows(&self, rows: usize) -> D {
        let mut dim = D::zeros(self.array.shape.len());
        dim.slice_mut().copy_from_slice(&self.array.shape);
        if let Some(axis) = self.array.growth_axis() {
            dim[axis] = rows;
        }
        dim
    }

    /// The whole array.
    pub(crate) fn whole(&self) -> Window<D> {
        Window { bytes: 0..self.array.nbytes(), dim: self.dim(), order: self.array.order }
    }

    /// The rows `range`.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for rows that the array does not have.
    pub(crate) fn window(&self, range: impl RangeBounds<usize>) -> Result<Window<D>> {
        let rows = self.rows(range)?;
        if self.array.shape.is_empty() && rows.is_empty() {
            let why = format!("array {:?} has dimension 0: rows {rows:?} are not a view of it, 0..1 is", self.name);
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        let dim = self.with_rows(rows.len());
        Ok(Window { bytes: self.bytes_of(rows), dim, order: self.array.order })
    }

    /// The bytes of the rows `range`.
    ///
    /// # Errors
    /// As [`window`](Layout::window).
    pub(crate) fn bytes(&self, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
        Ok(self.bytes_of(self.rows(range)?))
    }

    fn bytes_of(&self, rows: Range<usize>) -> Range<usize> {
        rows.start * self.array.row_bytes()..rows.end * self.array.row_bytes()
    }

    /// The numbers of the rows `range`.
    ///
    /// # Errors
    /// As [`window`](Layout::window).
    pub(crate) fn rows(&self, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
        let (from, to) = (range.start_bound().cloned(), range.end_bound().cloned());
        let rows = self.array.rows();
        let start = match from {
            Bound::Included(n) => Some(n),
            Bound::Excluded(n) => n.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match to {
            Bound::Included(n) => n.checked_add(1),
            Bound::Excluded(n) => Some(n),
            Bound::Unbounded => Some(rows),
        };
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= rows => Ok(start..end),
            _ => {
                let axis = self.array.growth_axis().map_or("it is one row".to_string(), |axis| {
                    format!("its axis {axis}, along which it grows, has length {rows}")
                });
                let Layout { name, array, .. } = self;
                let asked = in_words(from, to);
                let why = format!("array {name:?} of shape {:?} has no rows {asked}; {axis}", array.shape);
                Err(Error::new(ErrorKind::ShapeMismatch, why))
            }
        }
    }
}

/// A range as it is written: `5..11`.
fn in_words(from: Bound<usize>, to: Bound<usize>) -> String {
    let from = match from {
        Bound::Included(n) => n.to_string(),
        Bound::Excluded(n) => format!("behind {n}"),
        Bound::Unbounded => String::new(),
    };
    match to {
        Bound::Included(n) => format!("{from}..={n}"),
        Bound::Excluded(n) => format!("{from}..{n}"),
        Bound::Unbounded => format!("{from}.."),
    }
}

/// The bytes of the rows `range` of the array `name`, whatever its dimension.
///
/// # Errors
/// As [`window`](Layout::window).
pub(crate) fn bytes(name: &str, array: &Descriptor, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
    Layout::<IxDyn>::new(name, array).bytes(range)
}

/// The numbers of the rows `range` of the array `name`, whatever its dimension.
///
/// # Errors
/// As [`window`](Layout::window).
pub(crate) fn rows(name: &str, array: &Descriptor, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
    Layout::<IxDyn>::new(name, array).rows(range)
}

/// A type name with the other byte order.
pub(crate) fn swapped(dtype: &str) -> String {
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
    use bigarray_testing::array_of;
    use ndarray::{Ix0, Ix2, Ix3};

    fn stored(dtype: &str, item_size: usize, shape: &[usize]) -> Descriptor {
        Descriptor { dtype: dtype.into(), item_size, shape: shape.into(), ..array_of(1) }
    }

    fn window<D: Dimension>(array: &Descriptor, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
        Ok(Layout::<D>::new("n", array).window(range)?.bytes)
    }

    #[test]
    fn zero_lengths_have_no_bytes() {
        let array = stored("<f8", 8, &[3, 0]);
        assert_eq!((array.rows(), array.row_bytes(), array.nbytes()), (3, 0, 0));
        assert_eq!(window::<Ix2>(&array, 1..3).unwrap(), 0..0);
    }

    #[test]
    fn rows_follow_the_order() {
        let c = stored("<u2", 2, &[5, 3, 2]);
        assert_eq!(window::<Ix3>(&c, 1..3).unwrap(), 12..36);
        let f = Descriptor { order: Order::ColumnMajor, ..c };
        assert_eq!(window::<Ix3>(&f, 1..).unwrap(), 30..60);
        assert_eq!(window::<Ix3>(&f, ..=0).unwrap(), 0..30);
    }

    #[test]
    fn rows_out_of_range_name_the_length() {
        let array = stored("<u2", 2, &[5, 3]);
        #[expect(clippy::reversed_empty_ranges, reason = "what a caller may get wrong")]
        for range in [2..6, 6..6, 4..3] {
            let error = window::<Ix2>(&array, range.clone()).unwrap_err();
            let (text, asked) = (error.to_string(), format!("no rows {range:?};"));
            assert!(error.is_shape_mismatch() && text.contains("length 5") && text.contains(&asked), "{error}");
        }
        assert!(window::<Ix2>(&array, ..=usize::MAX).unwrap_err().is_shape_mismatch());
        assert!(window::<Ix2>(&array, 5..5).unwrap().is_empty());
    }

    #[test]
    fn dimension_zero_is_one_row() {
        let array = Descriptor { order: Order::ColumnMajor, ..stored("<u4", 4, &[]) };
        assert_eq!(window::<Ix0>(&array, 0..1).unwrap(), 0..4);
        assert!(window::<Ix0>(&array, 0..0).unwrap_err().is_shape_mismatch());
        assert_eq!(bytes("n", &array, 0..0).unwrap(), 0..0);
    }

    #[test]
    fn mismatches_name_stored_and_asked() {
        let error = check::<f64, Ix2>("w", &stored("<f4", 4, &[2, 3])).unwrap_err();
        assert!(error.is_dtype_mismatch());
        for part in ["\"w\"", "<f4 (f32)", "<f8 (f64)", "dimension 2"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let error = check::<f32, Ix1>("w", &stored("<f4", 4, &[2, 3])).unwrap_err();
        assert!(error.is_shape_mismatch());
        for part in ["\"w\"", "<f4", "dimension 2", "dimension 1", "[2, 3]"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(check::<f32, IxDyn>("w", &stored("<f4", 4, &[2, 3])).is_ok());
    }

    #[test]
    fn foreign_endianness_is_said_to_be_that() {
        let error = check::<f64, Ix1>("w", &stored(">f8", 8, &[2])).unwrap_err();
        assert!(error.is_dtype_mismatch() && error.to_string().contains("endianness"), "{error}");
    }
}
