//! Tracking: which pages were written.

pub(crate) mod async_tracking;
pub(crate) mod changes;
pub(crate) mod search;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::memory::TrackWrites;

/// What only this room reaches of a pager.
pub(super) struct TrackPart {
    span: Arc<dyn TrackWrites>,
    /// Whether the memory can track writes, as far as is known.
    can_track: AtomicBool,
}

impl TrackPart {
    pub(super) fn new(span: Arc<dyn TrackWrites>) -> TrackPart {
        TrackPart { span, can_track: AtomicBool::new(true) }
    }
}
