//! One place of storage, as icechunk and the payload use it.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use bigarray_core::{Error, ErrorKind, Result};
use icechunk::storage::{ObjectStorage, ObjectStoreBackend, Role, Settings, Storage, StorageError, StorageInfo};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::client::{Connected, connect};
use super::guarded::{Counters, Guarded, Requests};
use super::location::{Location, Provider};
use super::probe;
use crate::options::Options;

/// One place of storage: a client with deadlines, which icechunk uses too.
#[derive(Debug)]
pub struct Backend {
    location: Location,
    server: String,
    client: Arc<dyn ObjectStore>,
    storage: Arc<dyn Storage + Send + Sync>,
    counters: Arc<Counters>,
    keeps_conditions: OnceCell<()>,
}

impl Backend {
    /// Makes the client. It sends nothing yet; a directory that is absent is created.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if options do not fit; [`ErrorKind::Io`] if a directory cannot be created.
    pub fn new(location: &Location, options: &Options) -> Result<Backend> {
        let Connected { client, server } = connect(location, options)?;
        let guarded = Guarded::new(client, location.clone(), options.deadline);
        let counters = guarded.counters().clone();
        let client: Arc<dyn ObjectStore> = Arc::new(guarded);
        let storage = storage(Place { location: location.clone(), client: client.clone() })?;
        let (location, keeps_conditions) = (location.clone(), OnceCell::new());
        Ok(Backend { location, server, client, storage, counters, keeps_conditions })
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What tells the server from others that have buckets of the same names; no key is in it.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The same place for icechunk.
    pub fn storage(&self) -> Arc<dyn Storage + Send + Sync> {
        self.storage.clone()
    }

    /// The client: what it sends is counted, has a deadline, and errors that may be shown.
    pub(super) fn client(&self) -> &Arc<dyn ObjectStore> {
        &self.client
    }

    /// Requests until now, icechunk's too.
    pub fn requests(&self) -> Requests {
        self.counters.read()
    }

    /// Makes sure, once, that the server keeps conditions, by five requests; needed before the first commit.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it does not; whatever a request fails with.
    pub async fn require_conditions(&self) -> Result<()> {
        self.keeps_conditions.get_or_try_init(|| probe::conditions(&self.client, &self.location)).await.copied()
    }
}

/// What icechunk makes its storage of.
#[derive(Clone, Debug)]
struct Place {
    location: Location,
    client: Arc<dyn ObjectStore>,
}

thread_local! {
    /// The place that the next deserialization on this thread is of: `ObjectStorage` has no other constructor for a backend
    /// of a type that icechunk does not know.
    static NEXT: RefCell<Option<Place>> = const { RefCell::new(None) };
}

fn storage(place: Place) -> Result<Arc<dyn Storage + Send + Sync>> {
    let location = place.location.clone();
    NEXT.set(Some(place));
    let storage = serde_json::from_value::<ObjectStorage>(serde_json::json!({
        "backend": { "object_store_provider_type": "bigarray" }
    }));
    match storage {
        Ok(storage) => Ok(Arc::new(storage)),
        Err(error) => {
            Err(Error::new(ErrorKind::Unsupported, format!("{location}: icechunk takes no backend: {error}")))
        }
    }
}

/// Stands for a [`Place`] in what icechunk serializes; nothing is made of that again.
#[derive(Deserialize, Serialize)]
struct Empty {}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Empty", into = "Empty")]
struct IcechunkBackend(Place);

impl TryFrom<Empty> for IcechunkBackend {
    type Error = &'static str;

    fn try_from(_: Empty) -> Result<IcechunkBackend, &'static str> {
        NEXT.take().map(IcechunkBackend).ok_or("a connection cannot be read from bytes")
    }
}

impl From<IcechunkBackend> for Empty {
    fn from(_: IcechunkBackend) -> Empty {
        Empty {}
    }
}

impl fmt::Display for IcechunkBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.location.fmt(f)
    }
}

#[typetag::serde(name = "bigarray")]
impl ObjectStoreBackend for IcechunkBackend {
    fn mk_object_store(&self, _: &Settings, _: Role) -> Result<Arc<dyn ObjectStore>, StorageError> {
        Ok(self.0.client.clone())
    }

    fn prefix(&self) -> String {
        self.0.location.prefix.clone()
    }

    fn storage_info(&self) -> StorageInfo {
        StorageInfo { backend_type: "bigarray", fields: vec![("url", self.0.location.to_string())] }
    }

    fn default_settings(&self) -> Settings {
        // Files have no attributes.
        let unsafe_use_metadata = self.is_directory().then_some(false);
        Settings { unsafe_use_metadata, ..Settings::default() }
    }

    fn ordered_offset_listing(&self) -> bool {
        matches!(self.0.location.provider, Provider::S3 { .. } | Provider::Google { .. })
    }

    fn artificially_sort_refs_in_mem(&self) -> bool {
        self.is_directory()
    }

    fn supports_storage_class(&self) -> bool {
        !self.is_directory()
    }
}

impl IcechunkBackend {
    fn is_directory(&self) -> bool {
        matches!(self.0.location.provider, Provider::Directory { .. })
    }
}
