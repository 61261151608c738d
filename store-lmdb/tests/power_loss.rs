//! Power losses while commits do not wait for the disk. For each page of the two files the disk has its content after any
//! of the commits: the kernel may have written any of them, in any order.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bigarray_core::store::Snapshot;
use bigarray_core::{BlockNo, PAGE, Result};
use bigarray_store_lmdb::{Durability, LmdbStore, Options};
use bigarray_testing::{Edit, Rng, array_of};
use serde_json::json;

use support::{Db, commit, now};

const BLOCKS: u64 = 4;

/// All contents of the arrays of a state.
fn contents(base: &dyn Snapshot) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    for (name, array) in base.arrays()? {
        seen.push(format!("{name}: {:?}, {:?}", array.shape, base.attrs(array.id)?));
        for block in 0..array.block_size.blocks_for(array.nbytes()) {
            let mut bytes = vec![0; array.block_size.pages() as usize * PAGE];
            base.read(array.id, BlockNo(block), 0, &mut bytes)?;
            seen.push(format!("{:08x}", crc32c::crc32c(&bytes)));
        }
    }
    Ok(seen)
}

fn change(base: &dyn Snapshot, n: u64) -> Edit {
    match n % 4 {
        0 => Edit::create(&format!("{n}"), array_of(BLOCKS as usize)).page(base, n % BLOCKS, 0, n),
        1 => Edit::of(base, "a").page(base, n / 4 % BLOCKS, (n % 16) as u32, n).page(base, 3, 15, n),
        2 => Edit::of(base, "a").attr("n", Some(json!(n))).page(base, 0, 0, n),
        _ => Edit::of(base, &format!("{}", n - 3)).remove(),
    }
}

/// One of the two files after each of the commits.
struct Images(Vec<Vec<u8>>);

impl Images {
    /// An image that a disk may have.
    fn any(&self, rng: &mut Rng) -> Vec<u8> {
        let mut image = self.0[rng.below(self.0.len())].clone();
        // Mostly the last content, or mostly the first.
        let often = [0, self.0.len() - 1][rng.below(2)];
        let rare = 1 + rng.below(20);
        for (n, page) in image.chunks_mut(PAGE).enumerate() {
            let from = &self.0[if rng.one_in(rare) { rng.below(self.0.len()) } else { often }];
            match from.get(n * PAGE..n * PAGE + page.len()) {
                Some(bytes) => page.copy_from_slice(bytes),
                None => page.fill(0),
            }
        }
        image
    }
}

#[test]
fn after_a_power_loss_an_unsynced_database_is_refused_or_shows_a_committed_state() {
    let db = Db::new();
    commit(&db.open(), |base| {
        (0..BLOCKS)
            .fold(Edit::create("a", array_of(BLOCKS as usize)), |edit, block| edit.block(base, block, 50 * block))
    });
    let options = |path: &Path| Options { durability: Durability::NoPowerLossSafety, ..Options::new(path) };
    let store = LmdbStore::open(&options(&db.path)).unwrap();
    let (mut index, mut data, mut states) = (Images(Vec::new()), Images(Vec::new()), Vec::new());
    for n in 0..12 {
        if n > 0 {
            commit(&store, |base| change(base, n - 1));
        }
        index.0.push(fs::read(db.path.join("index")).unwrap());
        data.0.push(fs::read(db.path.join("data")).unwrap());
        states.push(contents(&*now(&store)).unwrap());
    }
    let mark = fs::read_to_string(db.path.join("unsynced")).expect("on disk before all of these");
    drop(store);

    let mut rng = Rng::new(20);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..160 {
        let image = Db::new();
        fs::create_dir(&image.path).unwrap();
        fs::write(image.path.join("index"), index.any(&mut rng)).unwrap();
        fs::write(image.path.join("data"), data.any(&mut rng)).unwrap();
        fs::write(image.path.join("unsynced"), mark.replace(|c: char| c.is_ascii_hexdigit(), "0")).unwrap();
        match LmdbStore::open(&Options::new(&image.path)) {
            Ok(store) => {
                let store: Arc<LmdbStore> = store;
                let seen = contents(&*now(&store)).unwrap();
                assert!(states.contains(&seen), "round {round}: a state that never was: {seen:?}");
                opened += 1;
            }
            Err(e) => {
                assert!(e.is_corrupt() && e.to_string().contains(&image.path.display().to_string()), "{round}: {e:?}");
                fs::remove_dir_all(&image.path).unwrap();
                refused += 1;
            }
        }
    }
    assert!(opened > 10 && refused > 10, "{opened} opened, {refused} refused");
}
