//! Arrays of which nothing is in memory, and what reading them costs.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, Instant};

use bigarray::ndarray::{Array, ArrayRef, ArrayView, Dimension, IntoDimension};
use bigarray::{Access, ArrayOptions, BigArray};

use super::child::say;
use super::disk::{bytes_read, cached_bytes, drop_page_cache, is_on_disk, read_in_the_program};
use super::process::behind;
use super::{Faults, PAGE, TestDb, copies, faults};

/// What may be read of the index for a look at an array: a few of its pages.
const INDEX: u64 = 128 << 10;

/// How long pages may take to leave the page cache, before they count as held there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database and the means to look at its arrays without any of it in memory. To be used in a process of its own, since
/// all that a process reads is counted.
pub(crate) struct Cold {
    db: TestDb,
    /// Whether what comes from the disk can be counted.
    pub(crate) counts: bool,
}

impl Cold {
    pub(crate) fn new() -> Cold {
        read_in_the_program();
        let db = TestDb::new();
        let counts = is_on_disk(db.path());
        if !counts {
            say(format_args!("{:?} is on no disk whose reads could be counted: only blocks are", db.path()));
        }
        Cold { db, counts }
    }

    /// Stores an array whose elements are [`element`].
    pub(crate) fn store<D: Dimension>(&self, name: &str, dim: &D, options: &ArrayOptions) {
        self.db.commit(|txn| {
            let mut a = txn.create_with::<f32, _>(name, dim.clone(), options).unwrap();
            a.view_mut()
                .assign(&Array::from_shape_fn(dim.clone(), |at| element(at.into_dimension().slice(), dim.slice())));
        });
    }

    /// Lets `look` look, and says how many bytes were read for it, read-ahead included; none where that is not known.
    pub(crate) fn look<D: Dimension>(
        &mut self,
        name: &str,
        access: Access,
        look: impl FnOnce(&BigArray<f32, D>),
    ) -> Option<u64> {
        self.db.close();
        drop_page_cache(self.db.path());
        let since = Instant::now();
        while self.counts && self.cached_bytes() > 0 {
            let left = self.cached_bytes();
            assert!(since.elapsed() < PATIENCE, "{left} bytes of the data file do not leave the page cache");
            // What was being read ahead when the database was closed stays until it has arrived.
            std::thread::sleep(Duration::from_millis(5));
            drop_page_cache(self.db.path());
        }
        self.db.reopen();
        let before = bytes_read();
        let a = self.db.array(name).unwrap();
        a.advise(access);
        look(&a);
        drop(a);
        // Ends reads ahead that still run.
        self.db.close();
        let read = bytes_read() - before;
        self.db.reopen();
        self.counts.then_some(read)
    }

    /// Bytes of the data file that are in the page cache.
    pub(crate) fn cached_bytes(&self) -> usize {
        cached_bytes(&File::open(self.db.path().join("data")).unwrap())
    }
}

/// What is stored at index `at` of an array of shape `shape`: never the same nearby, and exact.
pub(crate) fn element(at: &[usize], shape: &[usize]) -> f32 {
    let n = at.iter().zip(shape).fold(0, |n, (at, len)| n * len + at);
    (n % (1 << 24)) as f32
}

/// Where a part of an array lies: its pages, its blocks.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) pages: BTreeSet<usize>,
    pub(crate) blocks: BTreeSet<usize>,
}

impl Place {
    pub(crate) fn add<D: Dimension, E: Dimension>(
        &mut self,
        whole: &ArrayView<'_, f32, D>,
        part: &ArrayRef<f32, E>,
        block_bytes: usize,
    ) {
        for x in part {
            // Its address: nothing is read.
            let at = std::ptr::from_ref(x) as usize - whole.as_ptr() as usize;
            self.pages.insert(at / PAGE);
            self.blocks.insert(at / block_bytes);
        }
    }

    /// Bytes that are read at most to look at it under [`Access::Random`], unless blocks are copied: those are whole
    /// ones, and the kernel reads ahead of a reader.
    pub(crate) fn most_bytes(&self) -> u64 {
        (self.pages.len() * PAGE) as u64 + INDEX
    }
}

/// Whether arrays of few segments are loaded as they are touched. Otherwise they are mapped whole when they are opened.
pub(crate) fn is_lazy() -> bool {
    faults() == Faults::All || copies()
}

/// Blocks of the array that were loaded, where that is as they are touched.
pub(crate) fn loaded_blocks<D: Dimension>(view: &ArrayView<'_, f32, D>, block_bytes: usize) -> usize {
    let behind = behind(view);
    behind.mapped_bytes.max(behind.resident_bytes).div_ceil(block_bytes)
}
