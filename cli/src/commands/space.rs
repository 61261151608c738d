//! `space`: what the files of a database are used for.

use bigarray::serde_json::json;

use super::How;
use crate::address::Address;
use crate::args::OfDatabase;
use crate::failure::{Failure, Result};
use crate::open;
use crate::output::print;
use crate::units;

pub(crate) fn run(args: &OfDatabase, how: How) -> Result<()> {
    let address = Address::parse(&args.database)?;
    if !address.name.is_empty() {
        return Err(Failure::usage(format!("space takes a whole database; bigarray space {}", address.database)));
    }
    let space = open::to_read(&address.database)?.space()?;
    if how.json {
        let oldest = space.oldest_snapshot.as_ref();
        return how.json(&json!({
            "live_bytes": space.live_bytes, "free_bytes": space.free_bytes, "pinned_bytes": space.pinned_bytes,
            "spilled_bytes": space.spilled_bytes, "data_bytes": space.data_bytes, "index_bytes": space.index_bytes,
            "oldest_snapshot": oldest.map(|of| json!({ "commits_behind": of.commits_behind, "process": of.process })),
        }));
    }
    let rows = [
        ("live", space.live_bytes, "elements of the newest state"),
        ("free", space.free_bytes, "for the next commits"),
        ("pinned", space.pinned_bytes, "of older states, which snapshots may hold"),
        ("spilled", space.spilled_bytes, "of transactions under way"),
        ("data", space.data_bytes, "the length of the data file"),
        ("index", space.index_bytes, "the length of the index"),
    ];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, bytes, what)| vec![(*name).to_owned(), units::bytes(*bytes), (*what).to_owned()])
        .collect();
    print(&units::table(&rows, &[false, true, false]))?;
    match space.oldest_snapshot {
        Some(of) => {
            let commits = if of.commits_behind == 1 { "commit" } else { "commits" };
            print(&format!("oldest    {} {commits} behind, seen by {}\n", of.commits_behind, of.process))
        }
        None => Ok(()),
    }
}
