//! A database of a container image: it lies in the lower layer of an overlayfs.

use std::fs;
use std::path::{Path, PathBuf};

use bigarray::ndarray::{Array1, Ix1};
use bigarray::{Database, Pager};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::support::{check, skip};

const LEN: usize = 1 << 18;

/// An overlayfs, unmounted when dropped.
struct Overlay {
    at: PathBuf,
    upper: PathBuf,
    base: tempfile::TempDir,
}

impl Overlay {
    /// Over what `prepare` puts into the lower layer. `None` where this process may not mount.
    fn new(prepare: impl FnOnce(&Path)) -> Option<Overlay> {
        let base = tempfile::tempdir().unwrap();
        let tmpfs = mount(Some("none"), base.path(), Some("tmpfs"), MsFlags::empty(), Some("size=512m"));
        if let Err(e) = tmpfs {
            skip(&format!("this process may not mount a tmpfs: {e}"));
            return None;
        }
        let [lower, upper, work, at] = ["lower", "upper", "work", "at"].map(|name| base.path().join(name));
        for dir in [&lower, &upper, &work, &at] {
            fs::create_dir(dir).unwrap();
        }
        prepare(&lower);
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        let overlay = Overlay { at, upper, base };
        match mount(Some("none"), &overlay.at, Some("overlay"), MsFlags::empty(), Some(&*options)) {
            Ok(()) => Some(overlay),
            Err(e) => {
                skip(&format!("this process may not mount an overlayfs: {e}"));
                None
            }
        }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // The first fails if it was not mounted.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        let _ = umount2(self.base.path(), MntFlags::MNT_DETACH);
    }
}

fn numbers(round: u64) -> Array1<u64> {
    (0..LEN as u64).map(|n| n * 31 + round).collect()
}

fn image() -> Option<Overlay> {
    Overlay::new(|lower| {
        let db = Database::open(lower.join("a.bigarray")).unwrap();
        db.transact(|txn| {
            txn.create::<u64, _>("a", LEN)?.view_mut().assign(&numbers(0));
            Ok(())
        })
        .unwrap();
    })
}

#[track_caller]
fn shows(db: &Database, round: u64) {
    assert!(db.array::<u64, Ix1>("a").unwrap().view() == numbers(round), "round {round}");
}

#[test]
fn commits_over_an_image_are_seen() {
    for pager in [Pager::Map, Pager::Copy] {
        let Some(overlay) = image() else { return };
        let path = overlay.at.join("a.bigarray");
        let db = Database::options().pager(pager).open(&path).unwrap();
        shows(&db, 0);
        let old = db.snapshot().unwrap();
        for round in 1..4 {
            db.transact(|txn| {
                txn.array::<u64, Ix1>("a")?.view_mut().assign(&numbers(round));
                Ok(())
            })
            .unwrap();
            shows(&db, round);
        }
        assert!(old.array::<u64, Ix1>("a").unwrap().view() == numbers(0));
        drop((old, db));
        let db = Database::open(&path).unwrap();
        shows(&db, 3);
        check(&path);
    }
}

#[test]
fn an_image_is_read_without_copying_it() {
    let Some(overlay) = image() else { return };
    let db = Database::options().read_only(true).open(overlay.at.join("a.bigarray")).unwrap();
    shows(&db, 0);
    drop(db);
    assert!(fs::read_dir(&overlay.upper).unwrap().next().is_none(), "the upper layer stays empty");
}
