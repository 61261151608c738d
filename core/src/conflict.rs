//! The conflict protocol: what of one transaction another one's commit rules out. Run twice a commit, against the
//! newest snapshot first (a sure loser writes nothing) and then, by the store, against the state it replaces.

use std::ops::ControlFlow;

use crate::descriptor::{ArrayId, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockNo;
use crate::store::{ArrayChange, Change, State};

/// Compares what `change` saw of the things it changes with `now`.
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
        check_array(array, now)?;
    }
    Ok(())
}

fn check_array(change: &ArrayChange<'_>, now: &dyn State) -> Result<()> {
    let Some((name, before)) = &change.before else { return Ok(()) };
    let Some(current) = now.array(name)?.filter(|d| d.id == before.id) else {
        return Err(conflict(name, "another transaction removed or renamed it"));
    };
    for attr in &change.attrs {
        if now.attr(current.id, &attr.name)? != attr.before {
            return Err(conflict(name, &format!("another transaction set its attribute {:?}", attr.name)));
        }
    }
    if !change.touches_array() {
        return Ok(());
    }
    if !current.same_layout(before) {
        let why = format!("another transaction made its shape {:?}, which was {:?}", current.shape, before.shape);
        return Err(conflict(name, &why));
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

fn changed(name: &str, block: BlockNo) -> Error {
    conflict(name, &format!("another transaction changed its block {}", block.0))
}

fn conflict(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("array {name:?}: {why} since this transaction began; run it again"))
}
