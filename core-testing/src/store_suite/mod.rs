//! What every [`Store`] must do. [`store_suite!`](crate::store_suite!) makes a test of each property.

pub mod commit_lock;
pub mod conflicts;
pub mod content;
pub mod isolation;
pub mod metadata;
mod photograph;
pub mod spill;

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use bigarray_core::store::{Committed, Snapshot, Store};
use bigarray_core::{ArrayId, BlockNo, ErrorKind};

use self::photograph::Photograph;
use super::{Edit, Versions, array_of};

/// An empty store to be tested, and what it needs to live.
pub struct StoreFixture {
    store: Option<Arc<dyn Store>>,
    reopen: Option<Box<dyn Fn() -> Arc<dyn Store>>>,
    versions: Versions,
    keeps_ids: bool,
    maps: bool,
    _kept: Box<dyn Any>,
}

/// Makes an empty store.
pub type MakeStore<'a> = &'a dyn Fn() -> StoreFixture;

impl StoreFixture {
    /// Tests `store`, whose versions are numbers of commits, and which keeps an array's id through every rename.
    pub fn new(store: Arc<dyn Store>) -> StoreFixture {
        let _kept = Box::new(());
        StoreFixture {
            store: Some(store),
            reopen: None,
            versions: Versions::Numbers,
            keeps_ids: true,
            maps: true,
            _kept,
        }
    }

    /// Versions tell of what is there alone: blocks, attributes and names that were changed back may have the version that
    /// they had, so no conflict is found there. Neighbours of a block may be there with it, and get another version with
    /// it; a block of zeros may be absent.
    #[must_use]
    pub fn with_versions_of_contents(self) -> StoreFixture {
        StoreFixture { versions: Versions::Hashes, ..self }
    }

    /// An array that is renamed may get another id.
    #[must_use]
    pub fn renewing_ids(self) -> StoreFixture {
        StoreFixture { keeps_ids: false, ..self }
    }

    /// Nothing that it stores can be mapped.
    #[must_use]
    pub fn mapping_nothing(self) -> StoreFixture {
        StoreFixture { maps: false, ..self }
    }

    /// The numbers of those blocks of an array that are there; where neighbours of a block may be there with it, of those
    /// that are not all zeros.
    fn stored_blocks(&self, snapshot: &dyn Snapshot, array: ArrayId) -> Vec<u64> {
        let size =
            snapshot.arrays().expect("arrays").into_iter().find(|(_, a)| a.id == array).expect("there").1.block_size;
        let is_stored = |block: BlockNo| {
            let mut bytes = vec![0xee; size.bytes()];
            snapshot.read(array, block, 0, &mut bytes).expect("read");
            self.has_numbers() || bytes.iter().any(|byte| *byte != 0)
        };
        let records = photograph::records(snapshot, array).into_iter();
        records.map(|(block, _)| block).filter(|block| is_stored(*block)).map(|block| block.0).collect()
    }

    /// Whether versions are numbers of commits, so that to change something back is a change, too.
    fn has_numbers(&self) -> bool {
        self.versions == Versions::Numbers
    }

    /// Keeps `guard`, a temporary folder say, for as long as the test runs.
    #[must_use]
    pub fn keeping(self, guard: impl Any) -> StoreFixture {
        StoreFixture { _kept: Box::new((self._kept, guard)), ..self }
    }

    /// The store can be closed and opened again, by this; otherwise what is tested of that passes unseen.
    #[must_use]
    pub fn reopening(self, open: impl Fn() -> Arc<dyn Store> + 'static) -> StoreFixture {
        StoreFixture { reopen: Some(Box::new(open)), ..self }
    }

    /// Closes and opens it again, if it can be.
    fn reopen(&mut self) {
        if let Some(open) = &self.reopen {
            self.store = None;
            self.store = Some(open());
        }
    }

    /// The newest state.
    fn now(&self) -> Arc<dyn Snapshot> {
        self.snapshot().expect("the newest state")
    }

    /// Commits what is bound to pass.
    #[track_caller]
    fn pass(&self, base: &dyn Snapshot, edits: &[Edit]) -> Committed {
        Edit::commit(&**self, base, edits).expect("a commit that nothing stands against")
    }

    /// Commits what is bound to conflict, and sees that nothing changes.
    #[track_caller]
    fn conflict(&self, base: &dyn Snapshot, edits: &[Edit]) {
        self.refuse(ErrorKind::Conflict, base, edits);
    }

    #[track_caller]
    fn refuse(&self, kind: ErrorKind, base: &dyn Snapshot, edits: &[Edit]) {
        let before = self.photograph();
        match Edit::commit(&**self, base, edits) {
            Ok(committed) => panic!("a commit passed that was to be refused as {kind:?}: {committed:?}"),
            Err(error) => assert_eq!(error.kind(), kind, "{error}"),
        }
        before.assert_same(&self.photograph(), "a refused commit");
    }

    /// Sees that a renamed array has the id that it had, where the store can keep it.
    #[track_caller]
    fn assert_kept(&self, before: ArrayId, after: ArrayId) {
        assert!(!self.keeps_ids || before == after, "{before:?} became {after:?} by a rename");
    }

    /// Looks at all of the newest state.
    #[track_caller]
    fn photograph(&self) -> Photograph {
        self.photograph_of(&*self.now())
    }

    /// Looks at all of a state.
    #[track_caller]
    fn photograph_of(&self, snapshot: &dyn Snapshot) -> Photograph {
        photograph::of(snapshot, self.versions)
    }

    /// Commits an array `a` of `blocks` blocks, all holes.
    fn with_array(&self, blocks: usize) -> Arc<dyn Snapshot> {
        self.pass(&*self.now(), &[Edit::create("a", array_of(blocks))]);
        self.now()
    }
}

impl Deref for StoreFixture {
    type Target = dyn Store;

    fn deref(&self) -> &(dyn Store + 'static) {
        self.store.as_deref().expect("open")
    }
}

/// Makes a test of each property of a [`Store`](bigarray_core::store::Store), called as the property.
///
/// `$make` is a `fn() -> StoreFixture`.
///
/// ```
/// use bigarray_testing::{MemStore, store_suite::StoreFixture};
///
/// fn make() -> StoreFixture {
///     StoreFixture::new(std::sync::Arc::new(MemStore::new()))
/// }
/// bigarray_testing::store_suite!(make);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_suite {
    ($make:expr) => {
        $crate::store_suite! { $make;
            content: a_whole_block_reads_back, one_page_is_laid_over_the_rest, zero_pages_become_holes,
                a_block_of_zeros_is_stored_where_there_is_a_fill_value,
            a_block_of_zeros_keeps_a_version, a_block_that_was_stored_to_keeps_its_bytes, a_hole_reads_as_zeros_and_stores_nothing, reading_crosses_segments,
            many_small_commits_leave_few_segments, blocks_visits_a_range_ascending_until_told_to_stop,
            what_drops_is_gone_before_what_is_written_lands,
            blocks_before_the_first_row_are_gone, a_large_commit_reads_back,
            versions_move_only_with_the_bytes, a_reopened_store_is_as_it_was;
            isolation: a_snapshot_keeps_its_bytes_under_later_commits, one_state_is_one_snapshot,
            what_is_newer_is_the_newest, readers_see_a_commit_whole_or_not_at_all;
            conflicts: the_first_to_commit_a_block_wins, different_blocks_both_land, filling_a_hole_conflicts,
            dropping_a_block_that_changed_conflicts, dropping_a_block_filled_meanwhile_conflicts,
            dropping_a_block_dropped_meanwhile_conflicts, dropping_what_was_seen_passes,
            dropping_rows_at_the_front_conflicts_with_a_write_to_them_and_with_every_resize,
            resize_conflicts_with_write_and_resize, removed_and_renamed_arrays_conflict,
            the_same_name_created_twice_conflicts, one_attribute_set_twice_conflicts,
            storing_what_was_there_conflicts, what_was_changed_back_conflicts,
            removing_and_renaming_conflict_with_every_change, a_change_of_what_is_depended_on_conflicts,
            attributes_conflict_with_nothing_else, an_attribute_of_the_database_conflicts_with_itself_alone, an_attribute_leaves_the_resize_of_another_alone,
            an_error_in_the_bytes_leaves_everything_as_it_was;
            metadata: an_empty_store_has_nothing, created_arrays_are_listed_by_name, ids_are_never_given_again,
            renaming_keeps_everything_else, names_can_be_exchanged_in_one_commit, names_move_on_in_one_commit,
            a_name_can_be_removed_and_created_in_one_commit, a_name_can_be_vacated_and_created_in_one_commit,
            attributes_are_set_replaced_and_removed, the_database_has_attributes, a_change_of_nothing_is_nothing, versions_grow_with_each_commit,
            a_commit_says_ids_and_what_it_replaced, an_array_without_elements_is_an_array;
            commit_lock: the_holder_of_the_commit_lock_commits, the_commit_lock_makes_others_wait,
            another_transaction_of_the_holders_thread_is_refused, commits_of_many_threads_all_land;
            spill: spilled_pages_are_invisible_until_the_commit, sources_mix_in_one_block,
            a_part_of_what_was_written_is_committed, dropped_without_a_commit_it_leaves_nothing,
            several_transactions_spill_at_once, a_conflict_leaves_the_spilled_pages,
            a_slot_is_used_again_only_once_it_is_released, several_threads_spill_at_once,
            a_spilled_extent_is_where_it_says, blocks_with_a_codec_read_as_they_were_written;
        }
    };
    ($make:expr; $($group:ident: $($name:ident),+;)+) => {
        $($(
            #[test]
            fn $name() {
                $crate::store_suite::$group::$name(&$make);
            }
        )+)+
    };
}
