//! `rm` and `mv`: arrays that go, and new names.

use bigarray::Transaction;
use bigarray::serde_json::json;

use super::How;
use crate::address::Address;
use crate::args::{Addresses, Mv};
use crate::failure::{Failure, Result};
use crate::{interrupt, open};

/// Removes arrays: all of them, or none.
pub(crate) fn remove(args: &Addresses, how: How) -> Result<()> {
    interrupt::changes();
    let addresses: Vec<Address> =
        args.addresses.iter().map(|text| Address::of_whole_array(text)).collect::<Result<_>>()?;
    let first = &addresses[0].database;
    if let Some(other) = addresses.iter().find(|address| address.database != *first) {
        let why = format!("{first} and {}: one transaction is of one database; run rm once for each", other.database);
        return Err(Failure::usage(why));
    }
    let db = open::to_change(first)?;
    let txn = db.begin()?;
    for address in &addresses {
        txn.remove(&address.name).map_err(|e| not_found(&txn, e, &address.name).at(first))?;
    }
    interrupt::finish();
    txn.commit()?;
    let names: Vec<_> = addresses.iter().map(|address| address.name.as_str()).collect();
    how.done(|| format!("{first}: removed {}", names.join(", ")), || json!({ "removed": names }))
}

/// Renames an array.
pub(crate) fn rename(args: &Mv, how: How) -> Result<()> {
    interrupt::changes();
    let from = Address::of_whole_array(&args.from)?;
    // The new name may be given in full.
    let full = if args.to.contains(':') { args.to.clone() } else { format!("{}:{}", from.database, args.to) };
    let full = Address::of_whole_array(&full)?;
    if full.database != from.database {
        let why = format!("{} is in another database; copy it there by cp, and remove it here", args.to);
        return Err(Failure::usage(why));
    }
    let to = full.name.as_str();
    let db = open::to_change(&from.database)?;
    let txn = db.begin()?;
    txn.rename(&from.name, to).map_err(|e| not_found(&txn, e, &from.name).at(&from.database))?;
    interrupt::finish();
    txn.commit()?;
    how.done(|| format!("{from}: is {to} now"), || json!({ "from": from.name, "to": to }))
}

/// The error of an array of a transaction, with near names.
pub(super) fn not_found(txn: &Transaction, error: bigarray::Error, name: &str) -> Failure {
    open::not_found(error, name, || Ok(txn.arrays()?.into_iter().map(|info| info.name).collect()))
}
