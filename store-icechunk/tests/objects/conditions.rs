//! Servers that do not keep conditions are refused.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bigarray_store_icechunk::objects::Objects;
use bigarray_store_icechunk::{Adapter, Options};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::open;

/// What a server makes of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Makes {
    NothingOfAny,
    NothingOfIfMatch,
    /// It compares an ETag with quotes to one without.
    IfMatchFailAlways,
    NotImplemented,
    /// It keeps them, and its ETags are hashes of the bytes, as those of S3.
    EtagsOfBytes,
}

#[derive(Debug)]
struct Careless(Arc<dyn ObjectStore>, Makes);

impl Careless {
    async fn etag(&self, path: &Path) -> Option<String> {
        let got = self.0.get(path).await.ok()?;
        Some(format!("{:x}", crc32c::crc32c(&got.bytes().await.unwrap())))
    }
}

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Careless")
    }
}

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let is_update = matches!(options.mode, PutMode::Update(_));
        match self.1 {
            Makes::NothingOfAny => options.mode = PutMode::Overwrite,
            Makes::NothingOfIfMatch if is_update => options.mode = PutMode::Overwrite,
            Makes::IfMatchFailAlways if is_update => {
                return Err(Error::Precondition { path: path.to_string(), source: "unequal".into() });
            }
            Makes::EtagsOfBytes => {
                let now = self.etag(path).await;
                match options.mode {
                    PutMode::Update(seen) if seen.e_tag != now => {
                        return Err(Error::Precondition { path: path.to_string(), source: "unequal".into() });
                    }
                    PutMode::Update(_) => options.mode = PutMode::Overwrite,
                    _ => {}
                }
                self.0.put_opts(path, payload, options).await?;
                return Ok(PutResult { e_tag: self.etag(path).await, version: None, extensions: Default::default() });
            }
            Makes::NotImplemented => return Err(Error::NotSupported { source: "501".into() }),
            _ => {}
        }
        self.0.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

fn require(objects: &Objects) -> bigarray_core::Result<()> {
    let backend = objects.backend().clone();
    objects.runtime().run(async move { backend.require_conditions().await })
}

#[test]
fn a_server_that_ignores_or_breaks_conditions_is_refused() {
    for (makes, says) in [
        (Makes::NothingOfAny, "If-None-Match for an object that is there was carried out"),
        (Makes::NothingOfIfMatch, "If-Match of an older ETag was carried out"),
        (Makes::IfMatchFailAlways, "If-Match of the ETag that the server gave was refused"),
        (Makes::NotImplemented, "a PUT that creates an object was refused"),
    ] {
        let adapter = Some(Adapter::new(move |store| Arc::new(Careless(store, makes))));
        let objects = open("memory://careless", &Options { adapter, ..Options::default() }).unwrap();
        // Each time anew.
        for _ in 0..2 {
            let error = require(&objects).unwrap_err();
            assert!(error.is_unsupported(), "{error:?}");
            let text = error.to_string();
            assert!(
                text.starts_with("memory://careless: this server keeps no conditions") && text.contains(says),
                "{text}"
            );
        }
        assert!(objects.list("").unwrap().is_empty(), "the object of the test is deleted");
    }
    assert!(require(&open("memory://careless", &Options::default()).unwrap()).is_ok());
}

#[test]
fn a_server_whose_etags_are_hashes_of_the_bytes_is_taken() {
    let adapter = Some(Adapter::new(|store| Arc::new(Careless(store, Makes::EtagsOfBytes))));
    require(&open("memory://hashes", &Options { adapter, ..Options::default() }).unwrap()).unwrap();
}
