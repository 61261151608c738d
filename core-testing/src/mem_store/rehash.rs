//! Versions that are hashes, of the blocks that a commit changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bigarray_core::store::ArrayChange;
use bigarray_core::{Descriptor, PAGE, Result, Version};

use super::Inner;
use super::state::Block;
use super::versions::digest_of;

/// The blocks that are kept together with those that `change` stores or drops, of an array with these `blocks`.
pub(super) fn kept_with(change: &ArrayChange<'_>, blocks: &BTreeMap<u64, Arc<Block>>) -> BTreeSet<u64> {
    let stored = change.blocks.iter().map(|block| block.block.0);
    let pairs: BTreeSet<u64> = stored.chain(change.dropped_from).map(|block| block / 2).collect();
    pairs.into_iter().flat_map(|pair| [2 * pair, 2 * pair + 1]).filter(|block| blocks.contains_key(block)).collect()
}

/// Gives the blocks `suspects` of an array the versions of their bytes, and the array that of all of them.
pub(super) fn rehash(
    store: &Inner,
    array: &mut Descriptor,
    blocks: &mut BTreeMap<u64, Arc<Block>>,
    suspects: &BTreeSet<u64>,
) -> Result<()> {
    for number in suspects {
        let Some(block) = blocks.get_mut(number).map(Arc::make_mut) else { continue };
        let mut bytes = vec![0; block.pages.len() * PAGE];
        for (page, buf) in block.pages.iter().zip(bytes.chunks_exact_mut(PAGE)) {
            page.read(&*store.file, buf)?;
        }
        block.digest = digest_of(&bytes);
    }
    for number in suspects {
        let digest = |number| blocks.get(&number).map_or(0, |block| block.digest);
        let both = [digest(number / 2 * 2), digest(number / 2 * 2 + 1)];
        if let Some(block) = blocks.get_mut(number).map(Arc::make_mut) {
            block.version = Version(digest_of(&both));
        }
    }
    let all: Vec<_> = blocks.iter().map(|(number, block)| (number, block.version)).collect();
    array.changed = Version(digest_of(&all));
    Ok(())
}
