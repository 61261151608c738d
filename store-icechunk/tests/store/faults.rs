//! Requests that go wrong as a test says.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bigarray_store_icechunk::{Adapter, Options};
use futures::stream::BoxStream;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It comes.
    Comes,
    /// It is lost: the request was carried out.
    IsLost,
    /// The request is not carried out.
    Fails,
}

type Decide = dyn FnMut(&str, &str) -> Answer + Send;

/// A client whose requests may go wrong.
#[derive(Clone)]
struct Faulty {
    store: Arc<dyn ObjectStore>,
    decide: Arc<Mutex<Box<Decide>>>,
}

/// Options with a client that asks `decide` for each GET and PUT, by the object's name, before it is carried out, or
/// after it for a PUT.
pub(crate) fn options(decide: impl FnMut(&str, &str) -> Answer + Send + 'static) -> Options {
    let decide: Arc<Mutex<Box<Decide>>> = Arc::new(Mutex::new(Box::new(decide)));
    let adapter = Adapter::new(move |store| Arc::new(Faulty { store, decide: Arc::clone(&decide) }));
    Options { adapter: Some(adapter), ..crate::options() }
}

impl Faulty {
    fn decide(&self, method: &str, path: &Path) -> Answer {
        self.decide.lock().unwrap()(method, path.as_ref())
    }
}

fn lost() -> object_store::Error {
    let source = HttpError::new(HttpErrorKind::Timeout, io::Error::other("the answer is lost"));
    object_store::Error::Generic { store: "test", source: Box::new(source) }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.decide("PUT", path) {
            Answer::Fails => Err(lost()),
            Answer::Comes => self.store.put_opts(path, payload, options).await,
            Answer::IsLost => {
                self.store.put_opts(path, payload, options).await?;
                self.decide("DONE", path);
                Err(lost())
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let method = if options.head { "HEAD" } else { "GET" };
        match self.decide(method, path) {
            Answer::Comes => self.store.get_opts(path, options).await,
            Answer::IsLost | Answer::Fails => Err(lost()),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
