//! A matrix that is larger than the memory it may take, times a vector, again and again: its largest eigenvalue.
//!
//! ```text
//! cargo run --release --example matrix_times_vector
//! ```
//!
//! The matrix has the inner product of each two of 1,797 images of digits. Shows: a memory budget, a transaction that is
//! larger than it, work split by blocks over all processors.

use std::error::Error;

use bigarray::ndarray::parallel::prelude::*;
use bigarray::ndarray::{Array1, Array2, Axis, Ix2, Ix3, s};
use bigarray::{BigArray, Database};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Images of 8 × 8 pixels, values 0 to 16 (see `data/README.md`).
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/digits_1797x8x8_u1.npy");
const BUDGET: usize = 8 << 20;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?; // removed at the end
    let db = Database::options().memory_budget(BUDGET).open(dir.path().join("matrix.bigarray"))?;
    db.transact(|txn| txn.read_npy::<u8, Ix3>("images", DATA).map(drop))?;
    let images = db.array::<u8, Ix3>("images")?;
    let pixels = images.view().mapv(f64::from).into_shape_with_order((images.len_of(Axis(0)), 64))?;

    fill(&db, &pixels)?;
    let matrix = db.array::<f64, Ix2>("products")?;
    println!("The matrix: {:?}, {} MiB; the budget: {} MiB", matrix.shape(), matrix.nbytes() >> 20, BUDGET >> 20);

    let (mut vector, mut value) = (Array1::from_elem(matrix.len_of(Axis(0)), 1.0), 0.0);
    for round in 1..=30 {
        let product = times(&matrix, &vector)?;
        value = product.dot(&product).sqrt();
        vector = product / value;
        if round % 10 == 0 {
            println!("  round {round}: {value:.6}");
        }
    }
    let memory = db.memory_use();
    println!("Memory of its own: {} KiB, {} blocks spilled", memory.used_bytes >> 10, memory.blocks_spilled);
    assert!(matrix.nbytes() > 2 * BUDGET && memory.used_bytes <= BUDGET);

    // The answer by another way: X·Xᵀ and Xᵀ·X have the same largest eigenvalue, and the second is only 64 × 64.
    let small = pixels.t().dot(&pixels);
    let (mut direction, mut expected) = (Array1::from_elem(64, 1.0), 0.0);
    for _ in 0..30 {
        let product = small.dot(&direction);
        expected = product.dot(&product).sqrt();
        direction = product / expected;
    }
    println!("The largest eigenvalue: {value:.6} (should be {expected:.6})");
    assert!((value / expected - 1.0).abs() < 1e-12);
    let error = (times(&matrix, &vector)? - &vector * value).mapv(|x| x * x).sum().sqrt() / value;
    println!("How far matrix · vector is from eigenvalue · vector: {error:.1e} of it");
    assert!(error < 1e-9);
    Ok(())
}

/// Makes the matrix in one transaction, whose changes go to disk as the budget is used up; no reader sees them there.
fn fill(db: &Database, pixels: &Array2<f64>) -> Result<()> {
    let (txn, size) = (db.begin()?, pixels.nrows());
    let mut matrix = txn.create::<f64, _>("products", (size, size))?;
    for rows in matrix.blocks() {
        let products = pixels.slice(s![rows.clone(), ..]).dot(&pixels.t());
        matrix.rows_mut(rows)?.assign(&products); // a window: what lies before it may leave memory
    }
    drop(matrix); // a handle borrows its transaction, which the commit takes
    txn.commit()?;
    Ok(())
}

/// The product, each block of rows by one thread.
fn times(matrix: &BigArray<f64, Ix2>, vector: &Array1<f64>) -> bigarray::Result<Array1<f64>> {
    let parts: Vec<Array1<f64>> = matrix
        .blocks()
        .into_par_iter()
        .map(|rows| Ok(matrix.rows(rows)?.dot(vector)))
        .collect::<bigarray::Result<_>>()?;
    Ok(parts.into_iter().flatten().collect())
}
