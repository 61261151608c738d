//! Rebinding: a span outlives its transaction, and shows another state.

pub(crate) mod bind;
pub(crate) mod remap;

use std::sync::Arc;

use crate::memory::Replace;

/// What only this room reaches of a pager.
pub(super) struct RebindPart {
    span: Arc<dyn Replace>,
}

impl RebindPart {
    pub(super) fn new(span: Arc<dyn Replace>) -> RebindPart {
        RebindPart { span }
    }
}
