//! Whether the server keeps conditions: without them two commits would both say yes, and one would be lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bigarray_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutPayload, PutResult, UpdateVersion};

use super::failure::explain;
use super::location::Location;

/// Creates an object twice, and replaces it by an ETag that is stale the second time; then deletes it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if the server does what it must not do, or refuses what it must do.
pub(super) async fn conditions(store: &dyn ObjectStore, location: &Location) -> Result<()> {
    let path = Path::from(format!("{}/{}", location.prefix, name()));
    let result = steps(store, &path, location).await;
    let deleted = store.delete(&path).await;
    result?;
    deleted.map_err(|error| explain("deleting the object of a test", &error))
}

async fn steps(store: &dyn ObjectStore, path: &Path, location: &Location) -> Result<()> {
    // Of other bytes each time: an ETag of S3 is a hash of the bytes, so that one of equal bytes is not stale.
    let put = async |bytes: &'static [u8], mode: PutMode| {
        store.put_opts(path, PutPayload::from_static(bytes), mode.into()).await
    };
    let done = async |what: &str, bytes: &'static [u8], mode: PutMode| match put(bytes, mode).await {
        Ok(result) => Ok(UpdateVersion { e_tag: result.e_tag, version: result.version }),
        // The client asks again where an answer was lost, and then its own bytes are in its way.
        Err(ObjectError::Precondition { .. } | ObjectError::AlreadyExists { .. }) => match stored(store, path).await? {
            (there, version) if there == bytes => Ok(version),
            _ => Err(unsupported(location, what, "refused")),
        },
        Err(ObjectError::NotSupported { .. }) => Err(unsupported(location, what, "refused")),
        Err(error) => Err(explain(ASKING, &error)),
    };
    let first = done("a PUT that creates an object", b"1", PutMode::Create).await?;
    refused(location, "a PUT with If-None-Match for an object that is there", put(b"2", PutMode::Create).await)?;
    let update = PutMode::Update(first);
    done("a PUT with the If-Match of the ETag that the server gave", b"3", update.clone()).await?;
    refused(location, "a PUT with the If-Match of an older ETag", put(b"4", update).await)
}

const ASKING: &str = "asking whether the server keeps conditions";

/// The bytes of the object that is there, and which version of it they are.
async fn stored(store: &dyn ObjectStore, path: &Path) -> Result<(bytes::Bytes, UpdateVersion)> {
    let got = store.get(path).await.map_err(|error| explain(ASKING, &error))?;
    let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
    let bytes = got.bytes().await.map_err(|error| explain(ASKING, &error))?;
    Ok((bytes, version))
}

/// What must not succeed.
fn refused(location: &Location, what: &str, result: object_store::Result<PutResult>) -> Result<()> {
    match result {
        Ok(_) => Err(unsupported(location, what, "carried out")),
        Err(ObjectError::Precondition { .. } | ObjectError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(explain(ASKING, &error)),
    }
}

fn unsupported(location: &Location, what: &str, done: &str) -> Error {
    let text = format!(
        "{location}: this server keeps no conditions ({what} was {done}), so that commits would overwrite each other; \
         use one that does: AWS S3, Google Cloud Storage, Azure, MinIO or Ceph"
    );
    Error::new(ErrorKind::Unsupported, text)
}

/// A name that no other probe has at this time.
fn name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("bigarray-probe-{time:x}-{process:x}-{count:x}")
}
