//! What the handles of arrays have in common. Their methods are macros, since a trait would have to be imported.

mod changing;
mod reading;
mod viewing;
pub(crate) mod write_out;

/// `Debug` that loads nothing and prints no element.
macro_rules! debug {
    ($handle:literal) => {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct($handle)
                .field("name", &self.source.name())
                .field("dtype", &self.source.descriptor().dtype)
                .field("shape", &self.source.descriptor().shape)
                .field("order", &self.source.descriptor().order)
                .finish()
        }
    };
}

pub(crate) use changing::changing;
pub(crate) use debug;
pub(crate) use reading::reading;
pub(crate) use viewing::viewing;
