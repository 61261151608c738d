//! The life of a fault, in numbered steps:
//! (1) message → offset, done by the memory; (2) block; (3) Missing → Loading; (4) ask the snapshot; (5) install, if
//! the generation is still the same; (6) wake the whole run.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockSize, PAGE};
use crate::memory::{Faults, Job, Residency};
use crate::pager::Pager;
use crate::pager::binding::Binding;
use crate::pager::block::Kind;
use crate::pager::eviction::budget::{BudgetPermit, Share};
use crate::pager::load::plan::{Plan, reach};
use crate::pager::scratch::with_buffer;
use crate::pager::table::{Presence, Table};

/// Zero memory that is written to here and there is laid in pages, so much of it at once: a huge page. Each of them shows
/// anew whether memory is being filled in order.
const FILLED_UNIT: usize = BlockSize::MAX.bytes();

/// It is where all of so many bytes beside a touched page were touched already.
const FILLED_BYTES: usize = 256 << 10;

/// Storage that says at once that it is unavailable is not asked more often.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A run of blocks that its holder has made Loading, and what it was to show then. Dropping it is step 6, on every way
/// out, a panic of the store included: what was not installed is missing again, and waiting threads try again.
pub(crate) struct Load {
    pager: Arc<Pager>,
    /// Its number in the table.
    number: u64,
    run: Range<u64>,
    /// The one of them that a thread waits for,
    block: u64,
    /// and the byte of it that it touched, if a fault told of that.
    at: Option<usize>,
    generation: u64,
    /// When a thread needed it.
    began: Duration,
    /// What it shows, lent by the table; `None` while it is queued.
    binding: Option<Binding>,
}

impl Load {
    fn binding(&self) -> &Binding {
        self.binding.as_ref().expect("a load that is not queued shows something")
    }

    /// Gives the binding back until a resolver dequeues the load. Releasing the span waits for loads that run, and need not
    /// wait for queued ones. Meanwhile another load may steal the blocks.
    fn enqueue(mut self) -> Load {
        let lent = self.binding.take();
        let mut table = self.pager.lock();
        table.shown.take_back(lent);
        table.loading.enqueue(self.number);
        drop(table);
        // The thread that releases the span waits for the binding, and a prefetch for a load that it may steal.
        self.pager.loaded.notify_all();
        self
    }

    /// The load of `block` alone. Only right after it began, before the table was unlocked.
    pub(crate) fn of_block(mut self, table: &mut Table, block: u64) -> Load {
        self.run = block..block + 1;
        table.loading.narrow(self.number, &self.run);
        self
    }

    /// Runs from here on. `false` if its blocks are not needed any more, or were stolen.
    fn dequeue(&mut self) -> bool {
        let mut table = self.pager.lock();
        if table.loading.dequeue(self.number) {
            self.binding = table.shown.lend();
        }
        self.binding.is_some()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let lent = self.binding.take();
        let mut table = self.pager.lock();
        // The snapshot first: a woken thread may let go of it, and count on its end.
        table.shown.take_back(lent);
        table.loading.finish(self.number);
        drop(table);
        self.pager.loaded.notify_all();
        self.pager.wake(&self.run); // (6)
    }
}

impl Faults for Pager {
    fn missing(&self, offset: usize) -> Vec<Job> {
        self.report_faults();
        self.activity.counters.faults_missing.add(1);
        let block = self.block_size.block_at(offset).0; // (2)
        let mut table = self.lock();
        let mut presence = table.presence(block);
        if let Presence::Installed(_) = presence
            && self.is_to_be_loaded_again(&mut table, block)
        {
            presence = table.presence(block);
        }
        match presence {
            Presence::Installed(_) => {
                self.activity.counters.faults_futile.add(1);
                if table.is_dead() && !table.has(block) {
                    // Emptied since faults ended: to wake alone would have it fault for ever.
                    let why = table.failure().unwrap_or_else(|| Error::new(ErrorKind::Io, ""));
                    self.poison(&mut table, block, &why);
                }
                drop(table);
                self.wake(&(block..block + 1));
                Vec::new()
            }
            Presence::Loading => self.load_ahead_of_loading(&mut table, block), // the end of that load wakes
            Presence::Missing => {
                let Some(mut load) = self.start(&mut table, block) else {
                    self.withdraw(&mut table, offset); // without a binding there is no view
                    return Vec::new();
                }; // (3)
                drop(table);
                load.at = Some(offset);
                if load.binding().lookups_may_block() { self.load_by_job(load) } else { self.load_here(load) }
            }
        }
    }

    fn protected(&self, offset: usize) {
        self.report_faults();
        self.activity.counters.faults_protected.add(1);
        let block = self.block_size.block_at(offset).0;
        match self.admit_writer(block, true) {
            Ok(true) => {}
            Ok(false) => {
                self.activity.counters.faults_futile.add(1);
                self.count_futile_fault(&mut self.lock(), block);
            }
            Err(error) => self.poison(&mut self.lock(), block, &error),
        }
    }

    fn fail(&self, why: &str) {
        let mut table = self.lock();
        table.die(&Error::new(ErrorKind::Io, why));
        if self.residency == Residency::Lazy {
            for gap in table.gaps(self.blocks()) {
                self.load.span.poison(self.bytes_of(&gap), why);
            }
        }
        // Protected blocks have a copy that is right: their writers go on, and the transaction cannot commit.
        for block in table.numbers(.., |there| there.kind() == Kind::Clean) {
            // A writer that cannot be let through is ended rather than left waiting for ever.
            if self.unprotect(block).is_err() {
                self.load.span.poison(self.bytes_of(&(block..block + 1)), why);
            }
        }
        drop(table);
        self.loaded.notify_all();
    }
}

impl Pager {
    /// Steps 4 to 6 by the monitor, as far as no thread has to wait for them.
    fn load_here(&self, mut load: Load) -> Vec<Job> {
        let plan = match load.ask() {
            Ok(plan) => plan, // (4)
            // To try again takes a pause.
            Err(error) if error.is_unavailable() => return self.load_by_job(load),
            Err(error) => {
                load.fail(error);
                return Vec::new();
            }
        };
        let bytes = self.memory_for(load.binding(), &plan);
        let mut jobs: Vec<Job> = Vec::new();
        let (block, is_produced) = (load.block, plan.is_produced());
        match self.budget.room_left(bytes) {
            Some(permit) if !self.reads(&plan) => load.run_or_fail(plan, permit),
            // Bytes have to be read, or blocks to be evicted: not by the thread that all other faults wait for.
            permit => {
                load.keep(plan.first..plan.next()); // others need not wait for what this does not load
                let mut load = load.enqueue();
                jobs.push(Box::new(move || {
                    if load.dequeue() {
                        let permit = permit.unwrap_or_else(|| load.pager.budget.make_room(bytes));
                        load.run_or_fail(plan, permit);
                    }
                }));
            }
        }
        if is_produced {
            jobs.extend(self.load_ahead_of(&mut self.lock(), block));
        }
        if bytes > 0 && self.budget.is_to_be_trimmed() {
            let budget = self.budget.clone();
            jobs.push(Box::new(move || budget.trim()));
        }
        jobs
    }

    /// All of steps 4 to 6 by a job, since to ask may take long. Until then it is not known whether the block has to be
    /// produced, so a reader in order has the next ones loaded in any case.
    fn load_by_job(&self, load: Load) -> Vec<Job> {
        let block = load.block;
        let mut load = load.enqueue();
        let mut jobs: Vec<Job> = vec![Box::new(move || {
            if load.dequeue() {
                load.ask_and_run();
            }
        })];
        jobs.extend(self.load_ahead_of(&mut self.lock(), block));
        jobs
    }
}

impl Load {
    /// Steps 4 to 6 by a thread that may wait.
    fn ask_and_run(mut self) {
        let budget = self.pager.budget.clone();
        match self.ask() {
            Ok(plan) => {
                let permit = budget.make_room(self.pager.memory_for(self.binding(), &plan));
                self.run_or_fail(plan, permit);
            }
            Err(error) => self.fail(error),
        }
        if budget.is_to_be_trimmed() {
            budget.trim();
        }
    }

    /// Step 4. Where bytes have to be read, this load keeps one block. The rest of the run is missing again, so that other
    /// threads load it side by side.
    fn ask(&mut self) -> Result<Plan> {
        let mut plan = Plan::ask(self.binding(), &self.run, self.block, self.pager.block_size)?;
        if plan.check(self.pager.block_size).is_err() {
            plan = plan.of(self.block); // which may be right
            plan.check(self.pager.block_size)?;
        }
        if !self.pager.reads(&plan) {
            return Ok(if plan.is_holes() { self.holes(plan) } else { plan });
        }
        self.keep(self.block..self.block + 1);
        Ok(self.pager.with_cached(plan.of(self.block), self.binding()))
    }

    /// Gives up the blocks of its run that are not in `kept`: threads that wait there try again.
    fn keep(&mut self, kept: Range<u64>) {
        if self.run == kept {
            return;
        }
        let run = std::mem::replace(&mut self.run, kept);
        self.pager.lock().loading.narrow(self.number, &self.run);
        self.pager.loaded.notify_all();
        for rest in [run.start..self.run.start, self.run.end..run.end].iter().filter(|rest| !rest.is_empty()) {
            self.pager.wake(rest);
        }
    }

    /// Of the holes that were planned those that zero memory is laid for at once.
    fn holes(&self, plan: Plan) -> Plan {
        let Load { pager, block, at, .. } = self;
        let most = pager.most_zero_blocks();
        // A reader's zeros take no memory. What is filled in order is filled in huge pages, and so is what was asked for.
        let is_written = self.binding().spill_map.is_some();
        if !is_written || at.is_none_or(|at| pager.is_filled_up_to(at)) {
            return plan.at_most(most, *block);
        }
        // Touched here and there, each of these is a mapping more.
        let has_room = pager.memory.has_room_for_mappings(pager.memory.most_mappings() / 2);
        let few = if has_room { most.min(pager.block_size.blocks_for(FILLED_UNIT)) } else { most };
        Plan { in_pages: true, ..plan.at_most(few, *block) }
    }

    /// Step 5.
    fn run(&self, plan: Plan, permit: BudgetPermit) -> Result<()> {
        if self.pager.copies(&plan) { self.pager.copy(self, plan, permit) } else { self.pager.map(self, plan, permit) }
    }

    fn run_or_fail(self, plan: Plan, permit: BudgetPermit) {
        if let Err(error) = self.run(plan, permit) {
            self.fail(error);
        }
    }

    /// A failure is dropped here. The thread that needs the block faults, and its own load meets the failure. So it does
    /// where the budget has no room: only a thread that waits gets memory beyond it.
    pub(crate) fn run_ahead(mut self) {
        if self.dequeue()
            && let Ok(plan) = self.ask()
            && let Some(permit) = self.pager.budget.make_room_within(self.pager.memory_for(self.binding(), &plan))
        {
            let _ = self.run(plan, permit);
        }
    }

    /// Steps 4 to 6 for a prefetch that no thread waits for, within its share of the budget: `false` where that is used up.
    pub(crate) fn run_within(mut self, share: &Share) -> Result<bool> {
        let plan = self.ask()?; // (4)
        let bytes = self.pager.memory_for(self.binding(), &plan);
        if bytes > 0 && plan.is_holes() {
            return Ok(true); // no storage is waited for there, so it is not worth memory
        }
        let Some(permit) = self.pager.budget.make_room_of(share, bytes) else { return Ok(false) };
        self.run(plan, permit)?;
        Ok(true)
    }

    /// A failed load installs neither zeros nor old bytes. Where storage is unavailable, and there is patience, the block
    /// is missing again, so the threads that wait try again. Else it is poisoned. Its neighbours are missing again: their
    /// own faults meet the failure if it is theirs, too.
    fn fail(self, error: Error) {
        let Load { pager, block, .. } = &self;
        let mut table = pager.lock();
        if table.generation() != self.generation || table.presence(*block) != Presence::Loading {
            return;
        }
        let mut error = error.context(format_args!("array {:?}, block {block}", self.binding().name));
        if error.is_unavailable() {
            if table.is_patient(self.began..pager.memory.now(), pager.options.patience) {
                drop(table);
                pager.memory.pause(BETWEEN_TRIES); // before the threads are woken, which is when `self` is dropped
                return;
            }
            error = error.context(format_args!("given up after {:?}", pager.options.patience));
        }
        pager.poison(&mut table, *block, &error);
    }
}

impl Pager {
    /// (3) Missing → Loading for the run at `block`. `None` if the span shows nothing.
    pub(crate) fn start(&self, table: &mut Table, block: u64) -> Option<Load> {
        let pager = self.this.upgrade()?;
        let binding = table.shown.lend()?;
        // Where look-ups may block, what is stored has to be produced, which is one block each.
        let alone = self.options.copy || self.is_random() || binding.lookups_may_block();
        let around = if alone { block..block + 1 } else { reach(block, self.block_size) };
        let around = match &binding.spill_map {
            Some(spill_map) => spill_map.between(block, around),
            None => around,
        };
        let own = self.blocks();
        let around = around.start.max(own.start)..around.end.min(own.end);
        let (number, run) = table.start(block, around);
        let (generation, began) = (table.generation(), self.memory.now());
        Some(Load { pager, number, run, block, at: None, generation, began, binding: Some(binding) })
    }

    /// The same for `block` alone, queued.
    pub(crate) fn start_queued(&self, table: &mut Table, block: u64) -> Option<Load> {
        table.shown.binding()?;
        let pager = self.this.upgrade()?;
        let (number, run) = table.start(block, block..block + 1);
        table.loading.enqueue(number);
        let (generation, began) = (table.generation(), self.memory.now());
        Some(Load { pager, number, run, block, at: None, generation, began, binding: None })
    }

    /// The load of `block`, which is loading, if that is queued.
    pub(crate) fn steal(&self, table: &mut Table, block: u64) -> Option<Load> {
        let pager = self.this.upgrade()?;
        let (number, run) = table.loading.steal(block)?;
        let (generation, began) = (table.generation(), self.memory.now());
        Some(Load { pager, number, run, block, at: None, generation, began, binding: table.shown.lend() })
    }

    /// Steps 4 to 6 for a thread that wants errors as values.
    pub(crate) fn load(mut load: Load) -> Result<()> {
        let plan = load.ask()?; // (4)
        let permit = load.pager.budget.make_room(load.pager.memory_for(load.binding(), &plan));
        load.run(plan, permit)
    }

    /// The memory of its own that the planned blocks may come to take: copies, and holes that may be written to.
    fn memory_for(&self, binding: &Binding, plan: &Plan) -> usize {
        match plan.is_holes() {
            _ if self.copies(plan) => self.block_size.bytes(),
            true if binding.spill_map.is_some() => (plan.first..plan.next()).map(|block| binding.bytes_in(block)).sum(),
            _ => 0,
        }
    }

    /// Whether zero memory is being filled in order, and comes to byte `at`: the first one of a huge page, where all before
    /// it was touched, or in the last page of one, where all behind was.
    fn is_filled_up_to(&self, at: usize) -> bool {
        let page = at / PAGE * PAGE;
        let neighbour = match page % FILLED_UNIT {
            0 => page.saturating_sub(FILLED_BYTES)..page,
            last if last + PAGE == FILLED_UNIT => page + PAGE..page.saturating_add(PAGE + FILLED_BYTES),
            _ => return false,
        };
        let table = self.lock();
        let mut blocks = self.block_size.blocks_in(&neighbour);
        neighbour.len() == FILLED_BYTES
            && self.has(&neighbour)
            && blocks.all(|block| table.presence(block) == Presence::Installed(Kind::Zero))
            && self.load.span.cached(neighbour).is_ok_and(|touched| touched == FILLED_BYTES)
    }

    /// Most blocks that zero memory is laid for at once: an eighth of the budget.
    fn most_zero_blocks(&self) -> u64 {
        let blocks = (self.budget.limit_bytes() / 8 / self.block_size.bytes()).max(1) as u64;
        1 << blocks.ilog2()
    }

    /// Whether blocks that have to be produced are mapped where files have them as they are. Those that a transaction may
    /// write to are copied: a mapped block is not charged and does not leave memory, so the budget would not bound it. With
    /// `verify` every block is compared when it is loaded, which a file was when it was opened.
    pub(crate) fn maps_cached(&self, binding: &Binding) -> bool {
        self.residency == Residency::Lazy
            && !self.options.copy
            && !self.options.verify
            && binding.spill_map.is_none()
            // Else it is the monitor that asks.
            && binding.lookups_may_block()
    }

    /// The plan of one block with the files that have it, if it is to be mapped from them.
    fn with_cached(&self, plan: Plan, binding: &Binding) -> Plan {
        // What is cached can be copied, and extents cannot do without mappings as well: half of the room is theirs.
        let mappings = (2 * plan.pieces(self.block_size) + 2).saturating_add(self.memory.most_mappings() / 2);
        let is_wanted = self.maps_cached(binding) && plan.is_produced();
        if !is_wanted || !self.memory.has_room_for_mappings(mappings) {
            return plan;
        }
        let cached = binding.cached(plan.first);
        plan.with_cached(cached)
    }

    fn has_room_for(&self, plan: &Plan) -> bool {
        self.memory.has_room_for_mappings(2 * plan.pieces(self.block_size) + 2)
    }

    /// Whether bytes have to be read before what was planned can be seen.
    fn reads(&self, plan: &Plan) -> bool {
        self.options.verify || self.copies(plan)
    }

    /// Whether what was planned is to be copied: as the user chose, as storage demands, or for want of mappings.
    fn copies(&self, plan: &Plan) -> bool {
        self.options.copy && self.residency == Residency::Lazy
            || plan.is_produced() && plan.cached.is_empty()
            || !self.has_room_for(plan)
    }

    fn map(&self, load: &Load, plan: Plan, mut permit: BudgetPermit) -> Result<()> {
        self.verify(load.binding(), &plan)?;
        let mut table = self.lock();
        if table.generation() != load.generation {
            return Ok(());
        }
        let Err(error) = self.install(&mut table, load.binding(), &plan, &mut permit) else { return Ok(()) };
        match table.presence(load.block) {
            Presence::Installed(Kind::Poisoned) => Err(error),
            // Those that are missing still try again by their own faults.
            Presence::Installed(_) => Ok(()),
            Presence::Missing | Presence::Loading => {
                drop(table);
                // A copy takes no mapping.
                let permit = self.budget.overcommit(self.block_size.bytes());
                self.copy(load, plan, permit).map_err(|copying| copying.with_source(error))
            }
        }
    }

    /// Copies the block that is waited for; the others stay missing.
    fn copy(&self, load: &Load, plan: Plan, mut permit: BudgetPermit) -> Result<()> {
        let (block, is_spilled) = (load.block, plan.is_spilled);
        let record = plan.records.into_iter().nth((block - plan.first) as usize).flatten();
        with_buffer(self.block_size.bytes(), |buffer| {
            self.read_shown(load.binding(), block, record.is_some(), buffer)?;
            let mut table = self.lock();
            if table.generation() == load.generation {
                self.install_copy(&mut table, block, record, is_spilled, buffer, &mut permit)?;
            }
            Ok(())
        })
    }
}
