//! A log that one process grows and another follows: an array of structs, a commit for each batch of ticks.
//!
//! ```text
//! cargo run --release --example tick_log
//! ```
//!
//! Shows: `impl_element!` for a struct of your own, `append`, two processes on one database, `wait_for_commit`. The ticks
//! are the months of a real series, as if each had been measured just now.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bigarray::bytemuck::{Pod, Zeroable};
use bigarray::ndarray::{Array1, Axis, Ix1, Ix2};
use bigarray::{Database, impl_element};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A row a year, a column a month, in °C (see `data/README.md`).
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/elnino_sst_61x12_f8.npy");
/// 61 years of 12 months.
const TICKS: usize = 732;
/// Longer than any commit takes: past it the other process has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fields in an order that leaves no gaps: `Pod` refuses padding, whose bytes would be stored, too.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[bytemuck(crate = "bigarray::bytemuck")]
#[repr(C)]
struct Tick {
    year: u32,
    month: u32,
    celsius: f64,
}

impl_element!(Tick { year: u32, month: u32, celsius: f64 });

fn main() -> Result<()> {
    // The same program is both processes.
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [] => both(),
        [path] => follow(Path::new(path)),
        _ => Err("no arguments, or the database to follow".into()),
    }
}

fn both() -> Result<()> {
    let dir = tempfile::tempdir()?; // removed at the end
    let path = dir.path().join("ticks.bigarray");
    let db = Database::open(&path)?;
    db.transact(|txn| {
        txn.read_npy::<f64, Ix2>("series", DATA)?;
        txn.create::<Tick, _>("ticks", 0).map(drop)
    })?;

    let follower = Command::new(std::env::current_exe()?).arg(&path).stdout(Stdio::piped()).spawn()?;
    let commits = write(&db)?;
    println!("the writer: {TICKS} ticks in {commits} commits");

    let output = follower.wait_with_output()?;
    let said = String::from_utf8(output.stdout)?;
    print!("{said}");
    assert!(output.status.success(), "the follower ended with {}", output.status);
    assert!(said.contains("mean 23.092623 °C"), "NumPy's mean of the series");
    assert!(said.contains("warmest 1998-03, 29.24 °C"), "NumPy's largest element");
    Ok(())
}

/// Appends a year at a time. A commit is durable when it returns: a tick that the follower saw is never lost.
fn write(db: &Database) -> Result<usize> {
    let series = db.array::<f64, Ix2>("series")?;
    let mut commits = 0;
    for (year, months) in (1950..).zip(series.view().axis_iter(Axis(0))) {
        let ticks: Array1<Tick> =
            (1..).zip(months).map(|(month, celsius)| Tick { year, month, celsius: *celsius }).collect();
        db.transact(|txn| txn.array::<Tick, Ix1>("ticks")?.append(Axis(0), ticks.view()))?;
        commits += 1;
    }
    Ok(commits)
}

/// Takes in what each commit adds, until all is there. Nothing is read twice, and no batch is ever seen in part.
fn follow(path: &Path) -> Result<()> {
    // As a reader: it may not change anything, and needs no right to.
    let db = Database::options().read_only(true).open(path)?;
    let mut snapshot = db.snapshot()?;
    let (mut seen, mut wakes, mut sum) = (0, 0, 0.0);
    let mut warmest: Option<Tick> = None;
    loop {
        let ticks = snapshot.array::<Tick, Ix1>("ticks")?;
        assert_eq!(ticks.len() % 12, 0, "a commit is seen whole");
        for tick in ticks.rows(seen..)? {
            sum += tick.celsius;
            if warmest.is_none_or(|so_far| tick.celsius > so_far.celsius) {
                warmest = Some(*tick);
            }
        }
        seen = ticks.len();
        if seen == TICKS {
            break;
        }
        // The number is kept over the wait, and the snapshot is not: storage that it shows could not be used again.
        let version = snapshot.version();
        drop((ticks, snapshot));
        snapshot = db.wait_for_commit(version, PATIENCE)?.ok_or("the writer has ended")?;
        wakes += 1;
    }
    let warmest = warmest.ok_or("no ticks")?;
    println!("the follower: {seen} ticks, woken {wakes} times, mean {:.6} °C,", sum / seen as f64);
    println!("  warmest {}-{:02}, {} °C", warmest.year, warmest.month, warmest.celsius);
    Ok(())
}
