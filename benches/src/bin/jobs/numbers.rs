//! What arrays are filled with: a number for each place, so that each element can be checked by itself, wherever it has
//! been meanwhile.

use bigarray::ndarray::{Array1, ArrayView1, ArrayViewMut1, Ix1};
use bigarray::{BigArray, BigArrayMut};

use crate::Outcome;
use crate::ground::{ensure, figure};

/// Elements of a default block of u64.
pub(crate) const BLOCK_LEN: usize = (2 << 20) / 8;

/// The number at place `n`: never zero, never that of a place nearby.
pub(crate) fn number(n: usize) -> u64 {
    ((n as u64) << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Fills `view` whose first element is at place `first`, front to back.
pub(crate) fn fill(view: &mut ArrayViewMut1<'_, u64>, first: usize) {
    view.iter_mut().enumerate().for_each(|(n, x)| *x = number(first + n));
}

/// Refuses elements other than `number(n) + change`, and prints the checksum of all.
pub(crate) fn verify(array: &BigArray<u64, Ix1>, change: impl Fn(usize) -> u64) -> Outcome<()> {
    let mut sum = 0u64;
    for range in array.blocks() {
        let first = range.start;
        sum = sum.wrapping_add(checked(array.rows(range)?, first, &change)?);
    }
    figure("checked: elements, checksum", format_args!("{}, {sum:016x}", array.len()));
    Ok(())
}

/// The same within a transaction, without the checksum.
pub(crate) fn verify_mut(array: &BigArrayMut<'_, u64, Ix1>, change: impl Fn(usize) -> u64) -> Outcome<()> {
    array.blocks().try_for_each(|range| checked(array.rows(range.clone())?, range.start, &change).map(drop))
}

fn checked(view: ArrayView1<'_, u64>, first: usize, change: &impl Fn(usize) -> u64) -> Outcome<u64> {
    let mut wrong = 0usize;
    let mut sum = 0u64;
    for (n, &x) in view.iter().enumerate() {
        let at = first + n;
        wrong += usize::from(x != number(at).wrapping_add(change(at)));
        sum = sum.wrapping_add(x.rotate_left((at % 64) as u32));
    }
    ensure(wrong == 0, || format!("{wrong} elements from {first} on are wrong"))?;
    Ok(sum)
}

/// The numbers from place `first` on.
pub(crate) fn piece(first: usize, len: usize) -> Array1<u64> {
    Array1::from_shape_fn(len, |n| number(first + n))
}
