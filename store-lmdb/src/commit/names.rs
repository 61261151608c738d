//! Step 6 of a commit for names, descriptors and attributes.

use bigarray_core::store::{ArrayChange, Change, State};
use bigarray_core::{ArrayId, Descriptor, Error, ErrorKind, Result, Version};

use crate::index::WriteTxn;
use crate::record::{Meta, attr_key, encode_array, encode_attr};

/// An array of the change in the state that the commit replaces.
pub(super) struct Current {
    /// Its id, new if it is created.
    pub(super) id: ArrayId,
    /// Its last change; 0 if it is created.
    pub(super) changed: Version,
}

/// Looks up the arrays of the change; gives ids to those it creates.
pub(super) fn look_up(txn: &mut WriteTxn<'_>, change: &Change<'_>) -> Result<Vec<Current>> {
    let first = txn.tables().meta(Meta::NEXT_ARRAY)?;
    let mut next = first;
    let mut found = Vec::with_capacity(change.arrays.len());
    for array in &change.arrays {
        found.push(match &array.before {
            Some((name, before)) => {
                let changed = txn.tables().array(name)?.map_or(before.changed, |now| now.changed);
                Current { id: before.id, changed }
            }
            None => {
                next += 1;
                Current { id: ArrayId(next - 1), changed: Version(0) }
            }
        });
    }
    if next > first {
        txn.put_meta(Meta::NEXT_ARRAY, next)?;
    }
    Ok(found)
}

/// Gives every array of the change its new name and descriptor: first all old names go, so that they are free for
/// others of the same change.
pub(super) fn store_arrays(txn: &mut WriteTxn<'_>, change: &Change<'_>, current: &[Current]) -> Result<()> {
    let db = txn.dbs().arrays;
    for array in &change.arrays {
        if let Some((before, _)) = &array.before
            && array.after.as_ref().is_none_or(|(after, _)| after != before)
        {
            txn.delete(db, before.as_bytes())?;
        }
    }
    for (array, current) in change.arrays.iter().zip(current) {
        let Some((name, after)) = &array.after else { continue };
        // Who only set attributes must not undo another's resize.
        if !array.touches_array() {
            continue;
        }
        let kept = array.before.as_ref().is_some_and(|(before, _)| before == name);
        if !kept && txn.tables().array(name)?.is_some() {
            let text = format!("array {name:?}: two arrays of one transaction were given that name");
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        let changed = if changes_blocks(array) { Version(txn.id()) } else { current.changed };
        let stored = Descriptor { id: current.id, changed, ..after.clone() };
        txn.put(db, name.as_bytes(), &encode_array(name, &stored)?)?;
    }
    Ok(())
}

/// Whether any block is written or deleted. A created array starts with no block, and that is a change.
fn changes_blocks(array: &ArrayChange<'_>) -> bool {
    array.before.is_none() || array.dropped_from.is_some() || !array.blocks.is_empty()
}

/// Sets and removes attributes.
pub(super) fn store_attrs(txn: &mut WriteTxn<'_>, array: &ArrayChange<'_>, id: ArrayId) -> Result<()> {
    let db = txn.dbs().attrs;
    for attr in &array.attrs {
        let key = attr_key(id, &attr.name);
        match &attr.after {
            Some(value) => txn.put(db, &key, &encode_attr(&key, &attr.name, value)?)?,
            None => drop(txn.delete(db, &key)?),
        }
    }
    Ok(())
}
