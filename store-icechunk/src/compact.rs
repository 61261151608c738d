//! Giving back what no state needs any more: old states, payload and metadata of none, and the copies of the log that
//! Icechunk leaves behind with each commit.

use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::store::Compacted;
use bigarray_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, future, stream};
use icechunk::asset_manager::AssetManager;
use icechunk::ops::GCError;
use icechunk::ops::gc::{ExpiredRefAction, GCConfig, expire, garbage_collect};

use crate::errors::Located;
use crate::repository::Repository;

/// The folder of the copies of the log.
const COPIES: &str = "overwritten";

/// Snapshots that are read at a time, manifests likewise, and batches of objects that are deleted.
const AT_ONCE: NonZeroU16 = NonZeroU16::new(16).unwrap();

/// Memory for manifests that are read, stored and decoded.
const MANIFEST_MEMORY: NonZeroUsize = NonZeroUsize::new(256 << 20).unwrap();

/// The longest that it may take: it reads every manifest of every state.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Forgets the states older than `keep`, but for the newest and those with tags; deletes what is as old and belongs to
/// no state.
///
/// # Errors
/// What storage reports. What was done before is done.
pub(crate) fn compact(repository: &Arc<Repository>, keep: Duration) -> Result<Compacted> {
    let before = chrono::Duration::from_std(keep).ok().and_then(|keep| Utc::now().checked_sub_signed(keep));
    let before =
        before.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{keep:?} is longer than there are times")))?;
    let at_work = Arc::clone(repository);
    repository.runtime().run_within(LONGEST, async move { run(&at_work, before).await })
}

async fn run(repository: &Repository, before: DateTime<Utc>) -> Result<Compacted> {
    // A server that ignores conditions would let the shorter log replace a commit that came in between.
    repository.backend().require_conditions().await?;
    let (assets, config, url) = (repository.assets(), repository.icechunk().config(), repository.url());
    let retries = Some(config.repo_update_retries());
    let updates = config.num_updates_per_repo_info_file();
    let ignore = ExpiredRefAction::Ignore;
    let expired = expire(Arc::clone(assets), before, ignore, ignore, retries, updates).await;
    let expired = expired.or_else(|error| told(url, error))?;
    let what = GCConfig::clean_all(
        before,
        before,
        None,
        AT_ONCE,
        MANIFEST_MEMORY,
        MANIFEST_MEMORY,
        AT_ONCE,
        AT_ONCE,
        AT_ONCE,
        None,
        false,
    );
    let collected = garbage_collect(Arc::clone(assets), &what, retries, updates).await;
    let collected = collected.or_else(|error| told(url, error))?;
    let copies = delete_copies(assets, before, url).await?;
    let mut compacted = Compacted::default();
    compacted.states = expired.released_snapshots.len() as u64;
    compacted.objects = collected.chunks_deleted
        + collected.manifests_deleted
        + collected.snapshots_deleted
        + collected.transaction_logs_deleted
        + copies.0;
    compacted.bytes = collected.bytes_deleted + copies.1;
    Ok(compacted)
}

/// Deletes copies of the log from before that time: how many, and of how many bytes. The states are in the log as it is;
/// with the copies goes the list of what was done, in which nothing of this crate looks.
async fn delete_copies(assets: &AssetManager, before: DateTime<Utc>, url: &str) -> Result<(u64, u64)> {
    let context = assets.storage_context();
    let all = assets.storage().list_objects(&context, COPIES).await.at(url, "old copies of the log")?;
    let old = all.try_filter(|copy| future::ready(copy.created_at < before));
    let old: Vec<(String, u64)> =
        old.map_ok(|copy| (copy.id, copy.size_bytes)).try_collect().await.at(url, "old copies of the log")?;
    let deleted = assets.storage().delete_objects(&context, COPIES, stream::iter(old).boxed()).await;
    let deleted = deleted.at(url, "old copies of the log")?;
    Ok((deleted.deleted_objects, deleted.deleted_bytes))
}

fn told<T>(url: &str, error: GCError) -> Result<T> {
    match error {
        GCError::Repository(error) => Err(error).at(url, "compacting"),
        GCError::StorageError(error) => Err(error).at(url, "compacting"),
        GCError::FormatError(error) => Err(error).at(url, "compacting"),
        error => Err(Error::new(ErrorKind::Unavailable, format!("{url}: compacting: {error}"))),
    }
}
