//! `check`: all that is stored is read, and compared with its checksums.

use bigarray::serde_json::{Value, json};

use super::How;
use crate::address::Address;
use crate::args::OfDatabase;
use crate::failure::{Failure, Result};
use crate::open;
use crate::output::print;
use crate::progress::Progress;

pub(crate) fn run(args: &OfDatabase, how: How) -> Result<()> {
    let address = Address::parse(&args.database)?;
    if !address.name.is_empty() {
        return Err(Failure::usage(format!("check takes a whole database; bigarray check {}", address.database)));
    }
    let db = open::to_read(&address.database)?;
    let mut progress = Progress::new(None, how.quiet);
    let report = db.verify(|done| {
        progress.of(done.total_bytes);
        progress.set(done.done_bytes);
    })?;
    drop(progress);
    let damages: Vec<String> = report.damages().iter().map(ToString::to_string).collect();
    if how.json {
        how.json(&json!({ "sound": report.is_sound(), "damages": damages.iter().map(|text| json!(text)).collect::<Value>() }))?;
    } else if report.is_sound() {
        how.done(|| format!("{}: sound", address.database), || Value::Null)?;
    } else {
        print(&(damages.join("\n") + "\n"))?;
    }
    if report.is_sound() {
        return Ok(());
    }
    let why = format!("{}: {} damages; copy what can be read to a new database", address.database, damages.len());
    Err(Failure::new(why))
}
