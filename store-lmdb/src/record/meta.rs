//! Table `meta`: values of the whole database, by name.

use std::collections::BTreeMap;

use bigarray_core::{Error, ErrorKind, Result, Version};

use super::array::{attr_json, parse_attr};
use super::{DatabaseId, StoredAttr, Tally, ValueReader, seal};

/// Names of the records in `meta`.
pub(crate) struct Meta;

impl Meta {
    /// Version of the format: [`Meta::FORMAT_VERSION`]. It is read first, so it keeps its name in every version.
    pub(crate) const FORMAT: &'static str = "format";
    /// The version that this code writes and reads.
    pub(crate) const FORMAT_VERSION: u64 = 2;
    /// The id of the database, which the data file has too.
    pub(crate) const ID: &'static str = "id";
    /// The tally of all arrays.
    pub(crate) const ARRAYS: &'static str = "arrays";
    /// The attributes of the database. Programs that knew none leave the record alone.
    pub(crate) const ATTRS: &'static str = "attrs";
    /// The id of the next array.
    pub(crate) const NEXT_ARRAY: &'static str = "next-array";
    /// All chunks of the data file that were ever allocated are below this one.
    pub(crate) const CHUNKS_END: &'static str = "chunks-end";

    /// Encodes a number under `name`.
    pub(crate) fn encode(name: &str, number: u64) -> Vec<u8> {
        seal(name.as_bytes(), number.to_le_bytes().to_vec())
    }

    /// Decodes [`encode`](Meta::encode).
    pub(crate) fn decode(name: &str, value: &[u8]) -> Result<u64> {
        ValueReader::all("meta", name.as_bytes(), value, |reader| reader.u64())
    }

    /// Encodes the tally of all arrays.
    pub(crate) fn encode_arrays(tally: Tally) -> Vec<u8> {
        seal(Meta::ARRAYS.as_bytes(), [tally.records.to_le_bytes(), tally.sum.to_le_bytes()].concat())
    }

    /// Decodes [`encode_arrays`](Meta::encode_arrays).
    pub(crate) fn decode_arrays(value: &[u8]) -> Result<Tally> {
        let read = |reader: &mut ValueReader<'_>| Ok(Tally { records: reader.u64()?, sum: reader.u64()? });
        ValueReader::all("meta", Meta::ARRAYS.as_bytes(), value, read)
    }

    /// Encodes the attributes that the database has or had.
    pub(crate) fn encode_attrs(attrs: &BTreeMap<String, StoredAttr>) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        for (name, attr) in attrs {
            let json = attr_json(name, attr)?;
            let too_long = || Error::new(ErrorKind::Invalid, format!("attribute {name:?} is too long to be stored"));
            value.push(u8::try_from(name.len()).map_err(|_| too_long())?);
            value.extend_from_slice(name.as_bytes());
            value.extend_from_slice(&attr.version.0.to_le_bytes());
            value.extend_from_slice(&u32::try_from(json.len()).map_err(|_| too_long())?.to_le_bytes());
            value.extend_from_slice(&json);
        }
        Ok(seal(Meta::ATTRS.as_bytes(), value))
    }

    /// Decodes [`encode_attrs`](Meta::encode_attrs).
    pub(crate) fn decode_attrs(value: &[u8]) -> Result<BTreeMap<String, StoredAttr>> {
        ValueReader::all("meta", Meta::ATTRS.as_bytes(), value, |reader| {
            let mut attrs = BTreeMap::new();
            while !reader.is_empty() {
                let length = reader.u8()?.into();
                let name = str::from_utf8(reader.slice(length)?).map_err(|_| reader.bad("a name is no UTF-8"))?;
                let (version, length) = (Version(reader.u64()?), reader.u32()? as usize);
                let json = reader.slice(length)?;
                let value = parse_attr(json).map_err(|e| reader.bad(&e.to_string()).with_source(e))?;
                attrs.insert(name.to_owned(), StoredAttr { version, value });
            }
            Ok(attrs)
        })
    }

    /// Encodes the id of the database.
    pub(crate) fn encode_id(id: DatabaseId) -> Vec<u8> {
        seal(Meta::ID.as_bytes(), id.0.to_vec())
    }

    /// Decodes [`encode_id`](Meta::encode_id).
    pub(crate) fn decode_id(value: &[u8]) -> Result<DatabaseId> {
        ValueReader::all("meta", Meta::ID.as_bytes(), value, |reader| reader.bytes().map(DatabaseId))
    }
}
