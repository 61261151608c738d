//! What a newcomer's mistakes are told: each mistake of this file, and its message, is a paragraph of `messages.txt`, to be
//! read by a person. A message says what is wrong, with names and values, and what to do.
//!
//! After a change: `BIGARRAY_WRITE_MESSAGES=1 cargo test -p bigarray --test messages`, and read the difference.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use bigarray::ndarray::{Array1, Array2, Axis, Ix0, Ix1, Ix2, Ix3, array};
use bigarray::{ArrayOptions, Bool, Codec, Database, Error, Result};
use bigarray_testing::EventLog;

use crate::support::child::{alone, this_test};
use crate::support::disk::small_disk;
use crate::support::{is_root, skip};

#[path = "../support/mod.rs"]
mod support;

/// Mistakes and what they were told, as a page.
struct Page {
    text: String,
    dir: PathBuf,
}

impl Page {
    fn title(&mut self, title: &str) {
        writeln!(self.text, "{title}\n{}\n", "=".repeat(title.len())).unwrap();
    }

    /// What `mistake`, a line of a program, ended in.
    fn say<T>(&mut self, mistake: &str, outcome: Result<T>) {
        let error = outcome.err().unwrap_or_else(|| panic!("{mistake}: no error"));
        self.told(mistake, &format!("{:?}: {error}", error.kind()));
    }

    fn told(&mut self, mistake: &str, message: &str) {
        let message = message.replace(self.dir.to_str().unwrap(), "/home/me");
        writeln!(self.text, "{mistake}\n    {message}\n").unwrap();
    }
}

/// Compares with the page that is kept, or writes it if it is asked for.
fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages").join(name);
    if env::var_os("BIGARRAY_WRITE_MESSAGES").is_some() {
        return fs::write(path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    for (kept, now) in kept.split("\n\n").zip(text.split("\n\n")) {
        assert_eq!(now, kept, "a message changed (see the head of this file)");
    }
    assert_eq!(text, kept, "messages were added or removed (see the head of this file)");
}

#[test]
fn mistakes_are_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    let db = Database::open(&path).unwrap();
    db.transact(|txn| {
        txn.create::<f32, _>("sst", (10, 4))?.view_mut().fill(1.0);
        txn.create::<f64, _>("total", ()).map(drop)
    })
    .unwrap();
    let mut page = Page { text: String::new(), dir: dir.path().to_owned() };
    paths(&mut page, dir.path());
    types(&mut page, &db);
    fill_values(&mut page, &db);
    shapes(&mut page, &db);
    transactions(&mut page, &db);
    attributes(&mut page, &db);
    options(&mut page, &path);
    compare("messages.txt", &page.text);
}

fn paths(page: &mut Page, dir: &Path) {
    page.title("Paths");
    fs::write(dir.join("sst.npy"), "x").unwrap();
    fs::create_dir(dir.join("photos")).unwrap();
    fs::write(dir.join("photos/cat.jpg"), "x").unwrap();
    std::os::unix::fs::symlink(dir.join("nowhere"), dir.join("link")).unwrap();
    page.say(r#"Database::open("sst.npy")"#, Database::open(dir.join("sst.npy")));
    page.say(r#"Database::open("photos")"#, Database::open(dir.join("photos")));
    page.say(r#"Database::open("no/such/parent")"#, Database::open(dir.join("no/such/parent")));
    page.say(r#"Database::open("~/climate.bigarray")"#, Database::open("~/climate.bigarray"));
    page.say(r#"Database::open("link"), a link to nowhere"#, Database::open(dir.join("link")));
    page.say(r#"Database::open("")"#, Database::open(""));
    let missing = dir.join("missing");
    page.say(
        r#"Database::options().read_only(true).open("missing")"#,
        Database::options().read_only(true).open(&missing),
    );
    page.say(r#"Database::options().create(false).open("missing")"#, Database::options().create(false).open(&missing));
}

fn types(page: &mut Page, db: &Database) {
    page.title("Types and dimensions");
    page.say(r#"db.array::<f64, Ix2>("sst"), which has f32"#, db.array::<f64, Ix2>("sst"));
    page.say(r#"db.array::<f32, Ix3>("sst"), which has two dimensions"#, db.array::<f32, Ix3>("sst"));
    page.say(r#"db.array::<f32, Ix2>("SST")"#, db.array::<f32, Ix2>("SST"));
    page.say(r#"db.any_array("sst")?.downcast::<u8, Ix1>()"#, db.any_array("sst").unwrap().downcast::<u8, Ix1>());
    let (txn, plain) = (db.begin().unwrap(), ArrayOptions::new());
    page.say(r#"txn.create_any("b", "float32", …)"#, txn.create_any("b", "float32", &[1], &plain));
    page.say(r#"txn.create_any("b", ">f4", …)"#, txn.create_any("b", ">f4", &[1], &plain));
    let mut mask = txn.create_any("mask", "|b1", &[2, 2], &plain).unwrap();
    mask.row_bytes_mut(1..2).unwrap()[0] = 2;
    let mask = mask.downcast::<Bool, Ix2>().unwrap();
    page.say("mask.bools(..), of which one is the byte 2", mask.bools(..));
    drop(mask);
    txn.abort();
}

fn fill_values(page: &mut Page, db: &Database) {
    page.title("Fill values");
    let txn = db.begin().unwrap();
    let fill = ArrayOptions::new().fill(f32::NAN);
    page.say(r#"txn.create_with::<f64, _>("b", …), .fill(f32::NAN)"#, txn.create_with::<f64, _>("b", 1, &fill));
    page.say(
        r#"txn.create_with::<u32, _>("b", …), .fill(-1)"#,
        txn.create_with::<u32, _>("b", 1, &ArrayOptions::new().fill(-1)),
    );
    page.say(r#"txn.create_any("b", "<f8", …), .fill(f32::NAN)"#, txn.create_any("b", "<f8", &[1], &fill));
    page.say(
        r#"txn.create_with::<f32, _>("sst", …), .fill(f32::NAN)"#,
        txn.create_with::<f32, _>("sst", (10, 4), &fill),
    );
    page.say("sst.is_written(5..11), of 10", txn.array::<f32, Ix2>("sst").unwrap().is_written(5..11));
    txn.abort();
}

fn shapes(page: &mut Page, db: &Database) {
    page.title("Shapes, axes, rows");
    let txn = db.begin().unwrap();
    let mut sst = txn.array::<f32, Ix2>("sst").unwrap();
    page.say("sst.rows(5..11), of 10", sst.rows(5..11));
    page.say("sst.rows_mut(..=10)", sst.rows_mut(..=10));
    page.say("sst.append(Axis(1), …), row-major", sst.append(Axis(1), Array2::zeros((10, 1)).view()));
    page.say("sst.append(Axis(0), …), of another width", sst.append(Axis(0), Array2::zeros((1, 5)).view()));
    page.say("sst.push(Axis(0), …), of another width", sst.push(Axis(0), Array1::zeros(5).view()));
    page.say("sst.resize((10, 5))", sst.resize((10, 5)));
    page.say("sst.drop_front(11), of 10", sst.drop_front(11));
    page.say("sst.prefetch_ahead(5..11), of 10", sst.prefetch_ahead(5..11));
    page.say("sst.remove_rows(5..11), of 10", sst.remove_rows(5..11));
    page.say("sst.insert_rows(11, …), of 10", sst.insert_rows(11, Array2::zeros((1, 4)).view()));
    page.say("sst.reshape((3, 7))", sst.reshape((3, 7)));
    page.say("total.drop_front(1), of dimension 0", txn.array::<f64, Ix0>("total").unwrap().drop_front(1));
    page.say(r#"txn.create::<u8, _>("huge", 1 << 63)"#, txn.create::<u8, _>("huge", 1 << 63));
    page.say("any.append_bytes(&[0; 13])", txn.any_array("sst").unwrap().append_bytes(&[0; 13]));
    txn.abort();
}

fn transactions(page: &mut Page, db: &Database) {
    page.title("Transactions");
    let txn = db.begin().unwrap();
    let sst = txn.array::<f32, Ix2>("sst").unwrap();
    page.say(r#"txn.array("sst"), the second time"#, txn.array::<f32, Ix2>("sst"));
    page.say(r#"txn.remove("sst"), while it is open"#, txn.remove("sst"));
    drop(sst);
    page.say(r#"txn.create("sst", …), which exists"#, txn.create::<f32, _>("sst", 1));
    page.say(r#"txn.rename("sst", "total"), which exists"#, txn.rename("sst", "total"));
    page.say(r#"txn.create("", …)"#, txn.create::<f32, _>("", 1));
    txn.abort();

    let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
    for txn in [&one, &two] {
        txn.create::<f32, _>("new", 1).unwrap();
    }
    one.commit().unwrap();
    page.say("two.commit(), which created what one did", two.commit());
    let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
    for txn in [&one, &two] {
        txn.array::<f32, Ix2>("sst").unwrap().view_mut().fill(3.0);
    }
    one.commit().unwrap();
    page.say("two.commit(), which stored to what one did", two.commit());
    let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
    for txn in [&one, &two] {
        txn.array::<f32, Ix1>("new").unwrap().append(Axis(0), array![1.0].view()).unwrap();
    }
    one.commit().unwrap();
    page.say("two.commit(), which appended as one did", two.commit());

    let txn = db.begin().unwrap();
    std::mem::forget(txn.array::<f32, Ix2>("sst").unwrap());
    page.say("txn.commit(), after mem::forget(sst)", txn.commit());
    page.told("drop(txn), with changes", &dropped(db));
}

/// The event that tells of a dropped transaction.
fn dropped(db: &Database) -> String {
    let log = EventLog::default();
    tracing::subscriber::with_default(log.clone(), || {
        let txn = db.begin().unwrap();
        drop(txn.array::<f32, Ix2>("sst").unwrap());
        drop(txn);
        db.begin().unwrap().abort();
        let failed = db.transact(|txn| {
            txn.create::<u8, _>("left", 1)?;
            Err::<(), _>(Error::new(bigarray::ErrorKind::Invalid, "what the closure says"))
        });
        failed.unwrap_err();
        db.transact(|txn| txn.array::<f32, Ix2>("sst")?.set_attr("unit", "K".into())).unwrap();
    });
    let warnings = |log: &EventLog| -> Vec<String> {
        log.events()
            .into_iter()
            .filter(|event| event.level == tracing::Level::WARN)
            .map(|event| event.message)
            .collect()
    };
    assert!(warnings(&log).is_empty(), "no change was lost unawares");
    tracing::subscriber::with_default(log.clone(), || {
        let txn = db.begin().unwrap();
        txn.array::<f32, Ix2>("sst").unwrap().view_mut().fill(4.0);
        txn.create::<u8, _>("left", 1).unwrap();
        drop(txn);
    });
    let [warning] = &warnings(&log)[..] else { panic!("one warning: {:?}", warnings(&log)) };
    format!("warning: {warning}")
}

fn attributes(page: &mut Page, db: &Database) {
    page.title("Attributes");
    let txn = db.begin().unwrap();
    let mut sst = txn.array::<f32, Ix2>("sst").unwrap();
    page.say(r#"sst.set_attr_number("missing", f32::NAN)"#, sst.set_attr_number("missing", f32::NAN));
    page.say(r#"sst.set_attr_number("most", f64::INFINITY)"#, sst.set_attr_number("most", f64::INFINITY));
    page.say(r#"sst.set_attr("", …)"#, sst.set_attr("", 1.into()));
    drop(sst);
    txn.abort();
}

fn options(page: &mut Page, path: &Path) {
    page.title("Options");
    page.say("options.memory_budget(1 << 20)", Database::options().memory_budget(1 << 20).open(path));
    let db = Database::open(path).unwrap();
    let txn = db.begin().unwrap();
    let block = ArrayOptions::new().block_size(1000);
    page.say("ArrayOptions::new().block_size(1000)", txn.create_with::<u8, _>("b", 1, &block));
    let level = ArrayOptions::new().codec(Codec::Zstd { level: 99, shuffle: false });
    page.say("Codec::Zstd { level: 99, .. }", txn.create_with::<u8, _>("b", 1, &level));
    txn.abort();
    drop(db);
    let db = Database::options().read_only(true).open(path);
    // A process that has it open for writing may open it for reading, too.
    let db = db.unwrap();
    page.say(r#"txn.create("b", …), read_only(true)"#, db.begin().unwrap().create::<u8, _>("b", 1));
}

/// In a file of its own, since it takes a disk of its own.
#[test]
fn a_full_disk_is_told_with_what_is_missing() {
    if !is_root() {
        return skip("a file system of a certain size takes root");
    }
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), 20);
    let db = Database::options().memory_budget(8 << 20).open(dir.path().join("a.bigarray")).unwrap();
    let txn = db.begin().unwrap();
    let mut big = txn.create::<f64, _>("big", (0, 1000)).unwrap();
    let rows = Array2::from_elem((100, 1000), 1.5);
    let error = (0..1000).find_map(|_| big.append(Axis(0), rows.view()).err()).expect("a full disk is told");
    let text = error.to_string();
    assert_eq!(text.matches("\"big\"").count(), 1, "{text}");
    for part in ["bytes to the data file", "bytes of its file system are free", "No space left"] {
        assert!(error.is_store_full() && text.contains(part), "{text}: does not say {part:?}");
    }
}
