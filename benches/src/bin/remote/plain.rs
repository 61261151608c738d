//! What a user would write without a database: requests of `object_store`, many under way at a time.

use std::borrow::Cow;
use std::sync::Arc;

use bigarray::ndarray::aview1;
use bigarray_benches::Outcome;
use bigarray_benches::rounds::timed;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::ground::{Ground, Place};

/// Gets that are under way at a time: about what a database fetches ahead of a reader in order.
const GETS: usize = 32;

/// Puts that are under way at a time, as many as of one commit.
const PUTS: usize = 16;

/// Seconds that it takes to get all of `paths` and to add up the numbers in them.
pub(crate) fn scan(ground: &Ground, place: &Place, paths: &[Path]) -> Outcome<f64> {
    let client = place.client()?;
    let (sum, seconds) = timed(|| ground.runtime().block_on(sum(ground, client, paths)));
    std::hint::black_box(sum?);
    Ok(seconds)
}

async fn sum(ground: &Ground, client: Arc<dyn ObjectStore>, paths: &[Path]) -> Outcome<f64> {
    let gets = paths.iter().cloned().map(|path| {
        let client = client.clone();
        // A task of its own, which another thread may run.
        ground.runtime().spawn(async move { client.get(&path).await?.bytes().await })
    });
    let mut got = stream::iter(gets).buffered(GETS);
    let mut sum = 0.0;
    while let Some(bytes) = got.next().await {
        let bytes = bytes??;
        // A chunk ends with its checksum.
        let numbers = &bytes[..bytes.len() / 8 * 8];
        let numbers: Cow<'_, [f64]> = match bytemuck::try_cast_slice(numbers) {
            Ok(numbers) => Cow::Borrowed(numbers),
            Err(_) => numbers.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect(),
        };
        sum += aview1(&numbers).sum();
    }
    Ok(sum)
}

/// Seconds that it takes to put `objects`, by their numbers.
pub(crate) fn put(ground: &Ground, place: &Place, objects: &[Bytes]) -> Outcome<f64> {
    let client = place.client()?;
    let puts = objects.iter().cloned().enumerate().map(|(n, bytes)| {
        let (client, path) = (client.clone(), place.path(&format!("plain-{n}")));
        ground.runtime().spawn(async move { client.put(&path, bytes.into()).await })
    });
    let all = async {
        let mut puts = stream::iter(puts).buffer_unordered(PUTS);
        while let Some(put) = puts.try_next().await? {
            put?;
        }
        Outcome::Ok(())
    };
    let (done, seconds) = timed(|| ground.runtime().block_on(all));
    done?;
    Ok(seconds)
}

/// The paths of what was put so.
pub(crate) fn paths(place: &Place, objects: &[Bytes]) -> Vec<Path> {
    (0..objects.len()).map(|n| place.path(&format!("plain-{n}"))).collect()
}
