//! Means and covariances of the columns of a matrix that does not fit into memory.

use bigarray::ndarray::{Array1, Array2, Axis, Ix2};
use bigarray::{ArrayOptions, Codec};

use crate::ground::{GIB, Ground, MIB, ensure, figure, speed, timed};
use crate::memory::Watch;
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 2] = [
    Part { name: "4 GiB, plain and mapped, in a cgroup of 512 MiB", cgroup: CGROUP, run: |g| run(g, Codec::None) },
    Part { name: "4 GiB, LZ4, in a cgroup of 512 MiB", cgroup: CGROUP, run: |g| run(g, Codec::Lz4 { shuffle: true }) },
];

const CGROUP: Option<(usize, usize)> = Some((512 * MIB, 192 * MIB));
const COLUMNS: usize = 16;

/// Small whole numbers: sums of them and of their products are exact in whatever order they are added.
fn value(row: usize, column: usize) -> f32 {
    let hash = ((row * COLUMNS + column) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Columns go together more or less.
    ((hash >> 61) + (row as u64 >> 4) % (column as u64 + 2)) as f32
}

/// Sums of the columns, and of the products of each two.
#[derive(PartialEq)]
struct Sums {
    rows: usize,
    columns: Array1<f64>,
    products: Array2<f64>,
}

impl Sums {
    fn of_none() -> Sums {
        Sums { rows: 0, columns: Array1::zeros(COLUMNS), products: Array2::zeros((COLUMNS, COLUMNS)) }
    }

    fn means(&self) -> Array1<f64> {
        &self.columns / self.rows as f64
    }

    fn covariance(&self) -> Array2<f64> {
        let means = self.means().insert_axis(Axis(1));
        &self.products / self.rows as f64 - means.dot(&means.t())
    }
}

fn run(ground: &Ground, codec: Codec) -> Outcome<()> {
    let bytes = ground.pick(4 * GIB, 512 * MIB);
    let rows = bytes / 4 / COLUMNS;
    let budget = ground.pick(256 * MIB, 64 * MIB);
    let watch = Watch::begin();
    let db = ground.open(budget)?;
    let ((), seconds) = timed(|| {
        let txn = db.begin()?;
        let mut array = txn.create_with::<f32, _>("a", (rows, COLUMNS), &ArrayOptions::new().codec(codec))?;
        array.view_mut().indexed_iter_mut().for_each(|((row, column), x)| *x = value(row, column));
        drop(array);
        Ok(txn.commit()?)
    })?;
    figure("filled, committed", speed(bytes, seconds));
    drop(db);

    let db = ground.open(budget)?;
    let array = db.array::<f32, Ix2>("a")?;
    let (ours, seconds) = timed(|| {
        let mut sums = Sums { rows, ..Sums::of_none() };
        for range in array.blocks() {
            let block = array.rows(range)?;
            sums.columns += &block.sum_axis(Axis(0)).mapv(f64::from);
            sums.products += &block.t().dot(&block).mapv(f64::from);
        }
        Ok(sums)
    })?;
    figure("means and covariances by ndarray, a block at a time", speed(bytes, seconds));
    let by_hand = by_hand(rows);
    ensure(ours == by_hand, || "the sums are not those computed by hand".to_owned())?;
    ensure(ours.covariance() == by_hand.covariance(), || "nor are the covariances".to_owned())?;
    figure("mean, variance of the last column", {
        let (means, covariance) = (ours.means(), ours.covariance());
        format!("{:.6}, {:.6}", means[COLUMNS - 1], covariance[[COLUMNS - 1, COLUMNS - 1]])
    });
    watch.end_within(budget)
}

/// The same from the numbers themselves, by plain loops.
fn by_hand(rows: usize) -> Sums {
    const BLOCK: usize = 8192;
    let mut sums = Sums { rows, ..Sums::of_none() };
    for start in (0..rows).step_by(BLOCK) {
        let mut columns = [0u64; COLUMNS];
        let mut products = [[0u64; COLUMNS]; COLUMNS];
        for row in start..rows.min(start + BLOCK) {
            let values: [u64; COLUMNS] = std::array::from_fn(|column| value(row, column) as u64);
            for (i, x) in values.iter().enumerate() {
                columns[i] += x;
                products[i].iter_mut().zip(&values).for_each(|(sum, y)| *sum += x * y);
            }
        }
        for i in 0..COLUMNS {
            sums.columns[i] += columns[i] as f64;
            (0..COLUMNS).for_each(|j| sums.products[[i, j]] += products[i][j] as f64);
        }
    }
    sums
}
