//! `ls`: the arrays of a database.

use bigarray::ArrayInfo;
use bigarray::serde_json::{Value, json};

use super::How;
use crate::address::Address;
use crate::args::OfDatabase;
use crate::failure::{Failure, Result};
use crate::output::print;
use crate::{open, units};

pub(crate) fn run(args: &OfDatabase, how: How) -> Result<()> {
    let address = Address::parse(&args.database)?;
    if !address.name.is_empty() {
        return Err(Failure::usage(format!(
            "ls takes a database; bigarray info {:?} tells of an array",
            args.database
        )));
    }
    let snapshot = open::to_read(&address.database)?.snapshot()?;
    let (arrays, unreadable) = (snapshot.arrays()?, snapshot.unreadable()?);
    if how.json {
        let mut all: Vec<Value> = arrays.iter().map(described).collect();
        all.extend(unreadable.iter().map(|(name, error)| json!({ "name": name, "unreadable": error.to_string() })));
        return how.json(&all.into());
    }
    let mut rows: Vec<_> = arrays
        .iter()
        .map(|info| {
            vec![info.name.clone(), info.dtype.clone(), units::shape(&info.shape), units::bytes(info.nbytes as u64)]
        })
        .collect();
    rows.extend(unreadable.into_iter().map(|(name, error)| vec![name, format!("cannot be read: {error}")]));
    print(&units::table(&rows, &[false, false, false, true]))
}

/// What is known of an array without opening it.
pub(super) fn described(info: &ArrayInfo) -> Value {
    let fill = crate::dtype::Dtype::parse(&info.dtype).map_or(Value::Null, |dtype| dtype.json(&info.fill_value));
    json!({
        "name": info.name,
        "dtype": info.dtype,
        "shape": info.shape,
        "order": units::order(info.order),
        "block_size": info.block_size,
        "codec": info.codec.to_string(),
        "fill_value": fill,
        "nbytes": info.nbytes,
    })
}
