//! The limits of the system that memory runs into: how many mappings a process has, and errors that say which one to
//! raise.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use bigarray_core::{Error, ErrorKind};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// What the kernel allows where it does not say.
const DEFAULT_MAX_MAP_COUNT: usize = 65530;

/// Near the limit, mappings are counted exactly once in so many changes: counting reads a line each.
const RECOUNT_NEAR: usize = 64;

/// Far from it too, now and then: other code of the process, and other memories, map as well.
const RECOUNT_FAR: usize = 4096;

/// Knows about how many mappings the process has.
pub(crate) struct MappingCount {
    limit: usize,
    state: Mutex<State>,
}

struct State {
    /// When last counted.
    counted: usize,
    /// Operations since that may have added two mappings each: the new one, and the rest of the one it splits.
    installs: usize,
    /// Whether ranges were given back since, which an estimate cannot know the number of.
    released: bool,
}

impl MappingCount {
    pub(crate) fn new(max_mappings: Option<usize>) -> MappingCount {
        let limit = max_mappings.unwrap_or_else(|| max_map_count() / 5 * 4);
        MappingCount { limit, state: Mutex::new(State { counted: mappings(), installs: 0, released: false }) }
    }

    /// A mapping was laid over a part of another one.
    pub(crate) fn installed(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).installs += 1;
    }

    /// A span was given back.
    pub(crate) fn released(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).released = true;
    }

    /// Whether about `n` more fit.
    pub(crate) fn has_room_for(&self, n: usize) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |state: &State| state.counted.saturating_add(2 * state.installs).saturating_add(n) <= self.limit;
        let recount =
            if fits(&state) { state.installs >= RECOUNT_FAR } else { state.installs >= RECOUNT_NEAR || state.released };
        if recount {
            *state = State { counted: mappings(), installs: 0, released: false };
        }
        fits(&state)
    }
}

/// `vm.max_map_count`.
fn max_map_count() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_MAX_MAP_COUNT)
}

/// The mappings of this process: lines of `/proc/self/maps`. Where that cannot be read nothing is known, and nothing
/// is held against more of them.
fn mappings() -> usize {
    let Ok(mut maps) = File::open("/proc/self/maps") else { return 0 };
    let mut buffer = vec![0; 64 << 10];
    let mut lines = 0;
    loop {
        match maps.read(&mut buffer) {
            Ok(0) | Err(_) => return lines,
            Ok(n) => lines += buffer[..n].iter().filter(|&&byte| byte == b'\n').count(),
        }
    }
}

/// An error of the operating system while `what`; where it is short of addresses or mappings,
/// [`ErrorKind::TooLarge`] with what to raise.
pub(crate) fn os_error(what: impl Display, errno: Errno) -> Error {
    if errno != Errno::ENOMEM {
        return Error::io(what, errno.into());
    }
    let rlimit_as = match getrlimit(Resource::RLIMIT_AS) {
        Ok((soft, _)) if soft != RLIM_INFINITY => format!("{soft} bytes"),
        _ => "unlimited".to_owned(),
    };
    let overcommit = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    let message = format!(
        "{what}: {errno}: out of addresses, memory or mappings. Limits that forbid it: RLIMIT_AS (`ulimit -v`), \
         which is {rlimit_as}; vm.overcommit_memory, which is {} and must not be 2; vm.max_map_count, which is {} and \
         of which this process uses {}; and the 128 TiB of addresses that a process has",
        overcommit.trim(),
        max_map_count(),
        mappings()
    );
    Error::new(ErrorKind::TooLarge, message).with_source(std::io::Error::from(errno))
}

/// The error number in an error of the crate `userfaultfd`, whose nix is an older one than ours.
pub(crate) fn errno_of(error: &userfaultfd::Error) -> Errno {
    match error {
        userfaultfd::Error::SystemError(errno) | userfaultfd::Error::CopyFailed(errno) => {
            Errno::from_raw(*errno as i32)
        }
        userfaultfd::Error::OpenDevUserfaultfd(error) => error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_near_the_limit_is_replaced_by_a_count() {
        let count = MappingCount::new(Some(mappings() + 10_000));
        assert!(count.has_room_for(1000));
        for _ in 0..5000 {
            count.installed();
        }
        // Estimated 10,000 more; in truth nothing was mapped.
        assert!(count.has_room_for(1000));
        assert_eq!(count.state.lock().unwrap().installs, 0);
    }

    #[test]
    fn a_process_at_its_limit_has_no_room() {
        let count = MappingCount::new(Some(1));
        assert!(!count.has_room_for(1));
        count.released();
        assert!(!count.has_room_for(1));
    }

    #[test]
    fn a_shortage_names_every_limit_to_raise() {
        let error = os_error("reserving", Errno::ENOMEM);
        assert!(error.is_too_large());
        for limit in ["RLIMIT_AS", "vm.overcommit_memory", "vm.max_map_count"] {
            assert!(error.to_string().contains(limit), "{error}");
        }
        assert!(os_error("reserving", Errno::EIO).is_io());
    }
}
