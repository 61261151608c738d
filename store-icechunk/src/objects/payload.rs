//! Objects: bytes that are put once, got by ranges, listed and deleted.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use icechunk::format::CHUNKS_FILE_PATH;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};

use super::backend::Backend;
use super::failure::{explain, shown};
use super::guarded::time_for;
use super::runtime::Runtime;

/// The objects below a prefix. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Objects {
    backend: Arc<Backend>,
    runtime: Arc<Runtime>,
}

/// What a list says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it is, below the prefix.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// When it was put, in seconds since 1970, by the server's clock.
    pub modified: i64,
}

impl Objects {
    /// The objects of `backend`; requests run on `runtime`.
    pub fn new(backend: Arc<Backend>, runtime: Arc<Runtime>) -> Objects {
        Objects { backend, runtime }
    }

    /// Where they are.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// What their requests run on.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// Bytes `range` of the chunk `id`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the object is absent, or shorter; [`ErrorKind::Unavailable`] if trying again may help;
    /// [`ErrorKind::Io`] if the server refuses it.
    pub fn get(&self, id: &str, range: Range<u64>) -> Result<Bytes> {
        let limit = self.limit(range.end.saturating_sub(range.start));
        self.runtime.run_within(limit, self.getting(id, range))
    }

    /// The same, to be awaited on the runtime.
    pub fn getting(&self, id: &str, range: Range<u64>) -> impl Future<Output = Result<Bytes>> + Send + use<> {
        let (backend, path, what) = (self.backend.clone(), self.chunk(id), format!("reading chunk {id}"));
        async move {
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
            let got = async { backend.client().get_opts(&path, options).await?.bytes().await };
            // Of a file the bytes come without a request, whose errors are in order already.
            let got = shown(got.await, || format!("GET {}/{path}", backend.location()));
            let bytes = got.map_err(|error| missing_is_corrupt(explain(&what, &error)))?;
            if bytes.len() as u64 != range.end - range.start {
                let text = format!(
                    "{what}: {}/{CHUNKS_FILE_PATH} has {} of the bytes {range:?}",
                    backend.location(),
                    bytes.len()
                );
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            Ok(bytes)
        }
    }

    /// Puts `bytes` as the chunk `id`, which is new: to put it again after a failure does no harm.
    ///
    /// # Errors
    /// As [`get`](Objects::get).
    pub fn put(&self, id: &str, bytes: Bytes) -> Result<()> {
        self.runtime.run_within(self.limit(bytes.len() as u64), self.putting(id, bytes))
    }

    /// The same, to be awaited on the runtime.
    pub fn putting(&self, id: &str, bytes: Bytes) -> impl Future<Output = Result<()>> + Send + use<> {
        let (backend, path, what) = (self.backend.clone(), self.chunk(id), format!("writing chunk {id}"));
        async move {
            let put = backend.client().put(&path, bytes.into()).await;
            put.map(|_| ()).map_err(|error| explain(what, &error))
        }
    }

    /// The objects below `folder`, in no order.
    ///
    /// # Errors
    /// As [`get`](Objects::get).
    pub fn list(&self, folder: &str) -> Result<Vec<Object>> {
        let (backend, path, what) = (self.backend.clone(), self.path(folder), format!("listing {folder}/"));
        // As long as each answer comes in time.
        self.runtime.run_within(LONG, async move {
            let prefix = format!("{}/", backend.location().prefix);
            let name = |path: &Path| path.as_ref().strip_prefix(&prefix).unwrap_or(path.as_ref()).to_owned();
            let listed = backend.client().list(Some(&path)).map_ok(|meta| Object {
                path: name(&meta.location),
                size: meta.size,
                modified: meta.last_modified.timestamp(),
            });
            listed.try_collect().await.map_err(|error| explain(what, &error))
        })
    }

    /// Deletes the objects at `paths`, as [`list`](Objects::list) names them; those that are absent are no error.
    ///
    /// # Errors
    /// As [`get`](Objects::get). Some may be deleted.
    pub fn delete(&self, paths: &[String]) -> Result<()> {
        let backend = self.backend.clone();
        let paths: Vec<_> = paths.iter().map(|path| Ok(self.path(path))).collect();
        self.runtime.run_within(LONG, async move {
            let mut deleted = backend.client().delete_stream(stream::iter(paths).boxed());
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(explain("deleting objects", &error)),
                }
            }
            Ok(())
        })
    }

    /// How long it may take to move so many bytes.
    pub fn limit(&self, bytes: u64) -> Duration {
        time_for(self.runtime.limit(), bytes)
    }

    fn chunk(&self, id: &str) -> Path {
        self.path(&format!("{CHUNKS_FILE_PATH}/{id}"))
    }

    fn path(&self, below: &str) -> Path {
        Path::from(format!("{}/{below}", self.backend.location().prefix))
    }
}

/// Something refers to it.
fn missing_is_corrupt(error: Error) -> Error {
    match error.is_not_found() {
        true => Error::new(ErrorKind::Corrupt, error.to_string()),
        false => error,
    }
}

/// For requests that have many answers, each with a deadline of its own: how many there are is not known.
const LONG: Duration = Duration::from_secs(24 * 3600);
