//! Collects events of `tracing`.

use std::sync::Arc;

use bigarray_core::sync::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A subscriber that keeps each event, for a test to look at. Clones keep the same list.
#[derive(Clone, Default)]
pub struct EventLog(Arc<Mutex<Vec<LoggedEvent>>>);

/// One event of an [`EventLog`].
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// How grave it is.
    pub level: Level,
    /// The name of the thread that emitted it.
    pub thread: Option<String>,
    /// Its text.
    pub message: String,
}

impl EventLog {
    /// The events so far.
    pub fn events(&self) -> Vec<LoggedEvent> {
        self.0.lock().clone()
    }

    /// Whether the message of one event contains each of `parts`.
    pub fn has(&self, parts: &[&str]) -> bool {
        self.0.lock().iter().any(|event| parts.iter().all(|part| event.message.contains(part)))
    }
}

impl Subscriber for EventLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let thread = std::thread::current().name().map(str::to_owned);
        self.0.lock().push(LoggedEvent { level: *event.metadata().level(), thread, message: message_of(event) });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The field `message` of an event, for subscribers of a test's own.
pub fn message_of(event: &Event<'_>) -> String {
    let mut message = Message::default();
    event.record(&mut message);
    message.0
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
