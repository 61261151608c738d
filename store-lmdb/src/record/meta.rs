//! Table `meta`: what is known of the whole database, by name.

use bigarray_core::Result;

use super::{DatabaseId, Reader, Tally, seal};

/// Names of the records in `meta`.
pub(crate) struct Meta;

impl Meta {
    /// Version of the format: [`Meta::FORMAT_VERSION`]. The first that is read, and stays where it is for ever.
    pub(crate) const FORMAT: &'static str = "format";
    /// The version that this code writes and reads.
    pub(crate) const FORMAT_VERSION: u64 = 2;
    /// The id that the index has in common with the data file.
    pub(crate) const ID: &'static str = "id";
    /// The tally of all arrays.
    pub(crate) const ARRAYS: &'static str = "arrays";
    /// The id that the next array gets.
    pub(crate) const NEXT_ARRAY: &'static str = "next-array";
    /// Chunks of the data file that were ever handed out are below this one.
    pub(crate) const CHUNKS_END: &'static str = "chunks-end";

    /// A number under `name`.
    pub(crate) fn encode(name: &str, number: u64) -> Vec<u8> {
        seal(name.as_bytes(), number.to_le_bytes().to_vec())
    }

    /// Back from what was stored.
    pub(crate) fn decode(name: &str, value: &[u8]) -> Result<u64> {
        let mut reader = Reader::new("meta", name.as_bytes(), value)?;
        let number = reader.u64()?;
        reader.end()?;
        Ok(number)
    }

    /// The tally of all arrays.
    pub(crate) fn encode_arrays(tally: Tally) -> Vec<u8> {
        seal(Meta::ARRAYS.as_bytes(), [tally.records.to_le_bytes(), tally.sum.to_le_bytes()].concat())
    }

    /// Back from what was stored.
    pub(crate) fn decode_arrays(value: &[u8]) -> Result<Tally> {
        let mut reader = Reader::new("meta", Meta::ARRAYS.as_bytes(), value)?;
        let tally = Tally { records: reader.u64()?, sum: reader.u64()? };
        reader.end()?;
        Ok(tally)
    }

    /// The id of the database.
    pub(crate) fn encode_id(id: DatabaseId) -> Vec<u8> {
        seal(Meta::ID.as_bytes(), id.0.to_vec())
    }

    /// Back from what was stored.
    pub(crate) fn decode_id(value: &[u8]) -> Result<DatabaseId> {
        let mut reader = Reader::new("meta", Meta::ID.as_bytes(), value)?;
        let id = DatabaseId(reader.bytes()?);
        reader.end()?;
        Ok(id)
    }
}
