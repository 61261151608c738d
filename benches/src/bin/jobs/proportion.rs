//! Small arrays, and large ones that are touched here and there: memory and time in proportion to what is held and touched.

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Codec, Database, Durability};
use bigarray_benches::baseline::{map, numbers};
use bigarray_benches::row::Spread;
use fastrand::Rng;

use crate::ground::{GIB, Ground, MIB, against, ensure, figure, timed};
use crate::memory::anonymous_bytes;
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 6] = [
    Part { name: "1,000 new arrays of one number in one transaction", cgroup: None, run: of_one_number },
    Part { name: "3,000 single bytes of a new array of 3 GiB", cgroup: None, run: scattered },
    Part { name: "3,000 single bytes of holes of an old array of 3 GiB", cgroup: None, run: scattered_in_holes },
    Part { name: "640 bytes of an array of 160 kB, LZ4", cgroup: None, run: change_compressed },
    Part { name: "10,000 arrays of 800 bytes, a commit each 1,000", cgroup: None, run: create },
    Part { name: "3,000 arrays of 16 kB opened, touched and dropped", cgroup: None, run: open },
];

/// Bytes that are touched of the large array,
const TOUCHED: usize = 3000;

/// and how many it has.
const LARGE: usize = 3 * GIB;

/// MiB of anonymous memory that came since there were `before` bytes of it.
fn added(before: usize) -> Outcome<f64> {
    Ok(anonymous_bytes()?.saturating_sub(before) as f64 / MIB as f64)
}

fn unsynced(ground: &Ground) -> Outcome<Database> {
    Ok(Database::options().durability(Durability::NoPowerLossSafety).open(ground.database())?)
}

fn of_one_number(ground: &Ground) -> Outcome<()> {
    let db = unsynced(ground)?;
    let txn = db.begin()?;
    let before = anonymous_bytes()?;
    let mut arrays = Vec::new();
    for n in 0..1000 {
        let mut array = txn.create::<f64, _>(&format!("a{n}"), 1)?;
        array.view_mut()[0] = f64::from(n);
        arrays.push(array);
    }
    against("anonymous memory they take", added(before)?, " MiB", 16.0, false);
    figure("the budget is charged", format_args!("{:.1} MiB", db.memory_use().used_bytes as f64 / MIB as f64));
    drop(arrays);
    txn.commit()?;
    for n in 0..1000 {
        let array = db.array::<f64, Ix1>(&format!("a{n}"))?;
        ensure(array.view()[0] == f64::from(n), || format!("array {n} has another number"))?;
    }
    Ok(())
}

/// Places in the large array: here and there, or one after the other.
fn places(in_order: bool) -> Vec<usize> {
    let mut numbers = Rng::with_seed(5);
    let mut places: Vec<usize> = (0..TOUCHED).map(|_| numbers.usize(..LARGE)).collect();
    if in_order {
        places.sort_unstable();
    }
    places
}

fn scattered(ground: &Ground) -> Outcome<()> {
    for in_order in [false, true] {
        let db = unsynced(ground)?;
        let txn = db.begin()?;
        let mut array = txn.create::<u8, _>("new", LARGE)?;
        let before = anonymous_bytes()?;
        let mut view = array.view_mut();
        let ((), seconds) = timed(|| {
            places(in_order).into_iter().for_each(|at| view[at] = 7);
            Ok(())
        })?;
        let how = if in_order { "in order" } else { "here and there" };
        against(&format!("anonymous memory, {how}"), added(before)?, " MiB", 64.0, false);
        figure("time", format_args!("{:.1} ms", seconds * 1e3));
        drop(array);
        txn.abort();
    }
    Ok(())
}

fn scattered_in_holes(ground: &Ground) -> Outcome<()> {
    let db = unsynced(ground)?;
    let txn = db.begin()?;
    txn.create::<u8, _>("old", LARGE)?;
    txn.commit()?;
    let txn = db.begin()?;
    let mut array = txn.array::<u8, Ix1>("old")?;
    let before = anonymous_bytes()?;
    let ((), seconds) = timed(|| {
        for at in places(false) {
            array.rows_mut(at..at + 1)?[0] = 7;
        }
        Ok(())
    })?;
    against("anonymous memory", added(before)?, " MiB", 64.0, false);
    figure("time", format_args!("{:.1} ms", seconds * 1e3));
    drop(array);
    let ((), seconds) = timed(|| Ok(txn.commit()?))?;
    figure("commit", format_args!("{:.1} ms", seconds * 1e3));
    let array = db.array::<u8, Ix1>("old")?;
    ensure(places(false).into_iter().all(|at| array.view()[at] == 7), || "a byte is not there".to_owned())
}

fn median(times: Vec<f64>) -> f64 {
    Spread::of(times).median
}

fn change_compressed(ground: &Ground) -> Outcome<()> {
    const LEN: usize = 160_000 / 8;
    let db = unsynced(ground)?;
    let txn = db.begin()?;
    for (name, codec) in [("plain", Codec::None), ("packed", Codec::Lz4 { shuffle: true })] {
        let mut array = txn.create_with::<f64, _>(name, LEN, &ArrayOptions::new().codec(codec))?;
        array.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = (n % 97) as f64);
    }
    txn.commit()?;
    let change = |name: &str, round: usize| -> Outcome<(f64, f64)> {
        let txn = db.begin()?;
        let mut array = txn.array::<f64, Ix1>(name)?;
        let at = round * 80 % (LEN - 80);
        let (_, change) = timed(|| {
            array.rows_mut(at..at + 80)?.fill(round as f64);
            Ok(())
        })?;
        drop(array);
        let ((), commit) = timed(|| Ok(txn.commit()?))?;
        Ok((change, commit))
    };
    let (mut changes, mut wholes) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..ground.pick(200, 50) {
        for (which, name) in ["plain", "packed"].into_iter().enumerate() {
            let (change, commit) = change(name, round)?;
            changes[which].push(change);
            wholes[which].push(change + commit);
        }
    }
    for (what, times) in [("change", changes), ("change and commit", wholes)] {
        let [plain, packed] = times.map(median);
        figure(what, format_args!("plain {:.3} ms, LZ4 {:.3} ms", plain * 1e3, packed * 1e3));
        against(&format!("{what}: LZ4 to plain"), packed / plain, " ×", 5.0, false);
    }
    Ok(())
}

fn create(ground: &Ground) -> Outcome<()> {
    const COMMITS: usize = 10;
    const ARRAYS: usize = 1000;
    let db = Database::open(ground.database())?;
    let on_disk = || -> Outcome<u64> {
        use std::os::unix::fs::MetadataExt;
        let entries = std::fs::read_dir(ground.database())?;
        entries.map(|entry| Ok(entry?.metadata()?.blocks() * 512)).sum()
    };
    let before = on_disk()?;
    let mut committing = 0.0;
    let ((), seconds) = timed(|| {
        for commit in 0..COMMITS {
            let txn = db.begin()?;
            for n in 0..ARRAYS {
                let mut array = txn.create::<f64, _>(&format!("a{commit}-{n}"), 100)?;
                array.view_mut().fill(n as f64);
            }
            committing += timed(|| Ok(txn.commit()?))?.1;
        }
        Ok(())
    })?;
    against("time", seconds, " s", 1.0, false);
    figure("of it committing", format_args!("{committing:.2} s"));
    let each = (on_disk()? - before) as f64 / (COMMITS * ARRAYS) as f64;
    against("disk an array", each / 1e3, " kB", 6.0, false);
    let array = db.array::<f64, Ix1>("a7-77")?;
    ensure(array.view().iter().all(|x| *x == 77.0), || "an array has other numbers".to_owned())
}

fn open(ground: &Ground) -> Outcome<()> {
    const ARRAYS: usize = 3000;
    const LEN: usize = 16_384 / 8;
    let files = ground.path("files");
    std::fs::create_dir(&files)?;
    {
        let db = unsynced(ground)?;
        let txn = db.begin()?;
        for n in 0..ARRAYS {
            let numbers = vec![n as f64; LEN];
            txn.create::<f64, _>(&format!("a{n}"), LEN)?.view_mut().fill(n as f64);
            std::fs::write(files.join(format!("a{n}")), bytemuck::cast_slice(&numbers))?;
        }
        txn.commit()?;
    }
    let theirs = || {
        timed(|| {
            for n in 0..ARRAYS {
                let mapped = map(&files.join(format!("a{n}")))?;
                ensure(numbers(&mapped)[LEN / 2] == n as f64, || format!("file {n}"))?;
            }
            Ok(())
        })
    };
    let (mut snapshots, mut transactions) = (Vec::new(), Vec::new());
    let (mut ms, mut us) = (Vec::new(), Vec::new());
    for _ in 0..ground.pick(7, 3) {
        let db = unsynced(ground)?;
        let snapshot = db.snapshot()?;
        let (_, in_snapshot) = timed(|| {
            for n in 0..ARRAYS {
                let array = snapshot.array::<f64, Ix1>(&format!("a{n}"))?;
                ensure(array.view()[LEN / 2] == n as f64, || format!("array {n}"))?;
            }
            Ok(())
        })?;
        let (_, files) = theirs()?;
        let txn = db.begin()?;
        let (_, in_transaction) = timed(|| {
            for n in 0..ARRAYS {
                let array = txn.array::<f64, Ix1>(&format!("a{n}"))?;
                ensure(array.view()[LEN / 2] == n as f64, || format!("array {n}"))?;
            }
            Ok(())
        })?;
        txn.abort();
        snapshots.push(in_snapshot / files);
        transactions.push(in_transaction / files);
        ms.push(files / ARRAYS as f64 * 1e6);
        us.push(in_snapshot / ARRAYS as f64 * 1e6);
    }
    figure("each", format_args!("memmap2 {:.1} µs, in a snapshot {:.1} µs", median(ms), median(us)));
    against("in a snapshot, to memmap2", median(snapshots), " ×", 1.5, false);
    against("in a transaction, to memmap2", median(transactions), " ×", 1.5, false);
    Ok(())
}
