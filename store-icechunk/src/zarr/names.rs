//! Names of arrays and attributes, and the paths of arrays in a repository.
//!
//! An array named `a/b` is the node `/a/b`; `a` is a group then. Zarr allows less than other stores: each part of a name
//! becomes a part of an object's key.

use bigarray_core::{Error, ErrorKind, Result, store};

/// The attribute that holds what only bigarray knows of an array.
pub(crate) const OWN_ATTRIBUTE: &str = "bigarray";

/// Whether an array may have that name, whatever other arrays there are.
///
/// # Errors
/// [`ErrorKind::Invalid`], with the name, escaped, and the rule that it breaks.
pub(crate) fn check_array_name(name: &str) -> Result<()> {
    store::check_array_name(name)?;
    let rule = if name.contains('\\') {
        "it contains a backslash".to_owned()
    } else if let Some(part) = name.split('/').find(|part| part.is_empty()) {
        format!("between two slashes, or at an end, it has {part:?}")
    } else if let Some(part) = name.split('/').find(|part| part.chars().all(|c| c == '.')) {
        format!("the part {part:?} is a path to elsewhere")
    } else if let Some(part) = name.split('/').find(|part| part.starts_with("__") || *part == METADATA_KEY) {
        format!("the part {part:?} is reserved by Zarr")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, format!("no array can be named {name:?}: {rule}")))
}

/// Zarr's key of a node's metadata.
const METADATA_KEY: &str = "zarr.json";

/// Whether an attribute may have that name.
///
/// # Errors
/// [`ErrorKind::Invalid`], with the name, escaped, and the rule that it breaks.
pub(crate) fn check_attr_name(name: &str) -> Result<()> {
    store::check_attr_name(name)?;
    if name != OWN_ATTRIBUTE {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("no attribute can be named {name:?}: bigarray keeps its own there")))
}

/// The path of the array's node.
pub(crate) fn path_of(name: &str) -> String {
    format!("/{name}")
}

/// The name of the array at `path`; `None` for the root, which has none.
pub(crate) fn name_of(path: &str) -> Option<&str> {
    path.strip_prefix('/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_zarr_has_no_place_for_are_refused_with_the_rule() {
        let refused = [
            ("", "it is empty"),
            ("/", "between two slashes"),
            ("/a", "between two slashes"),
            ("a/", "between two slashes"),
            ("a//b", "between two slashes"),
            (".", "a path to elsewhere"),
            ("a/../b", "a path to elsewhere"),
            ("a/.../b", "a path to elsewhere"),
            ("a\\b", "a backslash"),
            ("__a", "reserved"),
            ("a/__b", "reserved"),
            ("a/zarr.json", "reserved"),
            ("a\nb", "control character"),
        ];
        for (name, rule) in refused {
            let error = check_array_name(name).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains(rule), "{name:?}: {error}");
        }
        assert!(check_array_name(&"a".repeat(256)).unwrap_err().to_string().contains("256 bytes"));
    }

    #[test]
    fn other_names_are_the_path_and_back() {
        for name in ["a", "a/b", "ö", "日本/🙂", "two words", "c", "c/0", "t:1", "_a", ".a", "a.", "a__b", "%2F"] {
            check_array_name(name).unwrap();
            assert_eq!(name_of(&path_of(name)), Some(name));
        }
        check_array_name(&"a".repeat(255)).unwrap();
        assert_eq!(name_of("/"), None);
    }

    #[test]
    fn the_attribute_of_bigarray_is_not_for_programs() {
        assert!(check_attr_name("bigarray").unwrap_err().is_invalid());
        assert!(check_attr_name("").unwrap_err().is_invalid());
        check_attr_name("units").unwrap();
        check_attr_name("__a/b").unwrap();
    }
}
