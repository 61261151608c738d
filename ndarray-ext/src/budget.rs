//! How much memory a database may take: asked for, set in the environment, or half of what there is.

use bigarray_core::{BlockSize, Error, ErrorKind, Result};

/// Two of the largest blocks: one that is being loaded, and one that is let go of for it.
const LEAST_BYTES: usize = 2 * BlockSize::MAX.bytes();

const VARIABLE: &str = "BIGARRAY_MEMORY_BUDGET";

/// The budget in bytes: what was `asked` for, else what the environment says, else half of what this process may use.
pub(crate) fn resolved(asked: Option<usize>) -> Result<usize> {
    match asked {
        Some(bytes) => checked(bytes).map_err(|e| e.context("memory_budget")),
        None => match std::env::var_os(VARIABLE) {
            Some(text) if !text.is_empty() => from_variable(&text.to_string_lossy()),
            _ => Ok(of_machine(bigarray_uffd::memory_limit_bytes())),
        },
    }
}

/// Half of what the machine or the cgroup lets this process have, and never too little to work with.
fn of_machine(limit_bytes: Option<u64>) -> usize {
    match limit_bytes {
        Some(bytes) => usize::try_from(bytes / 2).unwrap_or(usize::MAX).max(LEAST_BYTES),
        None => usize::MAX,
    }
}

fn from_variable(text: &str) -> Result<usize> {
    let checked = match parse(text) {
        Some(bytes) => checked(bytes),
        None => Err(Error::new(ErrorKind::Invalid, "expected bytes, or a number with one of the suffixes K, M, G")),
    };
    checked.map_err(|e| e.context(format_args!("environment variable {VARIABLE}={text:?}")))
}

/// A number of bytes, of KiB (K), MiB (M) or GiB (G).
fn parse(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    // `parse` would let a sign pass.
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

fn checked(bytes: usize) -> Result<usize> {
    if bytes >= LEAST_BYTES {
        return Ok(bytes);
    }
    let why = format!("a budget of {bytes} bytes is too small: {LEAST_BYTES}, two blocks of 2 MiB, are the least");
    Err(Error::new(ErrorKind::Invalid, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        let sizes = [("4194304", 4 << 20), ("4096K", 4 << 20), ("64M", 64 << 20), ("3G", 3 << 30)];
        for (text, bytes) in sizes {
            assert_eq!(from_variable(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_variable_and_what_it_says() {
        let texts = [
            "64 M",
            "64MB",
            "64m",
            "M",
            "-4M",
            "+4194304",
            "0x400000",
            "1e9",
            "½G",
            "20000000000000000000",
            "17179869184G",
        ];
        for text in texts {
            let error = from_variable(text).unwrap_err();
            assert!(error.is_invalid(), "{text}: {error:?}");
            for part in [VARIABLE, text, "expected bytes"] {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
    }

    #[test]
    fn two_blocks_are_the_least() {
        assert_eq!(resolved(Some(4 << 20)).unwrap(), 4 << 20);
        for (error, given) in [
            (resolved(Some((4 << 20) - 1)).unwrap_err(), "4194303 bytes"),
            (resolved(Some(0)).unwrap_err(), "0 bytes"),
            (from_variable("3M").unwrap_err(), "3145728 bytes"),
        ] {
            assert!(error.is_invalid() && error.to_string().contains(given), "{error}");
            assert!(error.to_string().contains("4194304"), "{error}");
        }
    }

    #[test]
    fn by_default_half_of_what_there_is_and_enough_to_work_with() {
        assert_eq!(of_machine(Some(8 << 30)), 4 << 30);
        assert_eq!(of_machine(Some(1 << 20)), LEAST_BYTES);
        assert_eq!(of_machine(None), usize::MAX);
    }
}
