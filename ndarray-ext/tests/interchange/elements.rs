//! Element types that have a counterpart in NumPy, and the values that Python computes, too.

use bigarray::Element;
use bigarray::bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use num_complex::Complex;

/// A type of number.
pub(crate) trait Number: Element {
    /// The element of that index: extreme values first.
    fn nth(n: usize) -> Self;
}

/// What the others are made of.
fn small(n: usize) -> i64 {
    (n * 7919 % 127) as i64
}

macro_rules! integers {
    ($($least:literal: $($t:ty)*;)*) => {$($(
        impl Number for $t {
            fn nth(n: usize) -> $t {
                match n {
                    0 => <$t>::MIN,
                    1 => <$t>::MAX,
                    _ => (small(n) + $least) as $t,
                }
            }
        }
    )*)*};
}

integers! {
    -63: i8 i16 i32 i64 i128;
    0: u8 u16 u32 u64 u128;
}

macro_rules! floats {
    ($($t:ident: $from:path;)*) => {$(
        impl Number for $t {
            fn nth(n: usize) -> $t {
                match n {
                    0 => <$t>::MIN,
                    1 => <$t>::MAX,
                    2 => <$t>::NAN,
                    3 => $from(-0.0),
                    _ => $from((small(n) - 63) as f64 * 0.5),
                }
            }
        }

        impl Number for Complex<$t> {
            fn nth(n: usize) -> Self {
                Complex::new(<$t>::nth(n), $from(if n < 4 { 0.0 } else { -small(n) as f64 }))
            }
        }
    )*};
}

fn to_f32(number: f64) -> f32 {
    number as f32
}

floats! {
    f32: to_f32;
    f64: std::convert::identity;
}

impl Number for f16 {
    fn nth(n: usize) -> f16 {
        match n {
            0 => f16::MIN,
            1 => f16::MAX,
            _ => f16::from_f64(f64::nth(n)),
        }
    }
}

impl Number for bf16 {
    fn nth(n: usize) -> bf16 {
        bf16::from_f64(small(n) as f64)
    }
}

/// NumPy's `bool`. Bytes other than 0 and 1 are not for NumPy.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Flag(pub(crate) u8);

impl Element for Flag {
    fn dtype() -> String {
        "|b1".to_owned()
    }
}

/// NumPy's `datetime64[s]`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Seconds(pub(crate) i64);

impl Element for Seconds {
    fn dtype() -> String {
        "<M8[s]".to_owned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Position {
    pub(crate) x: f32,
    pub(crate) y: f32,
}
bigarray::impl_element!(Position { x: f32, y: f32 });

/// With another struct, an array and padding.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Reading {
    station: u8,
    padding: [u8; 7],
    time: i64,
    at: Position,
    levels: [f32; 3],
    flags: u16,
    rest: [u8; 2],
}
bigarray::impl_element!(Reading {
    station: u8,
    padding: [u8; 7],
    time: i64,
    at: Position,
    levels: [f32; 3],
    flags: u16,
    rest: [u8; 2]
});

impl Reading {
    pub(crate) fn nth(n: usize) -> Reading {
        let x = n as f32;
        Reading {
            station: n as u8,
            padding: [0; 7],
            time: -(n as i64),
            at: Position { x, y: x / 4.0 },
            levels: [x, x + 0.5, x + 1.0],
            flags: (n as u16).wrapping_mul(257),
            rest: [0; 2],
        }
    }
}
