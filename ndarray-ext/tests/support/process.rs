//! What the kernel tells about the memory of this process.

use std::fs;

use bigarray::ndarray::{ArrayRef, Dimension};

/// How many mappings this process has.
pub(crate) fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// What lies behind a range of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) mappings: usize,
    pub(crate) resident_bytes: usize,
    /// Bytes that are mapped from a data file, resident or not.
    pub(crate) mapped_bytes: usize,
    /// Those of them that the kernel expects to be accessed at random.
    pub(crate) random_bytes: usize,
}

/// What lies behind the memory of a whole array in storage order.
pub(crate) fn behind<T, D: Dimension>(view: &ArrayRef<T, D>) -> Behind {
    let start = view.as_ptr() as usize;
    let end = start + size_of_val(view.as_slice_memory_order().expect("a whole array"));
    let mut behind = Behind::default();
    let mut inside = false;
    let mut mapped = 0;
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        if let Some(range) = first.split_once('-').filter(|_| !first.ends_with(':')) {
            let [from, to] = [range.0, range.1].map(|n| usize::from_str_radix(n, 16).unwrap());
            inside = from < end && start < to;
            behind.mappings += usize::from(inside);
            mapped = if inside && line.ends_with("/data") { to.min(end) - from.max(start) } else { 0 };
            behind.mapped_bytes += mapped;
        } else if inside && first == "Rss:" {
            let kilobytes: usize = line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
            behind.resident_bytes += kilobytes << 10;
        } else if first == "VmFlags:" && line.split_ascii_whitespace().any(|flag| flag == "rr") {
            behind.random_bytes += mapped;
        }
    }
    behind
}
