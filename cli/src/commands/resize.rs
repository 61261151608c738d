//! `resize`: the axis along which an array grows gets another length.

use bigarray::serde_json::json;

use super::How;
use super::names::not_found;
use crate::address::Address;
use crate::args;
use crate::failure::{Failure, Result};
use crate::{interrupt, open, units};

pub(crate) fn run(args: &args::Resize, how: How) -> Result<()> {
    interrupt::changes();
    let address = Address::of_whole_array(&args.address)?;
    let db = open::to_change(&address.database)?;
    let txn = db.begin()?;
    let mut array =
        txn.any_array(&address.name).map_err(|e| not_found(&txn, e, &address.name).at(&address.database))?;
    let mut shape = array.shape().to_vec();
    let axis = if array.order().is_row_major() { shape.first_mut() } else { shape.last_mut() };
    let Some(axis) = axis else {
        return Err(Failure::new(format!("{address}: it is a single number, which has no length")));
    };
    *axis = args.rows;
    array.resize(&shape)?;
    drop(array);
    interrupt::finish();
    txn.commit()?;
    how.done(|| format!("{address}: {} now", units::shape(&shape)), || json!({ "name": address.name, "shape": shape }))
}
