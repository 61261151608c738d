//! A pager of a few lines: knows what each block is to hold, and installs it when it is asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Weak};

use bigarray_core::memory::{Faults, Job, Span, WrittenTo};
use bigarray_core::store::DataFile;
use bigarray_core::sync::{Mutex, MutexGuard};
use bigarray_core::{PAGE, Result};

use super::MemoryFixture;
use crate::page_of;

/// Bytes that are installed at once.
pub(super) const BLOCK: usize = 64 << 10;

/// More threads than wait for one block in any test.
const MANY: usize = 1000;

/// Where some pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Zero,
    /// The file from this byte on.
    File(u64),
    /// Copied: pages of this tag and those after it.
    Copied(u64),
}

pub(super) struct Handler {
    me: Weak<Handler>,
    pub(super) span: Box<dyn Span>,
    pub(super) file: Arc<dyn DataFile>,
    lazy: bool,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// What to load into a block: runs of pages and their content; zeros for a block that is not listed.
    plan: HashMap<usize, Vec<(usize, Content)>>,
    state: BTreeMap<usize, Loaded>,
    /// Blocks whose writers wait.
    protected_blocks: HashSet<usize>,
    /// Bytes of blocks that were evicted: these are copied, whatever was planned.
    saved: HashMap<usize, Vec<u8>>,
    /// How often in a row a block was told to be missing that is there.
    stale: usize,
    /// What a job does before it installs anything; without, no job is made.
    before: Option<Arc<dyn Fn(usize) + Send + Sync>>,
    missing: Vec<usize>,
    protected: Vec<usize>,
    installs: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loaded {
    InJob,
    There,
}

impl Handler {
    /// A span of `blocks` blocks, rounded up, all zero.
    pub(super) fn new(fixture: &MemoryFixture, blocks: usize) -> Arc<Handler> {
        let len = (blocks * BLOCK).next_multiple_of(2 << 20);
        let span = fixture.memory.reserve(0..len, fixture.residency).expect("a small span");
        let (file, lazy) = (fixture.file.clone(), fixture.is_lazy());
        let handler =
            Arc::new_cyclic(|me: &Weak<Handler>| Handler { me: me.clone(), span, file, lazy, table: Mutex::default() });
        let faults: Weak<Handler> = Arc::downgrade(&handler);
        handler.span.attach(faults);
        handler
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    /// Says what a block is to hold; at once in an eager span, else when it is asked for.
    pub(super) fn put(&self, block: usize, content: Content) {
        self.put_runs(block, vec![(BLOCK / PAGE, content)]);
    }

    pub(super) fn put_runs(&self, block: usize, runs: Vec<(usize, Content)>) {
        let mut table = self.table();
        table.plan.insert(block, runs);
        if !self.lazy {
            self.install(&mut table, block);
        }
    }

    /// From now on blocks are installed by jobs, which call `before` with the block's number first.
    pub(super) fn use_jobs(&self, before: impl Fn(usize) + Send + Sync + 'static) {
        self.table().before = Some(Arc::new(before));
    }

    /// Installs a block as one fault after the other would.
    fn install(&self, table: &mut Table, block: usize) {
        if let Err(error) = self.install_runs(table, block) {
            self.span.poison(range_of(block), &format!("block {block} cannot be installed: {error}"));
        }
        table.installs += 1;
        table.stale = 0;
        table.state.insert(block, Loaded::There);
        self.span.wake(range_of(block));
    }

    fn install_runs(&self, table: &Table, block: usize) -> Result<()> {
        if let Some(bytes) = table.saved.get(&block) {
            return self.span.copy(block * BLOCK, bytes);
        }
        let whole = [(BLOCK / PAGE, Content::Zero)];
        let mut at = block * BLOCK;
        for (pages, content) in table.plan.get(&block).map_or(&whole[..], |runs| runs) {
            let len = pages * PAGE;
            match content {
                Content::Zero => self.span.zero(at..at + len)?,
                Content::File(offset) => self.span.map(at..at + len, &self.file, *offset, true)?,
                Content::Copied(_) => self.span.copy(at, &content.bytes(&*self.file, *pages))?,
            }
            at += len;
        }
        Ok(())
    }

    /// Back to missing, or to zeros; what it is to hold then is yet to be said.
    pub(super) fn reset(&self, block: usize) {
        let mut table = self.table();
        self.span.reset(range_of(block)).expect("reset");
        table.plan.remove(&block);
        table.state.remove(&block);
        table.protected_blocks.remove(&block);
        table.saved.remove(&block);
    }

    /// Whether a block is installed.
    pub(super) fn is_there(&self, block: usize) -> bool {
        self.table().state.get(&block) == Some(&Loaded::There)
    }

    /// The bytes of an evicted block are not wanted any more.
    pub(super) fn forget(&self, block: usize) {
        self.table().saved.remove(&block);
    }

    /// Holds writes to a block back, which is of one kind and there.
    pub(super) fn write_protect(&self, block: usize) {
        let mut table = self.table();
        self.span.write_protect(range_of(block)).expect("protection");
        table.protected_blocks.insert(block);
    }

    /// Lets writes to a protected block through again.
    pub(super) fn unprotect(&self, block: usize) {
        let mut table = self.table();
        table.protected_blocks.remove(&block);
        match table.is_copied(block) {
            true => self.span.unprotect(range_of(block)).expect("unprotect"),
            false => self.span.unprotect_zero(range_of(block)).expect("no protection"),
        }
    }

    /// Takes a protected block away, to be copied from here on when it is asked for. Gives the bytes that it had.
    pub(super) fn evict(&self, block: usize) -> Vec<u8> {
        let table = self.table();
        let range = range_of(block);
        // Of zero memory what is not there would make this thread wait.
        let mut there = vec![range.clone()];
        if !table.is_copied(block) {
            there.clear();
            self.span.written(range.clone(), WrittenTo::Zero, &mut there).expect("written");
        }
        let mut saved = vec![0; BLOCK];
        for run in there {
            saved[run.start - range.start..run.end - range.start].copy_from_slice(&self.read(run));
        }
        self.span.evict(range).expect("evict");
        drop(table);
        self.gone(block, saved.clone());
        saved
    }

    /// A protected block is missing by now, and is to be copied from `saved` when it is asked for.
    pub(super) fn gone(&self, block: usize, saved: Vec<u8>) {
        let mut table = self.table();
        table.protected_blocks.remove(&block);
        table.state.remove(&block);
        table.saved.insert(block, saved);
        self.span.wake(range_of(block));
    }

    /// Tracks writes to blocks; gives how they are to be searched from now on, tracked or not.
    pub(super) fn track_writes(&self, blocks: Range<usize>) -> WrittenTo {
        let _table = self.table();
        let tracked = self.span.track_writes(blocks.start * BLOCK..blocks.end * BLOCK).expect("tracking");
        if tracked { WrittenTo::Tracked } else { WrittenTo::Mapped }
    }

    /// The pages found written.
    pub(super) fn written(&self, blocks: Range<usize>, to: WrittenTo) -> Vec<usize> {
        let _table = self.table();
        let mut found = Vec::new();
        let range = blocks.start * BLOCK..blocks.end * BLOCK;
        self.span.written(range.clone(), to, &mut found).expect("written");
        let mut last = range.start;
        for run in &found {
            let right = run.start >= last && run.start < run.end && run.end <= range.end;
            let whole = run.start.is_multiple_of(PAGE) && run.end.is_multiple_of(PAGE);
            assert!(right && whole, "written in {range:?}: {found:?}");
            last = run.end;
        }
        found.into_iter().flat_map(|run| run.start / PAGE..run.end / PAGE).collect()
    }

    pub(super) fn read(&self, range: Range<usize>) -> Vec<u8> {
        let mut read = Vec::new();
        let mut calls = 0;
        self.span
            .with_bytes(range.clone(), &mut |bytes| {
                calls += 1;
                read.extend_from_slice(bytes);
                Ok(())
            })
            .expect("nothing in the closure fails");
        assert_eq!((calls, read.len()), (1, range.len()), "with_bytes calls once, with all bytes");
        read
    }

    #[track_caller]
    pub(super) fn assert_reads(&self, range: Range<usize>, expected: &[u8]) {
        let differs = self.read(range.clone()).iter().zip(expected).position(|(a, b)| a != b);
        assert_eq!(differs, None, "first differing byte of {range:?}");
    }

    /// The bytes that a run of pages of that content begins with.
    pub(super) fn bytes(&self, content: Content, pages: usize) -> Vec<u8> {
        content.bytes(&*self.file, pages)
    }

    /// Offsets that were told to be missing, and protected.
    pub(super) fn told(&self) -> (Vec<usize>, Vec<usize>) {
        let table = self.table();
        (table.missing.clone(), table.protected.clone())
    }

    /// How many blocks were installed.
    pub(super) fn installs(&self) -> usize {
        self.table().installs
    }
}

impl Table {
    /// Whether all of a block is copied; otherwise it is taken for zero memory.
    fn is_copied(&self, block: usize) -> bool {
        let planned = |runs: &Vec<(usize, Content)>| matches!(runs[..], [(_, Content::Copied(_))]);
        self.saved.contains_key(&block) || self.plan.get(&block).is_some_and(planned)
    }
}

impl Content {
    fn bytes(self, file: &dyn DataFile, pages: usize) -> Vec<u8> {
        let mut bytes = vec![0; pages * PAGE];
        match self {
            Content::Zero => {}
            Content::File(offset) => file.read_at(offset, &mut bytes).expect("inside the file"),
            Content::Copied(tag) => bytes = (tag..tag + pages as u64).flat_map(page_of).collect(),
        }
        bytes
    }
}

pub(super) fn range_of(block: usize) -> Range<usize> {
    block * BLOCK..(block + 1) * BLOCK
}

impl Faults for Handler {
    fn missing(&self, offset: usize) -> Vec<Job> {
        let block = offset / BLOCK;
        let mut table = self.table();
        table.missing.push(offset);
        match table.state.get(&block) {
            // A page of zero memory without an access so far: the access waits until the block is decided.
            Some(Loaded::There) if table.protected_blocks.contains(&block) => {}
            Some(Loaded::There) => {
                table.stale += 1;
                if table.stale > MANY {
                    // Else a memory that loses pages would be asked for ever.
                    self.span.poison(range_of(block), &format!("block {block} is there, but goes on being missing"));
                }
                self.span.wake(range_of(block));
            }
            Some(Loaded::InJob) => {}
            None => {
                let Some(before) = table.before.clone() else {
                    self.install(&mut table, block);
                    return Vec::new();
                };
                table.state.insert(block, Loaded::InJob);
                let me = self.me.clone();
                return vec![Box::new(move || {
                    before(block);
                    if let Some(me) = me.upgrade() {
                        me.install(&mut me.table(), block);
                    }
                })];
            }
        }
        Vec::new()
    }

    fn protected(&self, offset: usize) {
        let mut table = self.table();
        table.protected.push(offset);
        let block = offset / BLOCK;
        // A message may come late, when the block is not what it was.
        if table.protected_blocks.contains(&block) {
            return;
        }
        if !table.state.contains_key(&block) {
            // A thread that waited to write to a page that is gone by now is woken, and finds the page missing.
            self.span.wake(range_of(block));
            return;
        }
        let whole = (0..BLOCK / PAGE, Content::Copied(0));
        let copied = match table.is_copied(block) {
            true => Some(whole),
            false => table.plan.get(&block).and_then(|runs| run_at(runs, offset % BLOCK / PAGE)),
        };
        if let Some((pages, Content::Copied(_))) = copied {
            let start = block * BLOCK;
            let range = start + pages.start * PAGE..start + pages.end * PAGE;
            if table.state.get(&block) == Some(&Loaded::There)
                && let Err(error) = self.span.unprotect(range.clone())
            {
                self.span.poison(range, &format!("cannot be unprotected: {error}"));
            }
        }
    }

    fn fail(&self, why: &str) {
        let table = self.table();
        for block in 0..self.span.bytes().len() / BLOCK {
            if !table.state.contains_key(&block) {
                self.span.poison(range_of(block), why);
            }
        }
    }
}

/// The run that holds page `n` of a block.
fn run_at(runs: &[(usize, Content)], n: usize) -> Option<(Range<usize>, Content)> {
    let mut start = 0;
    runs.iter().find_map(|(pages, content)| {
        let run = start..start + pages;
        start = run.end;
        run.contains(&n).then_some((run, *content))
    })
}
