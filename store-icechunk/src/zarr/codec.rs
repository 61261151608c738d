//! The codec chain of an array: what a chunk is encoded by, on its way to storage.
//!
//! bigarray writes `bytes` + `crc32c`, `bytes` + `zstd` with its checksum, or `bytes` + `blosc` + `crc32c`: every chunk can be
//! checked. It reads all chains of these, and byte orders of either kind. `transpose` moves no byte here: what it says is the
//! order of elements, and a chunk in that order is what bigarray sees.

use bigarray_core::{Codec, Error, ErrorKind, Order, Result};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::blosc::{self, Compressor, Settings, Shuffle};
use super::dtype::{DataType, Words};
use super::json::{lengths, named};
use crate::checksum::crc32c;

/// The version of decoding. It grows when the same stored bytes give other ones than before, as after a mended fault: what
/// was decoded under an earlier one is not used any more.
pub(crate) const DECODING: u32 = 1;

/// Bytes of the checksum behind a chunk.
const CRC_BYTES: usize = 4;

/// Zstandard's own default, which level 0 means.
const ZSTD_DEFAULT: i32 = 3;

/// How chunks are encoded, and decoded. May be used by several threads at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chain {
    chunk_bytes: usize,
    item_size: usize,
    /// The words that are stored in the other byte order.
    turned: Vec<Words>,
    stages: Vec<Stage>,
}

/// One codec from bytes to bytes.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Zstd { level: i32, checksum: bool },
    Blosc(Settings),
    Crc32c,
}

/// The `codecs` of a new array of `dims` dimensions.
pub(super) fn codecs(codec: Codec, order: Order, dims: usize, data_type: &DataType, item_size: usize) -> Result<Value> {
    let mut codecs = Vec::from_iter(transpose(order, dims));
    let has_byte_order = !data_type.words().is_empty();
    codecs.push(if has_byte_order {
        json!({"name": "bytes", "configuration": {"endian": "little"}})
    } else {
        json!({"name": "bytes"})
    });
    let blosc = |compressor: Compressor, level: i32, shuffle: bool| {
        let shuffle = if shuffle { Shuffle::Bytes } else { Shuffle::No };
        let type_size = if item_size > 255 { 1 } else { item_size };
        let configuration = json!({
            "cname": compressor.name(), "clevel": level, "shuffle": shuffle.name(), "typesize": type_size, "blocksize": 0,
        });
        json!({"name": "blosc", "configuration": configuration})
    };
    match codec {
        Codec::None => codecs.push(json!({"name": "crc32c"})),
        Codec::Zstd { level, shuffle: false } => {
            codecs.push(json!({"name": "zstd", "configuration": {"level": level, "checksum": true}}));
        }
        Codec::Zstd { level, shuffle: true } => {
            codecs.extend([blosc(Compressor::Zstd, blosc_level(level), true), json!({"name": "crc32c"})]);
        }
        Codec::Lz4 { shuffle } => {
            codecs.extend([blosc(Compressor::Lz4, LZ4_LEVEL, shuffle), json!({"name": "crc32c"})]);
        }
        unknown => return Err(Error::new(ErrorKind::Unsupported, format!("codec {unknown} cannot be stored as Zarr"))),
    }
    Ok(Value::Array(codecs))
}

/// The codec by which elements are stored in `order`, if it takes one.
pub(super) fn transpose(order: Order, dims: usize) -> Option<Value> {
    // With fewer axes the orders are the same.
    let axes = (order == Order::ColumnMajor && dims > 1).then(|| (0..dims).rev().collect::<Vec<_>>());
    axes.map(|axes| json!({"name": "transpose", "configuration": {"order": axes}}))
}

/// Blosc's default.
const LZ4_LEVEL: i32 = 5;

/// The level of Blosc at which it asks Zstandard for `level`, or the next higher one that it knows.
fn blosc_level(level: i32) -> i32 {
    (level / 2 + 1).clamp(1, 9)
}

impl Chain {
    /// Reads `codecs`; gives the order of elements, too, if the codecs say which.
    ///
    /// # Errors
    /// What cannot be read, in words.
    pub(super) fn parse(
        codecs: Option<&Value>,
        data_type: &DataType,
        dims: usize,
        chunk_bytes: usize,
    ) -> Result<(Option<Order>, Chain), String> {
        let Some(codecs) = codecs.and_then(Value::as_array) else { return Err("it names no codecs".to_owned()) };
        let mut chain =
            Chain { chunk_bytes, item_size: data_type.size().unwrap_or(1), turned: Vec::new(), stages: Vec::new() };
        let (mut order, mut is_bytes) = (None, false);
        for codec in codecs {
            let Some((name, configuration)) = named(codec) else { return Err(format!("{codec} is no codec")) };
            let empty = Map::new();
            let configuration = configuration.unwrap_or(&empty);
            match (is_bytes, name) {
                (false, "transpose") if order.is_none() => order = Some(transposed(configuration, dims)?),
                (false, "bytes") => {
                    is_bytes = true;
                    if configuration.get("endian").is_some_and(|endian| endian == "big") {
                        chain.turned = data_type.words();
                    }
                }
                (true, "crc32c") => chain.stages.push(Stage::Crc32c),
                (true, "zstd") => chain.stages.push(zstandard(configuration)?),
                (true, "blosc") => chain.stages.push(Stage::Blosc(blosc_settings(configuration)?)),
                _ => return Err(format!("the codec {name:?} is not one of bigarray's, or not in this place")),
            }
        }
        if is_bytes { Ok((order.flatten(), chain)) } else { Err("no codec makes bytes of its elements".to_owned()) }
    }

    /// The codec, in bigarray's terms: what says most of the chain.
    pub(super) fn codec(&self) -> Codec {
        let codec = |stage: &Stage| match stage {
            Stage::Zstd { level: 0, .. } => Some(Codec::Zstd { level: ZSTD_DEFAULT, shuffle: false }),
            Stage::Zstd { level, .. } => Some(Codec::Zstd { level: (*level).max(1), shuffle: false }),
            Stage::Blosc(Settings { compressor: Compressor::Zstd, level, shuffle, .. }) => {
                let level = if *level > 8 { 22 } else { (2 * i32::from(*level) - 1).max(1) };
                Some(Codec::Zstd { level, shuffle: *shuffle != Shuffle::No })
            }
            Stage::Blosc(Settings { shuffle, .. }) => Some(Codec::Lz4 { shuffle: *shuffle != Shuffle::No }),
            Stage::Crc32c => None,
        };
        self.stages.iter().find_map(codec).unwrap_or(Codec::None)
    }

    /// What is stored of a chunk.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported): a chunk that is larger than the codec can have.
    pub(crate) fn encode(&self, mut chunk: Vec<u8>) -> Result<Vec<u8>> {
        self.turn(&mut chunk);
        for stage in &self.stages {
            chunk = match stage {
                Stage::Zstd { level, checksum } => {
                    let compressed = zstd::bulk::Compressor::new(*level).and_then(|mut compressor| {
                        compressor.include_checksum(*checksum)?;
                        compressor.compress(&chunk)
                    });
                    compressed.map_err(|e| Error::io("Zstandard does not compress a chunk", e))?
                }
                Stage::Blosc(settings) => blosc::compress(settings, &chunk)?,
                Stage::Crc32c => {
                    let sum = crc32c(&chunk);
                    chunk.extend(sum.to_le_bytes());
                    chunk
                }
            };
        }
        Ok(chunk)
    }

    /// The chunk of which that is stored. Copies nothing, if it is not compressed.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt): not what was stored.
    pub(crate) fn decode(&self, stored: Bytes) -> Result<Bytes> {
        let chunk = self.decoded(stored).and_then(|chunk| {
            let (has, wants) = (chunk.len(), self.chunk_bytes);
            if has == wants { Ok(chunk) } else { Err(format!("it has {has} bytes, not {wants}")) }
        });
        let chunk = chunk.map_err(|what| Error::new(ErrorKind::Corrupt, format!("a chunk is damaged: {what}")))?;
        if self.turned.is_empty() {
            return Ok(chunk);
        }
        let mut chunk = Vec::from(chunk);
        self.turn(&mut chunk);
        Ok(chunk.into())
    }

    fn decoded(&self, stored: Bytes) -> Result<Bytes, String> {
        // The most bytes that each stage can have been given: damaged chunks shall not fill the memory.
        let limits = self.stages.iter().scan(self.chunk_bytes, |next, stage| {
            let limit = *next;
            *next = match stage {
                Stage::Zstd { .. } => zstd::zstd_safe::compress_bound(limit),
                Stage::Blosc(_) => limit.saturating_add(blosc::OVERHEAD),
                Stage::Crc32c => limit.saturating_add(CRC_BYTES),
            };
            Some(limit)
        });
        let limits: Vec<usize> = limits.collect();
        self.stages.iter().zip(limits).rev().try_fold(stored, |stored, (stage, limit)| match stage {
            Stage::Zstd { .. } => {
                let chunk = zstd::bulk::decompress(&stored, limit);
                chunk.map(Bytes::from).map_err(|e| format!("Zstandard cannot decompress it: {e}"))
            }
            Stage::Blosc(_) => blosc::decompress(&stored, limit).map(Bytes::from),
            Stage::Crc32c => {
                let Some((chunk, sum)) = stored.split_last_chunk::<CRC_BYTES>() else {
                    return Err(format!("{} bytes are less than a checksum has", stored.len()));
                };
                if crc32c(chunk) != u32::from_le_bytes(*sum) {
                    return Err("its checksum does not fit".to_owned());
                }
                Ok(stored.slice(..chunk.len()))
            }
        })
    }

    /// From one byte order to the other.
    fn turn(&self, chunk: &mut [u8]) {
        if self.turned.is_empty() {
            return;
        }
        for element in chunk.chunks_exact_mut(self.item_size) {
            for words in &self.turned {
                let bytes = &mut element[words.offset..][..words.bytes * words.count];
                bytes.chunks_exact_mut(words.bytes).for_each(<[u8]>::reverse);
            }
        }
    }
}

/// The order of elements after the codec `transpose`; `None` if there is but one.
fn transposed(configuration: &Map<String, Value>, dims: usize) -> Result<Option<Order>, String> {
    let axes = lengths(configuration.get("order")).unwrap_or_default();
    if axes.len() == dims && axes.iter().copied().eq(0..dims) {
        Ok((dims > 1).then_some(Order::RowMajor))
    } else if axes.len() == dims && axes.iter().copied().eq((0..dims).rev()) {
        Ok(Some(Order::ColumnMajor))
    } else {
        Err(format!("the axes {axes:?} are neither in C nor in Fortran order"))
    }
}

fn zstandard(configuration: &Map<String, Value>) -> Result<Stage, String> {
    let level = configuration.get("level").map_or(Some(0), Value::as_i64).and_then(|level| i32::try_from(level).ok());
    let Some(level) = level.filter(|level| zstd::compression_level_range().contains(level)) else {
        return Err(format!("the codec zstd with {} is not known here", Value::Object(configuration.clone())));
    };
    let checksum = configuration.get("checksum").and_then(Value::as_bool).unwrap_or(false);
    Ok(Stage::Zstd { level, checksum })
}

fn blosc_settings(configuration: &Map<String, Value>) -> Result<Settings, String> {
    let text = |key: &str| configuration.get(key).and_then(Value::as_str);
    let number = |key: &str| configuration.get(key).map_or(Some(0), Value::as_u64);
    let settings = || {
        Some(Settings {
            compressor: Compressor::ALL.into_iter().find(|one| Some(one.name()) == text("cname"))?,
            level: number("clevel").and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= 9)?,
            shuffle: Shuffle::ALL.into_iter().find(|one| one.name() == text("shuffle").unwrap_or("noshuffle"))?,
            type_size: usize::try_from(number("typesize")?.max(1)).ok()?,
            block_size: number("blocksize").and_then(|size| u32::try_from(size).ok())? as usize,
        })
    };
    settings().ok_or_else(|| format!("the codec blosc with {} is not known here", Value::Object(configuration.clone())))
}
