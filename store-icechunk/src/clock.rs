//! Clocks of several machines: Icechunk takes nothing that is not later than what is there.

use std::time::{Duration, Instant, SystemTime};

use bigarray_core::{Error, ErrorKind, Result, Version, signals};
use chrono::{DateTime, Utc};
use icechunk::format::IcechunkFormatErrorKind;
use icechunk::repository::RepositoryErrorKind;
use icechunk::session::SessionErrorKind;

/// The longest wait until this machine's clock has passed the time of the state that a commit goes on.
const CLOCKS_APART: Duration = Duration::from_secs(30);

/// Waits until the clock of this machine has passed the time of the state that is to be replaced: Icechunk refuses a
/// state that is not later than the one before.
pub(crate) fn wait_for_clock(url: &str, tip: Version) -> Result<()> {
    let began = Instant::now();
    loop {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let behind = Duration::from_micros(tip.0).saturating_sub(now);
        if behind.is_zero() && Duration::from_micros(tip.0) != now {
            return Ok(());
        }
        if began.elapsed() + behind > CLOCKS_APART {
            let text = format!(
                "{url}: the newest state is of {}, and the clock of this machine says {}: a commit would have to wait \
                 {} s; set the clocks of all machines by NTP",
                time(Duration::from_micros(tip.0)),
                time(now),
                behind.as_secs()
            );
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        signals::let_through(|| std::thread::sleep(behind + Duration::from_micros(50)));
    }
}

fn time(since_epoch: Duration) -> String {
    let time = i64::try_from(since_epoch.as_micros()).ok().and_then(chrono::DateTime::from_timestamp_micros);
    time.map_or_else(|| format!("{since_epoch:?} after 1970"), |time| time.to_rfc3339())
}

/// What Icechunk refuses because the log has an entry of a later time: that time. Commits write such entries a little after
/// the state that they are of, tags and compacting without any.
pub(crate) trait LaterEntry {
    /// The time of that entry, if it is the reason.
    fn later_entry(&self) -> Option<Version>;
}

impl LaterEntry for IcechunkFormatErrorKind {
    fn later_entry(&self) -> Option<Version> {
        match self {
            IcechunkFormatErrorKind::InvalidUpdateTimestamp { latest_time, .. } => Some(version_of(latest_time)),
            _ => None,
        }
    }
}

impl LaterEntry for RepositoryErrorKind {
    fn later_entry(&self) -> Option<Version> {
        if let RepositoryErrorKind::FormatError(error) = self { error.later_entry() } else { None }
    }
}

impl LaterEntry for SessionErrorKind {
    fn later_entry(&self) -> Option<Version> {
        match self {
            SessionErrorKind::RepositoryError(error) => error.later_entry(),
            SessionErrorKind::FormatError(error) => error.later_entry(),
            _ => None,
        }
    }
}

fn version_of(time: &DateTime<Utc>) -> Version {
    Version(u64::try_from(time.timestamp_micros()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(time: Duration) -> Version {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Version((now + time).as_micros() as u64)
    }

    #[test]
    fn a_commit_waits_for_the_time_of_the_state_before() {
        let tip = after(Duration::from_millis(20));
        wait_for_clock("memory://clocks", tip).unwrap();
        assert!(after(Duration::ZERO) > tip);
        wait_for_clock("memory://clocks", tip).unwrap();
    }

    #[test]
    fn clocks_that_are_far_apart_are_both_named() {
        let error = wait_for_clock("memory://clocks", after(Duration::from_secs(24 * 3600))).unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        let text = error.to_string();
        assert!(text.contains("memory://clocks") && text.matches("T").count() >= 2 && text.contains("863"), "{text}");
    }

    #[test]
    fn a_later_entry_of_the_log_is_found_however_it_was_wrapped() {
        let (latest_time, new_time) = (Utc::now(), Utc::now());
        let refused = || IcechunkFormatErrorKind::InvalidUpdateTimestamp { latest_time, new_time };
        let time = Some(version_of(&latest_time));
        assert_eq!(SessionErrorKind::FormatError(refused()).later_entry(), time);
        let of_repository = RepositoryErrorKind::FormatError(refused());
        assert_eq!(SessionErrorKind::RepositoryError(of_repository).later_entry(), time);
        assert_eq!(SessionErrorKind::FormatError(IcechunkFormatErrorKind::InvalidMagicNumbers).later_entry(), None);
    }
}
