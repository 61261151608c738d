//! The grammar of slices: what stands in the brackets, in NumPy's words.

use std::fmt;

/// One part between commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A number: the axis is dropped.
    Index(i128),
    /// `start:stop:step`.
    Range { start: Option<i128>, stop: Option<i128>, step: i128 },
    /// `...`: as many whole axes as are missing.
    Ellipsis,
}

/// Which elements of an array, as it was written. It knows nothing of the array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) items: Vec<Item>,
}

impl Slice {
    /// Reads what stands between the brackets.
    ///
    /// # Errors
    /// What is not understood, and what would be.
    pub(crate) fn parse(text: &str) -> Result<Slice, String> {
        if text.trim().is_empty() {
            return Err("the slice is empty; write [...] for all elements".to_owned());
        }
        // A comma at the end is a tuple of one in Python.
        let text = text.trim().strip_suffix(',').unwrap_or(text);
        let items = text.split(',').map(|part| item(part.trim())).collect::<Result<Vec<_>, _>>()?;
        if items.iter().filter(|item| **item == Item::Ellipsis).count() > 1 {
            return Err("the slice has ... twice; once is enough".to_owned());
        }
        Ok(Slice { items })
    }
}

fn item(text: &str) -> Result<Item, String> {
    let not_understood =
        || format!("{text:?} is no part of a slice; it takes numbers, start:stop:step and ..., as [10:20, ::2, -1]");
    if text == "..." {
        return Ok(Item::Ellipsis);
    }
    let number = |text: &str| -> Result<Option<i128>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        // Lengths of axes fit into 64 bits, so that a longer number is out of range like any other.
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(not_understood());
        }
        let limit = i128::from(i64::MAX) * 4;
        Ok(Some(
            text.parse::<i128>().map_or(if text.starts_with('-') { -limit } else { limit }, |n| n.clamp(-limit, limit)),
        ))
    };
    let parts: Vec<_> = text.split(':').map(number).collect::<Result<_, _>>()?;
    match parts[..] {
        [Some(index)] => Ok(Item::Index(index)),
        [start, stop] => Ok(Item::Range { start, stop, step: 1 }),
        [_, _, Some(0)] => Err(format!("{text:?} has step 0; it takes a step of 1 or more, or a negative one")),
        [start, stop, step] => Ok(Item::Range { start, stop, step: step.unwrap_or(1) }),
        _ => Err(not_understood()),
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, item) in self.items.iter().enumerate() {
            f.write_str(if n > 0 { ", " } else { "" })?;
            match item {
                Item::Index(index) => write!(f, "{index}")?,
                Item::Ellipsis => f.write_str("...")?,
                Item::Range { start, stop, step } => {
                    let text = |n: &Option<i128>| n.map_or_else(String::new, |n| n.to_string());
                    write!(f, "{}:{}", text(start), text(stop))?;
                    if *step != 1 {
                        write!(f, ":{step}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
