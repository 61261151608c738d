//! The types that arrays can hold, and the names by which storage knows them.

use bytemuck::Pod;
use num_complex::Complex;

/// A type that arrays can hold: plain bytes, any of which are a value, and a NumPy name by which they are known in
/// storage.
///
/// Implemented for integers, floats, [`Complex`] and, behind the feature `half`, `f16` and `bf16`; for structs use
/// [`impl_element!`](crate::impl_element). Types with invalid bit patterns (`bool`, `char`, enums) cannot be elements:
/// a mapped byte is seen before it could be checked. For `bool` there is [`Bool`](crate::Bool).
///
/// ```
/// use bigarray::Element;
///
/// assert_eq!((f64::dtype(), u8::dtype()), ("<f8".to_owned(), "|u1".to_owned()));
/// ```
#[diagnostic::on_unimplemented(
    message = "arrays cannot hold elements of type `{Self}`",
    label = "no element of an array",
    note = "elements are integers, floats and `Complex`; with the feature `half` of bigarray also `f16` and `bf16`",
    note = "a `bool` is stored as a `bigarray::Bool`, an enum as a `u8`, a text as its bytes",
    note = "a struct becomes an element by `#[repr(C)]`, `#[derive(Clone, Copy, Pod, Zeroable)]`, \
            `#[bytemuck(crate = \"bigarray::bytemuck\")]` and `bigarray::impl_element!`"
)]
pub trait Element: Pod + Send + Sync {
    /// NumPy's name of the type: `<f8`, or a list of fields as in the header of a `.npy` file.
    fn dtype() -> String;
}

/// NumPy's sign for the byte order of this machine.
const NATIVE: char = if cfg!(target_endian = "little") { '<' } else { '>' };

macro_rules! numbers {
    ($($kind:literal: $($t:ty)*;)*) => {$($(
        impl Element for $t {
            fn dtype() -> String {
                let sign = if size_of::<$t>() == 1 { '|' } else { NATIVE };
                format!("{sign}{}{}", $kind, size_of::<$t>())
            }
        }
    )*)*};
}

numbers! {
    "i": i8 i16 i32 i64 i128 isize;
    "u": u8 u16 u32 u64 u128 usize;
    "f": f32 f64;
    "c": Complex<f32> Complex<f64>;
}

#[cfg(feature = "half")]
numbers! {
    "f": half::f16;
}

/// NumPy itself has no such type; the name is that of the extension type other array libraries register.
#[cfg(feature = "half")]
impl Element for half::bf16 {
    fn dtype() -> String {
        format!("{NATIVE}bfloat16")
    }
}

/// What a field of a struct element may be: an element, or an array of fields. Implementation detail of
/// [`impl_element!`](crate::impl_element).
#[doc(hidden)]
pub trait Field: Pod {
    /// NumPy's name of what the field holds, as it stands in a list of fields.
    fn base() -> String;

    /// Appends the lengths of the arrays around it, outermost first.
    fn lengths(_: &mut Vec<usize>) {}
}

impl<T: Element> Field for T {
    fn base() -> String {
        let dtype = T::dtype();
        if dtype.starts_with('[') { dtype } else { format!("'{dtype}'") }
    }
}

impl<F: Field, const N: usize> Field for [F; N]
where
    [F; N]: Pod,
{
    fn base() -> String {
        F::base()
    }

    fn lengths(lengths: &mut Vec<usize>) {
        lengths.push(N);
        F::lengths(lengths);
    }
}

/// One entry of the list of fields: `('price', '<f8')`, `('at', '<f4', (3,))`.
#[doc(hidden)]
pub fn describe_field<F: Field>(name: &str) -> String {
    let name = name.trim_start_matches("r#");
    let mut lengths = Vec::new();
    F::lengths(&mut lengths);
    match lengths[..] {
        [] => format!("('{name}', {})", F::base()),
        [one] => format!("('{name}', {}, ({one},))", F::base()),
        _ => {
            let lengths: Vec<_> = lengths.iter().map(usize::to_string).collect();
            format!("('{name}', {}, ({}))", F::base(), lengths.join(", "))
        }
    }
}

/// Makes a `#[repr(C)]` [`Pod`](bytemuck::Pod) struct an [`Element`]. Fields are numbers, arrays of them, or other
/// elements; all are listed, in order, with their types, and the compiler checks that they are.
///
/// ```
/// use bigarray::bytemuck::{Pod, Zeroable};
/// use bigarray::Element;
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[bytemuck(crate = "bigarray::bytemuck")]
/// #[repr(C)]
/// struct Tick { time: i64, price: f64, size: [u32; 2] }
///
/// bigarray::impl_element!(Tick { time: i64, price: f64, size: [u32; 2] });
/// assert_eq!(Tick::dtype(), "[('time', '<i8'), ('price', '<f8'), ('size', '<u4', (2,))]");
/// ```
///
/// The name is that of a NumPy structured type. As a `Pod` has no padding, the fields' order and sizes say where each
/// lies.
///
/// A list that leaves a field out, swaps two or names another type does not compile:
///
/// ```compile_fail
/// # use bigarray::bytemuck::{Pod, Zeroable};
/// # #[derive(Clone, Copy, Pod, Zeroable)]
/// # #[bytemuck(crate = "bigarray::bytemuck")]
/// # #[repr(C)]
/// # struct Tick { time: i64, price: f64 }
/// bigarray::impl_element!(Tick { time: i64 });
/// ```
///
/// ```compile_fail,E0080
/// # use bigarray::bytemuck::{Pod, Zeroable};
/// # #[derive(Clone, Copy, Pod, Zeroable)]
/// # #[bytemuck(crate = "bigarray::bytemuck")]
/// # #[repr(C)]
/// # struct Tick { time: i64, price: f64 }
/// bigarray::impl_element!(Tick { price: f64, time: i64 });
/// ```
///
/// ```compile_fail,E0308
/// # use bigarray::bytemuck::{Pod, Zeroable};
/// # #[derive(Clone, Copy, Pod, Zeroable)]
/// # #[bytemuck(crate = "bigarray::bytemuck")]
/// # #[repr(C)]
/// # struct Tick { time: i64, price: f64 }
/// bigarray::impl_element!(Tick { time: u64, price: f64 });
/// ```
///
/// Where the compiler would leave bytes free, between fields or at the end, the struct needs a field for them, since bytes
/// that are no value of anything cannot be stored:
///
/// ```
/// # use bigarray::bytemuck::{Pod, Zeroable};
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[bytemuck(crate = "bigarray::bytemuck")]
/// #[repr(C)]
/// struct Tick { time: i64, size: u32, pad: [u8; 4] }
///
/// bigarray::impl_element!(Tick { time: i64, size: u32, pad: [u8; 4] });
/// ```
///
/// ```compile_fail,E0080
/// # use bigarray::bytemuck::{Pod, Zeroable};
/// # #[derive(Clone, Copy)]
/// # #[repr(C)]
/// # struct Tick { time: i64, size: u32 }
/// # unsafe impl Zeroable for Tick {}
/// # unsafe impl Pod for Tick {}
/// bigarray::impl_element!(Tick { time: i64, size: u32 });
/// ```
///
/// `#[repr(C, packed)]` leaves none free. A generic struct has no one name in storage:
///
/// ```compile_fail
/// # #[derive(Clone, Copy)]
/// # #[repr(C)]
/// # struct Tick<T> { time: i64, price: T }
/// bigarray::impl_element!(Tick<f64> { time: i64, price: f64 });
/// ```
#[macro_export]
macro_rules! impl_element {
    ($name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        const _: () = {
            let mut at = 0;
            $(
                assert!(
                    ::core::mem::offset_of!($name, $field) == at,
                    concat!("impl_element!: the field `", stringify!($field), "` of `", stringify!($name),
                        "` does not come next in memory: list all fields in the order of the #[repr(C)] struct, and where \
                        the compiler leaves bytes free between two of them put a field, as `pad: [u8; 4]`")
                );
                at += ::core::mem::size_of::<$type>();
            )+
            assert!(
                at == ::core::mem::size_of::<$name>(),
                concat!("impl_element!: `", stringify!($name), "` is larger than the fields that are listed: list all \
                    fields, and where the compiler leaves bytes free at its end put a field, as `pad: [u8; 4]`")
            );
            let _: fn($name) -> ($($type,)+) = |element| {
                let $name { $($field),+ } = element;
                ($($field,)+)
            };
        };
        impl $crate::Element for $name {
            fn dtype() -> ::std::string::String {
                let fields = [$($crate::describe_field::<$type>(stringify!($field))),+];
                ::std::format!("[{}]", fields.join(", "))
            }
        }
    };
    ($name:ident < $($rest:tt)*) => {
        ::core::compile_error!(concat!("impl_element!: `", stringify!($name), "` is generic, and an array has elements of \
            one type: write a struct for each type that it is needed with"));
    };
    ($name:ident $($rest:tt)*) => {
        ::core::compile_error!(concat!("impl_element!: list the fields of `", stringify!($name), "` with their types, as \
            `", stringify!($name), " { time: i64, price: f64 }`"));
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_numpy_names() {
        assert_eq!(u8::dtype(), "|u1");
        assert_eq!(i8::dtype(), "|i1");
        assert_eq!(i16::dtype(), "<i2");
        assert_eq!(usize::dtype(), u64::dtype());
        assert_eq!(u128::dtype(), "<u16");
        assert_eq!(f32::dtype(), "<f4");
        assert_eq!(Complex::<f32>::dtype(), "<c8");
        assert_eq!(Complex::<f64>::dtype(), "<c16");
    }

    #[cfg(feature = "half")]
    #[test]
    fn half_floats_have_different_names() {
        assert_eq!(half::f16::dtype(), "<f2");
        assert_eq!(half::bf16::dtype(), "<bfloat16");
    }

    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Inner {
        x: f32,
        r#type: u32,
    }
    crate::impl_element!(Inner { x: f32, r#type: u32 });

    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C, packed)]
    struct Outer {
        id: u8,
        inner: Inner,
        grid: [[i16; 3]; 2],
        many: [Inner; 4],
    }
    crate::impl_element!(Outer { id: u8, inner: Inner, grid: [[i16; 3]; 2], many: [Inner; 4] });

    #[test]
    fn structs_nest_and_hold_arrays() {
        let inner = "[('x', '<f4'), ('type', '<u4')]";
        assert_eq!(Inner::dtype(), inner);
        assert_eq!(
            Outer::dtype(),
            format!("[('id', '|u1'), ('inner', {inner}), ('grid', '<i2', (2, 3)), ('many', {inner}, (4,))]")
        );
    }
}
