//! Tables `arrays` (name → descriptor, JSON) and `attrs` (array id ‖ name → version, JSON).

use bigarray_core::{ArrayId, BlockSize, Codec, Descriptor, Error, ErrorKind, FillValue, Order, Result, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Tallies, Tally, bad, seal, unseal};

/// A descriptor as JSON.
#[derive(Serialize, Deserialize)]
struct StoredArray {
    id: u64,
    dtype: String,
    item_size: usize,
    shape: Vec<usize>,
    order: Order,
    block_size: usize,
    #[serde(default, skip_serializing_if = "is_zero")]
    skip: usize,
    codec: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fill: Option<String>,
    changed: u64,
    reshaped: u64,
    named: u64,
    records: Tallies,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The stored name of a codec: `plain`, `lz4`, `zstd:LEVEL`, the last two with the suffix `+shuffle` if bytes are shuffled.
fn codec_name(codec: Codec) -> Result<String> {
    let name = |name: &str, shuffle| format!("{name}{}", if shuffle { SHUFFLED } else { "" });
    Ok(match codec {
        Codec::None => PLAIN.to_owned(),
        Codec::Lz4 { shuffle } => name(LZ4, shuffle),
        Codec::Zstd { level, shuffle } => name(&format!("{ZSTD}{level}"), shuffle),
        unknown => return Err(Error::new(ErrorKind::Unsupported, format!("codec {unknown} cannot be stored"))),
    })
}

/// Decodes [`codec_name`]. The codec need not be compiled in: an array can be listed and removed without it.
fn parse_codec(name: &str) -> Option<Codec> {
    let (base, shuffle) = name.strip_suffix(SHUFFLED).map_or((name, false), |base| (base, true));
    match base {
        PLAIN if !shuffle => Some(Codec::None),
        LZ4 => Some(Codec::Lz4 { shuffle }),
        _ => {
            let codec = Codec::Zstd { level: base.strip_prefix(ZSTD)?.parse().ok()?, shuffle };
            // Only this spelling of a level, and only levels that exist.
            (codec_name(codec).ok()? == name && !crate::codec::check(codec).is_err_and(|e| e.is_invalid()))
                .then_some(codec)
        }
    }
}

const PLAIN: &str = "plain";
const LZ4: &str = "lz4";
const ZSTD: &str = "zstd:";
const SHUFFLED: &str = "+shuffle";

/// Behind the name of the codec of an array whose first rows were dropped: a version that does not know of that does not
/// know such a codec.
const SKIPS: &str = "+skip";

/// Behind the name of the codec of an array with a fill value: versions that do not know of fill values refuse it, instead
/// of showing zeros.
const FILLED: &str = "+fill";

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// As stored under `name`, with the tallies of the array's records.
pub(crate) fn encode_array(name: &str, d: &Descriptor, records: Tallies) -> Result<Vec<u8>> {
    let stored = StoredArray {
        id: d.id.0,
        dtype: d.dtype.clone(),
        item_size: d.item_size,
        shape: d.shape.clone(),
        order: d.order,
        block_size: d.block_size.bytes(),
        skip: d.skip,
        codec: [
            &*codec_name(d.codec)?,
            if d.fill.is_some() { FILLED } else { "" },
            if d.skip > 0 { SKIPS } else { "" },
        ]
        .concat(),
        fill: d.fill.as_ref().map(|fill| to_hex(fill.bytes())),
        changed: d.changed.0,
        reshaped: d.reshaped.0,
        named: d.named.0,
        records,
    };
    Ok(seal(name.as_bytes(), to_json(name, &stored)?))
}

/// Decodes [`encode_array`].
pub(crate) fn decode_array(key: &[u8], value: &[u8]) -> Result<(String, Descriptor, Tallies)> {
    let name = str::from_utf8(key).map_err(|e| bad("arrays", key, "its name is no UTF-8").with_source(e))?;
    let value = unseal("arrays", key, value)?;
    let stored: StoredArray =
        serde_json::from_slice(value).map_err(|e| bad("arrays", key, &e.to_string()).with_source(e))?;
    let (codec, skips) = stored.codec.strip_suffix(SKIPS).map_or((&*stored.codec, false), |codec| (codec, true));
    let (codec, is_filled) = codec.strip_suffix(FILLED).map_or((codec, false), |codec| (codec, true));
    let Some(codec) = parse_codec(codec) else {
        let text = format!("array {name:?} is stored with codec {:?}, which this version does not know", stored.codec);
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    let bytes = stored.shape.iter().try_fold(stored.item_size, |n, axis| n.checked_mul(*axis));
    if stored.item_size == 0 || bytes.is_none() {
        return Err(bad("arrays", key, "its shape does not fit an address space"));
    }
    let end = bytes.filter(|bytes| *bytes > 0).and_then(|bytes| bytes.checked_add(stored.skip));
    let fits = stored.skip.is_multiple_of(stored.item_size) && end.is_some_and(|end| isize::try_from(end).is_ok());
    if skips != (stored.skip > 0) || skips && !fits {
        return Err(bad("arrays", key, &format!("{} bytes at its front cannot have been dropped", stored.skip)));
    }
    let fill = stored.fill.as_deref().map(|hex| from_hex(hex).filter(|bytes| bytes.len() == stored.item_size));
    let fill = match fill {
        None if !is_filled => None,
        Some(Some(bytes)) if is_filled && bytes.iter().any(|byte| *byte != 0) => FillValue::new(&bytes),
        _ => return Err(bad("arrays", key, "its fill value is not one element other than zero")),
    };
    let descriptor = Descriptor {
        id: ArrayId(stored.id),
        dtype: stored.dtype,
        item_size: stored.item_size,
        shape: stored.shape,
        order: stored.order,
        block_size: BlockSize::new(stored.block_size).map_err(|e| bad("arrays", key, &e.to_string()))?,
        skip: stored.skip,
        codec,
        fill,
        changed: Version(stored.changed),
        reshaped: Version(stored.reshaped),
        named: Version(stored.named),
    };
    Ok((name.to_owned(), descriptor, stored.records))
}

/// Adds an array to the tally of all arrays: by its name and its id, which a commit to it does not change.
pub(crate) fn count_array(tally: &mut Tally, name: &str, id: ArrayId) {
    tally.add(name.as_bytes(), &counted(name, id));
}

/// Undoes [`count_array`].
pub(crate) fn discount_array(tally: &mut Tally, name: &str, id: ArrayId) {
    tally.remove(name.as_bytes(), &counted(name, id));
}

fn counted(name: &str, id: ArrayId) -> Vec<u8> {
    seal(name.as_bytes(), id.0.to_le_bytes().to_vec())
}

/// Key of an attribute.
pub(crate) fn attr_key(array: ArrayId, name: &str) -> Vec<u8> {
    [&array.0.to_be_bytes()[..], name.as_bytes()].concat()
}

/// Decodes [`attr_key`].
pub(crate) fn attr_name(key: &[u8]) -> Result<(ArrayId, &str)> {
    let (array, name) = key.split_first_chunk::<8>().ok_or_else(|| bad("attrs", key, "its key is too short"))?;
    let name = str::from_utf8(name).map_err(|e| bad("attrs", key, "its name is no UTF-8").with_source(e))?;
    Ok((ArrayId(u64::from_be_bytes(*array)), name))
}

/// An attribute, as its last commit left it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredAttr {
    /// The commit.
    pub(crate) version: Version,
    /// `None` if the commit removed it.
    pub(crate) value: Option<Value>,
}

/// As stored under `key`.
pub(crate) fn encode_attr(key: &[u8], name: &str, attr: &StoredAttr) -> Result<Vec<u8>> {
    let mut bytes = attr.version.0.to_le_bytes().to_vec();
    bytes.extend(attr_json(name, attr)?);
    Ok(seal(key, bytes))
}

/// The value of an attribute as JSON; no bytes if it was removed.
pub(super) fn attr_json(name: &str, attr: &StoredAttr) -> Result<Vec<u8>> {
    let Some(value) = &attr.value else { return Ok(Vec::new()) };
    let json = to_json(name, value)?;
    // A value that is nested too deep can be written, but not read again.
    serde_json::from_slice::<Value>(&json).map_err(|e| unstorable(name, e))?;
    Ok(json)
}

/// Decodes [`attr_json`].
pub(super) fn parse_attr(json: &[u8]) -> serde_json::Result<Option<Value>> {
    (!json.is_empty()).then(|| serde_json::from_slice(json)).transpose()
}

/// Decodes [`encode_attr`].
pub(crate) fn decode_attr(key: &[u8], value: &[u8]) -> Result<StoredAttr> {
    let value = unseal("attrs", key, value)?;
    let (version, json) = value.split_first_chunk::<8>().ok_or_else(|| bad("attrs", key, "it is too short"))?;
    let value = parse_attr(json).map_err(|e| bad("attrs", key, &e.to_string()).with_source(e))?;
    Ok(StoredAttr { version: Version(u64::from_le_bytes(*version)), value })
}

fn to_json(name: &str, value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| unstorable(name, e))
}

fn unstorable(name: &str, e: serde_json::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("{name:?} cannot be stored as JSON: {e}")).with_source(e)
}
