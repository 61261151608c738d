//! The conflict protocol: what of one transaction another one's commit rules out. Run twice a commit, against the
//! newest snapshot first (a sure loser writes nothing) and then, by the store, against the state it replaces.
//!
//! What was changed since the transaction's snapshot counts, whatever it is now: a block that was written and is a hole
//! again, an attribute with its old value, an array with its old shape or name. Versions tell: those of the snapshot are
//! compared with those of now, and differ if there was a change. None is taken to be later than another.
//!
//! A block of another version may be the same all the same, where a store keeps several blocks together: it is asked
//! ([`State::same_block`]) before the block counts as changed.
//!
//! | a transaction | is ruled out by what another one did to the same array since |
//! |---|---|
//! | writes to a block | a write to that block; a shrink, a reshape, growth; removal, rename |
//! | shrinks, or drops rows at the front | the same of every block that drops, or that it then ends in |
//! | grows, reshapes | a shrink, a reshape, growth; removal, rename |
//! | sets an attribute | that attribute set or removed; removal, rename |
//! | sets an attribute of the database | that attribute set or removed |
//! | depends on blocks | a write to one of them; a shrink, a reshape; removal, rename |
//! | removes or renames the array | anything |
//! | takes a name | an array that has it |
//!
//! Dropping rows at the front counts as a shrink here.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use crate::descriptor::{ArrayId, Descriptor, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockNo;
use crate::store::{ArrayChange, AttrChange, Change, Snapshot, State};

/// Stored blocks of the transaction's snapshot that are compared at once.
const COMPARED_AT_ONCE: usize = 4096;

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
    if !change.attrs.is_empty()
        && let Some(attr) = changed_attr(ArrayId::DATABASE, |attr| is_set(&change.attrs, attr), change.base, now)?
    {
        let why = format!(
            "another transaction set the attribute {attr:?} of the database since this one began; run it again"
        );
        return Err(Error::new(ErrorKind::Conflict, why));
    }
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

fn check_array(change: &ArrayChange<'_>, base: &dyn Snapshot, now: &dyn State) -> Result<()> {
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
        return if current.changed == before.changed {
            Ok(())
        } else {
            Err(changed_block(name, current.id, base, now)?)
        };
    }
    let id = current.id;
    if let Some(from) = change.dropped_from
        && let Some(block) =
            first_changed(id, from..u64::MAX, &change.dropped, now, &|block| now.same_block(base, id, block))?
    {
        return Err(changed(name, block));
    }
    if current.changed != before.changed
        && let Some(block) =
            changed_since(id, change.dropped_front(), base, now, &|block| now.same_block(base, id, block))?
    {
        return Err(changed(name, block));
    }
    for block in &change.blocks {
        // Within what drops, the comparison above has looked at it.
        if change.dropped_from.is_none_or(|from| block.block.0 < from) {
            let stored = now.block(id, block.block)?.map_or(Version(0), |r| r.version);
            if stored != block.seen && !now.same_block(base, id, block.block)? {
                return Err(changed(name, block.block));
            }
        }
    }
    Ok(())
}

/// Attributes that the change sets, or all, are as they were.
fn check_attrs(
    name: &str,
    change: &ArrayChange<'_>,
    takes_all: bool,
    base: &dyn Snapshot,
    now: &dyn State,
) -> Result<()> {
    let Some((_, before)) = &change.before else { return Ok(()) };
    let is_ours = |attr: &str| takes_all || is_set(&change.attrs, attr);
    match changed_attr(before.id, is_ours, base, now)? {
        Some(attr) => Err(conflict(name, &format!("another transaction set its attribute {attr:?}"))),
        None => Ok(()),
    }
}

fn is_set(attrs: &[AttrChange], name: &str) -> bool {
    attrs.iter().any(|attr| attr.name == name)
}

/// An attribute of `array` that `is_ours` picks, and that was set or removed since `base`.
fn changed_attr(
    array: ArrayId,
    is_ours: impl Fn(&str) -> bool,
    base: &dyn Snapshot,
    now: &dyn State,
) -> Result<Option<String>> {
    let seen: BTreeMap<_, _> = base.attr_versions(array)?.into_iter().collect();
    let found: BTreeMap<_, _> = now.attr_versions(array)?.into_iter().collect();
    for attr in seen.keys().chain(found.keys()).filter(|attr| is_ours(attr)) {
        // What was removed already the store may have forgotten, which is no change.
        let is_forgotten = || Ok::<_, Error>(!found.contains_key(attr) && base.attr(array, attr)?.is_none());
        if seen.get(attr) != found.get(attr) && !is_forgotten()? {
            return Ok(Some(attr.clone()));
        }
    }
    Ok(None)
}

fn check_shape(name: &str, before: &Descriptor, current: &Descriptor) -> Result<()> {
    if current.skip != before.skip {
        return Err(conflict(name, "another transaction dropped rows at its front"));
    }
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
    base: &dyn Snapshot,
    now: &dyn State,
) -> Result<()> {
    let Some((_, before)) = change.before.as_ref().filter(|_| !change.depends.is_empty()) else { return Ok(()) };
    // Other programs change a shape and no token.
    if current.reshaped != before.reshaped || !current.grew_from(before) {
        return Err(conflict(
            name,
            "another transaction shrank it, reshaped it or dropped rows at its front, and this one depends on its rows,",
        ));
    }
    if current.changed == before.changed {
        return Ok(());
    }
    let id = current.id;
    for range in &change.depends {
        if let Some(BlockNo(block)) =
            changed_since(id, range.clone(), base, now, &|block| now.same_block(base, id, block))?
        {
            let why = format!("another transaction changed its block {block}, which this one depends on,");
            return Err(conflict(name, &why));
        }
    }
    Ok(())
}

/// The first block of `range` that was changed since `base`. Where versions differ `is_same` decides.
fn changed_since(
    id: ArrayId,
    range: Range<u64>,
    base: &dyn Snapshot,
    now: &dyn State,
    is_same: &dyn Fn(BlockNo) -> Result<bool>,
) -> Result<Option<BlockNo>> {
    let mut from = range.start;
    while from < range.end {
        let mut seen = Vec::new();
        base.blocks(id, from..range.end, &mut |block, record| {
            seen.push((block, record.version));
            if seen.len() < COMPARED_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let end = match seen.last() {
            Some((last, _)) if seen.len() == COMPARED_AT_ONCE => last.0 + 1,
            _ => range.end,
        };
        if let Some(block) = first_changed(id, from..end, &seen, now, is_same)? {
            return Ok(Some(block));
        }
        from = end;
    }
    Ok(None)
}

/// The first block of `range` that was changed since `base`, in which those that were stored are `seen`: walks both
/// lists side by side. A block that came, or went, is one.
fn first_changed(
    id: ArrayId,
    range: Range<u64>,
    seen: &[(BlockNo, Version)],
    now: &dyn State,
    is_same: &dyn Fn(BlockNo) -> Result<bool>,
) -> Result<Option<BlockNo>> {
    let mut seen = seen.iter().copied().peekable();
    let mut from = range.start;
    loop {
        let mut differs = None;
        now.blocks(id, from..range.end, &mut |block, record| {
            if seen.next_if_eq(&(block, record.version)).is_some() {
                return ControlFlow::Continue(());
            }
            differs = Some(seen.next_if(|(at, _)| *at <= block).map_or(block, |(at, _)| at));
            ControlFlow::Break(())
        })?;
        let Some(block) = differs.or_else(|| seen.next().map(|(at, _)| at)) else { return Ok(None) };
        if !is_same(block)? {
            return Ok(Some(block));
        }
        from = block.0 + 1;
    }
}

/// The conflict of an array that was changed since `base`: names the first block whose version differs. Whether its bytes
/// do is not asked: that may take requests, and the conflict is certain.
fn changed_block(name: &str, id: ArrayId, base: &dyn Snapshot, now: &dyn State) -> Result<Error> {
    let first = changed_since(id, 0..u64::MAX, base, now, &|_| Ok(false))?;
    Ok(first.map_or_else(|| conflict(name, "another transaction changed its elements"), |block| changed(name, block)))
}

fn changed(name: &str, block: BlockNo) -> Error {
    conflict(name, &format!("another transaction changed its block {}", block.0))
}

fn conflict(name: &str, why: &str) -> Error {
    let advice = "run it again, as transact does by itself";
    Error::new(ErrorKind::Conflict, format!("array {name:?}: {why} since this transaction began; {advice}"))
}
