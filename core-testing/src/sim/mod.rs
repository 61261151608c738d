//! A simulated [`Memory`].

mod contract;
mod fault;
mod handle;
mod page;
mod resolvers;
mod span;
mod taken;
mod user;
mod world;

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::memory::{Job, Memory, Residency, Span};
use bigarray_core::store::DataFile;
use bigarray_core::{PAGE, Result};

use self::contract::refuse_unless;
pub use self::handle::SimSpan;
use self::span::Reserved;
pub use self::user::Signal;
use self::world::{Shared, page_of_file};
use crate::role::{Role, role};

/// A [`Memory`] whose pages are values: missing, zero, mapped, copied, poisoned. [`SimSpan::load`] and
/// [`SimSpan::store`] stand for the loads and stores of a program. Every fault of theirs goes to the pager as the
/// kernel's would, except that one seed decides what happens next: whether a job runs now or later, which of several,
/// whether a stale fault comes after its page is there.
///
/// It holds the pager to the contract of [`Span`]: a call that breaks it panics, and so does a thread that waits for a
/// page while nothing can wake it any more.
///
/// Cheap to clone; clones are the same memory.
#[derive(Clone)]
pub struct SimMemory(Arc<Shared>);

/// How a [`SimMemory`] behaves.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Decides the order of what happens.
    pub seed: u64,
    /// See [`Memory::delivers_faults`].
    pub delivers_faults: bool,
    /// See [`Memory::delivers_kernel_faults`].
    pub delivers_kernel_faults: bool,
    /// Whether lazy spans can be [tracked](bigarray_core::memory::TrackWrites::track_writes).
    pub tracks: bool,
    /// Mappings that fit.
    pub most_mappings: usize,
    /// Whether `written` also reports zero pages that were only read, as a kernel with huge zero pages may.
    pub reports_read_zero_pages: bool,
    /// Whether pages are merged with others at any time, as by a kernel that looks for equal ones: they lose their
    /// protection, unnoticed by the pager.
    pub merges: bool,
    /// Whether pages can be [taken out](bigarray_core::memory::Protect::take_out).
    pub moves: bool,
    /// Whether it maps files that it was not made with, if they have what is mapped.
    pub maps_other_files: bool,
    /// Whether a job may stay queued after the access that asked for it was woken by something else; then
    /// [`SimMemory::run_jobs`] runs it, after whatever the test does in between.
    pub leaves_jobs: bool,
    /// How long a thread waits for others to wake it before that counts as a deadlock; with one thread there is nothing
    /// to wait for.
    pub patience: Duration,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            seed: 0,
            delivers_faults: true,
            delivers_kernel_faults: true,
            tracks: true,
            most_mappings: 60_000,
            reports_read_zero_pages: false,
            merges: false,
            moves: true,
            maps_other_files: false,
            leaves_jobs: false,
            patience: Duration::from_secs(60),
        }
    }
}

/// What happens in a [`SimMemory`]: the calls of [`Memory`] and [`Span`], and what is delivered to the pager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as what they are calls of")]
pub enum SimOp {
    Reserve,
    Zero,
    Map,
    Remap,
    Advise,
    Copy,
    Unprotect,
    WriteProtect,
    UnprotectZero,
    Evict,
    TakeOut,
    PutBack,
    Poison,
    Reset,
    Withdraw,
    Wake,
    Resident,
    TrackWrites,
    Written,
    ReadIn,
    /// [`Memory::read_ahead`]: bytes of the file.
    ReadAhead,
    Missing,
    Protected,
    /// A job was run; without range.
    Job,
    /// Time passed; without range.
    Pause,
    /// The span was given back.
    Drop,
}

/// One entry of [`SimMemory::trace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimEvent {
    /// Spans are numbered as they are reserved.
    pub span: usize,
    /// What happened.
    pub op: SimOp,
    /// Bytes of the span.
    pub range: Range<usize>,
}

impl SimMemory {
    /// A memory that can map `file`, and nothing else.
    pub fn new(file: Arc<dyn DataFile>) -> SimMemory {
        SimMemory::with(file, SimOptions::default())
    }

    /// The same, behaving as `options` say.
    pub fn with(file: Arc<dyn DataFile>, options: SimOptions) -> SimMemory {
        SimMemory(Arc::new(Shared::new(file, options)))
    }

    /// The living span with this [`base`](bigarray_core::memory::SpanBytes::base).
    ///
    /// # Panics
    /// If there is none.
    pub fn span_at(&self, base: NonNull<u8>) -> Arc<SimSpan> {
        let world = self.0.world();
        let Some(state) = world.spans.get(&base.addr().get()) else { panic!("no simulated span at {base:p}") };
        Arc::new(SimSpan { shared: self.0.clone(), base: base.addr().get(), bytes: state.bytes.clone() })
    }

    /// The living span that contains `address`, and the byte of the span there.
    ///
    /// # Panics
    /// If there is none.
    pub fn span_over(&self, address: NonNull<u8>) -> (Arc<SimSpan>, usize) {
        let address = address.addr().get();
        let world = self.0.world();
        let below =
            world.spans.range(..=address).next_back().filter(|(base, state)| address - *base < state.bytes.len());
        let Some((&base, state)) = below else { panic!("no simulated span at {address:#x}") };
        let span = SimSpan { shared: self.0.clone(), base, bytes: state.bytes.clone() };
        (Arc::new(span), state.bytes.start + (address - base))
    }

    /// Bytes of private memory: copied, or written to.
    pub fn own_bytes(&self) -> usize {
        self.0.world().spans.values().map(|span| span.table.own_pages() * PAGE).sum()
    }

    /// The `nth` call of `op` from now on (0: the next) fails: [`ErrorKind::TooLarge`](bigarray_core::ErrorKind::TooLarge) for
    /// [`SimOp::Reserve`], else [`ErrorKind::Io`](bigarray_core::ErrorKind::Io). Calls that cannot fail are not affected.
    pub fn fail(&self, op: SimOp, nth: usize) {
        self.0.world().failures.push((op, nth));
    }

    /// How many failures are yet to come.
    pub fn pending_failures(&self) -> usize {
        self.0.world().failures.len()
    }

    /// Runs the jobs that are queued, and those they lead to, in an order that the seed decides.
    pub fn run_jobs(&self) {
        while self.0.run_a_job() {}
    }

    /// How many jobs are queued.
    pub fn jobs(&self) -> usize {
        let world = self.0.world();
        world.jobs.len() + world.ahead.len()
    }

    /// From now on faults are not delivered any more, and every pager is told so.
    pub fn fail_faults(&self, why: &str) {
        self.0.fail_faults(why);
    }

    /// Lets time pass. Nothing else does, but for pauses.
    pub fn pass(&self, time: Duration) {
        self.0.world().now += time;
    }

    /// How many times `op` happened.
    pub fn count(&self, op: SimOp) -> usize {
        self.0.world().trace.iter().filter(|event| event.op == op).count()
    }

    /// All that happened so far.
    pub fn trace(&self) -> Vec<SimEvent> {
        self.0.world().trace.clone()
    }
}

impl Memory for SimMemory {
    fn delivers_faults(&self) -> bool {
        self.0.options.delivers_faults
    }

    fn delivers_kernel_faults(&self) -> bool {
        self.0.options.delivers_kernel_faults
    }

    fn reserve(&self, bytes: Range<usize>, residency: Residency) -> Result<Box<dyn Span>> {
        let aligned = [bytes.start, bytes.end].iter().all(|end| end.is_multiple_of(world::ALIGN));
        refuse_unless(aligned && !bytes.is_empty(), || format!("reserve of {bytes:?}: not multiples of 2 MiB"));
        let can = residency == Residency::Eager || self.0.options.delivers_faults;
        refuse_unless(can, || "reserve: a lazy span where no fault is delivered".to_owned());
        let mut world = self.0.world();
        world.fails(SimOp::Reserve)?;
        world.has_addresses(bytes.len())?;
        let reserved = Reserved::new(&self.0, &mut world, bytes, residency);
        Ok(Box::new(reserved))
    }

    fn check_process(&self) -> Result<()> {
        Ok(())
    }

    fn now(&self) -> Duration {
        self.0.world().now
    }

    fn pause(&self, time: Duration) {
        refuse_unless(role() != Role::Monitor, || "a pause of the thread that receives faults".to_owned());
        let mut world = self.0.world();
        world.now += time;
        world.log(0, SimOp::Pause, 0..0);
    }

    fn run_ahead(&self, job: Job) {
        self.0.world().ahead.push(job);
        self.0.moved.notify_all();
    }

    fn read_ahead(&self, file: &Arc<dyn DataFile>, bytes: Range<u64>, _exactly: bool) -> Result<()> {
        refuse_unless(role() != Role::Monitor, || "a read by the thread that receives faults".to_owned());
        let mut world = self.0.world();
        world.log(0, SimOp::ReadAhead, bytes.start as usize..bytes.end as usize);
        world.fails(SimOp::ReadAhead)?;
        drop(world);
        file.read_at(bytes.start, &mut vec![0; (bytes.end - bytes.start) as usize])?;
        self.0.world().read_ahead.extend(bytes.step_by(PAGE).map(|at| page_of_file(file, at)));
        Ok(())
    }

    fn report(&self, _: Job) {}

    fn has_room_for_mappings(&self, n: usize) -> bool {
        self.0.world().mappings().saturating_add(n) <= self.0.options.most_mappings
    }

    fn most_mappings(&self) -> usize {
        self.0.options.most_mappings
    }
}
