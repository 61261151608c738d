//! What databases on object storage cost beside plain requests to the same server, and how often they wait for it.
//!
//! `cargo run --release -p bigarray-benches --features icechunk --bin remote -- --url s3://BUCKET/PREFIX` measures all
//! cases and prints a table. The figures are ratios of times taken in turn in one run, or counts, so they can be compared
//! between machines; the seconds cannot.

mod ageing;
mod committing;
mod ground;
mod opening;
mod plain;
mod references;
mod scanning;
mod small_blocks;
mod writers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bigarray_benches::machine::Machine;
use bigarray_benches::row::Row;
use bigarray_benches::{Outcome, table};
use clap::Parser;

use ground::Ground;

/// Measures databases on object storage against object_store with the same server, in turn, and reports medians.
#[derive(Parser)]
#[command(after_help = "\
Takes about ten minutes and 3 GB of storage, which are deleted again; --quick a minute. For s3:// the server is where \
AWS_ENDPOINT_URL says. Cases that add 20 ms to each answer need one that is reached by http://; at other URLs they are \
left out. Where a figure misses its target the table says so; nothing fails but a wrong value or a commit that is lost.")]
struct Arguments {
    /// Where databases are made: names that begin so must be free
    #[arg(long, value_name = "URL", default_value = "memory://remote")]
    url: String,
    /// Small arrays, few rounds and 200 commits, for a first look
    #[arg(long)]
    quick: bool,
    /// Only groups of cases whose name contains this (names: see the progress lines)
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How often the two sides of a case take turns
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How many commits a database ages by
    #[arg(long, value_name = "N")]
    commits: Option<usize>,
    /// Where a disk cache is made, and a database to compare it with: their file system is part of the figure
    #[arg(long, value_name = "DIR", default_value = "target")]
    place: PathBuf,
    /// Where remote.md is written; without it nothing is
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A group of cases that share what they are measured on.
type Group = fn(&Ground) -> Outcome<Vec<Row>>;

const GROUPS: [(&str, Group); 7] = [
    ("scanning", scanning::cold),
    ("committing", committing::much_and_little),
    ("many blocks", committing::many_blocks),
    ("small blocks", small_blocks::appended_and_scanned),
    ("opening", opening::to_the_first_element),
    ("writers", writers::of_their_own_blocks),
    ("ageing", ageing::by_small_commits),
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remote: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    std::fs::create_dir_all(&arguments.place)?;
    let ground = Ground::new(arguments)?;
    let machine = Machine::of(&arguments.place);
    let groups: Vec<_> =
        GROUPS.iter().filter(|(name, _)| arguments.only.as_ref().is_none_or(|text| name.contains(text))).collect();
    let start = Instant::now();
    let mut rows = Vec::new();
    for (n, (name, group)) in groups.iter().enumerate() {
        eprintln!("[{}/{}, {:>3.0} s] {name}", n + 1, groups.len(), start.elapsed().as_secs_f64());
        let measured = group(&ground).map_err(|error| format!("{name}: {error}"))?;
        for row in &measured {
            eprintln!("    {:<60} {:.3}", row.case, row.figure.median);
        }
        rows.extend(measured);
    }
    eprintln!("[done, {:.0} s]", start.elapsed().as_secs_f64());
    // Cases name the sizes and counts of a full run.
    let remark = match arguments.quick || arguments.commits.is_some() {
        true => "Sizes and counts are other than the cases say: a first look, not figures to quote.\n\n",
        false => "",
    };
    println!("{remark}{}", table::terminal(&rows, &machine));
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out)?;
        let text =
            format!("{remark}{}\n\n{}\n\n{}", machine.paragraph(), table::summary(&rows), table::markdown(&rows));
        std::fs::write(out.join("remote.md"), text)?;
        eprintln!("written: remote.md in {}", out.display());
    }
    Ok(())
}
