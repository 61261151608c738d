//! The conflict protocol: what of one transaction another one's commit rules out. Run twice a commit, against the
//! newest snapshot first (a sure loser writes nothing) and then, by the store, against the state it replaces.
//!
//! What was changed since the transaction's snapshot counts, whatever it is now: a block that was written and is a hole
//! again, an attribute with its old value, an array with its old shape or name. Versions tell.
//!
//! | a transaction | is ruled out by what another one did to the same array since |
//! |---|---|
//! | writes to a block | a write to that block; a shrink, a reshape, growth; removal, rename |
//! | shrinks | the same of every block that drops |
//! | grows, reshapes | a shrink, a reshape, growth; removal, rename |
//! | sets an attribute | that attribute set or removed; removal, rename |
//! | depends on blocks | a write to one of them; a shrink, a reshape; removal, rename |
//! | removes or renames the array | anything |
//! | takes a name | an array that has it |

use std::ops::{ControlFlow, Range};

use crate::descriptor::{ArrayId, Descriptor, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockNo;
use crate::store::{ArrayChange, Change, State};

/// Compares what `change` saw of the things it changes, or depends on, with `now`.
///
/// # Errors
/// [`ErrorKind::Conflict`] naming the array and what differs.
pub fn check(change: &Change<'_>, now: &dyn State) -> Result<()> {
    // Names this change itself gives up are free for it to take.
    let vacated = |name: &str| {
        change.arrays.iter().any(|a| {
            a.before.as_ref().is_some_and(|(b, _)| b == name) && a.after.as_ref().is_none_or(|(n, _)| n != name)
        })
    };
    for array in &change.arrays {
        if let Some((name, _)) = &array.after {
            let kept = array.before.as_ref().is_some_and(|(b, _)| b == name);
            if !kept && !vacated(name) && now.array(name)?.is_some() {
                return Err(conflict(name, "another transaction gave an array that name"));
            }
        }
        check_array(array, change.base, now)?;
    }
    Ok(())
}

fn check_array(change: &ArrayChange<'_>, base: Version, now: &dyn State) -> Result<()> {
    let Some((name, before)) = &change.before else { return Ok(()) };
    let Some(current) = now.array(name)?.filter(|d| d.id == before.id && d.named == before.named) else {
        return Err(conflict(name, "another transaction removed or renamed it"));
    };
    let takes_all = change.after.as_ref().is_none_or(|(after, _)| after != name);
    if takes_all || !change.attrs.is_empty() {
        check_attrs(name, change, takes_all, base, now)?;
    }
    check_depends(name, change, &current, base, now)?;
    if !change.touches_array() {
        return Ok(());
    }
    check_shape(name, before, &current)?;
    if takes_all {
        return if current.changed == before.changed { Ok(()) } else { Err(changed_block(name, &current, base, now)?) };
    }
    if let Some(from) = change.dropped_from {
        check_dropped(name, current.id, from, &change.dropped, now)?;
    }
    for block in &change.blocks {
        // Within what drops, the comparison above has looked at it.
        if change.dropped_from.is_none_or(|from| block.block.0 < from) {
            let stored = now.block(current.id, block.block)?.map_or(Version(0), |r| r.version);
            if stored != block.seen {
                return Err(changed(name, block.block));
            }
        }
    }
    Ok(())
}

/// Attributes that the change sets, or all, are as they were.
fn check_attrs(name: &str, change: &ArrayChange<'_>, takes_all: bool, base: Version, now: &dyn State) -> Result<()> {
    let Some((_, before)) = &change.before else { return Ok(()) };
    let versions = now.attr_versions(before.id)?;
    let is_ours = |attr: &str| takes_all || change.attrs.iter().any(|ours| ours.name == attr);
    match versions.iter().find(|(attr, version)| *version > base && is_ours(attr)) {
        Some((attr, _)) => Err(conflict(name, &format!("another transaction set its attribute {attr:?}"))),
        None => Ok(()),
    }
}

fn check_shape(name: &str, before: &Descriptor, current: &Descriptor) -> Result<()> {
    if !current.same_layout(before) {
        let why = format!("another transaction made its shape {:?}, which was {:?}", current.shape, before.shape);
        return Err(conflict(name, &why));
    }
    if current.reshaped != before.reshaped {
        return Err(conflict(name, "another transaction gave it other shapes, the last of them as before,"));
    }
    Ok(())
}

/// Blocks that the transaction depends on are where they were, and as they were.
fn check_depends(
    name: &str,
    change: &ArrayChange<'_>,
    current: &Descriptor,
    base: Version,
    now: &dyn State,
) -> Result<()> {
    let Some((_, before)) = change.before.as_ref().filter(|_| !change.depends.is_empty()) else { return Ok(()) };
    if current.reshaped != before.reshaped {
        return Err(conflict(name, "another transaction shrank or reshaped it, and this one depends on its rows,"));
    }
    if current.changed == before.changed {
        return Ok(());
    }
    for range in &change.depends {
        if let Some(BlockNo(block)) = first_changed(current.id, range.clone(), base, now)? {
            let why = format!("another transaction changed its block {block}, which this one depends on,");
            return Err(conflict(name, &why));
        }
    }
    Ok(())
}

/// Every block that drops is as it was seen, and none came: walks both lists side by side.
fn check_dropped(name: &str, id: ArrayId, from: u64, seen: &[(BlockNo, Version)], now: &dyn State) -> Result<()> {
    let mut seen = seen.iter();
    let mut differs = None;
    now.blocks(id, from..u64::MAX, &mut |block, record| {
        if seen.next() == Some(&(block, record.version)) {
            return ControlFlow::Continue(());
        }
        differs = Some(block);
        ControlFlow::Break(())
    })?;
    match differs.or_else(|| seen.next().map(|(block, _)| *block)) {
        Some(block) => Err(changed(name, block)),
        None => Ok(()),
    }
}

/// The conflict of an array of which a block was changed since `base`: names the first.
fn changed_block(name: &str, current: &Descriptor, base: Version, now: &dyn State) -> Result<Error> {
    let first = first_changed(current.id, 0..u64::MAX, base, now)?;
    Ok(first.map_or_else(|| conflict(name, "another transaction changed its elements"), |block| changed(name, block)))
}

/// The first stored block of `range` that was changed since `base`.
fn first_changed(id: ArrayId, range: Range<u64>, base: Version, now: &dyn State) -> Result<Option<BlockNo>> {
    let mut first = None;
    now.blocks(id, range, &mut |block, record| {
        first = (record.version > base).then_some(block);
        if first.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(first)
}

fn changed(name: &str, block: BlockNo) -> Error {
    conflict(name, &format!("another transaction changed its block {}", block.0))
}

fn conflict(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("array {name:?}: {why} since this transaction began; run it again"))
}
