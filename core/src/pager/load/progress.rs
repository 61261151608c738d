//! Faults that bring no progress: a thread waits for a page of a block that is in memory as far as the table knows.
//!
//! As a rule it is a message that came late, and to wake the thread is the answer. But a part of the block may really
//! be gone: the system stopped half way when it was to be given back, or the program discarded memory of a view. Such a
//! thread would fault, be woken and fault again for ever. So answers in vain are counted: after some, a block that can
//! be loaded again is; after more than can be late messages, the block is poisoned, which is loud.

use crate::error::{Error, ErrorKind};
use crate::pager::Pager;
use crate::pager::block::Kind;
use crate::pager::table::{Presence, Table};

/// Futile faults after which a clean copy is given back whole, and loaded again.
const LOAD_AGAIN: u32 = 1 << 10;

/// More than threads can have been late.
const MOST: u32 = 1 << 16;

impl Pager {
    /// A thread waits for `block`, which is in memory. Whether that is not so any more, and it is to be loaded.
    pub(crate) fn is_to_be_loaded_again(&self, table: &mut Table, block: u64) -> bool {
        self.count_futile_fault(table, block).is_multiple_of(LOAD_AGAIN)
            // Looked at after that: it may have been poisoned just now, and poison stays.
            && table.presence(block) == Presence::Installed(Kind::Clean)
            && self.evict_clean(table, block).is_ok()
    }

    /// Counts a fault in `block` that is answered by waking alone.
    pub(crate) fn count_futile_fault(&self, table: &mut Table, block: u64) -> u32 {
        let count = table.futile_faults.count(block);
        let is_poisoned = table.presence(block) == Presence::Installed(Kind::Poisoned);
        if count >= MOST && !is_poisoned {
            let why = match table.shown.binding() {
                Some(binding) => format!(
                    "array {:?}, block {block}: a part of it is not in memory, though it was loaded. Was memory of a view \
                     unmapped or discarded (munmap, madvise), or could it not be given back whole?",
                    binding.name
                ),
                None => format!(
                    "block {block} of a span that shows nothing is waited for, and cannot be made inaccessible: are there \
                     no mappings left (vm.max_map_count)?"
                ),
            };
            self.poison(table, block, &Error::new(ErrorKind::Io, why));
            table.futile_faults.forget(block);
        }
        count
    }

    /// The span shows nothing, and a thread waits for a page of it all the same: it is a message that came late, or the
    /// kernel itself, which `mlockall` has fill all memory of the process, or which reads it for another. What is
    /// missing is inaccessible from here on, until the span shows something again: to fill it would take memory for all
    /// its addresses.
    ///
    /// Pages that became missing since, because memory was short, are made inaccessible when a thread waits for them.
    /// Waiting threads are woken in any case.
    pub(crate) fn withdraw(&self, table: &mut Table, offset: usize) {
        let block = self.block_size.block_at(offset).0;
        let gaps = match table.shown.is_withdrawn {
            true => std::iter::once(block..block + 1).collect(),
            false => table.gaps(self.blocks()),
        };
        let done = gaps.into_iter().try_for_each(|gap| {
            self.load.span.withdraw(self.bytes_of(&gap))?;
            table.shown.is_withdrawn = true;
            Ok::<_, Error>(())
        });
        match done {
            Ok(()) => table.futile_faults.forget(block),
            Err(_) => _ = self.count_futile_fault(table, block),
        }
        self.wake(&(block..block + 1));
    }
}
