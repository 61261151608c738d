//! Parts of Zarr's metadata that occur in several places.

use serde_json::{Map, Value};

/// A name with a configuration, which may be absent: `"bytes"`, `{"name": "bytes"}`,
/// `{"name": "bytes", "configuration": {"endian": "little"}}`. `None` for anything else.
pub(super) fn named(value: &Value) -> Option<(&str, Option<&Map<String, Value>>)> {
    match value {
        Value::String(name) => Some((name, None)),
        Value::Object(members) => {
            let configuration = match members.get("configuration") {
                None => None,
                Some(configuration) => Some(configuration.as_object()?),
            };
            Some((members.get("name")?.as_str()?, configuration))
        }
        _ => None,
    }
}

/// Lengths of axes.
pub(super) fn lengths(value: Option<&Value>) -> Option<Vec<usize>> {
    value?.as_array()?.iter().map(|len| usize::try_from(len.as_u64()?).ok()).collect()
}
