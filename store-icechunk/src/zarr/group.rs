//! `zarr.json` of a group: its attributes. The rest of the document stays as it is.

use bigarray_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::names::check_attr_name;

/// The metadata of a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group(Map<String, Value>);

impl Default for Group {
    /// One without attributes.
    fn default() -> Group {
        let document = [("zarr_format", json!(3)), ("node_type", json!("group"))];
        Group(document.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl Group {
    /// Reads `zarr.json`.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt): no JSON object, or one whose attributes are none.
    pub(crate) fn parse(json: &[u8]) -> Result<Group> {
        let bad = |why: String| Error::new(ErrorKind::Corrupt, format!("the zarr.json of the root group {why}"));
        let document: Map<String, Value> =
            serde_json::from_slice(json).map_err(|e| bad(format!("is no JSON object: {e}")).with_source(e))?;
        match document.get("attributes") {
            None | Some(Value::Null | Value::Object(_)) => Ok(Group(document)),
            Some(other) => Err(bad(format!("has attributes that are no object but {other}"))),
        }
    }

    /// The bytes of `zarr.json`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid): attributes that could not be read again.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let unstorable = |e| {
            let text = format!("the attributes of the database cannot be stored: {e}");
            Error::new(ErrorKind::Invalid, text).with_source(e)
        };
        let json = serde_json::to_vec(&self.0).map_err(unstorable)?;
        // Values that are nested too deep can be written, but not read again.
        serde_json::from_slice::<Value>(&json).map_err(unstorable)?;
        Ok(json)
    }

    /// Its attributes, in order of names.
    pub(crate) fn attributes(&self) -> Vec<(String, Value)> {
        let attributes = self.0.get("attributes").and_then(Value::as_object);
        let mut attributes: Vec<_> =
            attributes.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
        attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
        attributes
    }

    /// With an attribute set, or removed.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for its name.
    pub(crate) fn with_attribute(mut self, name: &str, value: Option<&Value>) -> Result<Group> {
        check_attr_name(name)?;
        let attributes = self.0.entry("attributes").or_insert(Value::Null);
        if attributes.is_null() {
            *attributes = json!({});
        }
        if let Some(attributes) = attributes.as_object_mut() {
            match value {
                Some(value) => attributes.insert(name.to_owned(), value.clone()),
                None => attributes.remove(name),
            };
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_and_removed_and_the_rest_stays() {
        let json =
            br#"{"zarr_format":3,"node_type":"group","attributes":{"a":1},"consolidated_metadata":{"kind":"inline"}}"#;
        let group = Group::parse(json).unwrap();
        assert_eq!(group.attributes(), [("a".to_owned(), json!(1))]);
        let group = group.with_attribute("title", Some(&json!(null))).unwrap().with_attribute("a", None).unwrap();
        let group = Group::parse(&group.to_json().unwrap()).unwrap();
        assert_eq!(group.attributes(), [("title".to_owned(), json!(null))]);
        assert_eq!(group.0["consolidated_metadata"], json!({"kind": "inline"}));
        assert!(group.clone().with_attribute("bigarray", None).unwrap_err().is_invalid());
        let new = Group::default().with_attribute("b", Some(&json!([1]))).unwrap();
        assert_eq!(Group::parse(&new.to_json().unwrap()).unwrap().attributes(), [("b".to_owned(), json!([1]))]);
    }

    #[test]
    fn what_is_no_group_is_refused() {
        for json in ["", "[]", r#"{"attributes":[]}"#] {
            assert!(Group::parse(json.as_bytes()).unwrap_err().is_corrupt(), "{json}");
        }
    }
}
