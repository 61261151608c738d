//! LMDB's reader table: the states that readers see, and the processes of the readers.

use std::ffi::{CStr, c_char, c_int, c_void};

use lmdb::Environment;

use crate::alloc::OldestReader;

/// The readers of all processes, as listed by `mdb_reader_list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readers {
    /// The number of the process, and the state that it sees: `None` between two transactions.
    readers: Vec<(u32, Option<u64>)>,
    /// Every line was understood.
    is_understood: bool,
}

impl Readers {
    /// Asks LMDB.
    pub(super) fn of(env: &Environment) -> lmdb::Result<Readers> {
        let mut text = String::new();
        // SAFETY: the environment is open; `append` gets the String it expects, for the time of this call.
        match unsafe { lmdb_sys::mdb_reader_list(env.env(), Some(append), (&raw mut text).cast()) } {
            0.. => Ok(Readers::parse(&text)),
            code => Err(lmdb::Error::from_err_code(code)),
        }
    }

    /// Parses the list: a line of headings, then process, thread and transaction of each reader; or a line in parentheses.
    fn parse(text: &str) -> Readers {
        let mut parsed = Readers { readers: Vec::new(), is_understood: true };
        let mut lines = text.lines();
        match lines.next().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).as_deref() {
            Some(["pid", "thread", "txnid"]) => {}
            Some(["(no", "active", "readers)"]) => parsed.is_understood = lines.next().is_none(),
            _ => {
                parsed.is_understood = false;
                lines = text.lines();
            }
        }
        for line in lines {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let number = fields.first().and_then(|pid| pid.parse().ok());
            let state = match fields[..] {
                [_, thread, txn] if u64::from_str_radix(thread, 16).is_ok() => match txn {
                    // A place between two transactions.
                    "-" => Some(None),
                    txn => txn.parse().ok().map(Some),
                },
                _ => None,
            };
            parsed.is_understood &= number.is_some() && state.is_some();
            parsed.readers.extend(number.map(|number| (number, state.flatten())));
        }
        parsed
    }

    /// The numbers of the processes that have places in the table, ascending, each once.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.readers.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// How many see a state; `None` if the list is not understood.
    pub(crate) fn living(&self) -> Option<usize> {
        self.is_understood.then(|| self.readers.iter().filter(|(_, state)| state.is_some()).count())
    }

    /// The oldest state that a reader sees, and the number of its process; `None` if there is none, or the list is not
    /// understood.
    pub(crate) fn oldest_of_all(&self) -> Option<(u64, u32)> {
        let states = self.readers.iter().filter_map(|(number, state)| state.map(|state| (state, *number)));
        states.min().filter(|_| self.is_understood)
    }

    /// The oldest state that a reader of any process sees.
    pub(crate) fn oldest(&self) -> OldestReader {
        if !self.is_understood {
            return OldestReader::Unknown;
        }
        let states = self.readers.iter().filter_map(|(_, state)| *state);
        states.min().map_or(OldestReader::None, OldestReader::At)
    }
}

/// Appends a piece of the list to the `String` that `to` is.
unsafe extern "C" fn append(text: *const c_char, to: *mut c_void) -> c_int {
    // SAFETY: LMDB gives a C string, and `to` as `Readers::of` gave it: a String that no other code uses meanwhile.
    let (text, to) = unsafe { (CStr::from_ptr(text), &mut *to.cast::<String>()) };
    to.push_str(&text.to_string_lossy());
    0
}

/// Clears the readers of dead processes.
pub(super) fn clear_dead(env: &Environment) -> lmdb::Result<()> {
    let mut dead = 0;
    // SAFETY: the environment is open.
    match unsafe { lmdb_sys::mdb_reader_check(env.env(), &mut dead) } {
        lmdb_sys::MDB_SUCCESS => Ok(()),
        code => Err(lmdb::Error::from_err_code(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "    pid     thread     txnid\n";

    fn oldest(text: &str) -> OldestReader {
        Readers::parse(text).oldest()
    }

    #[test]
    fn the_reader_list_gives_the_oldest_transaction_and_the_numbers() {
        let list = |lines: &str| oldest(&format!("{HEAD}{lines}"));
        assert_eq!(oldest("(no active readers)\n"), OldestReader::None);
        assert_eq!(list("      1234 7f00aa12 17\n"), OldestReader::At(17));
        assert_eq!(list("      1234 7f00aa12 17\n        99 0 3\n1234567890 7f 20\n"), OldestReader::At(3));
        assert_eq!(list("      1234 7f00aa12 -\n"), OldestReader::None);
        assert_eq!(list("      1234 7f00aa12 -\n      1234 7f 0\n"), OldestReader::At(0));
        assert_eq!(list("      1234 7f00aa12 18446744073709551614\n"), OldestReader::At(u64::MAX - 1));
        let readers = Readers::parse(&format!("{HEAD}      1234 7f00aa12 -\n        99 0 3\n      1234 7f 20\n"));
        assert_eq!(readers.numbers(), [99, 1234]);
        assert_eq!(readers.living(), Some(2));
        assert_eq!(readers.oldest_of_all(), Some((3, 99)));
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
            assert_eq!(oldest(text), OldestReader::Unknown, "{text:?}");
            assert_eq!(Readers::parse(text).living(), None);
        }
        for line in
            ["1234 7f00", "1234 7f00 17 9", "x 7f00 17", "1234 xyz 17", "1234 7f00 -1", "1234 7f00 1.5", "", "..."]
        {
            let text = format!("{HEAD}      1 7f 3\n{line}\n      2 7f 4\n");
            assert_eq!(oldest(&text), OldestReader::Unknown, "{line:?}");
        }
    }
}
