//! What bigarray costs beside what a user would pick instead: a mapped file, a written file, a `Vec`.
//!
//! `cargo run --release -p bigarray-benches --bin compare` measures all cases, prints a table, and writes
//! `docs/comparison.md` and `docs/comparison.svg`. The figures are ratios of times taken in turn in one run, so they
//! can be compared between machines; the seconds cannot.

mod ageing;
mod chart;
mod child;
mod committing;
mod copying;
mod document;
mod reading;
mod scaling;
mod side_by_side;
mod stored;
mod whole_arrays;
mod writing;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bigarray_benches::{Outcome, baseline, machine, rounds, row, table};
use clap::Parser;

use machine::Machine;
use row::Row;
use stored::Place;

/// Measures bigarray against memmap2, plain files and Vec, in turn, and reports medians of paired ratios.
#[derive(Parser)]
#[command(after_help = "\
Takes about three minutes and 20 GB of disk; --quick half a minute and 3 GB. Run it on a machine that does nothing \
else, with the page cache able to hold the arrays. Where a figure misses its target the table says so; nothing fails.")]
struct Arguments {
    /// Small arrays and few rounds: under a minute, for a first look
    #[arg(long)]
    quick: bool,
    /// Only groups of cases whose name contains this; nothing is written then (names: see the progress lines)
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Where databases and files are made while measuring: what their file system costs is part of the figures
    #[arg(long, value_name = "DIR", default_value = "target")]
    place: PathBuf,
    /// Where comparison.md and comparison.svg are written
    #[arg(long, value_name = "DIR", default_value = "docs")]
    out: PathBuf,
    /// What a new process measures; used by the comparison itself
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    child: Vec<String>,
}

/// A group of cases that share what they are measured on.
type Group = fn(&Place) -> Outcome<Vec<Row>>;

const GROUPS: [(&str, Group); 16] = [
    ("reading", reading::in_memory),
    ("first scan", reading::first_scan),
    ("first scan from disk", reading::from_disk),
    ("random touches and threads", reading::touches_and_threads),
    ("writing", writing::before_commit),
    ("committing", committing::durable),
    ("committing side by side", side_by_side::commits),
    ("ageing", ageing::by_small_commits),
    ("ageing by mixed use", ageing::by_mixed_use),
    ("small appends", ageing::by_small_appends),
    ("limit of mappings", ageing::past_the_limit_of_mappings),
    ("scaling", scaling::large_arrays),
    ("copying", copying::faults),
    ("reductions", whole_arrays::reductions),
    ("copies", whole_arrays::copies),
    ("iterators", whole_arrays::from_iterators),
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    if let Some((job, operands)) = arguments.child.split_first() {
        return child::run(job, operands);
    }
    std::fs::create_dir_all(&arguments.place)?;
    let place = Place::new(&arguments.place, arguments.quick)?;
    let machine = Machine::of(&arguments.place);
    let groups: Vec<_> =
        GROUPS.iter().filter(|(name, _)| arguments.only.as_ref().is_none_or(|text| name.contains(text))).collect();
    let start = Instant::now();
    let mut rows = Vec::new();
    for (n, (name, group)) in groups.iter().enumerate() {
        eprintln!("[{}/{}, {:>3.0} s] {name}", n + 1, groups.len(), start.elapsed().as_secs_f64());
        let measured = group(&place).map_err(|error| format!("{name}: {error}"))?;
        for row in &measured {
            eprintln!("    {:<60} {:.3}", row.case, row.figure.median);
        }
        rows.extend(measured);
    }
    eprintln!("[done, {:.0} s]", start.elapsed().as_secs_f64());
    println!("{}", table::terminal(&rows, &machine));
    if arguments.only.is_none() {
        std::fs::create_dir_all(&arguments.out)?;
        std::fs::write(arguments.out.join("comparison.md"), document::markdown(&rows, &machine, arguments.quick))?;
        chart::draw(&arguments.out.join("comparison.svg"), &rows)?;
        eprintln!("written: comparison.md and comparison.svg in {}", arguments.out.display());
    }
    Ok(())
}
