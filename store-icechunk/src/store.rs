//! The store as core sees it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::store::{Change, CommitLock, Committed, History, Snapshot, SpillArea, Store, StoreDescription};
use bigarray_core::{Codec, Descriptor, Error, ErrorKind, Metrics, Result};

use crate::commit;
use crate::disk_cache::ChunkFiles;
use crate::objects::{Backend, Location, Objects, Requests, Runtime};
use crate::options::{DiskCache, Options};
use crate::repository::Repository;
use crate::shared::Shared;
use crate::snapshot::Source;
use crate::spill::LocalSpillArea;
use crate::zarr;

/// Levels that an array can be created with.
const ZSTD_LEVELS: RangeInclusive<i32> = 1..=22;

/// Between two looks for a commit of another machine. Each look is a request.
const PAUSES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// A longer [`Options::deadline`] is this one.
const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// An open database on object storage.
pub struct IcechunkStore {
    shared: Arc<Shared>,
}

impl IcechunkStore {
    /// Opens the database at `url`, or creates it.
    ///
    /// # Errors
    /// Any error that keeps it from being opened, naming the URL and never a key.
    pub fn open(url: &str, options: &Options) -> Result<Arc<IcechunkStore>> {
        let location = Location::parse(url)?;
        // Times are added to it. No request of any use takes as long.
        let (deadline, create) = (options.deadline.min(LONGEST_DEADLINE), options.create && !options.read_only);
        let options = &Options { deadline, create, ..options.clone() };
        let disk = options.disk_cache.as_ref().map(ChunkFiles::open).transpose()?.flatten();
        let runtime = Arc::new(Runtime::new(&location, options.deadline)?);
        let backend = Arc::new(Backend::new(&location, options)?);
        let repository = Arc::new(Repository::open(&backend, &runtime, options.create)?);
        let source = Source::new(repository, Objects::new(backend, runtime), options.cache_bytes, disk);
        Ok(Arc::new(IcechunkStore { shared: Arc::new(Shared::new(Arc::new(source), options.clone())) }))
    }

    /// Requests that were made until now.
    pub fn requests(&self) -> Requests {
        self.shared.source().repository.backend().requests()
    }
}

impl Store for IcechunkStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.shared.recent()?)
    }

    fn newest(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.shared.newest()?.snapshot)
    }

    fn pauses(&self) -> RangeInclusive<Duration> {
        PAUSES
    }

    fn known(&self) -> Result<Arc<dyn Snapshot>> {
        self.shared.source().check_process()?;
        match self.shared.known() {
            Some(known) => Ok(known),
            None => self.snapshot(),
        }
    }

    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
        if change.stores() {
            self.shared.check_writable()?;
        }
        commit::commit(&self.shared, change, lock)
    }

    fn commit_lock(&self) -> Result<Box<dyn CommitLock>> {
        self.shared.source().check_process()?;
        Ok(Box::new(self.shared.commit_lock().take()?))
    }

    fn spill_area(&self) -> Result<Arc<dyn SpillArea>> {
        self.shared.source().check_process()?;
        self.shared.check_writable()?;
        Ok(Arc::new(LocalSpillArea::new(&std::env::temp_dir())))
    }

    fn check_array_name(&self, name: &str) -> Result<()> {
        zarr::check_array_name(name)
    }

    fn check_attr_name(&self, name: &str) -> Result<()> {
        zarr::check_attr_name(name)
    }

    fn check_fill(&self, array: &Descriptor) -> Result<()> {
        zarr::check_fill(array)
    }

    fn check_codec(&self, codec: Codec) -> Result<()> {
        match codec {
            Codec::Zstd { level, .. } if !ZSTD_LEVELS.contains(&level) => {
                let text =
                    format!("Zstandard has levels {} to {}, not {level}", ZSTD_LEVELS.start(), ZSTD_LEVELS.end());
                Err(Error::new(ErrorKind::Invalid, text))
            }
            Codec::None | Codec::Lz4 { .. } | Codec::Zstd { .. } => Ok(()),
            _ => Err(Error::new(ErrorKind::Unsupported, format!("the codec {codec} cannot be stored as Zarr"))),
        }
    }

    fn describe(&self) -> Result<StoreDescription> {
        let source = self.shared.source();
        source.check_process()?;
        let options = self.shared.options();
        let mut cache = format!("{} MiB of chunks in memory", options.cache_bytes >> 20);
        if let Some(DiskCache { directory, bytes }) = &options.disk_cache {
            cache += &format!(", {} MiB in {}", bytes >> 20, directory.display());
        }
        let kind = "arrays of Zarr in a repository of Icechunk".to_owned();
        Ok(StoreDescription {
            kind,
            is_copied: options.disk_cache.is_none(),
            cache: Some(cache),
            ..StoreDescription::default()
        })
    }

    fn add_metrics(&self, metrics: &mut Metrics) {
        let Requests { gets, puts, others, bytes_got, bytes_put } = self.requests();
        metrics.requests += gets + puts + others;
        metrics.bytes_read += bytes_got;
        metrics.bytes_written += bytes_put;
    }

    fn history(&self) -> Option<&dyn History> {
        Some(&*self.shared)
    }
}
