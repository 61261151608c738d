//! A slice against a shape: which indices of each axis.

use super::slice::{Item, Slice};

/// The indices of one axis: `start`, `start + step`, and so on, `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) start: usize,
    pub(crate) step: isize,
    pub(crate) len: usize,
    /// Whether the result has the axis: a single number drops it.
    pub(crate) is_kept: bool,
}

impl Pick {
    /// All of an axis of length `len`.
    pub(crate) fn whole(len: usize) -> Pick {
        Pick { start: 0, step: 1, len, is_kept: true }
    }

    /// Whether it is all of an axis of length `len`, in its order.
    pub(crate) fn is_whole(&self, len: usize) -> bool {
        self.is_kept && self.len == len && (len < 2 || self.step == 1)
    }
}

impl Slice {
    /// The indices of each axis of an array of shape `shape`.
    ///
    /// # Errors
    /// What is out of range: numbers. Ranges are cut to the axis, as in Python.
    pub(crate) fn picks(&self, shape: &[usize]) -> Result<Vec<Pick>, String> {
        let given = self.items.iter().filter(|item| **item != Item::Ellipsis).count();
        if given > shape.len() {
            return Err(format!(
                "the slice [{self}] is of {given} axes, and the array of shape {shape:?} has {}; leave some out",
                shape.len()
            ));
        }
        let mut missing = shape.len() - given;
        let mut picks = Vec::with_capacity(shape.len());
        for item in &self.items {
            if *item == Item::Ellipsis {
                let whole = &shape[picks.len()..picks.len() + missing];
                picks.extend(whole.iter().map(|len| Pick::whole(*len)));
                missing = 0;
                continue;
            }
            let axis = picks.len();
            picks.push(pick(item, axis, shape[axis])?);
        }
        picks.extend(shape[picks.len()..].iter().map(|len| Pick::whole(*len)));
        Ok(picks)
    }
}

fn pick(item: &Item, axis: usize, length: usize) -> Result<Pick, String> {
    let len = length as i128;
    match *item {
        Item::Ellipsis => Ok(Pick::whole(length)),
        Item::Index(index) => {
            let at = if index < 0 { index + len } else { index };
            if !(0..len).contains(&at) {
                let range = if length == 0 {
                    "it has no index".to_owned()
                } else {
                    format!("it takes {} to {}", -len, len - 1)
                };
                return Err(format!("index {index} is out of range for axis {axis} of length {length}; {range}"));
            }
            Ok(Pick { start: at as usize, step: 1, len: 1, is_kept: false })
        }
        Item::Range { start, stop, step } => {
            // As Python's `slice.indices`.
            let (least, most) = if step > 0 { (0, len) } else { (-1, len - 1) };
            let place = |n: i128| (if n < 0 { n + len } else { n }).clamp(least, most);
            let start = start.map_or(if step > 0 { least } else { most }, place);
            let stop = stop.map_or(if step > 0 { most } else { least }, place);
            let way = if step > 0 { stop - start } else { start - stop };
            let count = if way > 0 { (way - 1) / step.abs() + 1 } else { 0 };
            // A step beyond the axis is never taken.
            let step = step.clamp(-(isize::MAX as i128), isize::MAX as i128) as isize;
            Ok(Pick { start: if count > 0 { start as usize } else { 0 }, step, len: count as usize, is_kept: true })
        }
    }
}
