//! What arrays and attributes may be called: checked at once, not only by commit.

use bigarray_core::{Error, ErrorKind, Result};

/// Bytes of an array's name: what a key of the index can hold.
const MAX_NAME: usize = 511;

/// Bytes of an attribute's name: the same, less the number of its array.
const MAX_KEY: usize = MAX_NAME - 8;

/// Whether an array can have that name.
///
/// # Errors
/// [`ErrorKind::Invalid`] saying what a name may be.
pub(crate) fn check_name(name: &str) -> Result<()> {
    check(name, MAX_NAME).map_err(|e| e.context(format_args!("no array can have the name {}", shortened(name))))
}

/// Whether an attribute of the array `name` can have the name `key`.
///
/// # Errors
/// As [`check_name`].
pub(crate) fn check_key(name: &str, key: &str) -> Result<()> {
    check(key, MAX_KEY)
        .map_err(|e| e.context(format_args!("array {name:?}: no attribute can have the name {}", shortened(key))))
}

fn check(name: &str, max: usize) -> Result<()> {
    let why = match name {
        "" => "it is empty".to_string(),
        _ if name.len() > max => format!("it has {} bytes, at most {max} are possible", name.len()),
        _ if name.chars().any(char::is_control) => "it has a control character, such as a newline or NUL".to_string(),
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Invalid, why))
}

/// The name in quotes, cut where nobody reads on.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(64) {
        Some((at, _)) => format!("{:?}…", &name[..at]),
        None => format!("{name:?}"),
    }
}
