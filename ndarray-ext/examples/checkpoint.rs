//! A simulation that commits each step, is killed (`kill -9`) at any moment, and goes on where it was.
//!
//! ```text
//! cargo run --release --example checkpoint
//! ```
//!
//! Heat spreads over a plate, which begins as a sheet of handwritten digits. Shows: one transaction for the field *and* the
//! number of the step, so that they never disagree; what a killed process leaves behind, which is nothing half-written.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use bigarray::ndarray::{Array2, ArrayView2, ArrayView3, Ix2, Ix3, s};
use bigarray::{Database, Snapshot};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Images of 8 × 8 pixels (see `data/README.md`).
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/digits_1797x8x8_u1.npy");
/// Images along each side of the plate.
const SIDE: usize = 40;
const STEPS: u64 = 300;
/// Committed steps after which a run is killed.
const BETWEEN_KILLS: u64 = 70;

fn main() -> Result<()> {
    // The same program is the simulation, which gets killed, and the one that kills it.
    match std::env::args_os().nth(1) {
        Some(path) => simulate(Path::new(&path)),
        None => kill_and_resume(),
    }
}

/// Goes on from the last step that was committed, or begins.
fn simulate(path: &Path) -> Result<()> {
    let db = Database::open(path)?;
    if steps(&db.snapshot()?)?.is_none() {
        db.transact(|txn| {
            let images = txn.read_npy::<u8, Ix3>("images", DATA)?;
            let mut plate = txn.create::<f64, _>("plate", (SIDE * 8, SIDE * 8))?;
            plate.view_mut().assign(&sheet(images.view()));
            plate.set_attr("steps", 0.into())
        })?;
    }
    while let Some(done @ 0..STEPS) = steps(&db.snapshot()?)? {
        db.transact(|txn| {
            let mut plate = txn.array::<f64, Ix2>("plate")?;
            let next = spread(plate.view());
            plate.view_mut().assign(&next);
            plate.set_attr("steps", (done + 1).into())
        })?;
    }
    Ok(())
}

/// How many steps the plate in `snapshot` has gone, if there is one.
fn steps(snapshot: &Snapshot) -> bigarray::Result<Option<u64>> {
    match snapshot.attrs("plate") {
        Err(error) if error.is_not_found() => Ok(None),
        attrs => Ok(attrs?["steps"].as_u64()),
    }
}

fn kill_and_resume() -> Result<()> {
    let dir = tempfile::tempdir()?; // removed at the end
    let path = dir.path().join("plate.bigarray");
    let db = Database::open(&path)?;

    let (mut runs, mut done) = (0, 0);
    while done < STEPS {
        let mut run = Command::new(std::env::current_exe()?).arg(&path).spawn()?;
        wait(&db, &mut run, done + BETWEEN_KILLS)?;
        run.kill()?; // SIGKILL cannot be caught: the run tidies nothing up. If it has ended, this does nothing
        let status = run.wait()?;
        let from = done;
        (runs, done) = (runs + 1, steps(&db.snapshot()?)?.unwrap_or(0));
        println!("run {runs}: from step {from} to {done}: {status}");
        assert!(done > from, "each run goes on");
    }

    let plate = db.array::<f64, Ix2>("plate")?;
    let mut expected = sheet(db.array::<u8, Ix3>("images")?.view());
    let heat = expected.sum();
    for _ in 0..STEPS {
        expected = spread(expected.view());
    }
    assert!(plate.view() == expected, "each bit is that of a run which was never killed");
    assert!((plate.view().sum() / heat - 1.0).abs() < 1e-9, "no heat is lost");
    println!("After {STEPS} steps in {runs} runs the plate is, bit for bit, that of a run in memory.");
    Ok(())
}

/// Waits until so many steps are committed, or `run` has ended.
fn wait(db: &Database, run: &mut Child, until: u64) -> Result<()> {
    let mut snapshot = db.snapshot()?;
    while steps(&snapshot)?.unwrap_or(0) < until && run.try_wait()?.is_none() {
        if let Some(newer) = db.wait_for_commit(snapshot.version(), Duration::from_millis(100))? {
            snapshot = newer;
        }
    }
    Ok(())
}

/// The images, one beside the other.
fn sheet(images: ArrayView3<'_, u8>) -> Array2<f64> {
    let pixel = |y: usize, x: usize| images[[y / 8 * SIDE + x / 8, y % 8, x % 8]];
    Array2::from_shape_fn((SIDE * 8, SIDE * 8), |(y, x)| f64::from(pixel(y, x)))
}

/// One step: a fifth of each difference to the four neighbours flows. Nothing leaves the plate at its edges.
fn spread(plate: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut next = plate.to_owned();
    let across = (&plate.slice(s![.., 1..]) - &plate.slice(s![.., ..-1])) * 0.2;
    let down = (&plate.slice(s![1.., ..]) - &plate.slice(s![..-1, ..])) * 0.2;
    let mut part = next.slice_mut(s![.., ..-1]);
    part += &across;
    let mut part = next.slice_mut(s![.., 1..]);
    part -= &across;
    let mut part = next.slice_mut(s![..-1, ..]);
    part += &down;
    let mut part = next.slice_mut(s![1.., ..]);
    part -= &down;
    next
}
