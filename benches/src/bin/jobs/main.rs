//! What arrays beyond RAM are for, done and checked: each job writes or reads far more than it may hold in memory.
//!
//! `cargo run --release -p bigarray-benches --bin jobs -- all` does all of them and prints their figures. A job fails
//! where a value is wrong or memory goes beyond its budget; a time never fails one, it is printed with its target.

mod budget_cost;
mod cgroup;
mod codec_scan;
mod dirty;
mod filter;
mod ground;
mod ingest;
mod memory;
mod numbers;
mod proportion;
mod random;
mod rewrite;
mod settle;
mod statistics;
mod stream;
mod verify;

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use clap::builder::PossibleValuesParser;

use cgroup::Cgroup;
use ground::Ground;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Does jobs that need far more than the memory they may have, and checks what comes of them.
#[derive(Parser)]
#[command(after_help = "\
All of them take about ten minutes and 14 GB of disk; --quick a minute and 2 GB. Some run in a memory cgroup of their \
own, which takes root; where none can be made they say so and run without.")]
struct Arguments {
    /// Which to do
    #[arg(default_value = "all", value_parser = PossibleValuesParser::new(names()))]
    job: String,
    /// About an eighth of the data and a quarter of the memory, for a first look
    #[arg(long)]
    quick: bool,
    /// Where databases and files are made: what their file system costs is part of the figures
    #[arg(long, value_name = "DIR", default_value = "target")]
    dir: PathBuf,
    /// Which part of the job this process is to do; used by the program itself
    #[arg(long, hide = true)]
    part: Option<usize>,
    /// The memory cgroup to do it in
    #[arg(long, hide = true, requires = "part")]
    cgroup: Option<PathBuf>,
    /// The process to be killed in the midst of a job: the database that it writes to
    #[arg(long, hide = true)]
    victim: Option<PathBuf>,
}

/// What is done in one process, so that nothing before it counts.
struct Part {
    name: &'static str,
    /// Bytes of all memory it may have, page cache included: in full, and with `--quick`.
    cgroup: Option<(usize, usize)>,
    run: fn(&Ground) -> Outcome<()>,
}

const JOBS: [(&str, &[Part]); 12] = [
    ("ingest", &ingest::PARTS),
    ("rewrite", &rewrite::PARTS),
    ("statistics", &statistics::PARTS),
    ("random", &random::PARTS),
    ("stream", &stream::PARTS),
    ("filter", &filter::PARTS),
    ("dirty", &dirty::PARTS),
    ("codec-scan", &codec_scan::PARTS),
    ("budget-cost", &budget_cost::PARTS),
    ("settle", &settle::PARTS),
    ("verify", &verify::PARTS),
    ("proportion", &proportion::PARTS),
];

fn names() -> Vec<&'static str> {
    JOBS.iter().map(|(name, _)| *name).chain(["all"]).collect()
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    if let Some(path) = &arguments.victim {
        return dirty::until_killed(path, arguments.quick);
    }
    if let Some(n) = arguments.part {
        return one_part(arguments, n);
    }
    if arguments.quick {
        println!("--quick: an eighth or so of the sizes that are named, and a quarter of the memory");
    }
    let mut failed = Vec::new();
    for (job, parts) in JOBS.iter().filter(|(name, _)| ["all", name].contains(&arguments.job.as_str())) {
        for (n, part) in parts.iter().enumerate() {
            println!("{job}: {}", part.name);
            if let Err(error) = in_own_process(arguments, job, n, part) {
                println!("    FAILED: {error}");
                failed.push(format!("{job}: {}", part.name));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join("; ")).into()) }
}

/// Starts this program again for one part, in a cgroup if it wants one, and waits for it.
fn in_own_process(arguments: &Arguments, job: &str, n: usize, part: &Part) -> Outcome<()> {
    std::fs::create_dir_all(&arguments.dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(job).arg("--dir").arg(&arguments.dir).args(["--part", &n.to_string()]);
    if arguments.quick {
        command.arg("--quick");
    }
    let limit = part.cgroup.map(|(full, quick)| if arguments.quick { quick } else { full });
    let cgroup = match limit.map(Cgroup::new) {
        None => None,
        Some(Ok(cgroup)) => Some(cgroup),
        Some(Err(error)) => {
            println!("    without a cgroup: {error}");
            None
        }
    };
    if let Some(cgroup) = &cgroup {
        command.arg("--cgroup").arg(cgroup.path());
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("its process ended with {status}").into()) }
}

fn one_part(arguments: &Arguments, n: usize) -> Outcome<()> {
    if let Some(path) = &arguments.cgroup {
        cgroup::enter(path)?;
    }
    let parts = JOBS.iter().find(|(name, _)| *name == arguments.job).map(|(_, parts)| *parts);
    let part = parts.and_then(|parts| parts.get(n)).ok_or("there is no such part")?;
    (part.run)(&Ground::new(&arguments.dir, arguments.quick)?)
}
