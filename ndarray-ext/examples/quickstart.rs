//! Real data through bigarray from import to reopening, then an array of 1 TiB. Run it by
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! Every figure it prints comes from the array's views; one that is not what it should be ends it with an error.

use std::error::Error;
use std::fmt::Debug;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bigarray::ndarray::parallel::prelude::*;
use bigarray::ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, Ix1, Ix2, Ix3, Order};
use bigarray::{ArrayOptions, Database};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data");

fn main() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("quickstart-").tempdir()?; // removed at the end
    let path = dir.path().join("quickstart.bigarray");
    let db = Database::open(&path)?;
    println!("Database {}", path.display());

    import(&db)?;
    compute(&db)?;
    append_a_year(&db)?;
    abort(&db)?;

    drop(db); // and with it the last handle
    let db = Database::open(&path)?;
    reopened(&db)?;
    one_tebibyte(&db, &path)?;

    println!("\nAll values are what they should be.");
    Ok(())
}

fn import(db: &Database) -> Result<()> {
    heading("Import two NumPy files, in one transaction");
    let temperatures: Array2<f64> = ndarray_npy::read_npy(format!("{DATA}/elnino_sst_61x12_f8.npy"))?;
    let digits: Array3<u8> = ndarray_npy::read_npy(format!("{DATA}/digits_1797x8x8_u1.npy"))?;
    // The same temperatures, stored big-endian: they are converted as they are read.
    let big_endian: Array2<f64> = ndarray_npy::read_npy(format!("{DATA}/elnino_sst_bigendian_f8.npy"))?;

    let txn = db.begin()?;
    let mut sst = txn.create::<f64, _>("sst", (0, 12))?; // no years yet; rows are appended
    sst.append(Axis(0), temperatures.view())?;
    sst.set_attr("units", "degree_Celsius".into())?;
    sst.set_attr("first_year", FIRST_YEAR.into())?;
    drop(sst);
    txn.create::<u8, _>("digits", digits.dim())?.view_mut().assign(&digits);
    // Months as rows of storage: a column-major array, which grows along its last axis.
    let by_month = ArrayOptions::new().order(Order::ColumnMajor);
    txn.create_with::<f64, _>("sst_by_month", big_endian.dim(), &by_month)?.view_mut().assign(&big_endian);
    txn.commit()?;

    let snapshot = db.snapshot()?;
    for array in snapshot.arrays()? {
        println!("  {:<13} {:<4} {:?}, {} bytes", array.name, array.dtype, array.shape, array.nbytes);
    }
    let (sst, by_month) = (snapshot.array::<f64, Ix2>("sst")?, snapshot.array::<f64, Ix2>("sst_by_month")?);
    ensure(sst.view() == by_month.view(), "the big-endian file gives the same temperatures")?;
    println!(
        "  The big-endian file gives the same temperatures, column-major: strides {:?}",
        by_month.view().strides()
    );
    Ok(())
}

const FIRST_YEAR: usize = 1950;

fn compute(db: &Database) -> Result<()> {
    heading("Compute on the arrays' views, as on any ndarray");
    let sst = db.array::<f64, Ix2>("sst")?;
    let sst = sst.view();
    let (mean, std) = (sst.mean().ok_or("no rows")?, sst.std(0.0));
    check_close("sea-surface temperature, mean", mean, 23.092622950820)?;
    check_close("  standard deviation", std, 2.244368168398)?;
    check_warmest(sst)?;

    let digits = db.array::<u8, Ix3>("digits")?;
    let digits = digits.view();
    let sum = sum_by_rayon(digits);
    let zeros: usize = digits.into_par_iter().filter(|&&pixel| pixel == 0).count();
    check("digit images, sum (by rayon)", sum, 561_718)?;
    check_close("  mean", sum as f64 / digits.len() as f64, 4.884164579855)?;
    check("  pixels equal to 0 (by rayon)", zeros, 56_272)
}

fn check_warmest(sst: ArrayView2<'_, f64>) -> Result<()> {
    let warmest = sst.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1));
    let ((row, column), celsius) = warmest.ok_or("no rows")?;
    check("  warmest month", (row, column, *celsius), (48, 2, 29.24))?;
    println!("  which is month {} of {}", column + 1, FIRST_YEAR + row);
    Ok(())
}

fn sum_by_rayon(images: ArrayView3<'_, u8>) -> u64 {
    let sum_of = |image: ArrayView2<'_, u8>| image.iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
    images.axis_iter(Axis(0)).into_par_iter().map(sum_of).sum()
}

fn append_a_year(db: &Database) -> Result<()> {
    heading("Append a year, then make room for nine more");
    let before = db.array::<f64, Ix2>("sst")?; // a snapshot of now

    let txn = db.begin()?;
    let mut sst = txn.array::<f64, Ix2>("sst")?;
    let typical = sst.view().mean_axis(Axis(0)).ok_or("no rows")?;
    sst.push(Axis(0), typical.view())?; // 2011, as an average year
    sst.resize((71, 12))?;
    drop(sst);
    txn.commit()?;

    let after = db.array::<f64, Ix2>("sst")?;
    check("shape", after.shape(), &[71, 12][..])?;
    check("  of the snapshot taken before", before.shape(), &[61, 12][..])?;
    check_close("mean of the year added", after.rows(61..62)?.mean().ok_or("no rows")?, 23.092622950820)?;
    check("  of the room behind it", after.rows(62..)?.sum(), 0.0)
}

fn abort(db: &Database) -> Result<()> {
    heading("Change everything, then abort");
    let snapshot = || -> Result<_> { Ok((db.array::<f64, Ix2>("sst")?, db.array::<u8, Ix3>("digits")?)) };
    let (sst_before, digits_before) = snapshot()?;

    let txn = db.begin()?;
    let mut sst = txn.array::<f64, Ix2>("sst")?;
    sst.view_mut().fill(-273.15);
    sst.resize((1, 12))?;
    println!("  in the transaction: shape {:?}, mean {:.2}", sst.shape(), sst.view().mean().ok_or("no rows")?);
    drop(sst);
    txn.remove("digits")?;
    txn.abort();

    let (sst, digits) = snapshot()?;
    ensure(sst.view() == sst_before.view() && digits.view() == digits_before.view(), "an abort changes nothing")?;
    println!("  after the abort:    shape {:?}, mean {:.2}", sst.shape(), sst.view().mean().ok_or("no rows")?);
    Ok(())
}

fn reopened(db: &Database) -> Result<()> {
    heading("Close the database, and open it again");
    let sst = db.array::<f64, Ix2>("sst")?;
    let attrs: Vec<_> = sst.attrs().iter().map(|(key, value)| format!("{key} = {value}")).collect();
    println!("  attributes of \"sst\": {}", attrs.join(", "));
    check_close("temperature, mean of 1950 to 2010", sst.rows(..61)?.mean().ok_or("no rows")?, 23.092622950820)?;
    check_warmest(sst.rows(..61)?)?;
    check("digits, sum", sum_by_rayon(db.array::<u8, Ix3>("digits")?.view()), 561_718)
}

fn one_tebibyte(db: &Database, path: &Path) -> Result<()> {
    heading("An array of 1 TiB, written and read at both ends");
    let (disk_before, memory_before) = (disk_bytes(path)?, Memory::now()?);

    let len = (1 << 40) / size_of::<f64>();
    let txn = db.begin()?;
    let mut huge = txn.create::<f64, _>("huge", len)?;
    let mut view = huge.view_mut();
    view[0] = 3.5;
    view[len - 1] = 4.5;
    drop(huge);
    txn.commit()?;

    let huge = db.array::<f64, Ix1>("huge")?;
    let view = huge.view();
    check("bytes", huge.nbytes(), 1 << 40)?;
    check("first and last element", (view[0], view[len - 1]), (3.5, 4.5))?;
    check("  their neighbours, and the middle", (view[1], view[len / 2], view[len - 2]), (0.0, 0.0, 0.0))?;

    let (disk, memory) = (disk_bytes(path)?, Memory::now()?);
    println!("  disk:   {} KiB more, {} KiB in all", disk.saturating_sub(disk_before) >> 10, disk >> 10);
    println!(
        "  memory: {} KiB resident more, {} KiB in all, {} KiB of it anonymous",
        memory.resident_kib.saturating_sub(memory_before.resident_kib),
        memory.resident_kib,
        memory.anonymous_kib
    );
    ensure(disk < 64 << 20, "a hole takes no disk")?;
    ensure(memory.resident_kib < 256 << 10, "a hole takes no memory")
}

/// Bytes of disk that the files in `dir` take.
fn disk_bytes(dir: &Path) -> Result<u64> {
    let blocks_of_512 = |entry: std::io::Result<std::fs::DirEntry>| Ok(entry?.metadata()?.blocks());
    Ok(std::fs::read_dir(dir)?.map(blocks_of_512).sum::<std::io::Result<u64>>()? * 512)
}

/// What the kernel says this process takes.
struct Memory {
    resident_kib: u64,
    anonymous_kib: u64,
}

impl Memory {
    fn now() -> Result<Memory> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let kib = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.and_then(|rest| rest.split_whitespace().nth(1)).ok_or("no such line in status")?.parse()?)
        };
        Ok(Memory { resident_kib: kib("VmRSS")?, anonymous_kib: kib("RssAnon")? })
    }
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn ensure(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

/// Prints a value beside what it has to be.
fn check<T: PartialEq + Debug>(what: &str, value: T, expected: T) -> Result<()> {
    println!("  {what:<36} {value:?} (should be {expected:?})");
    ensure(value == expected, what)
}

/// The same for a sum of many floats, whose last digits depend on the order of adding; NumPy's are given to twelve.
fn check_close(what: &str, value: f64, expected: f64) -> Result<()> {
    println!("  {what:<36} {value:.12} (should be {expected:.12})");
    ensure((value - expected).abs() < 1e-12 * 32.0, what)
}
