//! Whether this process made a value, or one that it was forked from. A forked child shares with its parent what the
//! kernel keeps behind a value, so that using it in the child would change the parent's.

use std::fmt;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use bigarray_core::{Error, ErrorKind, Result};

use crate::word::Word;

/// The process that made a value.
///
/// A child of `fork` has a copy of every value of its parent, and shares what the kernel keeps behind it. Memory that
/// the kernel wipes tells them apart, not their numbers: in a PID namespace of its own a child may have its parent's.
///
/// Two are equal if one process made both.
#[derive(Clone, Copy)]
pub struct Origin {
    word: Word,
    mark: Mark,
}

/// Differs from the mark of every process that this one descends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    generation: u64,
    pid: u32,
}

/// The last generation that this process, or one it descends from, was. A child has a copy, and so counts on.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

impl Origin {
    /// This process.
    pub fn here() -> Origin {
        Origin::by(Word::get())
    }

    fn by(word: Word) -> Origin {
        let mut generation = word.value.load(Ordering::Relaxed);
        if generation == 0 {
            let next = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
            generation = match word.value.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => next,
                Err(first) => first,
            };
        }
        Origin { word, mark: Mark { generation, pid: process::id() } }
    }

    /// Whether that is this process. Costs a load where the kernel wipes memory on `fork`, else a system call.
    #[inline]
    pub fn is_here(&self) -> bool {
        self.word.value.load(Ordering::Relaxed) == self.mark.generation
            && (self.word.is_wiped || process::id() == self.mark.pid)
    }

    /// Its number, in its own PID namespace.
    pub fn pid(&self) -> u32 {
        self.mark.pid
    }

    /// Refuses in any other process; `what` names the database.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`], naming both processes and what to do.
    #[inline]
    pub fn check(&self, what: impl fmt::Display) -> Result<()> {
        if self.is_here() { Ok(()) } else { Err(self.refusal(&what)) }
    }

    #[cold]
    fn refusal(&self, what: &dyn fmt::Display) -> Error {
        let (owner, now) = (self.mark.pid, process::id());
        let this = match owner == now {
            true => format!("another process {now}, forked from it into a PID namespace of its own"),
            false => format!("process {now}, forked from it"),
        };
        let text = format!("{what}: process {owner} opened it, and this is {this}: open the database again here");
        Error::new(ErrorKind::InUse, text)
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Origin) -> bool {
        self.mark == other.mark
    }
}

impl Eq for Origin {}

impl PartialOrd for Origin {
    fn partial_cmp(&self, other: &Origin) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Origin {
    fn cmp(&self, other: &Origin) -> std::cmp::Ordering {
        self.mark.cmp(&other.mark)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mark.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use nix::libc;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// Where the kernel wipes nothing on `fork`.
    #[test]
    #[allow(unsafe_code)]
    fn without_wiped_memory_a_child_of_fork_is_told_all_the_same() {
        let origin = Origin::by(Word::fallback());
        assert!(origin.is_here() && origin == Origin::by(Word::fallback()));
        // SAFETY: the child reads atomics and ends.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let own = Origin::by(Word::fallback());
                let is_right = !origin.is_here() && own.is_here() && own != origin;
                // SAFETY: ends the process without running anything of the parent's.
                unsafe { libc::_exit(i32::from(!is_right)) }
            }
            ForkResult::Parent { child } => assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0))),
        }
        assert!(origin.is_here());
    }
}
