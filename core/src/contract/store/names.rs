//! Which names arrays and attributes can have: in every store, so that a program can go from one to another.

use crate::error::{Error, ErrorKind, Result};

/// Longest name of an array or attribute, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Whether an array may have that name.
///
/// # Errors
/// [`ErrorKind::Invalid`], with the name, escaped, and the rule that it breaks.
pub fn check_array_name(name: &str) -> Result<()> {
    check_name("array", name)
}

/// Whether an attribute may have that name.
///
/// # Errors
/// [`ErrorKind::Invalid`], with the name, escaped, and the rule that it breaks.
pub fn check_attr_name(name: &str) -> Result<()> {
    check_name("attribute", name)
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let rule = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > MAX_NAME_BYTES {
        format!("it has {} bytes, and {MAX_NAME_BYTES} are the most", name.len())
    } else if let Some(c) = name.chars().find(|c| c.is_control()) {
        format!("it contains the control character {c:?}")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, format!("no {what} can be named {name:?}: {rule}")))
}
