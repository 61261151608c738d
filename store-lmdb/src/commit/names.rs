//! Step 6 of a commit for names, descriptors and attributes.

use bigarray_core::store::{ArrayChange, Change, State};
use bigarray_core::{ArrayId, Descriptor, Error, ErrorKind, Result, Version};

use crate::index::WriteTxn;
use crate::record::{Meta, StoredAttr, attr_key, encode_array, encode_attr};

/// An array of the change in the state that the commit replaces.
pub(super) struct Current {
    /// Its id, new if it is created.
    pub(super) id: ArrayId,
    /// What it is there; `None` if it is created.
    pub(super) descriptor: Option<Descriptor>,
}

impl Current {
    /// Its last change; 0 if it is created.
    pub(super) fn changed(&self) -> Version {
        self.descriptor.as_ref().map_or(Version(0), |now| now.changed)
    }
}

/// Looks up the arrays of the change; gives ids to those it creates.
pub(super) fn look_up(txn: &mut WriteTxn<'_>, change: &Change<'_>) -> Result<Vec<Current>> {
    let first = txn.tables().meta(Meta::NEXT_ARRAY)?;
    let mut next = first;
    let mut found = Vec::with_capacity(change.arrays.len());
    for array in &change.arrays {
        found.push(match &array.before {
            Some((name, before)) => {
                let now = txn.tables().array(name)?.unwrap_or_else(|| before.clone());
                Current { id: before.id, descriptor: Some(now) }
            }
            None => {
                next += 1;
                Current { id: ArrayId(next - 1), descriptor: None }
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
        let Some((name, _)) = array.after.as_ref().filter(|_| array.touches_array()) else { continue };
        let kept = array.before.as_ref().is_some_and(|(before, _)| before == name);
        if !kept && txn.tables().array(name)?.is_some() {
            let text = format!("array {name:?}: two arrays of one transaction were given that name");
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        let stored = array.descriptor_at(Version(txn.id()), current.id, current.descriptor.as_ref());
        if let Some(stored) = stored {
            txn.put(db, name.as_bytes(), &encode_array(name, &stored)?)?;
        }
    }
    Ok(())
}

/// Sets and removes attributes.
pub(super) fn store_attrs(txn: &mut WriteTxn<'_>, array: &ArrayChange<'_>, id: ArrayId) -> Result<()> {
    let db = txn.dbs().attrs;
    for attr in &array.attrs {
        let key = attr_key(id, &attr.name);
        let stored = StoredAttr { version: Version(txn.id()), value: attr.after.clone() };
        txn.put(db, &key, &encode_attr(&key, &attr.name, &stored)?)?;
    }
    Ok(())
}
