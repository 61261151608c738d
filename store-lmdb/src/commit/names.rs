//! Step 6 of a commit for names, descriptors and attributes.

use bigarray_core::store::{ArrayChange, AttrChange, Change, State};
use bigarray_core::{ArrayId, Descriptor, Error, ErrorKind, Result, Version};

use crate::alloc::OldestReader;
use crate::index::WriteTxn;
use crate::record::{Meta, StoredAttr, Tallies, attr_key, count_array, discount_array, encode_array, encode_attr};

/// An array of the change, as it is in the state that the commit replaces.
pub(super) struct Current {
    /// Its id; a new one if it is created.
    pub(super) id: ArrayId,
    /// Its descriptor there; `None` if it is created.
    pub(super) descriptor: Option<Descriptor>,
    /// The tallies of its records there.
    pub(super) before: Tallies,
    /// The tallies of its records as they are changed.
    pub(super) records: Tallies,
}

impl Current {
    /// The version of its last change; 0 if it is created.
    pub(super) fn changed(&self) -> Version {
        self.descriptor.as_ref().map_or(Version(0), |now| now.changed)
    }

    /// The same once `array` is stored as `version`; 0 if it is removed.
    pub(super) fn changed_by(&self, array: &ArrayChange<'_>, version: Version) -> Version {
        array.descriptor_at(version, self.id, self.descriptor.as_ref()).map_or(Version(0), |after| after.changed)
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
                // The check for conflicts has found it.
                let Some((now, records)) = txn.tables().stored_array(name)? else {
                    return Err(Error::new(ErrorKind::Corrupt, format!("array {name:?} was found, and then not")));
                };
                Current { id: before.id, descriptor: Some(now), before: records, records }
            }
            None => {
                next += 1;
                let records = Tallies::default();
                Current { id: ArrayId(next - 1), descriptor: None, before: records, records }
            }
        });
    }
    if next > first {
        txn.put_meta(Meta::NEXT_ARRAY, next)?;
    }
    Ok(found)
}

/// Stores the new name and descriptor of every array of the change. All old names are deleted first, so that other arrays of
/// the change can take them.
pub(super) fn store_arrays(txn: &mut WriteTxn<'_>, change: &Change<'_>, current: &[Current]) -> Result<()> {
    let db = txn.dbs().arrays;
    let before = txn.tables().arrays_tally()?;
    let mut all = before;
    for (array, current) in change.arrays.iter().zip(current) {
        if let Some((before, _)) = &array.before
            && array.after.as_ref().is_none_or(|(after, _)| after != before)
        {
            txn.delete(db, before.as_bytes())?;
            discount_array(&mut all, before, current.id);
        }
    }
    for (array, current) in change.arrays.iter().zip(current) {
        let Some((name, _)) = &array.after else { continue };
        let kept = array.before.as_ref().is_some_and(|(before, _)| before == name);
        if !kept {
            if txn.tables().array(name)?.is_some() {
                let text = format!("array {name:?}: two arrays of one transaction were given that name");
                return Err(Error::new(ErrorKind::AlreadyExists, text));
            }
            count_array(&mut all, name, current.id);
        }
        let stored = match array.touches_array() {
            true => array.descriptor_at(Version(txn.id()), current.id, current.descriptor.as_ref()),
            // Only attributes change: the descriptor stays as it is now.
            false => current.descriptor.clone().filter(|_| current.records != current.before),
        };
        if let Some(stored) = stored {
            txn.put(db, name.as_bytes(), &encode_array(name, &stored, current.records)?)?;
        }
    }
    if all != before { txn.put_arrays_tally(all) } else { Ok(()) }
}

/// Sets and removes attributes.
pub(super) fn store_attrs(txn: &mut WriteTxn<'_>, array: &ArrayChange<'_>, now: &mut Current) -> Result<()> {
    let db = txn.dbs().attrs;
    for attr in &array.attrs {
        let key = attr_key(now.id, &attr.name);
        let stored = StoredAttr { version: Version(txn.id()), value: attr.after.clone() };
        let value = encode_attr(&key, &attr.name, &stored)?;
        txn.replace(db, &key, Some(&value), &mut now.records.attrs)?;
    }
    Ok(())
}

/// Sets and removes attributes of the database. Those removed before are forgotten once no reader sees a state in which they
/// were there: until then a transaction of that state has to find that they were removed.
pub(super) fn store_database_attrs(txn: &mut WriteTxn<'_>, set: &[AttrChange], oldest: OldestReader) -> Result<()> {
    if set.is_empty() {
        return Ok(());
    }
    let mut attrs = txn.tables().database_attrs()?;
    attrs.retain(|_, attr| attr.value.is_some() || oldest.may_see_freed_by(attr.version.0));
    let version = Version(txn.id());
    attrs.extend(set.iter().map(|attr| (attr.name.clone(), StoredAttr { version, value: attr.after.clone() })));
    txn.put_database_attrs(&attrs)
}
