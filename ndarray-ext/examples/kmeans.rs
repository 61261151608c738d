//! Ten clusters of handwritten digits by k-means, over all processors, straight on the stored images.
//!
//! ```text
//! cargo run --release --example kmeans
//! ```
//!
//! Shows: `blocks` and rayon over an array as large as the disk, a result of several arrays committed at once.

use std::error::Error;
use std::ops::Range;

use bigarray::ndarray::parallel::prelude::*;
use bigarray::ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Ix1, Ix2, Ix3};
use bigarray::{BigArray, Database};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Images of 8 × 8 pixels, values 0 to 16 (see `data/README.md`).
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/digits_1797x8x8_u1.npy");
const CLUSTERS: usize = 10;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?; // removed at the end
    let db = Database::open(dir.path().join("digits.bigarray"))?;
    db.transact(|txn| {
        let images = txn.read_npy::<u8, Ix3>("images", DATA)?;
        let count = images.len_of(Axis(0));
        images.reshape((count, 64))?; // a row an image: the bytes stay where they are
        txn.rename("images", "pixels")
    })?;

    let pixels = db.array::<u8, Ix2>("pixels")?;
    let mut centres = spread_out(pixels.view());
    let mut spread = f64::INFINITY;
    for round in 1.. {
        let found = assign(&pixels, &centres)?;
        if found.spread >= spread {
            break; // nothing moved any more
        }
        assert!(round < 200, "k-means always ends");
        spread = found.spread;
        println!("round {round:>2}: sum of squared distances {spread:.0}");
        centres = found.means(centres);
    }

    let labels: Array1<u8> = pixels.view().axis_iter(Axis(0)).map(|image| nearest(image, &centres).0 as u8).collect();
    db.transact(|txn| {
        txn.create::<f64, _>("centres", centres.dim())?.view_mut().assign(&centres);
        txn.create::<u8, _>("labels", labels.len())?.view_mut().assign(&labels);
        Ok(())
    })?;
    show(centres.view());
    check(&db)
}

/// Sums over the images of each cluster, in some rows or in all.
struct Assigned {
    sums: Array2<f64>,
    counts: Array1<f64>,
    /// Of squared distances to the centres.
    spread: f64,
}

impl Assigned {
    fn plus(mut self, other: Assigned) -> Assigned {
        self.sums += &other.sums;
        self.counts += &other.counts;
        self.spread += other.spread;
        self
    }

    /// The mean of each cluster; an empty one keeps its centre.
    fn means(&self, mut centres: Array2<f64>) -> Array2<f64> {
        for ((mut centre, sum), count) in centres.rows_mut().into_iter().zip(self.sums.rows()).zip(&self.counts) {
            if *count > 0.0 {
                centre.assign(&(&sum / *count));
            }
        }
        centres
    }
}

/// One pass over all images: a block of storage is read by one thread, and pages come from the disk as they are touched.
fn assign(pixels: &BigArray<u8, Ix2>, centres: &Array2<f64>) -> bigarray::Result<Assigned> {
    let none = || Assigned { sums: Array2::zeros(centres.dim()), counts: Array1::zeros(CLUSTERS), spread: 0.0 };
    let of_block = |rows: Range<usize>| -> bigarray::Result<Assigned> {
        let mut found = none();
        for image in pixels.rows(rows)?.axis_iter(Axis(0)) {
            let (cluster, squared) = nearest(image, centres);
            found.sums.row_mut(cluster).zip_mut_with(&image, |sum, pixel| *sum += f64::from(*pixel));
            found.counts[cluster] += 1.0;
            found.spread += squared;
        }
        Ok(found)
    };
    pixels.blocks().into_par_iter().map(of_block).try_reduce(none, |a, b| Ok(a.plus(b)))
}

/// The nearest centre, and the square of its distance.
fn nearest(image: ArrayView1<'_, u8>, centres: &Array2<f64>) -> (usize, f64) {
    let squared =
        |centre: ArrayView1<'_, f64>| image.iter().zip(centre).map(|(p, c)| (f64::from(*p) - c).powi(2)).sum();
    centres.rows().into_iter().map(squared).enumerate().fold((0, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a })
}

/// Centres to begin with: the first image, then each time the one that is farthest from those chosen.
fn spread_out(pixels: ArrayView2<'_, u8>) -> Array2<f64> {
    let mut centres = pixels.select(Axis(0), &[0; CLUSTERS]).mapv(f64::from);
    for cluster in 1..CLUSTERS {
        let distance = |n: &usize| nearest(pixels.row(*n), &centres).1;
        let farthest = (0..pixels.nrows()).max_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0);
        centres.row_mut(cluster).assign(&pixels.row(farthest).mapv(f64::from));
    }
    centres
}

/// The centres as pictures, side by side.
fn show(centres: ArrayView2<'_, f64>) {
    let shade = |value: f64| [' ', '.', '+', '#', '@'][(value / 16.0 * 4.99) as usize];
    for line in 0..8 {
        let of_line = |centre: ArrayView1<'_, f64>| (0..8).map(|x| shade(centre[line * 8 + x])).collect::<String>();
        println!("  {}", centres.rows().into_iter().map(of_line).collect::<Vec<_>>().join("   "));
    }
}

/// What makes it a solution: each image has the label of the nearest centre, and each centre is the mean of its images.
fn check(db: &Database) -> Result<()> {
    let snapshot = db.snapshot()?;
    let (pixels, labels) = (snapshot.array::<u8, Ix2>("pixels")?, snapshot.array::<u8, Ix1>("labels")?);
    let centres = snapshot.array::<f64, Ix2>("centres")?;
    let sum: u64 = pixels.view().iter().map(|pixel| u64::from(*pixel)).sum();
    assert_eq!(sum, 561_718, "the images are those of the file");
    for (cluster, centre) in centres.view().axis_iter(Axis(0)).enumerate() {
        let members: Vec<usize> = (0..labels.len()).filter(|n| usize::from(labels.view()[*n]) == cluster).collect();
        assert!(!members.is_empty(), "cluster {cluster} has images");
        let mean = pixels.view().select(Axis(0), &members).mapv(f64::from).mean_axis(Axis(0)).ok_or("no images")?;
        assert!(
            mean.iter().zip(centre).all(|(a, b)| (a - b).abs() < 1e-9),
            "centre {cluster} is the mean of its images"
        );
        println!("cluster {cluster}: {} images", members.len());
    }
    Ok(())
}
