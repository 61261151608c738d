//! Same-page merging (KSM), turned on for the length of a test.

use std::fs;
use std::time::{Duration, Instant};

use bigarray_core::sync::{Mutex, MutexGuard};

const DIRECTORY: &str = "/sys/kernel/mm/ksm";

/// What is set, and to what: all pages are looked at without a pause, also those that did not change for long.
const SETTINGS: [(&str, &str); 4] =
    [("smart_scan", "0"), ("pages_to_scan", "20000"), ("sleep_millisecs", "1"), ("run", "1")];

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The system merges equal pages as fast as it can, until this is dropped: then all is as it was.
pub(crate) struct Merging {
    before: Vec<(&'static str, String)>,
    _alone: MutexGuard<'static, ()>,
}

impl Merging {
    /// `None` where it cannot be turned on.
    pub(crate) fn on() -> Option<Merging> {
        let alone = ONE_AT_A_TIME.lock();
        let mut merging = Merging { before: Vec::new(), _alone: alone };
        for (name, value) in SETTINGS {
            let path = format!("{DIRECTORY}/{name}");
            let before = fs::read_to_string(&path);
            match before.and_then(|before| fs::write(&path, value).map(|()| before)) {
                Ok(before) => merging.before.push((name, before)),
                // Not there before Linux 6.7.
                Err(_) if name == "smart_scan" => {}
                Err(_) => return None,
            }
        }
        fs::metadata("/proc/self/ksm_merging_pages").is_ok().then_some(merging)
    }
}

impl Drop for Merging {
    fn drop(&mut self) {
        for (name, value) in self.before.iter().rev() {
            let _ = fs::write(format!("{DIRECTORY}/{name}"), value.trim());
        }
    }
}

/// Pages of this process that are merged with others.
pub(crate) fn merged_pages() -> usize {
    fs::read_to_string("/proc/self/ksm_merging_pages").unwrap().trim().parse().unwrap()
}

/// Returns once it is so.
///
/// # Panics
/// If it does not come to be so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}
