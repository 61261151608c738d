//! What every [`Memory`] must do. [`memory_suite!`](crate::memory_suite!) makes a test of each property.
//!
//! All accesses go through [`SpanBytes::with_bytes`](bigarray_core::memory::SpanBytes::with_bytes),
//! [`write`](bigarray_core::memory::SpanBytes::write) and [`fill_zero`](bigarray_core::memory::SpanBytes::fill_zero), which do
//! what a program's loads and stores do.

pub mod contents;
pub mod faults;
mod handler;
pub mod model;
pub mod spans;
pub mod write_protect;
pub mod write_tracking;
pub mod writes;

use std::any::Any;
use std::sync::Arc;

use bigarray_core::memory::{Memory, Residency};
use bigarray_core::store::DataFile;

use super::Rng;

/// A memory to be tested, and what it needs to live.
pub struct MemoryFixture {
    memory: Arc<dyn Memory>,
    file: Arc<dyn DataFile>,
    residency: Residency,
    _kept: Box<dyn Any>,
}

/// Makes a memory.
pub type MakeMemory<'a> = &'a dyn Fn() -> MemoryFixture;

/// What the file of a fixture holds, from its first byte on: 2 MiB.
pub fn file_bytes() -> Vec<u8> {
    let mut bytes = vec![0; 2 << 20];
    Rng::new(2).fill(&mut bytes);
    bytes
}

impl MemoryFixture {
    /// Tests spans of `memory` of that `residency`, which map `file`; it holds [`file_bytes`].
    pub fn new(memory: Arc<dyn Memory>, file: Arc<dyn DataFile>, residency: Residency) -> MemoryFixture {
        MemoryFixture { memory, file, residency, _kept: Box::new(()) }
    }

    /// Keeps `guard`, a temporary file say, for as long as the test runs.
    #[must_use]
    pub fn keeping(self, guard: impl Any) -> MemoryFixture {
        MemoryFixture { _kept: Box::new((self._kept, guard)), ..self }
    }

    fn is_lazy(&self) -> bool {
        self.residency == Residency::Lazy
    }
}

/// Makes a test of each property of a [`Memory`](bigarray_core::memory::Memory), called as the property.
///
/// `$make` is a `fn() -> MemoryFixture`.
///
/// ```
/// use std::sync::Arc;
///
/// use bigarray_core::memory::Residency;
/// use bigarray_core::store::DataFile;
/// use bigarray_testing::memory_suite::{MemoryFixture, file_bytes};
/// use bigarray_testing::{MemFile, SimMemory};
///
/// fn make() -> MemoryFixture {
///     let file: Arc<dyn DataFile> = Arc::new(MemFile::new(file_bytes()));
///     MemoryFixture::new(Arc::new(SimMemory::new(file.clone())), file, Residency::Lazy)
/// }
/// bigarray_testing::memory_suite!(make);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! memory_suite {
    ($make:expr) => {
        $crate::memory_suite! { $make;
            spans: spans_are_aligned_and_as_long_as_asked_for, large_spans_cost_nothing,
            more_than_there_is_is_too_large, a_span_given_back_makes_room, there_is_room_for_some_mappings,
            a_span_counts_in_the_bytes_that_it_was_reserved_for,
            the_last_window_of_the_largest_array_is_poisoned_like_any;
            contents: zero_memory_reads_as_zeros, mapped_pages_show_the_file, copied_pages_show_what_was_copied,
            one_block_may_be_of_all_origins, what_is_written_reads_back_across_pages_and_blocks,
            writes_do_not_reach_the_file, read_in_changes_nothing, pages_remapped_show_their_new_place;
            writes: mapped_pages_written_are_found_exactly, zero_pages_written_are_never_missed,
            written_looks_in_its_range_and_appends, writing_the_same_bytes_is_writing,
            a_copied_block_is_told_of_its_first_write_only, a_block_copied_again_is_protected_again,
            eagerly_copied_pages_are_found_as_mapped_ones, reset_forgets_what_was_written;
            write_tracking: writes_after_tracking_began_are_found_and_no_others, pages_first_read_while_tracked_are_not_reported,
            writes_before_tracking_began_are_found_too, tracking_again_changes_nothing, a_range_may_be_tracked_in_part, a_reset_range_is_not_tracked_any_more,
            writes_of_many_threads_to_tracked_memory_are_found, tracked_memory_shows_what_it_did,
            resident_is_what_was_touched;
            faults: a_fault_names_its_page, what_is_present_does_not_fault, many_threads_load_one_block_once,
            many_threads_load_many_blocks, a_job_is_run, a_thread_waits_until_its_page_is_there,
            a_slow_job_delays_no_other_fault, a_wake_without_waiters_is_harmless, a_reset_page_is_missing_again;
            write_protect: a_protected_block_is_read_while_its_writers_wait, what_was_never_touched_of_a_protected_block_is_missing,
            written_pages_of_a_protected_block_are_those_written_before, a_block_is_evicted_and_copied_any_number_of_times,
            no_thread_sees_other_bytes_while_blocks_are_evicted_and_loaded, what_is_evicted_comes_back_as_anything,
            a_block_taken_out_is_read_where_it_is, an_unprotected_block_is_as_it_was, nothing_is_write_protected_where_no_fault_is_delivered;
            model: any_sequence_of_operations_shows_what_a_model_does;
        }
    };
    ($make:expr; $($group:ident: $($name:ident),+;)+) => {
        $($(
            #[test]
            fn $name() {
                $crate::memory_suite::$group::$name(&$make);
            }
        )+)+
    };
}
