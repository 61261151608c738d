//! Arrays and their attributes. The index has arrays by name and all other records by array id. So the check goes through
//! ranges of ids, and reads all names for each range.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bigarray_core::{ArrayId, BlockSize, Damage, Descriptor, Result, Version};
use lmdb::{Database, RoTransaction};

use super::Check;
use crate::index::Tables;
use crate::record::{Meta, Tallies, Tally, attr_name, count_array, decode_array, decode_attr};

/// The tally of the records of one kind that were found, for each array.
pub(super) type TalliesFound = BTreeMap<ArrayId, Tally>;

/// The properties of an array by which its records are checked.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) block_size: BlockSize,
    pub(super) changed: Version,
    /// The blocks that it has.
    pub(super) blocks: Range<u64>,
    /// The tallies of its records, as stored.
    pub(super) records: Tallies,
}

impl Known {
    fn new(name: String, array: &Descriptor, records: Tallies) -> Known {
        let blocks = array.first_block().0..array.block_size.blocks_for(array.end());
        Known { name, block_size: array.block_size, changed: array.changed, blocks, records }
    }
}

/// All arrays with ids in a range.
pub(super) struct Arrays {
    from: u64,
    /// The first id behind the range; `None` if there is none.
    end: Option<u64>,
    by_id: BTreeMap<ArrayId, Known>,
}

impl Arrays {
    pub(super) fn end(&self) -> Option<u64> {
        self.end
    }

    pub(super) fn get(&self, id: ArrayId) -> Option<&Known> {
        self.by_id.get(&id)
    }

    /// Damage in a record of array `id`.
    pub(super) fn damage(&self, id: ArrayId, what: String) -> Damage {
        match self.get(id) {
            Some(array) => Damage::of_array(&array.name, what),
            None => Damage::new(what),
        }
    }

    /// Visits the records of `db`, whose keys begin with an array id, in this range of ids. Keys that are too short for an id
    /// fall into one of the ranges.
    pub(super) fn scan<'t>(
        &self,
        tables: Tables<'t, RoTransaction<'static>>,
        db: Database,
        mut visit: impl FnMut(&'t [u8], &'t [u8]) -> Result<()>,
    ) -> Result<()> {
        let (from, end) = (self.from.to_be_bytes(), self.end.map(u64::to_be_bytes));
        let from: &[u8] = if self.from == 0 { &[] } else { &from };
        tables.scan(db, from, |key, value| {
            if end.is_some_and(|end| key >= &end[..]) {
                return Ok(false);
            }
            visit(key, value).map(|()| true)
        })
    }
}

impl Check<'_> {
    /// Checks the records of arrays by themselves.
    pub(super) fn arrays(&mut self) -> Result<()> {
        let tables = self.tables;
        let next = self.findings.take(tables.meta(Meta::NEXT_ARRAY), Damage::new)?;
        let mut tally = Tally::default();
        tables.scan(tables.dbs().arrays, &[], |key, value| {
            self.visit();
            let decoded = self.findings.take(decode_array(key, value), Damage::new)?;
            let Some((name, array, _)) = decoded else { return Ok(true) };
            count_array(&mut tally, &name, array.id);
            let id = array.id.0;
            if let Some(next) = next.filter(|next| id >= *next) {
                let what = format!("has id {id}, and {next} is the next to be given");
                self.findings.note(Damage::of_array(&name, what));
            }
            let commits = [("changed", array.changed), ("reshaped", array.reshaped), ("named", array.named)];
            for (how, commit) in commits {
                if commit.0 > self.state {
                    let what = format!("was {how} by commit {}, and {} is the last", commit.0, self.state);
                    self.findings.note(Damage::of_array(&name, what));
                }
            }
            self.report.arrays += 1;
            Ok(true)
        })?;
        let stored = self.findings.take(tables.arrays_tally(), Damage::new)?;
        if let Some(stored) = stored.filter(|stored| *stored != tally) {
            let what = format!(
                "{} sound arrays were found, which are not the {} there should be",
                tally.records, stored.records
            );
            self.findings.note(Damage::new(what));
        }
        Ok(())
    }

    /// Checks that the tallies `found` are those that each of `arrays` has stored. `of` picks their kind, which is called
    /// `what`.
    pub(super) fn tallies(&mut self, arrays: &Arrays, found: &TalliesFound, what: &str, of: fn(&Tallies) -> Tally) {
        for (id, array) in &arrays.by_id {
            let found = found.get(id).copied().unwrap_or_default();
            if let Some(what) = found.lacks(of(&array.records), what) {
                let what = format!("{what}: some are missing, or older ones");
                self.findings.note(Damage::of_array(&array.name, what));
            }
        }
    }

    /// The arrays with ids from `from` on, as many as the limit allows. Checks that ids are unique.
    pub(super) fn arrays_from(&mut self, from: u64) -> Result<Arrays> {
        let tables = self.tables;
        let mut arrays = Arrays { from, end: None, by_id: BTreeMap::new() };
        tables.scan(tables.dbs().arrays, &[], |key, value| {
            self.visit();
            // Records that do not decode were noted by `arrays`.
            let Ok((name, array, records)) = decode_array(key, value) else { return Ok(true) };
            let id = array.id;
            if id.0 < from || arrays.end.is_some_and(|end| id.0 >= end) {
                return Ok(true);
            }
            if let Some(other) = arrays.by_id.insert(id, Known::new(name.clone(), &array, records)) {
                let what = format!("has the same id {} as array {:?}", id.0, other.name);
                self.findings.note(Damage::of_array(&name, what));
            }
            if arrays.by_id.len() > self.limits.arrays {
                arrays.end = arrays.by_id.pop_last().map(|(last, _)| last.0);
            }
            Ok(true)
        })?;
        Ok(arrays)
    }

    /// Checks attributes: each belongs to an array.
    pub(super) fn attrs(&mut self, arrays: &Arrays) -> Result<()> {
        let tables = self.tables;
        let mut found = TalliesFound::new();
        arrays.scan(tables, tables.dbs().attrs, |key, value| {
            self.visit();
            let Some((id, name)) = self.findings.take(attr_name(key), Damage::new)? else { return Ok(()) };
            found.entry(id).or_default().add(key, value);
            if arrays.get(id).is_none() {
                self.findings.note(Damage::new(format!("attribute {name:?} belongs to no array (id {})", id.0)));
            }
            let attr = self.findings.take(decode_attr(key, value), |what| arrays.damage(id, what))?;
            if let Some(commit) = attr.map(|attr| attr.version.0).filter(|commit| *commit > self.state) {
                let what = format!("attribute {name:?} was set by commit {commit}, and {} is the last", self.state);
                self.findings.note(arrays.damage(id, what));
            }
            Ok(())
        })?;
        self.tallies(arrays, &found, "attributes", |records| records.attrs);
        Ok(())
    }

    /// Checks the attributes of the database.
    pub(super) fn database_attrs(&mut self) -> Result<()> {
        let attrs = self.findings.take(self.tables.database_attrs(), Damage::new)?.unwrap_or_default();
        for (name, attr) in attrs.iter().filter(|(_, attr)| attr.version.0 > self.state) {
            let (commit, state) = (attr.version.0, self.state);
            let what =
                format!("attribute {name:?} of the database was set by commit {commit}, and {state} is the last");
            self.findings.note(Damage::new(what));
        }
        Ok(())
    }

    /// The names of arrays.
    pub(super) fn names_of(&self, mut ids: BTreeSet<ArrayId>) -> Result<BTreeMap<ArrayId, String>> {
        let mut names = BTreeMap::new();
        let tables = self.tables;
        tables.scan(tables.dbs().arrays, &[], |key, value| {
            if let Ok((name, array, _)) = decode_array(key, value)
                && ids.remove(&array.id)
            {
                names.insert(array.id, name);
            }
            Ok(!ids.is_empty())
        })?;
        Ok(names)
    }
}
