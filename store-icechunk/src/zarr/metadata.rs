//! `zarr.json`: what an array is, and its attributes.
//!
//! The document itself is kept, so that all that bigarray does not know of it survives a change. Everything else here is
//! read from the document, by one function, when it is parsed and after every change.
//!
//! What Zarr has no place for is in the attribute `bigarray`: the block size, the token of the last shape that is more than a
//! growth, a NumPy name that the data type does not say, the order of an array of one axis, Zstandard's level behind Blosc.
//! It may have come with a copy of the attributes of another array: what contradicts the document is ignored.

use std::iter;

use bigarray_core::{ArrayId, BlockSize, Codec, Descriptor, Error, ErrorKind, FillValue, Order, Result, Version};
use serde_json::{Map, Value, json};

use super::codec::{self, Chain};
use super::dtype::DataType;
use super::grid::Grid;
use super::json::{lengths, named};
use super::names::{OWN_ATTRIBUTE, check_attr_name};

/// Members of the document that are understood, or say nothing of the elements.
const MEMBERS: &[&str] = &[
    "attributes",
    "chunk_grid",
    "chunk_key_encoding",
    "codecs",
    "data_type",
    "dimension_names",
    "fill_value",
    "node_type",
    "shape",
    "storage_transformers",
    "zarr_format",
];

/// The attribute by which a program names the axes.
const DIMS: &str = "dims";

/// The metadata of an array.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metadata {
    document: Map<String, Value>,
    dtype: String,
    item_size: usize,
    order: Order,
    block_size: BlockSize,
    codec: Codec,
    reshaped: u64,
    grid: Grid,
    chain: Chain,
    fill: Option<FillValue>,
    read_only: Option<String>,
}

impl Metadata {
    /// The metadata of a new array, without attributes. Its versions and id are not looked at. `reshaped` is its token.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported): the codec, or the fill value. [`TooLarge`](ErrorKind::TooLarge): more chunks than can be numbered.
    pub(crate) fn create(name: &str, array: &Descriptor, reshaped: u64) -> Result<Metadata> {
        let (data_type, says_all) = DataType::storing(&array.dtype, array.item_size);
        let grid = Grid::for_new_array(&array.shape, array.order, array.item_size, array.block_size)?;
        let dims = array.shape.len();
        let mut own = json!({"block_size": array.block_size.bytes(), "reshaped": reshaped});
        if !says_all {
            own["dtype"] = json!(array.dtype);
        }
        if dims < 2 {
            own["order"] = json!(array.order);
        }
        if let Codec::Zstd { level, shuffle: true } = array.codec {
            own["zstd_level"] = json!(level);
        }
        let document = json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": array.shape,
            "data_type": data_type.to_json(),
            "chunk_grid": regular(&grid),
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill_value(array, &data_type)?,
            "codecs": codec::codecs(array.codec, array.order, dims, &data_type, array.item_size)?,
            "attributes": {OWN_ATTRIBUTE: own},
            // xarray refuses an array without.
            "dimension_names": default_names(name, dims),
        });
        match document {
            Value::Object(document) => Self::of(document),
            _ => Err(unreadable("it is no object".to_owned())),
        }
    }

    /// Reads `zarr.json`.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt): no JSON. [`Unsupported`](ErrorKind::Unsupported), [`TooLarge`](ErrorKind::TooLarge):
    /// an array that cannot be read, with the reason.
    pub(crate) fn parse(json: &[u8]) -> Result<Metadata> {
        let document = serde_json::from_slice(json);
        let document = document.map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("its zarr.json is no JSON object: {e}")).with_source(e)
        })?;
        Self::of(document)
    }

    /// The bytes of `zarr.json`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid): attributes that could not be read again.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let unstorable =
            |e| Error::new(ErrorKind::Invalid, format!("its attributes cannot be stored: {e}")).with_source(e);
        let json = serde_json::to_vec(&self.document).map_err(unstorable)?;
        // Values that are nested too deep can be written, but not read again.
        serde_json::from_slice::<Value>(&json).map_err(unstorable)?;
        Ok(json)
    }

    /// The array as core knows it.
    pub(crate) fn descriptor(&self, id: ArrayId, changed: Version, named: Version) -> Descriptor {
        Descriptor {
            id,
            dtype: self.dtype.clone(),
            item_size: self.item_size,
            shape: self.shape(),
            order: self.order,
            block_size: self.block_size,
            skip: 0,
            codec: self.codec,
            fill: self.fill.clone(),
            changed,
            reshaped: Version(self.reshaped),
            named,
        }
    }

    /// Lengths of the axes.
    pub(crate) fn shape(&self) -> Vec<usize> {
        self.grid.shape()
    }

    /// Names of the axes, for Icechunk.
    pub(crate) fn dimension_names(&self) -> Option<Vec<Option<String>>> {
        let names = self.document.get("dimension_names")?.as_array()?;
        Some(names.iter().map(|name| name.as_str().map(str::to_owned)).collect())
    }

    /// The chunks.
    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// How chunks are stored.
    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The element that a chunk consists of that is not stored; `None` if it is zero.
    pub(crate) fn fill(&self) -> Option<&FillValue> {
        self.fill.as_ref()
    }

    /// Why bigarray only reads the array, if it does.
    pub(crate) fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// The attributes that programs see.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &Value)> {
        let attributes = self.document.get("attributes").and_then(Value::as_object);
        attributes
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != OWN_ATTRIBUTE)
            .map(|(name, value)| (name.as_str(), value))
    }

    /// One of the [`attributes`](Metadata::attributes).
    pub(crate) fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes().find_map(|(other, value)| (other == name).then_some(value))
    }

    /// With an attribute set, or removed, in the array named `array`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for its name.
    pub(crate) fn with_attribute(&self, array: &str, name: &str, value: Option<&Value>) -> Result<Metadata> {
        check_attr_name(name)?;
        self.edited(|document| {
            let attributes = object(document, "attributes");
            match value {
                Some(value) => attributes.insert(name.to_owned(), value.clone()),
                None => attributes.remove(name),
            };
            if name == DIMS {
                let names = value.and_then(|value| given_names(value, self.shape().len()));
                let names = names.unwrap_or_else(|| default_names(array, self.shape().len()));
                document.insert("dimension_names".to_owned(), json!(names));
            }
        })
    }

    /// With another length of the growth axis. `reshaped` is the token of a shape that is more than a growth.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge): more chunks than can be numbered.
    pub(crate) fn resized(&self, shape: &[usize], reshaped: Option<u64>) -> Result<Metadata> {
        self.edited(|document| {
            document.insert("shape".to_owned(), json!(shape));
            self.remember(document, reshaped);
        })
    }

    /// With another shape of as many elements, of the array named `array`, and whether each chunk holds what it held:
    /// then the `n`-th chunk stays the `n`-th ([`Grid::reshaped`]). Otherwise all have to be stored anew.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge): more chunks than can be numbered.
    pub(crate) fn reshaped(&self, array: &str, shape: &[usize], reshaped: u64) -> Result<(Metadata, bool)> {
        let same = self.grid.reshaped(shape)?;
        let keeps_chunks = same.is_some();
        let grid = match same {
            Some(grid) => grid,
            None => Grid::for_new_array(shape, self.order, self.item_size, self.block_size)?,
        };
        let dims = shape.len();
        let metadata = self.edited(|document| {
            document.insert("shape".to_owned(), json!(shape));
            document.insert("chunk_grid".to_owned(), regular(&grid));
            let names = self.attribute(DIMS).and_then(|names| given_names(names, dims));
            document.insert("dimension_names".to_owned(), json!(names.unwrap_or_else(|| default_names(array, dims))));
            if let Some(Value::Array(codecs)) = document.get_mut("codecs") {
                codecs.retain(|codec| named(codec).is_none_or(|(name, _)| name != "transpose"));
                codecs.splice(0..0, codec::transpose(self.order, dims));
            }
            self.remember(document, Some(reshaped));
            if dims < 2 {
                object(object(document, "attributes"), OWN_ATTRIBUTE).insert("order".to_owned(), json!(self.order));
            }
        });
        Ok((metadata?, keeps_chunks))
    }

    /// Under another name. Axes that were named for the old one are named for the new one: in a group, axes of the same
    /// name have to be of one length.
    pub(crate) fn renamed(&self, from: &str, to: &str) -> Result<Metadata> {
        let dims = self.shape().len();
        self.edited(|document| {
            if document.get("dimension_names") == Some(&json!(default_names(from, dims))) {
                document.insert("dimension_names".to_owned(), json!(default_names(to, dims)));
            }
        })
    }

    /// With other names of its axes, if they are those that arrays named `array` get and `is_taken` is so of one: an array
    /// that had that name may have kept them.
    pub(crate) fn with_free_axes(&self, array: &str, is_taken: impl Fn(&str) -> bool) -> Result<Metadata> {
        let dims = self.shape().len();
        let is_free = |names: &Vec<String>| !names.iter().any(|name| is_taken(name));
        let names = default_names(array, dims);
        if self.document.get("dimension_names") != Some(&json!(names)) || is_free(&names) {
            return Ok(self.clone());
        }
        let others = (2..).map(|number| default_names(&format!("{array}_{number}"), dims));
        let names = others.take(usize::from(u16::MAX)).find(is_free).unwrap_or(names);
        self.edited(|document| _ = document.insert("dimension_names".to_owned(), json!(names)))
    }

    /// Writes the token of a shape, and with it what the block size was, which would follow the chunks otherwise.
    fn remember(&self, document: &mut Map<String, Value>, reshaped: Option<u64>) {
        if let Some(reshaped) = reshaped {
            let own = object(object(document, "attributes"), OWN_ATTRIBUTE);
            own.insert("reshaped".to_owned(), json!(reshaped));
            own.insert("block_size".to_owned(), json!(self.block_size.bytes()));
        }
    }

    fn edited(&self, edit: impl FnOnce(&mut Map<String, Value>)) -> Result<Metadata> {
        let mut document = self.document.clone();
        edit(&mut document);
        Self::of(document)
    }

    /// All that is read from a document.
    fn of(document: Map<String, Value>) -> Result<Metadata> {
        let member = |name: &str| document.get(name).unwrap_or(&Value::Null);
        if *member("zarr_format") != 3 || *member("node_type") != "array" {
            let (format, node) = (member("zarr_format"), member("node_type"));
            return Err(unreadable(format!("it says that it is a node of the type {node} in Zarr's format {format}")));
        }
        let is_known = |name: &str, value: &Value| {
            MEMBERS.contains(&name) || value.get("must_understand").is_some_and(|must| *must == false)
        };
        if let Some((name, _)) = document.iter().find(|(name, value)| !is_known(name, value)) {
            return Err(unreadable(format!("its member {name:?} is not known here, and has to be understood")));
        }
        if member("storage_transformers").as_array().is_some_and(|transformers| !transformers.is_empty()) {
            return Err(unreadable(format!("it has storage transformers: {}", member("storage_transformers"))));
        }
        let attributes = match member("attributes") {
            Value::Null => None,
            Value::Object(attributes) => Some(attributes),
            other => return Err(unreadable(format!("its attributes are no object but {other}"))),
        };
        let nothing = Value::Null;
        let own = attributes.and_then(|attributes| attributes.get(OWN_ATTRIBUTE)).unwrap_or(&nothing);

        let data_type = DataType::parse(member("data_type")).map_err(unreadable)?;
        let item_size = data_type.size().unwrap_or(0);
        let Some(shape) = lengths(document.get("shape")) else {
            return Err(unreadable(format!("its shape is {}", member("shape"))));
        };
        let dims = shape.len();
        let chunk_shape = match named(member("chunk_grid")) {
            Some(("regular", Some(configuration))) => lengths(configuration.get("chunk_shape")),
            _ => None,
        };
        let Some(chunk_shape) = chunk_shape else {
            return Err(unreadable(format!("its chunk grid {} is not regular", member("chunk_grid"))));
        };
        // The order does not change how many bytes a chunk has.
        let chunk_bytes = Grid::new(&shape, &chunk_shape, Order::RowMajor, item_size)?.chunk_bytes();
        let (order, chain) = Chain::parse(document.get("codecs"), &data_type, dims, chunk_bytes).map_err(unreadable)?;
        let order = order.unwrap_or(match own["order"].as_str() {
            Some("F") if dims < 2 => Order::ColumnMajor,
            _ => Order::RowMajor,
        });
        let grid = Grid::new(&shape, &chunk_shape, order, item_size)?;
        let fill = data_type.fill(member("fill_value")).map_err(unreadable)?;
        let fill = FillValue::new(&fill);
        let read_only = (!grid.is_linear())
            .then(|| format!("its chunks of shape {chunk_shape:?} are not runs of the elements of shape {shape:?}"));

        let says = |dtype: &str| DataType::storing(dtype, item_size).0 == data_type;
        let dtype = own["dtype"].as_str().filter(|dtype| says(dtype)).map_or_else(|| data_type.numpy(), str::to_owned);
        let block_size = own["block_size"].as_u64().and_then(|bytes| BlockSize::new(usize::try_from(bytes).ok()?).ok());
        let block_size = block_size.unwrap_or_else(|| block_size_for(chunk_bytes));
        let reshaped = own["reshaped"].as_u64().unwrap_or(0);
        let codec = own["zstd_level"].as_i64().and_then(|level| i32::try_from(level).ok());
        let codec = codec.map(|level| Codec::Zstd { level, shuffle: true }).filter(|codec| {
            let codecs = codec::codecs(*codec, order, dims, &data_type, item_size).ok();
            Chain::parse(codecs.as_ref(), &data_type, dims, chunk_bytes).is_ok_and(|(_, other)| other == chain)
        });
        let codec = codec.unwrap_or_else(|| chain.codec());
        Ok(Metadata { dtype, item_size, order, block_size, codec, reshaped, grid, chain, fill, read_only, document })
    }
}

/// Refuses an array whose fill value Zarr has no spelling for.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported).
pub(crate) fn check_fill(array: &Descriptor) -> Result<()> {
    fill_value(array, &DataType::storing(&array.dtype, array.item_size).0).map(drop)
}

fn fill_value(array: &Descriptor, data_type: &DataType) -> Result<Value> {
    let Some(fill) = &array.fill else { return Ok(data_type.zero()) };
    data_type.spelled(fill.bytes()).ok_or_else(|| {
        let why = format!("the bytes {:?} are no fill value that Zarr has for {}", fill.bytes(), array.dtype);
        Error::new(ErrorKind::Unsupported, why)
    })
}

/// The error for an array that cannot be read.
fn unreadable(what: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("its zarr.json says what bigarray cannot read: {what}"))
}

fn regular(grid: &Grid) -> Value {
    json!({"name": "regular", "configuration": {"chunk_shape": grid.chunk_shape()}})
}

/// The member `name`, which is made an object if it is none.
fn object<'a>(members: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let member = members.entry(name).or_insert(Value::Null);
    if !member.is_object() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut().expect("it is an object now")
}

/// Names of axes that no other array of the group has, by the last part of the array's name.
fn default_names(array: &str, dims: usize) -> Vec<String> {
    let last = array.rsplit('/').next().unwrap_or(array);
    (0..dims).map(|axis| format!("{last}_{axis}")).collect()
}

/// Names of axes as an attribute gives them: one an axis, no two the same.
fn given_names(value: &Value, dims: usize) -> Option<Vec<String>> {
    let names: Option<Vec<String>> = value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let is_new = |names: &[String]| names.iter().enumerate().all(|(n, name)| !names[..n].contains(name));
    names.filter(|names| names.len() == dims && is_new(names))
}

/// The block size of an array that another program made: as large as a chunk, if a block can be.
fn block_size_for(chunk_bytes: usize) -> BlockSize {
    let sizes = iter::successors(Some(BlockSize::MAX), |size| BlockSize::new(size.bytes() / 2).ok());
    sizes.into_iter().find(|size| size.bytes() <= chunk_bytes).unwrap_or(BlockSize::MIN)
}
