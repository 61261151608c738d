//! What has to be measured in a process that has touched nothing yet. The comparison starts itself with the name of a
//! job and its operands, and reads the figures that it prints.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};

use bigarray::Database;
use bigarray::ndarray::{ArrayView1, Axis, Ix1, Ix2};
use fastrand::Rng;
use rayon::prelude::*;

use crate::Outcome;
use crate::baseline;
use crate::rounds::timed;
use crate::side_by_side;
use crate::stored::BLOCK;

/// Figures that `job` prints in a process of its own.
pub(crate) fn measure(job: &str, path: &Path, operand: usize) -> Outcome<Vec<f64>> {
    figures_of(job, Command::new(std::env::current_exe()?).args(["--child", job]).arg(path).arg(operand.to_string()))
}

/// The first figure of a job in a process with a limit of mappings.
pub(crate) fn seconds_limited(job: &str, path: &Path, mappings: &str) -> Outcome<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env("BIGARRAY_MAX_MAPPINGS", mappings).args(["--child", job]).arg(path).arg("0");
    first(job, &figures_of(job, &mut command)?)
}

fn figures_of(job: &str, command: &mut Command) -> Outcome<Vec<f64>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the process that measures {job:?} ended with {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().map(|figure| figure.parse().map_err(Into::into)).collect()
}

/// The first figure of [`measure`]: seconds.
pub(crate) fn seconds(job: &str, path: &Path, operand: usize) -> Outcome<f64> {
    first(job, &measure(job, path, operand)?)
}

fn first(job: &str, figures: &[f64]) -> Outcome<f64> {
    figures.first().copied().ok_or_else(|| format!("{job:?} printed no figure").into())
}

/// Does a job and prints its figures.
pub(crate) fn run(job: &str, operands: &[String]) -> Outcome<()> {
    let [path, operand] = operands else { return Err("a job takes a path and a number".into()) };
    let (path, operand) = (Path::new(path), operand.parse()?);
    let figures = match job {
        "scan" => {
            let db = Database::open(path)?;
            let (sum, seconds) = timed(|| db.array::<f64, Ix1>("a").map(|a| a.view().sum()));
            black_box(sum?);
            vec![seconds]
        }
        "scan-rows" => {
            let db = Database::open(path)?;
            let (sum, seconds) = timed(|| db.array::<f64, Ix2>("a").map(|a| a.view().sum()));
            black_box(sum?);
            vec![seconds]
        }
        "scan-mapped" => {
            let (sum, seconds) = timed(|| baseline::map(path).map(|mapped| view(&mapped).sum()));
            black_box(sum?);
            vec![seconds]
        }
        "scan-in-transaction" => {
            let db = Database::open(path)?;
            let txn = db.begin()?;
            let (sum, seconds) = timed(|| txn.array::<f64, Ix1>("a").map(|mut a| a.view_mut().sum()));
            black_box(sum?);
            vec![seconds]
        }
        "touch" => {
            let array = Database::open(path)?.array::<f64, Ix1>("a")?;
            vec![timed(|| touch(array.view(), operand)).1]
        }
        "touch-mapped" => {
            let mapped = baseline::map(path)?;
            vec![timed(|| touch(view(&mapped), operand)).1]
        }
        "threads" => {
            let array = Database::open(path)?.array::<f64, Ix1>("a")?;
            in_threads(array.view(), operand)?
        }
        "threads-mapped" => {
            let mapped = baseline::map(path)?;
            in_threads(view(&mapped), operand)?
        }
        "commit-when-told" => side_by_side::commit_when_told(path, operand)?,
        "anonymous-memory" => {
            let array = Database::open(path)?.array::<f64, Ix1>("a")?;
            let before = anonymous_bytes()?;
            black_box(array.view().sum());
            vec![anonymous_bytes()?.saturating_sub(before) as f64, array.nbytes() as f64]
        }
        _ => return Err(format!("there is no job {job:?}").into()),
    };
    for figure in figures {
        println!("{figure:e}");
    }
    Ok(())
}

fn view(bytes: &[u8]) -> ArrayView1<'_, f64> {
    baseline::numbers(bytes).into()
}

/// Reads `n` numbers here and there.
pub(crate) fn touch(view: ArrayView1<'_, f64>, n: usize) {
    let mut numbers = Rng::with_seed(7);
    let mut sum = 0.0;
    for _ in 0..n {
        sum += view[numbers.usize(..view.len())];
    }
    black_box(sum);
}

/// A scan by several threads.
fn in_threads(view: ArrayView1<'_, f64>, threads: usize) -> Outcome<Vec<f64>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| ()); // the threads are there
    let scan = || view.axis_chunks_iter(Axis(0), BLOCK / 8).into_par_iter().map(|part| part.sum()).sum::<f64>();
    Ok(vec![timed(|| black_box(pool.install(scan))).1])
}

fn anonymous_bytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}
