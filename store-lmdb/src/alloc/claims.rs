//! Chunks claimed before a commit, and their owners.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bigarray_core::{Error, ErrorKind, Result};

use super::allocator::{push_chunks, wrong};
use super::{Bitmap, Run, Space};

/// One that has the database open, told apart from all that had or will have its number.
///
/// The number is its own as long as it lives, and shows others by a lock that it does: that lock alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    number: u32,
    /// Of this opening: random.
    token: u64,
}

/// The owner of a claim: one transaction of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    client: Client,
    serial: u64,
}

impl Client {
    /// One that has no number, and claims nothing.
    pub(crate) const NONE: Client = Client { number: 0, token: 0 };

    /// The client that has just got that number.
    pub(crate) fn new(number: u32) -> Client {
        Client { number, token: RandomState::new().hash_one((process::id(), Instant::now())) }
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// An owner that no other transaction is.
    pub(crate) fn new_owner(&self) -> Owner {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        Owner { client: *self, serial: SERIAL.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether the client behind `owner` lives. `lives` says whether one of that number, not this one's, does.
    pub(crate) fn sees_alive(&self, owner: &Owner, lives: &mut dyn FnMut(u32) -> Result<bool>) -> Result<bool> {
        match owner.client.number == self.number {
            // Or one that had this number before.
            true => Ok(owner.client.token == self.token),
            false => lives(owner.client.number),
        }
    }
}

impl Owner {
    /// Bytes of a stored owner.
    pub(crate) const BYTES: usize = 20;

    /// As stored, big-endian.
    pub(crate) fn to_bytes(self) -> [u8; Owner::BYTES] {
        let mut bytes = [0; Owner::BYTES];
        bytes[..4].copy_from_slice(&self.client.number.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.client.token.to_be_bytes());
        bytes[12..].copy_from_slice(&self.serial.to_be_bytes());
        bytes
    }

    /// Back from what was stored.
    pub(crate) fn from_bytes(bytes: &[u8; Owner::BYTES]) -> Owner {
        let number =
            |from: usize, len: usize| bytes[from..from + len].iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
        Owner { client: Client { number: number(0, 4) as u32, token: number(4, 8) }, serial: number(12, 8) }
    }

    /// Number of its client.
    pub(crate) fn client_number(&self) -> u32 {
        self.client.number
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

    #[test]
    fn an_owner_is_itself_again_after_storing() {
        let client = Client { number: 0x0102_0304, token: 0x0506_0708_090a_0b0c };
        let owner = Owner { client, serial: 0x0d0e_0f10_1112_1314 };
        let bytes = owner.to_bytes();
        assert_eq!((bytes[0], bytes[19]), (1, 0x14));
        assert_eq!(Owner::from_bytes(&bytes), owner);
    }

    #[test]
    fn no_two_owners_are_equal_nor_two_clients_of_one_number() {
        let client = Client::new(7);
        assert_ne!(client.new_owner(), client.new_owner());
        assert_ne!(client, Client::new(7));
    }

    #[test]
    fn the_lock_alone_tells_whether_an_owner_lives() {
        let (me, other) = (Client::new(7), Client::new(8));
        for locked in [true, false] {
            let lives = &mut |number| {
                assert_eq!(number, 8);
                Ok(locked)
            };
            assert_eq!(me.sees_alive(&other.new_owner(), lives).unwrap(), locked);
            // Of its own number this one is the only one that lives.
            assert!(me.sees_alive(&me.new_owner(), lives).unwrap());
            assert!(!me.sees_alive(&Client::new(7).new_owner(), lives).unwrap());
        }
    }

    #[test]
    fn a_failing_lock_test_sweeps_nothing() {
        let fails = &mut |_| Err(Error::new(ErrorKind::Io, "no lock file"));
        assert!(Client::new(7).sees_alive(&Client::new(8).new_owner(), fails).is_err());
    }
}
