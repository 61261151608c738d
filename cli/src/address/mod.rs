//! How an array is named on the command line: `DB:NAME[SLICE]`.

mod pick;
mod slice;
#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use pick::Pick;
pub(crate) use slice::Slice;

use crate::failure::{Failure, Result};

/// `DB:NAME[SLICE]`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The database: a directory, or a URL.
    pub(crate) database: String,
    /// The array; empty for the database itself.
    pub(crate) name: String,
    /// Which elements, as it was written.
    pub(crate) slice: Option<Slice>,
}

impl Address {
    /// Takes the address `text` apart.
    ///
    /// The database ends at the first `.bigarray:`, or, where there is none, at the first colon behind the `://` of a URL. The
    /// slice is the last pair of brackets, at the end.
    ///
    /// # Errors
    /// A usage failure that says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Address> {
        const CONVENTION: &str = ".bigarray";
        let scheme = text.find("://").filter(|at| text[..*at].chars().all(|c| c.is_ascii_alphanumeric() || c == '+'));
        let from = scheme.map_or(0, |at| at + 3);
        let by_convention = text.find(&format!("{CONVENTION}:")).map(|at| at + CONVENTION.len());
        let colon = by_convention.or_else(|| text[from..].find(':').map(|at| from + at));
        let (database, rest) = colon.map_or((text, ""), |at| (&text[..at], &text[at + 1..]));
        if database.is_empty() {
            return Err(Failure::usage(format!(
                "{text:?} names no database; write it as DB:NAME, as sea.bigarray:sst"
            )));
        }
        let (name, slice) = match rest.strip_suffix(']').and_then(|rest| rest.rfind('[')) {
            None => (rest, None),
            Some(at) => (&rest[..at], Some(&rest[at + 1..rest.len() - 1])),
        };
        let slice = slice.map(Slice::parse).transpose().map_err(|why| Failure::usage(format!("{text:?}: {why}")))?;
        if name.is_empty() && slice.is_some() {
            return Err(Failure::usage(format!("{text:?} has a slice and no array; write it as DB:NAME[SLICE]")));
        }
        Ok(Address { database: database.to_owned(), name: name.to_owned(), slice })
    }

    /// The same, of which an array is needed.
    ///
    /// # Errors
    /// A usage failure if it is the database alone.
    pub(crate) fn of_array(text: &str) -> Result<Address> {
        let address = Address::parse(text)?;
        if address.name.is_empty() {
            let why = format!("{text:?} names no array; write it as {}:NAME", address.database);
            return Err(Failure::usage(why));
        }
        Ok(address)
    }

    /// The same, of which an array is needed, and no slice of it.
    ///
    /// # Errors
    /// A usage failure if it is anything else.
    pub(crate) fn of_whole_array(text: &str) -> Result<Address> {
        let address = Address::of_array(text)?;
        match address.slice {
            None => Ok(address),
            Some(_) => Err(Failure::usage(format!("{text:?} has a slice, and this needs a whole array; leave it out"))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.database, self.name)?;
        self.slice.as_ref().map_or(Ok(()), |slice| write!(f, "[{slice}]"))
    }
}
