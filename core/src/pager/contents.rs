//! The bytes of a span, as the program's loads and stores reach them.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::Result;
use crate::memory::SpanBytes;
use crate::pager::Pager;
use crate::store::Bytes;

/// What only this room reaches of a pager.
pub(super) struct ContentsPart {
    span: Arc<dyn SpanBytes>,
}

impl ContentsPart {
    pub(super) fn new(span: Arc<dyn SpanBytes>) -> ContentsPart {
        ContentsPart { span }
    }
}

impl Pager {
    /// The address of a byte of the array that the span has.
    pub(crate) fn address_of(&self, byte: usize) -> NonNull<u8> {
        debug_assert!((self.bytes.start..=self.bytes.end).contains(&byte));
        self.contents.span.base().map_addr(|base| base.saturating_add(byte - self.bytes.start))
    }

    /// Writes as a store of the program would. No other thread may be using the range.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        self.contents.span.write(at, bytes);
    }

    /// Writes zeros. No other thread may be using the range.
    pub(crate) fn fill_zero(&self, bytes: Range<usize>) {
        self.contents.span.fill_zero(bytes);
    }
}

impl Bytes for Pager {
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.contents.span.with_bytes(range, f)
    }
}
