//! `info`: what is known of an array, or of a database.

use bigarray::serde_json::{Value, json};
use bigarray::{AnyArray, Database, Snapshot};

use super::How;
use super::ls::described;
use crate::address::Address;
use crate::args::OfAddress;
use crate::dtype::Dtype;
use crate::failure::{Failure, Result};
use crate::output::print;
use crate::{open, units};

/// Blocks that are looked at, at most, to tell how many were written: an array may have millions.
const MOST_BLOCKS: usize = 1 << 20;

pub(crate) fn run(args: &OfAddress, how: How) -> Result<()> {
    let address = Address::parse(&args.address)?;
    if address.slice.is_some() {
        let why = format!("{:?} has a slice, and info tells of whole arrays; leave it out", args.address);
        return Err(Failure::usage(why));
    }
    let db = open::to_read(&address.database)?;
    let snapshot = db.snapshot()?;
    if address.name.is_empty() {
        return of_database(&db, &snapshot, how);
    }
    of_array(&db, &snapshot, &open::array_of(&snapshot, &address)?, how)
}

fn of_array(db: &Database, snapshot: &Snapshot, array: &AnyArray, how: How) -> Result<()> {
    let info = array.info();
    let blocks = array.blocks().len();
    let written = written(array)?;
    let readers = db.describe()?.readers;
    if how.json {
        let mut all = described(&info);
        all["blocks"] = json!(blocks);
        all["written_blocks"] = json!(written);
        all["attrs"] = Value::Object(array.attrs().clone());
        all["version"] = json!(snapshot.version().0);
        all["readers"] = json!(readers);
        return how.json(&all);
    }
    let mut fill = String::new();
    Dtype::parse(&info.dtype)?.write(&info.fill_value, &mut fill);
    let mut rows = vec![
        vec!["name".to_owned(), info.name.clone()],
        vec!["dtype".to_owned(), format!("{} ({} B)", info.dtype, info.item_size)],
        vec!["shape".to_owned(), units::shape(&info.shape)],
        vec!["order".to_owned(), format!("{} ({})", units::order(info.order), grows(&info.shape, info.order))],
        vec!["bytes".to_owned(), format!("{} ({} B)", units::bytes(info.nbytes as u64), info.nbytes)],
        vec!["blocks".to_owned(), in_blocks(blocks, written, info.block_size)],
        vec!["codec".to_owned(), info.codec.to_string()],
        vec!["fill".to_owned(), fill],
    ];
    rows.extend(array.attrs().iter().map(|(key, value)| vec![format!("@{key}"), value.to_string()]));
    print(&units::table(&rows, &[]))
}

/// How many blocks anything was ever written to; `None` where these are too many to look at.
fn written(array: &AnyArray) -> Result<Option<usize>> {
    if array.blocks().len() > MOST_BLOCKS {
        return Ok(None);
    }
    let mut written = 0;
    for rows in array.blocks() {
        written += usize::from(array.is_written(rows)?);
    }
    Ok(Some(written))
}

fn in_blocks(blocks: usize, written: Option<usize>, size: usize) -> String {
    let written = match written {
        Some(written) if written == blocks => "all written".to_owned(),
        Some(written) => format!("{written} written, {} never", blocks - written),
        None => "too many to look at each".to_owned(),
    };
    format!("{blocks} of {}, {written}", units::bytes(size as u64))
}

fn grows(shape: &[usize], order: bigarray::ndarray::Order) -> String {
    match shape.len() {
        0 => "one element".to_owned(),
        n => format!("grows along axis {}", if order.is_row_major() { 0 } else { n - 1 }),
    }
}

fn of_database(db: &Database, snapshot: &Snapshot, how: How) -> Result<()> {
    let (description, arrays, attrs) = (db.describe()?, snapshot.arrays()?.len(), snapshot.database_attrs()?);
    if how.json {
        return how.json(&json!({
            "place": description.place,
            "storage": description.storage,
            "stored_bytes": description.stored_bytes,
            "readers": description.readers,
            "arrays": arrays,
            "attrs": attrs,
            "version": snapshot.version().0,
        }));
    }
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
    let mut rows = vec![
        vec!["place".to_owned(), description.place.display().to_string()],
        vec!["storage".to_owned(), description.storage],
        vec!["stored".to_owned(), or_unknown(description.stored_bytes.map(units::bytes))],
        vec!["arrays".to_owned(), arrays.to_string()],
        vec!["readers".to_owned(), or_unknown(description.readers.map(|n| format!("{n}, this one included")))],
        vec!["version".to_owned(), snapshot.version().0.to_string()],
    ];
    rows.extend(attrs.iter().map(|(key, value)| vec![format!("@{key}"), value.to_string()]));
    print(&units::table(&rows, &[]))
}
