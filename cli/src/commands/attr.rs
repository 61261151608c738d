//! `attr`: attributes are printed, set and removed.

use bigarray::Transaction;
use bigarray::serde_json::{self, Map, Value, json};

use super::How;
use super::names::not_found;
use crate::address::Address;
use crate::args;
use crate::failure::{Failure, Result};
use crate::output::print;
use crate::{interrupt, open};

pub(crate) fn run(args: &args::Attr, how: How) -> Result<()> {
    let address = Address::parse(&args.address)?;
    if address.slice.is_some() {
        return Err(Failure::usage(format!(
            "{:?} has a slice, and attributes are the array's; leave it out",
            args.address
        )));
    }
    let (set, asked): (Vec<&String>, Vec<&String>) = args.attrs.iter().partition(|attr| attr.contains('='));
    if set.is_empty() && args.remove.is_empty() {
        return show(&address, &asked, how);
    }
    if let Some(name) = asked.first() {
        return Err(Failure::usage(format!("{name:?} has no value; write it as {name}=VALUE")));
    }
    let set: Vec<(&str, Value)> =
        set.iter().filter_map(|attr| attr.split_once('=')).map(|(key, text)| (key, value(text))).collect();
    interrupt::changes();
    let db = open::to_change(&address.database)?;
    let txn = db.begin()?;
    change(&txn, &address, &set, &args.remove).map_err(|failure| failure.at(&address.database))?;
    interrupt::finish();
    txn.commit()?;
    let names: Vec<&str> = set.iter().map(|(key, _)| *key).collect();
    how.done(
        || format!("{}: {} set, {} removed", args.address, names.len(), args.remove.len()),
        || json!({ "set": names, "removed": args.remove }),
    )
}

/// A value: JSON where it is that, and a text otherwise.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn change(txn: &Transaction, address: &Address, set: &[(&str, Value)], remove: &[String]) -> Result<()> {
    let missing = |name: &String| {
        Failure::new(format!("there is no attribute {name:?} to remove; bigarray attr {address} lists them"))
    };
    if address.name.is_empty() {
        for name in remove {
            txn.remove_database_attr(name)?.ok_or_else(|| missing(name))?;
        }
        return set.iter().try_for_each(|(key, value)| Ok(txn.set_database_attr(key, value.clone())?));
    }
    let mut array = txn.any_array(&address.name).map_err(|e| not_found(txn, e, &address.name))?;
    for name in remove {
        array.remove_attr(name)?.ok_or_else(|| missing(name))?;
    }
    set.iter().try_for_each(|(key, value)| Ok(array.set_attr(key, value.clone())?))
}

fn show(address: &Address, asked: &[&String], how: How) -> Result<()> {
    let snapshot = open::to_read(&address.database)?.snapshot()?;
    let attrs: Map<String, Value> = if address.name.is_empty() {
        snapshot.database_attrs()?
    } else {
        snapshot
            .attrs(&address.name)
            .map_err(|e| open::not_found(e, &address.name, || Ok(open::names(&snapshot)?)).at(&address.database))?
    };
    if let Some(name) = asked.iter().find(|name| !attrs.contains_key(**name)) {
        let known: Vec<&str> = attrs.keys().map(String::as_str).collect();
        let help =
            if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
        return Err(Failure::new(format!("{address}: there is no attribute {name:?}; {help}")));
    }
    if how.json {
        let wanted = attrs.into_iter().filter(|(key, _)| asked.is_empty() || asked.contains(&key));
        return how.json(&Value::Object(wanted.collect()));
    }
    // A text that is asked for by name is printed bare, for scripts.
    if let [name] = asked {
        return print(&match &attrs[*name] {
            Value::String(text) => format!("{text}\n"),
            other => format!("{other}\n"),
        });
    }
    let wanted = attrs.iter().filter(|(key, _)| asked.is_empty() || asked.iter().any(|name| name == key));
    print(&wanted.map(|(key, value)| format!("{key} = {value}\n")).collect::<String>())
}
