//! The life of a commit, in numbered steps. Steps 3 to 7 are the store's.

use super::open_array::OpenArray;
use super::pool::IDLE_SPANS;
use super::transaction::Transaction;
use crate::conflict;
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockNo;
use crate::pager::Written;
use crate::store::{ArrayChange, AttrChange, BlockChange, Bytes, Change, CommitLock, Committed, Snapshot};

/// Blocks of one array that a commit is about.
struct Blocks {
    /// It stores them.
    stored: Vec<u64>,
    /// They were written to in memory.
    touched: Vec<u64>,
    /// Those of them whose memory has zeros where holes are stored.
    zeroed: Vec<u64>,
}

/// Bytes of an array that nothing was written to.
struct Nothing;

impl Bytes for Nothing {
    fn with(&self, range: std::ops::Range<usize>, _: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        Err(Error::new(ErrorKind::Invalid, format!("nothing was written to bytes {range:?}")))
    }
}

impl Transaction {
    /// Makes all changes visible at once, or none. `lock` is the caller's, if it holds one.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if another transaction got there first; what [`Store::commit`] says, and
    /// the first failure to load any of its pages. Nothing is stored then.
    ///
    /// [`Store::commit`]: crate::store::Store::commit
    pub fn commit(mut self, lock: Option<&dyn CommitLock>) -> Result<()> {
        self.is_ended = true;
        let _span = tracing::debug_span!("commit").entered();
        let (memory, counters) = (&self.engine.memory, &self.engine.activity.counters);
        let began = memory.now();
        let outcome = commit(&self, lock);
        counters.commit_nanos.add_nanos(memory.now().saturating_sub(began));
        if let Err(error) = outcome.as_ref()
            && error.is_conflict()
        {
            counters.conflicts.add(1);
            tracing::debug!(%error, "conflict");
        }
        outcome
    }
}

/// Commits; on an error the transaction is dropped by the caller, which gives its spans back.
fn commit(transaction: &Transaction, lock: Option<&dyn CommitLock>) -> Result<()> {
    // No view and no handle lives: the caller gave up the transaction that they borrow.
    let mut arrays = transaction.arrays.lock();
    let attrs = std::mem::take(&mut arrays.attrs_set);
    let attrs = attrs.into_iter().map(|(name, after)| AttrChange { name, after }).collect();
    let mut opened = arrays.all()?;

    // (1) what was written; from here on nothing is let go of, since that may wait for a lock that is held from (4) on
    for array in &mut opened {
        array.pin()?;
    }
    let search = || opened.iter().map(|array| written(array)).collect::<Result<Vec<_>>>();
    let written = tracing::debug_span!("search").in_scope(search)?;
    let mut change = Change { base: &*transaction.snapshot, arrays: Vec::new(), attrs, spill_area: None };
    let spill_area = transaction.spill_area.begun();
    change.spill_area = spill_area.as_deref();
    let (mut indices, mut blocks) = (Vec::new(), Vec::new());
    for (index, (array, Written { changes, touched, zeroed })) in opened.iter().zip(written).enumerate() {
        let stored = changes.iter().map(|change| change.block.0).collect();
        if let Some(changed) = array_change(array, changes, &*transaction.snapshot)? {
            change.arrays.push(changed);
            indices.push(index);
            blocks.push(Blocks { stored, touched, zeroed });
        }
    }
    if change.arrays.is_empty() && change.attrs.is_empty() {
        return Ok(());
    }

    // (2) a sure loser writes nothing; the store looks at the newest state itself
    let stores = change.stores();
    let newest = if stores { transaction.engine.known()? } else { transaction.engine.newest()? };
    if newest.version() != transaction.base() {
        tracing::debug_span!("conflict_check").in_scope(|| conflict::check(&change, &*newest))?;
    }
    drop(newest);
    if !stores {
        return Ok(()); // what it depends on was so in the newest state, and that is all that it says
    }

    let store = || transaction.engine.store.commit(&change, lock);
    let committed = tracing::debug_span!("store", bytes = change.payload_bytes()).in_scope(store)?; // (3) to (7)

    transaction.engine.activity.counters.commits.add(1);
    transaction.engine.activity.counters.bytes_committed.add(change.payload_bytes());

    let _span = tracing::debug_span!("remap").entered();
    // (8) the spans are brought up to date: what was written is mapped from where it is stored, or given back
    drop(change);
    // What is committed is committed, whether or not it can be looked at.
    let newest = transaction.engine.known().ok();
    let arrays = opened.len();
    for (index, array) in opened.iter_mut().enumerate() {
        // Those before would make room in the pool for these: they are not brought up to date for that.
        if arrays - index > IDLE_SPANS {
            array.drop_span();
        }
        match indices.binary_search(&index) {
            Ok(at) => finish_array(transaction, array, &mut blocks[at], &committed, at, newest.as_deref()),
            Err(_) => array.abandon(),
        }
    }
    Ok(())
}

fn written(array: &OpenArray) -> Result<Written> {
    let Some((name, _)) = &array.metadata.after else { return Ok(Written::default()) };
    let written = match &array.pager {
        Ok(Some(pager)) => pager.written(&array.exposed).map_err(|e| e.context(format_args!("array {name:?}")))?,
        _ => Written::default(),
    };
    Ok(Written { changes: array.spill_map.with(written.changes), ..written })
}

fn array_change<'a>(
    array: &'a OpenArray,
    blocks: Vec<BlockChange>,
    snapshot: &dyn Snapshot,
) -> Result<Option<ArrayChange<'a>>> {
    let mut dropped = Vec::new();
    let dropped_from = array.metadata.dropped_from.filter(|_| array.before.is_some());
    if let (Some((name, before)), Some(from)) = (&array.before, dropped_from) {
        // An array that is removed or renamed is compared as a whole.
        let blocks = if array.metadata.after.as_ref().is_some_and(|(after, _)| after == name) { u64::MAX } else { 0 };
        snapshot.blocks(before.id, from..blocks, &mut |BlockNo(block), record| {
            dropped.push((BlockNo(block), record.version));
            std::ops::ControlFlow::Continue(())
        })?;
    }
    let bytes: &dyn Bytes = match &array.pager {
        Ok(Some(pager)) => &**pager,
        _ => &Nothing,
    };
    // The attributes of a removed array go with it.
    let attrs = if array.metadata.after.is_some() { array.attr_changes() } else { Vec::new() };
    let change = ArrayChange {
        before: array.before.clone(),
        after: array.metadata.after.clone(),
        dropped_from,
        dropped,
        blocks,
        attrs,
        depends: array.metadata.depends.iter().map(|range| range.start as u64..range.end as u64).collect(),
        bytes,
    };
    // Created and removed again leaves no trace; opened and looked at, none either.
    let nothing = change.before.is_none() && change.after.is_none();
    Ok((!nothing && (change.stores() || !change.depends.is_empty())).then_some(change))
}

fn finish_array(
    transaction: &Transaction,
    array: &mut OpenArray,
    blocks: &mut Blocks,
    committed: &Committed,
    at: usize,
    newest: Option<&dyn Snapshot>,
) {
    let engine = &transaction.engine;
    let id = committed.ids[at];
    if array.metadata.after.is_none() {
        let spans = engine.pool.lock().forget_array(id);
        drop(spans); // after the lock
        return;
    }
    let changes_blocks = !blocks.stored.is_empty();
    // Blocks dropped at the end may be too many to list: after such a commit, binding a span compares all blocks. Those dropped
    // at the front are no blocks of the array any more, and binding a span forgets them.
    let drops_end = array.metadata.dropped_from.is_some();
    let is_changed = committed.replaced[at] != committed.changed[at];
    if is_changed && array.before.is_some() && !drops_end {
        let stored = std::mem::take(&mut blocks.stored);
        engine.pool.lock().remember(id, committed.replaced[at], committed.changed[at], stored);
    }
    let before = array.before.as_ref().map(|(_, before)| before.changed);
    // Written blocks may show the new state where clean blocks do too: if no other transaction committed to the array
    // between this transaction's snapshot and the newest one. Where blocks were dropped at the end the span may have some of
    // them, or zeros in their place.
    let newest = newest.filter(|newest| {
        let alone = newest.version() == committed.version && before.is_none_or(|v| v == committed.replaced[at]);
        alone && !drops_end
    });
    // Else clean blocks are as the snapshot had them, whatever others committed since; those of a new array are holes.
    let right_for = before.filter(|_| newest.is_none() || !changes_blocks).unwrap_or(committed.changed[at]);
    if let Ok(Some(pager)) = std::mem::replace(&mut array.pager, Ok(None)) {
        let rest = match newest.map(|newest| pager.remap_committed(&blocks.touched, &blocks.zeroed, id, newest)) {
            Some(Ok(rest)) => rest,
            _ => std::mem::take(&mut blocks.touched),
        };
        if pager.release(&rest, &array.exposed, Some((id, right_for))).is_ok() {
            engine.put_idle(id, pager);
        }
    }
}
