//! What the tests store. Two arrays, `A` and `B`, whose rows are a block each: a transaction gives a row of both one value,
//! so that half of a commit would show. And a long one, which is more than is fetched ahead of a reader.

use bigarray::ndarray::Ix2;
use bigarray::{Database, OpenOptions, Result};

use crate::machine;
use crate::support::child::{hear, say};
use crate::support::{BLOCK, small_blocks};

/// Rows of `A` and of `B`: two chunks.
pub(crate) const ROWS: usize = 32;

/// Makes `A` and `B`, of zeros.
pub(crate) fn create(db: &Database) {
    db.transact(|txn| {
        for name in ["A", "B"] {
            txn.create_with::<u64, _>(name, (ROWS, BLOCK / 8), &small_blocks())?;
        }
        Ok(())
    })
    .unwrap();
}

/// Fills a row of `A` and of `B` with `value`, by one transaction that is run once.
pub(crate) fn write(db: &Database, row: usize, value: u64) -> Result<()> {
    let txn = db.begin()?;
    for name in ["A", "B"] {
        txn.array::<u64, Ix2>(name)?.rows_mut(row..row + 1)?.fill(value);
    }
    txn.commit()
}

/// The value of each row in the newest state, in which no commit is there by half.
pub(crate) fn read(db: &Database) -> Vec<u64> {
    let state = db.snapshot().unwrap();
    let [a, b] = ["A", "B"].map(|name| state.array::<u64, Ix2>(name).unwrap());
    let (a, b) = (a.view(), b.view());
    let value_of = |row| {
        let value = a[[row, 0]];
        let is_whole = |of| b.row(row).iter().chain(a.row(row)).all(|element| *element == of);
        assert!(is_whole(value), "row {row} is not {value} throughout");
        value
    };
    (0..ROWS).map(value_of).collect()
}

/// In a machine: commits what the test says, as `ROW VALUE`, and says `landed`, or the error.
pub(crate) fn commit_as_told(options: OpenOptions) {
    let db = machine::open(options);
    loop {
        let line = hear();
        let (row, value) = line.split_once(' ').unwrap();
        match write(&db, row.parse().unwrap(), value.parse().unwrap()) {
            Ok(()) => say("landed"),
            Err(error) => say(format_args!("{:?}: {error}", error.kind())),
        }
    }
}

/// Rows of the long array, 1 MiB each.
const LONG_ROWS: usize = 96;

/// Makes the long array. Each row has its number, from one.
pub(crate) fn create_long(db: &Database) {
    db.transact(|txn| {
        let mut long = txn.create::<u64, _>("long", (LONG_ROWS, (1 << 20) / 8))?;
        for (row, mut elements) in long.view_mut().outer_iter_mut().enumerate() {
            elements.fill(row as u64 + 1);
        }
        Ok(())
    })
    .unwrap();
}

/// In a machine: reads the first row of the long array, and when it is told the others, in order. Says how many were
/// wrong, each time.
pub(crate) fn read_long() {
    let db = machine::open(Database::options());
    let long = db.array::<u64, Ix2>("long").unwrap();
    let view = long.view();
    let is_wrong = |row: &usize| view.row(*row).iter().any(|element| *element != *row as u64 + 1);
    say(format_args!("{} wrong", (0..1).filter(is_wrong).count()));
    hear();
    say(format_args!("{} wrong", (1..LONG_ROWS).filter(is_wrong).count()));
}
