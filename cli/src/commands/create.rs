//! `create`: an array that was never written.

use bigarray::ArrayOptions;
use bigarray::ndarray::Order;

use super::How;
use super::ls::described;
use crate::address::Address;
use crate::args::{self, Storage};
use crate::dtype::Dtype;
use crate::failure::{Failure, Result};
use crate::{interrupt, open, units};

pub(crate) fn run(args: &args::Create, how: How) -> Result<()> {
    interrupt::changes();
    let address = Address::of_whole_array(&args.address)?;
    let dtype = Dtype::parse(&args.dtype)?;
    let mut options = options(args.storage, args.order.into());
    if let Some(fill) = &args.fill {
        let bytes = dtype.read(fill).map_err(|why| Failure::usage(format!("--fill: {why}")))?;
        options = options.fill_bytes(&args.dtype, &bytes);
    }
    let db = open::or_create(&address.database)?;
    let txn = db.begin()?;
    let info = txn.create_any(&address.name, &args.dtype, &args.shape, &options)?.info();
    interrupt::finish();
    txn.commit()?;
    how.done(|| format!("{address}: created, {} {}", info.dtype, units::shape(&info.shape)), || described(&info))
}

/// How an array is stored.
pub(crate) fn options(storage: Storage, order: Order) -> ArrayOptions {
    let options = ArrayOptions::new().order(order).codec(storage.codec);
    storage.block.map_or(options.clone(), |block| options.block_size(block))
}
