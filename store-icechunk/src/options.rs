//! Options for reaching object storage.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;

/// Options for reaching object storage. `Debug` shows no key.
#[derive(Clone, Debug)]
pub struct Options {
    /// Creates the database if there is none. By default yes.
    pub create: bool,
    /// Refuses to change anything, and creates nothing. By default no.
    pub read_only: bool,
    /// The region of an S3 bucket; by default `AWS_REGION` or `AWS_DEFAULT_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// The URL of a server that is not the provider's own, as `http://127.0.0.1:9000`; by default what the environment
    /// says, as `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// What requests are signed with.
    pub credentials: Credentials,
    /// Limit of one request with its retries, to which a second is added for each 256 KiB that it moves; past it the call
    /// fails with [`ErrorKind::Unavailable`](bigarray_core::ErrorKind::Unavailable). By default 30 s.
    pub deadline: Duration,
    /// Limit of a wait for the commit lock, past which the call fails with
    /// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse). By default none.
    pub wait_timeout: Option<Duration>,
    /// A snapshot may be a state that was the newest so long ago. By default none: each asks, by one request.
    pub max_staleness: Duration,
    /// Bytes of decoded chunks that are kept in memory. By default 256 MiB.
    pub cache_bytes: u64,
    /// Where decoded chunks are kept on a disk of this machine. By default nowhere.
    pub disk_cache: Option<DiskCache>,
    /// So many objects of one commit are on their way at a time. By default 16.
    pub depth: usize,
    /// Laid over the client of the server; tests make requests fail with it.
    pub adapter: Option<Adapter>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            create: true,
            read_only: false,
            region: None,
            endpoint: None,
            credentials: Credentials::Environment,
            deadline: Duration::from_secs(30),
            wait_timeout: None,
            max_staleness: Duration::ZERO,
            cache_bytes: 256 << 20,
            disk_cache: None,
            depth: 16,
            adapter: None,
        }
    }
}

/// A directory for decoded chunks, which the processes of one user share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCache {
    /// It is made if it is absent. No other user may be able to write to it, or to put another one in its place.
    pub directory: PathBuf,
    /// Its files have so many bytes at most; those that were read the longest ago are removed first.
    pub bytes: u64,
}

/// What requests are signed with. `Debug` shows no key.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Credentials {
    /// What the provider's own tools take from the environment, as `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; without
    /// that the role of the instance, container or pod.
    #[default]
    Environment,
    /// These keys, for S3.
    Keys {
        /// `AWS_ACCESS_KEY_ID`.
        access_key_id: String,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret_access_key: String,
        /// `AWS_SESSION_TOKEN`, of temporary keys.
        session_token: Option<String>,
    },
    /// Nothing: a public bucket.
    Anonymous,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Environment => "Environment",
            Credentials::Keys { .. } => "Keys(…)",
            Credentials::Anonymous => "Anonymous",
        })
    }
}

type Wrap = dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync;

/// Makes a store of objects out of another one.
#[derive(Clone)]
pub struct Adapter(Arc<Wrap>);

impl Adapter {
    /// The adapter that calls `wrap`, once for each opening.
    pub fn new(wrap: impl Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync + 'static) -> Adapter {
        Adapter(Arc::new(wrap))
    }

    /// Lays itself over `store`.
    pub(crate) fn wrap(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        (self.0)(store)
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adapter")
    }
}
