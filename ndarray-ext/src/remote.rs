//! Databases on object storage: the feature `icechunk`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bigarray_core::Result;
use bigarray_store_icechunk::{Credentials, DiskCache, IcechunkStore, Options};

use crate::database::Database;
use crate::options::OpenOptions;

/// Databases on object storage, which many machines share. `docs/cluster.md` of the repository says what servers must do,
/// what is guaranteed, and what it costs.
impl Database {
    /// Opens the database at `url`; creates it if there is nothing:
    ///
    /// | URL | where |
    /// |---|---|
    /// | `s3://BUCKET/PREFIX` | S3, or a server that speaks it |
    /// | `gs://BUCKET/PREFIX` | Google Cloud Storage |
    /// | `az://CONTAINER/PREFIX` | Azure Blob Storage |
    /// | `file:///DIRECTORY` | a directory in the same format, for trying out and for exchange: a directory [opened as such](Database::open) is faster |
    /// | `memory://NAME` | this process, for tests |
    ///
    /// The arrays are those of Zarr v3 in an Icechunk repository: Python's icechunk, zarr and xarray open them, and what
    /// they commit is seen here. Keys are taken from the environment, as the providers' own tools do, and are never a part
    /// of the URL.
    ///
    /// ```
    /// use bigarray::{Database, ndarray::Ix2};
    ///
    /// let db = Database::open_url("memory://climate")?;
    /// db.transact(|txn| {
    ///     txn.create::<f64, _>("sst", (60, 12))?.view_mut().fill(20.5);
    ///     Ok(())
    /// })?;
    /// assert_eq!(db.array::<f64, Ix2>("sst")?.view()[[59, 11]], 20.5);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// Naming the URL, and never a key: [`Invalid`](crate::ErrorKind::Invalid) for a URL that is none of these, or leads
    /// to something else; [`Unsupported`](crate::ErrorKind::Unsupported) for a server that keeps no conditions;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if it does not answer; [`Io`](crate::ErrorKind::Io) for keys that
    /// it refuses.
    pub fn open_url(url: &str) -> Result<Database> {
        Database::options().open_url(url)
    }
}

/// For databases on object storage.
impl OpenOptions {
    /// Opens the database at `url`. Of the options for directories [`map_size`](Self::map_size),
    /// [`durability`](Self::durability) (which is always [`Full`](crate::Durability::Full)),
    /// [`allow_network_fs`](Self::allow_network_fs) and [`pager`](Self::pager) (blocks are copied) say nothing here.
    /// [`wait_timeout`](Self::wait_timeout) is for waits of the threads of this process for each other: other machines
    /// are not waited for.
    ///
    /// ```no_run
    /// use bigarray::Database;
    ///
    /// let db = Database::options().memory_budget(1 << 30).open_url("s3://bucket/climate")?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Database::open_url`].
    pub fn open_url(self, url: &str) -> Result<Database> {
        self.on(Path::new(url), |options| Ok(IcechunkStore::open(url, &store_options(options))?))
    }

    /// The region of an S3 bucket. Default: what the environment variable `AWS_REGION` or `AWS_DEFAULT_REGION` says, else
    /// `us-east-1`.
    ///
    /// ```no_run
    /// use bigarray::Database;
    ///
    /// let db = Database::options().region("eu-central-1").open_url("s3://bucket/climate")?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.remote.region = Some(region.into());
        self
    }

    /// The URL of a server that is not the provider's own, as `http://127.0.0.1:9000`. Default: what the environment
    /// variable `AWS_ENDPOINT_URL` says, else the provider's.
    ///
    /// ```no_run
    /// use bigarray::Database;
    ///
    /// let db = Database::options().endpoint("http://127.0.0.1:9000").open_url("s3://bucket/climate")?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.remote.endpoint = Some(url.into());
        self
    }

    /// What requests are signed with. Default: [`Credentials::Environment`].
    ///
    /// ```no_run
    /// use bigarray::{Credentials, Database};
    ///
    /// let db = Database::options().credentials(Credentials::Anonymous).open_url("s3://bucket/climate")?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.remote.credentials = credentials;
        self
    }

    /// How long one request may take, its retries included, before it is
    /// [`Unavailable`](crate::ErrorKind::Unavailable); one second more for each 256 KiB that it moves. At most a day.
    /// Default: 30 seconds. What a touched page waits for is
    /// [`patience`](Self::patience).
    ///
    /// ```no_run
    /// use bigarray::Database;
    ///
    /// let db = Database::options().deadline(std::time::Duration::from_secs(5)).open_url("s3://bucket/climate")?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.remote.deadline = limit;
        self
    }

    /// For how long the newest state that is known may be taken for the newest, without a request. Default: not at all:
    /// each [`snapshot`](Database::snapshot) and [`begin`](Database::begin) asks.
    ///
    /// ```no_run
    /// use bigarray::Database;
    ///
    /// let db = Database::options().max_staleness(std::time::Duration::from_secs(1)).open_url("s3://bucket/climate")?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.remote.max_staleness = age;
        self
    }

    /// Bytes of decoded chunks that are kept in memory, beside the [`memory_budget`](Self::memory_budget). Default:
    /// 256 MiB.
    ///
    /// ```no_run
    /// use bigarray::Database;
    ///
    /// let db = Database::options().chunk_cache(1 << 30).open_url("s3://bucket/climate")?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn chunk_cache(mut self, bytes: u64) -> Self {
        self.remote.cache_bytes = bytes;
        self
    }

    /// Keeps decoded chunks in `directory` too, on a disk of this machine: a chunk is fetched once for all processes of
    /// this user that name the same directory. Its files have `bytes` at most; those that were read the longest ago are
    /// removed first. Each has a checksum: one that is damaged is fetched again, and where the disk is full or fails,
    /// chunks are fetched as without it. Blocks are mapped from these files where they can be, and rely on them from then
    /// on: they may be removed, and must not be written to. Default: no such directory.
    ///
    /// The directory is made if it is absent. One that another user can write to, or put another one in the place of, is
    /// [`Invalid`](crate::ErrorKind::Invalid) when the database is opened.
    ///
    /// ```
    /// # use bigarray::Database;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let directory = dir.path().join("chunks"); // "/var/cache/climate", say
    /// let db = Database::options().disk_cache(directory, 100 << 30).open_url("memory://climate-cached")?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn disk_cache(mut self, directory: impl Into<PathBuf>, bytes: u64) -> Self {
        self.remote.disk_cache = Some(DiskCache { directory: directory.into(), bytes });
        self
    }
}

fn store_options(options: &OpenOptions) -> Options {
    let OpenOptions { create, read_only, wait_timeout, .. } = *options;
    Options { create, read_only, wait_timeout, ..options.remote.clone() }
}
