//! Sixty-one years of sea-surface temperatures: the average year, how far each month is from it, and a picture of that.
//!
//! ```text
//! cargo run --release --example climatology [PICTURE.svg]
//! ```
//!
//! Shows: a NumPy file read into an array, attributes, several arrays made by one transaction, results written for NumPy.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use bigarray::ndarray::{ArrayView2, Axis, Ix1, Ix2};
use bigarray::{ArrayOptions, Database};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A row a year, a column a month, in °C (see `data/README.md`).
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/elnino_sst_61x12_f8.npy");
const FIRST_YEAR: usize = 1950;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?; // removed at the end
    let db = Database::open(dir.path().join("climate.bigarray"))?;

    // Import. The closure runs again if another program commits to the same arrays first.
    db.transact(|txn| {
        let mut sst = txn.read_npy::<f64, Ix2>("sst", DATA)?;
        sst.set_attr("units", "degree_Celsius".into())?;
        sst.set_attr("first_year", FIRST_YEAR.into())
    })?;

    // Both results become visible together: no reader ever sees anomalies that do not belong to the climatology.
    db.transact(|txn| {
        let sst = txn.array::<f64, Ix2>("sst")?;
        let mut climatology = txn.create::<f64, _>("climatology", sst.len_of(Axis(1)))?;
        for (mean, month) in climatology.view_mut().iter_mut().zip(sst.view().axis_iter(Axis(1))) {
            *mean = month.sum() / month.len() as f64;
        }
        let options = ArrayOptions::new().order(sst.order());
        let mut anomaly = txn.create_with::<f64, _>("anomaly", sst.dim(), &options)?;
        anomaly.view_mut().assign(&sst.view());
        anomaly.view_mut().scaled_add(-1.0, &climatology.view()); // a row is subtracted from each year
        anomaly.set_attr("units", "K".into())
    })?;

    let snapshot = db.snapshot()?;
    let climatology = snapshot.array::<f64, Ix1>("climatology")?;
    println!("The average year in °C, from January on:\n  {:.2}", climatology.view());
    let anomaly = snapshot.array::<f64, Ix2>("anomaly")?;
    let anomaly = anomaly.view();

    let mut months: Vec<((usize, usize), f64)> = anomaly.indexed_iter().map(|(at, kelvin)| (at, *kelvin)).collect();
    months.sort_by(|a, b| b.1.total_cmp(&a.1));
    println!("The warmest months, against the average of their month:");
    for ((year, month), kelvin) in &months[..5] {
        println!("  {}-{:02}  {kelvin:+.2} K", FIRST_YEAR + year, month + 1);
    }
    let yearly = anomaly.mean_axis(Axis(1)).ok_or("no months")?;
    let warmest = (0..yearly.len()).max_by(|a, b| yearly[*a].total_cmp(&yearly[*b])).ok_or("no years")?;
    println!("The warmest year: {}, {:+.2} K: an El Niño.", FIRST_YEAR + warmest, yearly[warmest]);

    // NumPy's answers.
    let close = |a: f64, b: f64| (a - b).abs() < 1e-8;
    assert!(close(climatology.view()[0], 24.392131148) && close(climatology.view()[8], 20.583770492));
    assert!(close(anomaly.std(0.0), 1.08074632019));
    assert_eq!(months[0].0, (33, 5), "June 1983");
    assert!(close(months[0].1, 4.596065573770));
    assert_eq!(FIRST_YEAR + warmest, 1997);

    let picture = std::env::args_os().nth(1).map_or_else(|| dir.path().join("anomaly.svg"), PathBuf::from);
    std::fs::write(&picture, svg(anomaly)?)?;
    let npy = dir.path().join("anomaly.npy");
    snapshot.array::<f64, Ix2>("anomaly")?.write_npy(&npy)?; // numpy.load reads it
    println!("{} has {} bytes, {} has {}.", picture.display(), size(&picture)?, npy.display(), size(&npy)?);
    Ok(())
}

fn size(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

/// A bar a month, red above the average and blue below.
fn svg(anomaly: ArrayView2<'_, f64>) -> Result<String> {
    const PIXELS_A_KELVIN: f64 = 25.0;
    let (years, middle) = (anomaly.nrows(), 130.0);
    let mut svg =
        String::from("<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"11\" ");
    writeln!(svg, "width=\"{}\" height=\"{}\">", years * 12 + 20, 2.0 * middle)?;
    writeln!(svg, "<text x=\"10\" y=\"14\">Sea-surface temperature of Niño 1+2 against its average, K</text>")?;
    for ((year, month), kelvin) in anomaly.indexed_iter() {
        let (x, height) = (10 + year * 12 + month, kelvin.abs() * PIXELS_A_KELVIN);
        let (top, colour) = if *kelvin > 0.0 { (middle - height, "#c33") } else { (middle, "#36c") };
        writeln!(svg, "<rect x=\"{x}\" y=\"{top:.1}\" width=\"1\" height=\"{height:.1}\" fill=\"{colour}\"/>")?;
    }
    for year in (0..years).step_by(10) {
        writeln!(svg, "<text x=\"{}\" y=\"{}\">{}</text>", 10 + year * 12, 2.0 * middle - 6.0, FIRST_YEAR + year)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
