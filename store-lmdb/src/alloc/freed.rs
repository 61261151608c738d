//! Freed pages: recorded when nothing of the new state refers to them, used again when no older state can be seen.

use bigarray_core::Result;

use super::allocator::wrong;
use super::{FreedKey, Run, Space};

/// Runs in one record: with 12 bytes each it stays inside a page of the index.
pub(crate) const FREED_RUNS: usize = 128;

/// The oldest state that somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldestReader {
    /// Nobody sees any.
    None,
    /// This one.
    At(u64),
    /// It cannot be told, so it may be any.
    Unknown,
}

/// Reads the text of LMDB's `mdb_reader_list`: a line of headings, then process, thread and transaction of each reader,
/// or a line in parentheses. What is not understood makes the answer `Unknown`.
pub(crate) fn parse_reader_list(text: &str) -> OldestReader {
    let mut oldest = OldestReader::None;
    let mut lines = text.lines();
    match lines.next().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).as_deref() {
        Some(["pid", "thread", "txnid"]) => {}
        Some(["(no", "active", "readers)"]) if lines.next().is_none() => return OldestReader::None,
        _ => return OldestReader::Unknown,
    }
    for line in lines {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [pid, thread, txn] = fields[..] else { return OldestReader::Unknown };
        if pid.parse::<i32>().is_err() || u64::from_str_radix(thread, 16).is_err() {
            return OldestReader::Unknown;
        }
        // A slot between two transactions.
        if txn == "-" {
            continue;
        }
        let Ok(txn) = txn.parse::<u64>() else { return OldestReader::Unknown };
        oldest = match oldest {
            OldestReader::At(before) => OldestReader::At(txn.min(before)),
            _ => OldestReader::At(txn),
        };
    }
    oldest
}

impl Space<'_> {
    /// Runs to look at in a transaction, besides twice as many as it frees itself: then the list shrinks, however
    /// much was once freed in one go, and no commit waits for it.
    pub(crate) const RECLAIM_RUNS: usize = 512;

    /// Records runs that the state before refers to and the one this transaction makes does not.
    pub(crate) fn free(&mut self, mut runs: Vec<Run>) -> Result<()> {
        runs.sort_unstable();
        let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs {
            if !run.is_sound() {
                return Err(wrong(&run, "are freed, but lie outside the file"));
            }
            match joined.last_mut().filter(|last| last.chunk == run.chunk && last.end() >= run.first) {
                Some(last) if last.end() == run.first => last.pages += run.pages,
                Some(_) => return Err(wrong(&run, "are freed twice by one transaction")),
                None => joined.push(run),
            }
        }
        let txn = self.table.txn_id();
        for runs in joined.chunks(FREED_RUNS) {
            self.table.put_freed(FreedKey { txn, part: self.freed_parts }, runs)?;
            self.freed_parts += 1;
        }
        Ok(())
    }

    /// Makes freed runs free that no state can be seen in which refers to them, oldest first, until about `max` runs
    /// are done. Returns how many.
    ///
    /// In transaction W these are the runs freed by T ≤ min(W − 2, oldest reader), to which state T refers no more: the
    /// state a reader may be just beginning on, and the one a power loss may fall back to, are no older than W − 2.
    pub(crate) fn reclaim(&mut self, oldest: OldestReader, max: usize) -> Result<usize> {
        let Some(last) = self.table.txn_id().checked_sub(2) else { return Ok(0) };
        let last = match oldest {
            OldestReader::None => last,
            OldestReader::At(oldest) => last.min(oldest),
            OldestReader::Unknown => return Ok(0),
        };
        let mut done = 0;
        while done < max
            && let Some((key, runs)) = self.table.first_freed()?
            && key.txn <= last
        {
            for runs in runs.chunk_by(|a, b| a.chunk == b.chunk) {
                self.give_back(runs)?;
            }
            self.table.delete_freed(key)?;
            done += runs.len();
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "    pid     thread     txnid\n";

    #[test]
    fn the_reader_list_gives_the_oldest_transaction() {
        let list = |lines: &str| parse_reader_list(&format!("{HEAD}{lines}"));
        assert_eq!(parse_reader_list("(no active readers)\n"), OldestReader::None);
        assert_eq!(list("      1234 7f00aa12 17\n"), OldestReader::At(17));
        assert_eq!(list("      1234 7f00aa12 17\n        99 0 3\n1234567890 7f 20\n"), OldestReader::At(3));
        assert_eq!(list("      1234 7f00aa12 -\n"), OldestReader::None);
        assert_eq!(list("      1234 7f00aa12 -\n      1234 7f 0\n"), OldestReader::At(0));
        assert_eq!(list("      1234 7f00aa12 18446744073709551614\n"), OldestReader::At(u64::MAX - 1));
    }

    #[test]
    fn a_reader_list_that_is_not_understood_says_so() {
        for text in [
            "",
            "\n",
            "(no reader locks)\n",
            "(no active readers)\nand more\n",
            "      1234 7f00aa12 17\n",
            "    pid     thread     txnid    age\n",
        ] {
            assert_eq!(parse_reader_list(text), OldestReader::Unknown, "{text:?}");
        }
        for line in
            ["1234 7f00", "1234 7f00 17 9", "x 7f00 17", "1234 xyz 17", "1234 7f00 -1", "1234 7f00 1.5", "", "..."]
        {
            let text = format!("{HEAD}      1 7f 3\n{line}\n      2 7f 4\n");
            assert_eq!(parse_reader_list(&text), OldestReader::Unknown, "{line:?}");
        }
    }
}
