//! A change on its way into a state: for each state that it is tried on, the edits that bring it there. What was put
//! together for one state is used for the next, where the same lies under it.

use std::collections::{BTreeSet, HashMap};

use bigarray_core::store::{AttrChange, Change};
use bigarray_core::{Error, ErrorKind, Result};
use icechunk::format::manifest::ChunkPayload;
use icechunk::format::snapshot::ArrayShape;
use icechunk::format::{ChunkIndices, Path};

use super::build::{Built, build};
use super::land::{Document, Edit};
use super::plan::{Plan, Stored, plan};
use super::put::Uploads;
use crate::snapshot::IcechunkSnapshot;
use crate::zarr::{self, Group};

/// The change of one transaction.
pub(super) struct Draft<'a> {
    change: &'a Change<'a>,
    uploads: Uploads,
    /// For each array of the change.
    built: Vec<HashMap<ChunkIndices, Built>>,
}

/// What is to be done to a session.
pub(super) struct Edits {
    pub(super) edits: Vec<Edit>,
    /// Whether all of them are moves, which have a session of their own.
    pub(super) are_moves: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(change: &'a Change<'a>, uploads: Uploads) -> Draft<'a> {
        let built = change.arrays.iter().map(|_| HashMap::new()).collect();
        Draft { change, uploads, built }
    }

    /// Brings the change to `tip`, which it does not conflict with: all payload is stored when this returns.
    ///
    /// # Errors
    /// Those of reading what lies under the change, of its bytes and of storage.
    pub(super) fn bring_to(&mut self, tip: &IcechunkSnapshot) -> Result<Edits> {
        let plans = self.plans(tip)?;
        if plans.iter().any(|plan| matches!(plan, Plan::Move(..))) {
            return moves(plans);
        }
        let (mut removals, mut others) = (Vec::new(), Vec::new());
        let mut groups = Groups { tip, names: BTreeSet::new(), new: Vec::new() };
        for (number, plan) in plans.iter().enumerate() {
            match plan {
                Plan::Stay | Plan::Move(..) => {}
                Plan::Remove(entry) => removals.push(Edit::Remove(entry.path.clone())),
                Plan::Store(stored) => {
                    if let Some(before) = stored.before.as_ref().filter(|_| stored.is_new_node) {
                        removals.push(Edit::Remove(before.path.clone()));
                    }
                    if stored.is_new_node {
                        groups.need(&stored.name, self.change)?;
                    }
                    let references = self.references(number, stored, tip)?;
                    others.extend(edits_of(stored, references)?);
                }
            }
        }
        self.uploads.finish()?;
        if !self.change.attrs.is_empty() {
            let before = tip.catalog.root()?;
            let set = |group: Group, attr: &AttrChange| group.with_attribute(&attr.name, attr.after.as_ref());
            let root = self.change.attrs.iter().try_fold(before.clone(), set)?;
            if root != before {
                groups.need_root()?;
                others.push(Edit::DescribeRoot(root.to_json()?.into()));
            }
        }
        removals.extend(groups.new);
        removals.extend(others);
        Ok(Edits { edits: removals, are_moves: false })
    }

    fn plans(&self, tip: &IcechunkSnapshot) -> Result<Vec<Plan>> {
        let stores = self.change.arrays.iter().filter(|array| array.stores());
        let is_rename = self.change.attrs.is_empty()
            && stores.clone().all(|array| match (&array.before, &array.after) {
                (Some((_, before)), Some((name, after))) => {
                    let is_whole = array.dropped_from.is_none() && array.blocks.is_empty() && array.attrs.is_empty();
                    is_whole
                        && before.same_layout(after)
                        && parent_of(name).is_none_or(|group| tip.catalog.has_group(group))
                        && !tip.catalog.has_group(name)
                }
                _ => false,
            });
        self.change.arrays.iter().map(|array| plan(array, tip, is_rename)).collect()
    }

    /// The references of the chunks of an array that change, put together where that was not done yet.
    fn references(
        &mut self,
        number: usize,
        stored: &Stored,
        tip: &IcechunkSnapshot,
    ) -> Result<Vec<(ChunkIndices, Option<ChunkPayload>)>> {
        let change = &self.change.arrays[number];
        let before = std::mem::take(&mut self.built[number]);
        let mut built = before;
        let mut references = Vec::new();
        for chunk in &stored.chunks {
            let known = built.get(&chunk.index).filter(|built| built.base == chunk.base);
            let payload = match known {
                Some(known) => known.payload.clone(),
                None => match build(&tip.source, change, stored, chunk, &mut self.uploads)? {
                    Some(new) => {
                        let payload = new.payload.clone();
                        built.insert(chunk.index.clone(), new);
                        payload
                    }
                    None => match &chunk.base {
                        super::plan::Base::Chunk(payload, _) if stored.is_new_node => Some(payload.clone()),
                        _ => continue,
                    },
                },
            };
            references.push((chunk.index.clone(), payload));
        }
        self.built[number] = built;
        references.extend(stored.kept.iter().map(|(index, payload)| (index.clone(), Some(payload.clone()))));
        Ok(references)
    }
}

fn edits_of(stored: &Stored, references: Vec<(ChunkIndices, Option<ChunkPayload>)>) -> Result<Vec<Edit>> {
    let path = path_of(&stored.name)?;
    let mut edits = Vec::new();
    if stored.is_new_node {
        edits.push(Edit::Add(path.clone(), document(stored)?));
    } else {
        if !stored.dropped.is_empty() {
            edits.push(Edit::Drop(path.clone(), stored.dropped.clone()));
        }
        if stored.is_described_anew {
            edits.push(Edit::Describe(path.clone(), document(stored)?));
        }
    }
    let references: Vec<_> =
        references.into_iter().filter(|(_, payload)| payload.is_some() || !stored.is_new_node).collect();
    if !references.is_empty() {
        edits.push(Edit::Refer(path, references));
    }
    Ok(edits)
}

/// Renames alone. Where the new name is one that another array gives up, both go by a third.
fn moves(plans: Vec<Plan>) -> Result<Edits> {
    let moves: Vec<_> = plans
        .into_iter()
        .filter_map(|plan| match plan {
            Plan::Move(entry, to) => Some((entry, to)),
            _ => None,
        })
        .collect();
    let mut edits = Vec::new();
    let mut rest = Vec::new();
    for (number, (entry, to)) in moves.iter().enumerate() {
        let to = path_of(to)?;
        if moves.iter().any(|(other, _)| other.path == to) {
            let aside = path_of(&format!("__bigarray_moved_{number}"))?;
            edits.push(Edit::Move(entry.path.clone(), aside.clone()));
            rest.push(Edit::Move(aside, to));
        } else {
            // Before those from aside: its own name may be one that another takes.
            edits.push(Edit::Move(entry.path.clone(), to));
        }
    }
    edits.extend(rest);
    Ok(Edits { edits, are_moves: true })
}

/// Groups that new arrays need above them.
struct Groups<'a> {
    tip: &'a IcechunkSnapshot,
    names: BTreeSet<String>,
    new: Vec<Edit>,
}

impl Groups<'_> {
    /// Sees that the root group will be there.
    fn need_root(&mut self) -> Result<()> {
        if !self.tip.catalog.has_group("") && self.names.insert(String::new()) {
            self.new.push(Edit::Group(path_of("")?));
        }
        Ok(())
    }

    /// Sees that an array can have that name, and that every group above it will be there.
    fn need(&mut self, name: &str, change: &Change<'_>) -> Result<()> {
        if self.tip.catalog.has_group(name) {
            let text = format!("array {name:?}: a group has that name, which arrays are below, or were");
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        let mut above = parent_of(name).unwrap_or_default();
        loop {
            if !above.is_empty() && self.is_array_then(above, change) {
                let text = format!("array {name:?}: {above:?} is an array, and nothing can be below an array");
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            if !self.tip.catalog.has_group(above) && self.names.insert(above.to_owned()) {
                self.new.push(Edit::Group(path_of(above)?));
            }
            if above.is_empty() {
                return Ok(());
            }
            above = parent_of(above).unwrap_or_default();
        }
    }

    /// Whether there is an array of that name after the change.
    fn is_array_then(&self, name: &str, change: &Change<'_>) -> bool {
        let is_given = change.arrays.iter().any(|array| array.after.as_ref().is_some_and(|(after, _)| after == name));
        let is_kept =
            !change.arrays.iter().any(|array| array.before.as_ref().is_some_and(|(before, _)| before == name));
        is_given || is_kept && self.tip.catalog.has_array(name)
    }
}

fn parent_of(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(group, _)| group)
}

fn document(stored: &Stored) -> Result<Document> {
    let metadata = &stored.metadata;
    let of_array = |error: Error| error.context(format_args!("array {:?}", stored.name));
    let axes = metadata.shape().into_iter().zip(metadata.grid().counts());
    let too_many = || of_array(Error::new(ErrorKind::TooLarge, "an axis has 2³² chunks or more"));
    let axes = axes.map(|(len, chunks)| Ok((len as u64, u32::try_from(chunks).map_err(|_| too_many())?)));
    let shape = ArrayShape::new(axes.collect::<Result<Vec<_>>>()?).ok_or_else(too_many)?;
    let names = metadata.dimension_names();
    let names = names.map(|names| names.iter().map(|name| name.as_deref().into()).collect());
    Ok(Document { shape, dimension_names: names, json: metadata.to_json().map_err(of_array)?.into() })
}

fn path_of(name: &str) -> Result<Path> {
    Path::new(&zarr::path_of(name))
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("array {name:?}: no path can have that name: {e}")))
}
