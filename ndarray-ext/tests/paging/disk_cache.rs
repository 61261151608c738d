//! Blocks of a database at a URL that are mapped from a disk cache: as right as those that are fetched, whatever becomes of
//! their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bigarray::ndarray::Ix1;
use bigarray::{BigArray1, Database};

use crate::support::child::{self, Child, alone, hear, role, say, this_test};
use crate::support::{Faults, copies, faults, small_blocks};

const CHUNK: usize = 1 << 20;
const CHUNKS: usize = 6;
/// More than all chunks.
const ROOMY: u64 = 1 << 30;

const LEN: usize = CHUNKS * CHUNK / 8;

/// A database in a directory, and a disk cache beside it.
struct Ground {
    dir: PathBuf,
}

impl Ground {
    fn at(dir: &Path) -> Ground {
        Ground { dir: dir.to_owned() }
    }

    /// An array "a" of numbers from 0 on, of which the disk cache has every chunk.
    fn filled(dir: &Path) -> Ground {
        let ground = Ground::at(dir);
        let db = ground.open(ROOMY);
        db.transact(|txn| {
            let mut array = txn.create_with::<f64, _>("a", LEN, &small_blocks())?;
            array.view_mut().iter_mut().zip(0..).for_each(|(element, n)| *element = f64::from(n));
            Ok(())
        })
        .unwrap();
        drop(db);
        // It keeps chunks for as long as it is open.
        let db = ground.open(ROOMY);
        assert_right(&ground.array(&db));
        let began = Instant::now();
        while ground.files().len() < CHUNKS {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", ground.files());
            std::thread::sleep(Duration::from_millis(5));
        }
        ground
    }

    fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    fn open(&self, bytes: u64) -> Database {
        let url = format!("file://{}", self.dir.join("db").display());
        Database::options().disk_cache(self.cache(), bytes).open_url(&url).unwrap()
    }

    fn array(&self, db: &Database) -> BigArray1<f64> {
        db.array("a").unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = all.filter(|path| path.extension().is_some_and(|end| end == "chunk")).collect();
        files.sort();
        files
    }

    /// Mappings of files of the cache, removed ones too.
    fn mappings(&self) -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains(&*self.cache().to_string_lossy())).count()
    }

    /// Sees that blocks are mapped, where that is what this process does.
    #[track_caller]
    fn assert_mapped(&self) {
        let maps = faults() != Faults::None && !copies();
        assert_eq!(self.mappings() > 0, maps, "{} mappings", self.mappings());
    }
}

#[track_caller]
fn assert_right(array: &BigArray1<f64>) {
    assert!(array.view().iter().zip(0..).all(|(element, n)| *element == f64::from(n)));
}

#[test]
fn blocks_are_mapped_and_stay_right_when_the_cache_is_removed() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ground = Ground::filled(dir.path());
    let (db, other) = (ground.open(ROOMY), ground.open(ROOMY));
    let array = ground.array(&db);
    assert_right(&array);
    ground.assert_mapped();
    array.prefetch(..).unwrap();
    // The cache may just be writing: a file that appears meanwhile makes an attempt fail.
    while ground.cache().exists() {
        let _ = fs::remove_dir_all(ground.cache());
    }
    assert_right(&array);
    array.prefetch(..).unwrap();
    assert_right(&ground.array(&other));
}

#[test]
fn what_transactions_write_to_mapped_blocks_is_theirs_and_no_file_changes() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ground = Ground::filled(dir.path());
    let bytes = |ground: &Ground| ground.files().into_iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>();
    let cached = bytes(&ground);
    let db = ground.open(ROOMY);
    let before = ground.array(&db);
    assert_right(&before);

    let mut txn = db.begin().unwrap();
    let element = |txn: &bigarray::Transaction, at: usize| txn.array::<f64, Ix1>("a").unwrap().view()[at];
    let set = |txn: &bigarray::Transaction, at: usize, to: f64| {
        let mut array = txn.array::<f64, Ix1>("a").unwrap();
        let mut view = array.view_mut();
        assert_eq!(view[at + 1], (at + 1) as f64);
        view[at] = to;
    };
    set(&txn, 5, -1.0);
    set(&txn, 300_000, -2.0);
    let savepoint = txn.savepoint().unwrap();
    set(&txn, 300_000, -3.0);
    set(&txn, 500_000, -4.0);
    txn.rollback(savepoint).unwrap();
    assert_eq!([5, 300_000, 500_000].map(|at| element(&txn, at)), [-1.0, -2.0, 500_000.0]);
    set(&txn, 700_000, -5.0);
    txn.commit().unwrap();

    let mut aborted = db.begin().unwrap();
    set(&aborted, 9, -6.0);
    let _savepoint = aborted.savepoint().unwrap();
    drop(aborted);

    ground.assert_mapped();
    assert_right(&before);
    for db in [&db, &ground.open(ROOMY)] {
        let after = ground.array(db);
        let changed = [(5, -1.0), (300_000, -2.0), (700_000, -5.0)];
        for (at, element) in after.view().iter().enumerate() {
            let expected = changed.iter().find(|(changed, _)| *changed == at).map_or(at as f64, |(_, to)| *to);
            assert_eq!(*element, expected, "element {at}");
        }
    }
    let now = bytes(&ground);
    assert!(cached.iter().all(|file| now.contains(file)), "a file was changed");
}

#[test]
fn blocks_stay_right_while_their_files_are_evicted() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ground = Ground::filled(dir.path());
    // All are mapped, before the first are evicted for those that come anew.
    let db = ground.open(ROOMY);
    let array = ground.array(&db);
    assert_right(&array);
    let small = ground.open(2 * CHUNK as u64);
    for round in 0..3 {
        small
            .transact(|txn| {
                txn.array::<f64, Ix1>("a")?.view_mut().iter_mut().for_each(|element| *element += 1.0);
                Ok(())
            })
            .unwrap();
        let newest = ground.array(&small);
        assert!(newest.view().iter().enumerate().all(|(at, element)| *element == (at + round + 1) as f64));
        assert_right(&array);
    }
    let began = Instant::now();
    while ground.files().len() > 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", ground.files());
        std::thread::sleep(Duration::from_millis(5));
        // A process keeps all files within its own limit, when it writes one.
        assert_right(&array);
        let reader = ground.open(2 * CHUNK as u64);
        let view = ground.array(&reader);
        assert_eq!(view.view()[0], 3.0);
    }
    assert_right(&array);
}

#[test]
fn two_processes_map_the_same_files_and_one_removes_them() {
    if let Some(dir) = role() {
        let ground = Ground::at(Path::new(&dir));
        let db = ground.open(ROOMY);
        let array = ground.array(&db);
        assert_right(&array);
        ground.assert_mapped();
        say("mapped");
        assert_eq!(hear(), "removed");
        assert_right(&array);
        say("right");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ground = Ground::filled(dir.path());
    let mut child = Child::start(child::command(this_test!(), dir.path().to_str().unwrap()));
    assert_eq!(child.hear(), "mapped");
    let db = ground.open(ROOMY);
    let array = ground.array(&db);
    assert_right(&array);
    ground.files().iter().for_each(|file| fs::remove_file(file).unwrap());
    assert_eq!(child.ask("removed"), "right");
    assert_right(&array);
    child.finish();
}
