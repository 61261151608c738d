//! What a program does, and on what.

use std::ops::Range;

use arbitrary::{Arbitrary, Result, Unstructured};
use bigarray_core::{BlockSize, PAGE};
use bigarray_testing::SimOp;

/// Bytes of a block of the array.
pub(crate) const BLOCK: usize = BlockSize::MIN.bytes();

/// A program and the world it runs in.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The world.
    pub setup: Setup,
    /// The program, in order.
    pub ops: Vec<Op>,
}

impl<'a> Arbitrary<'a> for Scenario {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Scenario> {
        let setup = bytes.arbitrary()?;
        let mut ops = Vec::new();
        while !bytes.is_empty() && ops.len() < 200 {
            ops.push(bytes.arbitrary()?);
        }
        Ok(Scenario { setup, ops })
    }
}

/// How memory and store behave.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// How blocks become memory.
    pub paging: Paging,
    /// Decides what the simulated memory leaves open.
    pub seed: u16,
    /// Every third block cannot be mapped.
    pub produced: bool,
    /// Mapped blocks are verified.
    pub verify: bool,
    /// The system allows 40 mappings.
    pub few_mappings: bool,
    /// The store holds 120 pages.
    pub small_store: bool,
    /// Zero pages that were only read are reported as written.
    pub reports_read_zero_pages: bool,
    /// Loads may be late.
    pub leaves_jobs: bool,
    /// Memory of their own that all spans may have.
    pub budget: MemoryBudget,
    /// What is over the budget waits until no view lives, where it was written to.
    pub spares_views: bool,
    /// The array has a codec.
    pub compressed: bool,
}

impl Setup {
    /// The byte that elements are before they are written to: the fill value of the array, or zero. Without faults an array
    /// with one has to fit into the budget.
    pub(crate) fn fill(self) -> u8 {
        let fits = self.paging != Paging::Eager || self.budget == MemoryBudget::Unlimited;
        if self.seed % 4 == 1 && fits { 0x5a } else { 0 }
    }
}

/// Memory of their own that all spans together may have.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as what they are")]
pub enum MemoryBudget {
    Unlimited,
    TwoBlocks,
    FourBlocks,
}

impl MemoryBudget {
    pub(crate) fn bytes(self) -> usize {
        match self {
            MemoryBudget::Unlimited => usize::MAX,
            MemoryBudget::TwoBlocks => 2 * BLOCK,
            MemoryBudget::FourBlocks => 4 * BLOCK,
        }
    }
}

/// How blocks become memory.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Mapped.
    Map,
    /// Copied.
    Copy,
    /// Mapped, where system calls cannot wait for a fault.
    UserMode,
    /// Copied, where system calls cannot wait for a fault.
    UserModeCopy,
    /// Mapped when opened, as no fault is delivered.
    Eager,
}

/// One step of a program. The array is the only one there is.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// In the open transaction, which begins if there is none.
    Change(Change),
    /// The same in a transaction of its own, which commits meanwhile.
    Elsewhere(Change),
    /// Reads in the transaction.
    Read(Place),
    /// The same by a system call, after a prefetch.
    ReadInKernel(Place),
    /// Spills what the transaction wrote.
    Flush,
    /// Takes a savepoint of it.
    Savepoint,
    /// Goes back to one of its savepoints.
    Rollback(u8),
    /// Commits the transaction.
    Commit,
    /// Aborts it.
    Abort,
    /// Takes a snapshot and keeps it.
    Hold,
    /// Reads in a snapshot that is kept.
    ReadHeld(u8, Place),
    /// Lets a snapshot go.
    Release(u8),
    /// Prefetches in the transaction, and in a snapshot that is kept, and waits for neither.
    PrefetchAhead(Place),
    /// Runs loads that are late.
    RunJobs,
    /// The n-th next call of its kind fails.
    Fail(Call, u8),
    /// So many reservations of addresses in a row find too few.
    ShortOfAddresses(u8),
}

/// A change of the array.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes bytes that depend on the number; zeros for every fourth.
    Write(Place, u8),
    /// Gives the array another length.
    Resize(Size),
    /// Makes it longer and writes to what is new.
    Append(u16, u8),
    /// Removes it, and creates another of that name.
    Recreate(Size),
    /// Removes its first bytes: so many, or all.
    DropFront(Size),
}

/// A range of bytes that is not empty, unless the array is.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which block.
    pub block: u8,
    /// Which page of it.
    pub page: u8,
    /// Which byte of that.
    pub byte: u16,
    /// How many.
    pub len: u16,
}

impl Place {
    /// The bytes of an array of `len` bytes.
    pub(crate) fn within(self, len: usize) -> Range<usize> {
        if len == 0 {
            return 0..0;
        }
        let page = usize::from(self.page) % (BLOCK / PAGE);
        let start = usize::from(self.block) % len.div_ceil(BLOCK) * BLOCK + page * PAGE + usize::from(self.byte) % PAGE;
        let start = start % len;
        // Now and then more than a block.
        let most = if self.len.is_multiple_of(16) { 2 * BLOCK } else { 2 * PAGE };
        start..len.min(start + 1 + usize::from(self.len) % most)
    }
}

/// A length of the array.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Blocks that are full.
    pub blocks: u8,
    /// Bytes behind them.
    pub bytes: u16,
}

impl Size {
    /// Up to 6 blocks; now and then more than the least that a span can have.
    pub(crate) fn bytes(self) -> usize {
        let blocks = if self.blocks >= 250 { 34 } else { usize::from(self.blocks) % 6 };
        blocks * BLOCK + usize::from(self.bytes)
    }
}

/// A call that can fail.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as what they are calls of")]
pub enum Call {
    Reserve,
    Zero,
    Map,
    Copy,
    Unprotect,
    WriteProtect,
    UnprotectZero,
    Evict,
    Remap,
    Reset,
    Written,
}

impl From<Call> for SimOp {
    fn from(call: Call) -> SimOp {
        match call {
            Call::Reserve => SimOp::Reserve,
            Call::Zero => SimOp::Zero,
            Call::Map => SimOp::Map,
            Call::Copy => SimOp::Copy,
            Call::Unprotect => SimOp::Unprotect,
            Call::WriteProtect => SimOp::WriteProtect,
            Call::UnprotectZero => SimOp::UnprotectZero,
            Call::Evict => SimOp::Evict,
            Call::Remap => SimOp::Remap,
            Call::Reset => SimOp::Reset,
            Call::Written => SimOp::Written,
        }
    }
}

/// What byte `at` holds once `value` was written there.
pub(crate) fn pattern(at: usize, value: u8) -> u8 {
    if value.is_multiple_of(4) { 0 } else { (at / PAGE * 31 + at * 7) as u8 ^ value }
}
