//! Object storage, reached as the store reaches it.

mod conditions;
mod directory;
mod everywhere;
mod s3;
mod server;
mod unreachable;

use std::sync::Arc;
use std::time::Duration;

use bigarray_core::Result;
use bigarray_store_icechunk::Options;
use bigarray_store_icechunk::objects::{Backend, Location, Objects, Runtime, explain};
use bytes::Bytes;
use icechunk::storage::{StorageContext, StorageResult, VersionInfo, VersionedUpdateResult};

/// For what must happen: no test waits longer, and none fails for being slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// The objects at `url`.
fn open(url: &str, options: &Options) -> Result<Objects> {
    let location = Location::parse(url)?;
    let runtime = Arc::new(Runtime::new(&location, options.deadline)?);
    Ok(Objects::new(Arc::new(Backend::new(&location, options)?), runtime))
}

/// Reads, through icechunk's own storage, the number in the object `path` and its version.
fn number(objects: &Objects, path: &'static str) -> Result<(u64, VersionInfo)> {
    let storage = objects.backend().storage();
    objects.runtime().run_within(PATIENCE, async move {
        let open = async {
            let settings = storage.default_settings().await?;
            storage.get_object(&StorageContext::unattributed(&settings), path, None).await
        };
        let (mut reader, version) = open.await.map_err(|error| explain("opening a number", &error))?;
        let mut bytes = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut bytes).await;
        read.map_err(|error| explain("reading a number", &error))?;
        Ok((String::from_utf8(bytes).unwrap().parse().unwrap(), version))
    })
}

/// Writes `number` there if the object has the version `seen`; false if it has another one.
fn set_number(objects: &Objects, path: &'static str, number: u64, seen: VersionInfo) -> Result<bool> {
    let storage = objects.backend().storage();
    objects.runtime().run_within(PATIENCE, async move {
        let write = async {
            let settings = storage.default_settings().await?;
            let context = StorageContext::unattributed(&settings);
            let bytes = Bytes::from(number.to_string());
            let done = storage.put_object(&context, path, bytes, None, vec![], Some(&seen)).await?;
            StorageResult::Ok(matches!(done, VersionedUpdateResult::Updated { .. }))
        };
        write.await.map_err(|error| explain("writing a number", &error))
    })
}

/// Adds one, `times` times, as a commit does: again from the start where another was faster.
fn count_up(objects: &Objects, path: &'static str, times: u64) {
    for _ in 0..times {
        loop {
            let (n, seen) = number(objects, path).unwrap();
            if set_number(objects, path, n + 1, seen).unwrap() {
                break;
            }
        }
    }
}

/// Eight threads count up together, and nothing is lost.
fn race(objects: &Objects, path: &'static str, times: u64) {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| count_up(objects, path, times));
        }
    });
}
