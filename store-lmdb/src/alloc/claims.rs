//! Chunks claimed ahead of a commit, and who holds them.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bigarray_core::{Error, ErrorKind, Result};

use super::allocator::{push_chunks, wrong};
use super::{Bitmap, Run, Space};

/// A process, told apart from all that had or will have its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Of the kernel's run, from its boot id; 0 if there is none to be read.
    boot: u64,
    pid: u32,
    /// When it started, in clock ticks since boot; 0 if that cannot be read.
    start: u64,
}

/// Who holds a claim: one transaction of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    process: Process,
    serial: u64,
}

impl Process {
    /// This one.
    pub(crate) fn current() -> Process {
        let pid = std::process::id();
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |id| u64::from(crc32c::crc32c(&id)) + 1);
        Process { boot, pid, start: Stat::of(pid).map_or(0, |stat| stat.start) }
    }

    /// An owner that no other transaction of any process is.
    pub(crate) fn new_owner(&self) -> Owner {
        // Begins anywhere, since a process keeps number and start time when it executes another program.
        static SERIAL: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0)));
        Owner { process: *self, serial: SERIAL.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether the process behind `owner` lives, for all that can be told from this one. `holds_lock` says whether
    /// any process has the database open under that process id, which also sees into other PID namespaces, and tells a
    /// process whose first thread alone has ended, and whose files are open, from one that nobody waited for yet.
    pub(crate) fn sees_alive(&self, owner: &Owner, holds_lock: &mut dyn FnMut(u32) -> Result<bool>) -> Result<bool> {
        let other = owner.process;
        let differ = |a: u64, b: u64| a != 0 && b != 0 && a != b;
        if differ(self.boot, other.boot) {
            return Ok(false);
        }
        if self.pid == other.pid {
            return Ok(!differ(self.start, other.start));
        }
        let is_running = |stat: Stat| !stat.has_ended && !differ(stat.start, other.start);
        Ok(Stat::of(other.pid).is_some_and(is_running) || holds_lock(other.pid)?)
    }
}

impl Owner {
    /// Bytes of a stored owner.
    pub(crate) const BYTES: usize = 28;

    /// As stored, big-endian.
    pub(crate) fn to_bytes(self) -> [u8; Owner::BYTES] {
        let mut bytes = [0; Owner::BYTES];
        bytes[..8].copy_from_slice(&self.process.boot.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.process.pid.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.process.start.to_be_bytes());
        bytes[20..].copy_from_slice(&self.serial.to_be_bytes());
        bytes
    }

    /// Back from what was stored.
    pub(crate) fn from_bytes(bytes: &[u8; Owner::BYTES]) -> Owner {
        let number =
            |from: usize, len: usize| bytes[from..from + len].iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
        let process = Process { boot: number(0, 8), pid: number(8, 4) as u32, start: number(12, 8) };
        Owner { process, serial: number(20, 8) }
    }

    /// Whether it is of that process.
    pub(crate) fn is_of(&self, process: &Process) -> bool {
        self.process == *process
    }

    /// Number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }
}

/// What the system tells of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Its first thread has, and mostly all of it: it is listed until its parent waits for it.
    has_ended: bool,
    /// When it started, in clock ticks since boot.
    start: u64,
}

impl Stat {
    /// Of the process with that number; `None` if there is none.
    fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The 3rd field and the 22nd. The second, the program's name in parentheses, may hold anything.
    fn parse(stat: &str) -> Option<Stat> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let has_ended = matches!(fields.next()?, "Z" | "X" | "x");
        Some(Stat { has_ended, start: fields.nth(18)?.parse().ok()? })
    }
}

impl Space<'_> {
    /// Claims `chunks` whole chunks for `owner`, to be filled before its commit: free ones, lowest first, in one piece
    /// if that can be had, and what is missing from the end of the file. They come behind what it claimed before.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`]: nothing has changed, the transaction may go on. [`ErrorKind::Corrupt`]: a chunk is
    /// listed as free and is not.
    pub(crate) fn claim(&mut self, owner: &Owner, chunks: u64) -> Result<Vec<Range<u64>>> {
        let mut got = self.free_chunks(chunks)?;
        let missing = chunks - got.iter().map(|range| range.end - range.start).sum::<u64>();
        let end = self.table.end()?;
        if missing > 0 {
            let new_end = end.checked_add(missing).ok_or_else(|| {
                Error::new(ErrorKind::StoreFull, format!("data file: {chunks} more chunks of 2 MiB have no room"))
            })?;
            self.table.extend_file(new_end)?;
        }
        for chunk in got.iter().cloned().flatten() {
            // As listed, they are free; what their bitmaps say decides.
            self.take(&Run::whole(chunk))?;
        }
        push_chunks(&mut got, end..end + missing);
        let mut claimed = self.table.claim(owner)?.unwrap_or_default();
        for range in &got {
            push_chunks(&mut claimed, range.clone());
        }
        if !claimed.is_empty() {
            self.table.set_claim(owner, Some(&claimed))?;
        }
        Ok(got)
    }

    /// Ends the claim of `owner`: the pages of `used` are referenced from this transaction on, the others are free.
    pub(crate) fn settle(&mut self, owner: &Owner, used: &[Run]) -> Result<()> {
        let claimed = self.table.claim(owner)?;
        let end = self.table.end()?;
        if let Some(range) = claimed.iter().flatten().find(|range| range.start > range.end || range.end > end) {
            return Err(wrong(&Run::whole(range.end), "are claimed, but lie outside the file"));
        }
        let mut chunks: Vec<u64> = claimed.iter().flatten().cloned().flatten().collect();
        chunks.sort_unstable();
        let mut used = used.to_vec();
        used.sort_unstable();
        let mut used = used.into_iter().peekable();
        for chunk in chunks {
            let mut free = Bitmap::FULL;
            while let Some(run) = used.next_if(|run| run.chunk == chunk) {
                if !run.is_sound() || !free.has_all(&run) {
                    return Err(wrong(&run, "are used twice by one transaction"));
                }
                free.remove(&run);
            }
            if self.table.bitmap(chunk)?.is_some() {
                return Err(wrong(&Run::whole(chunk), "are claimed and at the same time free"));
            }
            self.put(chunk, Bitmap::EMPTY, free)?;
        }
        if let Some(run) = used.next() {
            return Err(wrong(&run, "are used, but were not claimed"));
        }
        if claimed.is_some() {
            self.table.set_claim(owner, None)?;
        }
        Ok(())
    }

    /// Gives back all that `owner` claimed. Nothing may be mapped from it any more.
    pub(crate) fn release(&mut self, owner: &Owner) -> Result<()> {
        self.settle(owner, &[])
    }

    /// Gives back what at most `max` dead owners claimed; returns how many there were.
    pub(crate) fn sweep(&mut self, max: usize, is_alive: &mut dyn FnMut(&Owner) -> Result<bool>) -> Result<usize> {
        let mut swept = 0;
        let mut last = None;
        while swept < max
            && let Some(owner) = self.table.next_claim(last.as_ref())?
        {
            if !is_alive(&owner)? {
                self.release(&owner)?;
                swept += 1;
            }
            last = Some(owner);
        }
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(boot: u64, pid: u32, start: u64) -> Owner {
        Owner { process: Process { boot, pid, start }, serial: 7 }
    }

    #[test]
    fn an_owner_is_itself_again_after_storing() {
        let owner = owner_of(0x0102_0304_0506_0708, 0x090a_0b0c, 0x0d0e_0f10_1112_1314);
        assert_eq!(Owner::from_bytes(&owner.to_bytes()), owner);
    }

    #[test]
    fn no_two_owners_are_equal() {
        let process = Process::current();
        assert_ne!(process.new_owner(), process.new_owner());
    }

    #[test]
    fn state_and_start_time_are_found_behind_any_program_name() {
        let rest = "1 7 7 0 -1 4194560 5 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        for name in ["sh", "a b", ") Z 2 (", ""] {
            for (state, has_ended) in [("R", false), ("S", false), ("D", false), ("T", false), ("Z", true), ("X", true)]
            {
                let stat = Stat::parse(&format!("7 ({name}) {state} {rest}"));
                assert_eq!(stat, Some(Stat { has_ended, start: 98765 }), "{name:?} {state}");
            }
        }
        for bad in ["", "7 sh S 1", "7 (sh) S 1 2 3", "7 (sh) S 1 7 7 0 -1 4194560 5 0 0 0 0 0 0 0 20 0 1 0 x"] {
            assert_eq!(Stat::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_owner_is_dead_only_when_nothing_says_that_it_lives() {
        let me = Process::current();
        assert!(me.boot != 0 && me.start != 0, "{me:?}");
        let alive = |owner: Owner, locked: bool| me.sees_alive(&owner, &mut |_| Ok(locked)).unwrap();
        // This process, a predecessor with its number, and one from before the last boot.
        assert!(alive(me.new_owner(), false));
        assert!(!alive(owner_of(me.boot, me.pid, me.start - 1), true));
        assert!(!alive(owner_of(me.boot + 1, me.pid, me.start), true));
        // Process 1 lives, but not since then; a process of another namespace is known by its lock alone.
        let init = Stat::of(1).unwrap().start;
        assert!(alive(owner_of(me.boot, 1, init), false));
        assert!(!alive(owner_of(me.boot, 1, init + 1), false));
        assert!(alive(owner_of(me.boot, 1, init + 1), true));
        // What is unknown never proves a death.
        assert!(alive(owner_of(0, me.pid, 0), false));
        assert!(alive(owner_of(0, 1, 0), false));
        assert!(!alive(owner_of(me.boot, u32::MAX, 1), false));
    }

    #[test]
    fn a_process_that_has_ended_and_that_nobody_waited_for_is_dead_unless_it_holds_its_lock() {
        let me = Process::current();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let ended = loop {
            match Stat::of(pid).unwrap() {
                stat if stat.has_ended => break stat,
                _ => std::thread::yield_now(),
            }
        };
        let alive = |start, locked| me.sees_alive(&owner_of(me.boot, pid, start), &mut |_| Ok(locked)).unwrap();
        for start in [ended.start, 0, ended.start + 1] {
            assert!(!alive(start, false) && alive(start, true), "{start}");
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_failing_lock_test_sweeps_nothing() {
        let me = Process::current();
        let fails = &mut |_| Err(Error::new(ErrorKind::Io, "no lock file"));
        assert!(me.sees_alive(&owner_of(me.boot, u32::MAX, 1), fails).is_err());
    }
}
