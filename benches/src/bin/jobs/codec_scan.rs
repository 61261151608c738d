//! How fast a compressed array is read the first time, by one thread.

use std::hint::black_box;

use bigarray::ndarray::Ix2;
use bigarray::{Access, ArrayOptions, Codec, Database};

use crate::ground::{GIB, Ground, MIB, against, ensure, figure, speed, timed};
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 1] =
    [Part { name: "a smooth field of f32, first scan by one thread", cgroup: None, run }];

const COLUMNS: usize = 4096;
const LZ4: Codec = Codec::Lz4 { shuffle: true };
const ZSTD: Codec = Codec::Zstd { level: 3, shuffle: true };

/// The number at a row and column.
type Field = fn(usize, usize) -> f32;

/// A wave over both axes, in degrees.
fn wave(row: usize, column: usize) -> f32 {
    15.0 + 10.0 * (row as f32 * 1e-3).sin() * (column as f32 * 7e-4).cos()
}

/// As of a sensor that counts hundredths.
fn measured(row: usize, column: usize) -> f32 {
    (wave(row, column) * 128.0).round() / 128.0
}

fn run(ground: &Ground) -> Outcome<()> {
    let rows = ground.pick(GIB, 256 * MIB) / 4 / COLUMNS;
    let fields: [(&str, Field); 2] = [("of 1/128 degrees", measured), ("of all 24 bits", wave)];
    for (field, value) in fields {
        for (name, codec) in [("plain", Codec::None), ("LZ4, shuffled", LZ4), ("Zstandard 3, shuffled", ZSTD)] {
            let path = ground.database();
            let stored = store(&path, rows, value, codec)?;
            let mut seconds: Vec<f64> = (0..3).map(|_| scan(&path, value)).collect::<Outcome<_>>()?;
            seconds.sort_by(f64::total_cmp);
            let bytes = rows * COLUMNS * 4;
            let share = 100.0 * stored as f64 / bytes as f64;
            let label = format!("{name}, {field}");
            figure(&label, format_args!("{}, data file {share:.0} % of it", speed(bytes, seconds[1])));
            if codec == LZ4 {
                against("    of which GB/s", bytes as f64 / seconds[1] / 1e9, "", 1.2, true);
            }
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Stores the field; bytes it takes.
fn store(path: &std::path::Path, rows: usize, value: Field, codec: Codec) -> Outcome<u64> {
    let db = Database::open(path)?;
    let txn = db.begin()?;
    let mut array = txn.create_with::<f32, _>("a", (rows, COLUMNS), &ArrayOptions::new().codec(codec))?;
    array.view_mut().indexed_iter_mut().for_each(|((row, column), x)| *x = value(row, column));
    drop(array);
    txn.commit()?;
    drop(db);
    Ok(std::fs::metadata(path.join("data"))?.len())
}

/// Seconds for the first look at all of it; then each element is checked.
fn scan(path: &std::path::Path, value: Field) -> Outcome<f64> {
    let db = Database::options().memory_budget(usize::MAX).open(path)?;
    let array = db.array::<f32, Ix2>("a")?;
    array.advise(Access::Sequential);
    let (sum, seconds) = timed(|| Ok(array.view().sum()))?;
    black_box(sum);
    let view = array.view();
    let wrong = view.indexed_iter().find(|((row, column), x)| **x != value(*row, *column));
    ensure(wrong.is_none(), || format!("an element is wrong: {wrong:?}"))?;
    Ok(seconds)
}
