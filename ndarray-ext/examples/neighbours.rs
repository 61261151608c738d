//! The nearest neighbours of some vectors among many: exact, over all processors, by blocks of an embedding matrix.
//!
//! ```text
//! cargo run --release --example neighbours
//! ```
//!
//! The vectors are images of digits, each also moved by a pixel in all directions, scaled to length 1. Shows: a matrix that
//! grows by `append`, a search that reads each block once, windows of rows for what is looked up after.

use std::error::Error;
use std::ops::Range;

use bigarray::ndarray::parallel::prelude::*;
use bigarray::ndarray::{Array2, Array3, ArrayView1, ArrayView2, Axis, Ix2, Ix3, s};
use bigarray::{BigArray, Database};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Images of 8 × 8 pixels, values 0 to 16 (see `data/README.md`).
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/digits_1797x8x8_u1.npy");
/// How many are looked for.
const NEAREST: usize = 5;
const QUERIES: usize = 200;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?; // removed at the end
    let db = Database::open(dir.path().join("vectors.bigarray"))?;
    db.transact(|txn| txn.read_npy::<u8, Ix3>("images", DATA).map(drop))?;
    let images = db.array::<u8, Ix3>("images")?.view().to_owned();

    // One transaction: a reader finds all vectors, or none.
    db.transact(|txn| {
        let mut vectors = txn.create::<f32, _>("vectors", (0, 64))?;
        for (dy, dx) in moves() {
            vectors.append(Axis(0), moved(&images, dy, dx).view())?;
        }
        Ok(())
    })?;
    let vectors = db.array::<f32, Ix2>("vectors")?;
    println!(
        "{} vectors of {} numbers, {} KiB",
        vectors.len_of(Axis(0)),
        vectors.len_of(Axis(1)),
        vectors.nbytes() >> 10
    );

    let queries = vectors.rows(..QUERIES)?.to_owned(); // the first images, where they were not moved
    let found = search(&vectors, queries.view())?;
    let of_another = |found: &&(f32, usize)| !found.1.is_multiple_of(images.len_of(Axis(0)));
    let (similarity, row) = *found[0].iter().find(of_another).ok_or("no other image is near the first")?;
    println!("The first image, and the nearest that is no move of it (similarity {similarity:.4}):");
    show(vectors.rows(..1)?.row(0), vectors.rows(row..=row)?.row(0));

    check(&images, &found);
    println!("All {QUERIES} × {NEAREST} neighbours are those that whole numbers give.");
    Ok(())
}

/// No move, and a pixel in each direction.
fn moves() -> impl Iterator<Item = (usize, usize)> {
    [(1, 1)].into_iter().chain((0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))).filter(|at| *at != (1, 1)))
}

/// The images, moved by `dy - 1` and `dx - 1` pixels, as rows of length 1.
fn moved(images: &Array3<u8>, dy: usize, dx: usize) -> Array2<f32> {
    let pixels = whole(images, dy, dx);
    let mut rows = pixels.mapv(|pixel| pixel as f32);
    for mut row in rows.rows_mut() {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    rows
}

/// The same in whole numbers, not scaled.
fn whole(images: &Array3<u8>, dy: usize, dx: usize) -> Array2<i64> {
    let count = images.len_of(Axis(0));
    let mut edged = Array3::<i64>::zeros((count, 10, 10));
    edged.slice_mut(s![.., dy..dy + 8, dx..dx + 8]).assign(&images.mapv(i64::from));
    Array2::from_shape_fn((count, 64), |(n, at)| edged[[n, at / 8 + 1, at % 8 + 1]])
}

/// Similarity and row, the most similar first.
type Found = Vec<(f32, usize)>;

fn search(vectors: &BigArray<f32, Ix2>, queries: ArrayView2<'_, f32>) -> bigarray::Result<Vec<Found>> {
    let of_block = |rows: Range<usize>| -> bigarray::Result<Vec<Found>> {
        let similarities = vectors.rows(rows.clone())?.dot(&queries.t()); // a row a vector, a column a query
        let best = |column: ArrayView1<'_, f32>| best_of(column.iter().copied().zip(rows.clone()).collect());
        Ok(similarities.axis_iter(Axis(1)).map(best).collect())
    };
    let none = || vec![Found::new(); queries.nrows()];
    let merged = |a: Vec<Found>, b: Vec<Found>| a.into_iter().zip(b).map(|(a, b)| best_of([a, b].concat())).collect();
    vectors.blocks().into_par_iter().map(of_block).try_reduce(none, |a, b| Ok(merged(a, b)))
}

fn best_of(mut found: Found) -> Found {
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    found.truncate(NEAREST);
    found
}

/// Two vectors as pictures, side by side.
fn show(one: ArrayView1<'_, f32>, other: ArrayView1<'_, f32>) {
    let shade = |value: f32| [' ', '.', '+', '#', '@'][((value * 16.0) as usize).min(4)];
    for line in 0..8 {
        let of_line = |v: &ArrayView1<'_, f32>| (0..8).map(|x| shade(v[line * 8 + x])).collect::<String>();
        println!("  {}   {}", of_line(&one), of_line(&other));
    }
}

/// Compares with the cosines that whole numbers give, of each query and all vectors.
fn check(images: &Array3<u8>, found: &[Found]) {
    let all: Vec<Array2<i64>> = moves().map(|(dy, dx)| whole(images, dy, dx)).collect();
    let vector = |row: usize| all[row / images.len_of(Axis(0))].row(row % images.len_of(Axis(0)));
    let rows = all.len() * images.len_of(Axis(0));
    let squares: Vec<i64> = (0..rows).map(|row| vector(row).dot(&vector(row))).collect();
    for (query, found) in found.iter().enumerate() {
        assert_eq!(found[0].1, query, "the nearest of a vector is itself");
        let cosine = |row: usize| {
            let dot = vector(row).dot(&vector(query)) as f64;
            dot / ((squares[row] * squares[query]) as f64).sqrt()
        };
        let mut cosines: Vec<f64> = (0..rows).map(cosine).collect();
        cosines.sort_by(|a, b| b.total_cmp(a));
        for ((similarity, row), best) in found.iter().zip(&cosines) {
            // Two that are nearly as near may be found in either order: f32 has seven digits.
            assert!(
                (cosine(*row) - best).abs() < 1e-6 && (f64::from(*similarity) - best).abs() < 1e-6,
                "query {query}"
            );
        }
    }
}
