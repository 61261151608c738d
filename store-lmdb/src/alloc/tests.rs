//! Which pages the allocator prefers, and what it refuses.

#![allow(clippy::single_range_in_vec_init, reason = "claims are lists of ranges")]

mod model;
mod simulated;

use super::{Bitmap, CHUNK_PAGES, OldestReader, Owner, Run, Space, runs_of};
use simulated::OWNER;
pub(crate) use simulated::SimulatedTable;

/// A file with those chunks, all free.
fn free_file(chunks: u64) -> SimulatedTable {
    let mut table = SimulatedTable::new(chunks);
    table.txn = 1;
    let mut space = Space::new(&mut table);
    space.claim(&OWNER, chunks * u64::from(CHUNK_PAGES), CHUNK_PAGES).unwrap();
    space.release(&OWNER).unwrap();
    table
}

/// Takes pages of a free file.
fn take(table: &mut SimulatedTable, runs: &[Run]) {
    for run in runs {
        let before = table.chunks[&run.chunk];
        let mut after = before;
        after.remove(run);
        Space::new(table).put(run.chunk, before, after).unwrap();
    }
}

fn run(chunk: u64, first: u16, pages: u16) -> Run {
    Run { chunk, first, pages }
}

#[test]
fn a_commit_lies_together_in_the_tightest_chunk_in_part_use() {
    let mut table = free_file(3);
    take(&mut table, &[run(0, 0, 1), run(1, 0, 400)]);
    let runs = Space::new(&mut table).allocate(&[1, 5, 30]).unwrap();
    assert_eq!(runs, [run(1, 400, 1), run(1, 401, 5), run(1, 406, 30)]);
}

#[test]
fn a_request_that_fits_nowhere_comes_in_a_few_long_pieces() {
    let mut table = free_file(2);
    // Chunk 0 is left with two runs of 60 pages, chunk 1 with one of 50.
    take(&mut table, &[run(0, 60, 300), run(0, 420, 92), run(1, 0, 462)]);
    let runs = Space::new(&mut table).allocate(&[150]).unwrap();
    let mut pages: Vec<u16> = runs.iter().map(|r| r.pages).collect();
    pages.sort_unstable();
    assert_eq!(pages, [30, 60, 60]);
}

#[test]
fn many_short_pieces_are_taken_only_when_the_file_cannot_grow() {
    let every_other: Vec<Run> = (0..CHUNK_PAGES).step_by(2).map(|page| run(0, page, 1)).collect();
    let mut table = free_file(1);
    take(&mut table, &every_other);
    let mut roomy = table.clone();
    roomy.disk = 2;
    assert_eq!(Space::new(&mut roomy).allocate(&[100]).unwrap(), [run(1, 0, 100)]);
    let runs = Space::new(&mut table).allocate(&[100]).unwrap();
    assert_eq!(runs.len(), 100);
    let full = Space::new(&mut table).allocate(&[157]).unwrap_err();
    assert!(full.is_store_full(), "{full:?}");
}

#[test]
fn a_claim_prefers_one_piece_of_whole_chunks() {
    let mut table = free_file(8);
    take(&mut table, &[run(2, 7, 1), run(3, 0, 1)]);
    let mut space = Space::new(&mut table);
    assert_eq!(space.claim(&OWNER, 1536, 64).unwrap(), [2048..3584]);
    assert_eq!(space.claim(&OWNER, 1200, 64).unwrap(), [0..1024, 3584..3760]);
    assert_eq!(table.claims[&OWNER.to_bytes()], [0..1024, 2048..3760]);
    assert_eq!(table.free_runs().collect::<Vec<_>>(), [run(2, 0, 7), run(2, 8, 504), run(3, 1, 511), run(7, 176, 336)]);
}

#[test]
fn a_claim_of_less_than_a_chunk_takes_the_tightest_place() {
    let mut table = free_file(3);
    take(&mut table, &[run(0, 100, 412), run(1, 0, 1)]);
    let mut space = Space::new(&mut table);
    assert_eq!(space.claim(&OWNER, 90, 1).unwrap(), [0..90]);
    assert_eq!(space.claim(&OWNER, 20, 20).unwrap(), [513..533]);
    assert_eq!(space.claim(&OWNER, 500, 500).unwrap(), [1024..1524]);
}

/// A file of eight chunks, which can grow by two, of which two have two free runs of so many pages each.
fn with_gaps(pages: u16) -> SimulatedTable {
    let mut table = free_file(8);
    table.disk = 10;
    let parts = |chunk| [run(chunk, pages, 256 - pages), run(chunk, 256 + pages, 256 - pages)];
    take(&mut table, &(2..8).map(Run::whole).chain(parts(0)).chain(parts(1)).collect::<Vec<_>>());
    table
}

#[test]
fn a_claim_takes_chunks_in_part_use_once_they_have_an_eighth_of_the_file() {
    let claimed = |gaps: u16, wanted: u64, least: u16| {
        let mut table = with_gaps(gaps);
        let claimed = Space::new(&mut table).claim(&OWNER, wanted, least).unwrap();
        (claimed, table.end)
    };
    assert_eq!(claimed(127, 600, 64), (vec![4096..4696], 10));
    assert_eq!(claimed(128, 512, 64), (vec![0..128, 256..384, 512..640, 768..896], 8));
    // What is missing then comes from the end of the file.
    assert_eq!(claimed(128, 600, 64), (vec![0..128, 256..384, 512..640, 768..896, 4096..4184], 9));
    // In runs of which there are none.
    assert_eq!(claimed(128, 512, 129), (vec![4096..4608], 9));
}

#[test]
fn scattered_blocks_are_claimed_in_gaps_of_their_size_and_single_pages_together() {
    let mut table = free_file(4);
    take(&mut table, &[run(0, 16, 84), run(0, 164, 348), run(1, 0, 1)]);
    let claimed = Space::new(&mut table).claim_scattered(&OWNER, &mut None, &[16, 1, 64, 2, 512]).unwrap();
    assert_eq!(claimed, [run(0, 0, 16), run(1, 1, 1), run(0, 100, 64), run(1, 2, 2), run(2, 0, 512)]);
    assert_eq!(table.claims[&OWNER.to_bytes()].iter().map(|range| range.end - range.start).sum::<u64>(), 595);
}

#[test]
fn a_few_pages_are_claimed_in_the_open_chunk_and_more_in_a_gap() {
    let mut table = free_file(3);
    take(&mut table, &[run(0, 100, 412), run(1, 0, 1)]);
    let (mut space, mut open) = (Space::new(&mut table), Some(1));
    assert_eq!(space.claim_piece(&OWNER, &mut open, 90).unwrap(), 513..603);
    assert_eq!(space.claim_piece(&OWNER, &mut open, 1).unwrap(), 603..604);
    assert_eq!(space.claim_piece(&OWNER, &mut open, 421).unwrap(), 1024..1445);
}

#[test]
fn a_claim_takes_any_room_when_the_file_cannot_grow_and_nothing_when_that_is_too_little() {
    let mut table = free_file(8);
    take(&mut table, &(1..8).map(Run::whole).chain([run(0, 70, 10), run(0, 150, 362)]).collect::<Vec<_>>());
    let before: Vec<Run> = table.free_runs().collect();
    let full = Space::new(&mut table).claim(&OWNER, 600, 64).unwrap_err();
    assert!(full.is_store_full(), "{full:?}");
    assert_eq!(table.free_runs().collect::<Vec<_>>(), before);
    assert_eq!(Space::new(&mut table).claim(&OWNER, 130, 64).unwrap(), [0..70, 80..144]);
}

#[test]
fn claims_share_a_chunk_with_each_other_and_with_what_is_stored() {
    let mut table = free_file(2);
    let other = Owner { serial: 9, ..OWNER };
    let mut space = Space::new(&mut table);
    assert_eq!(space.claim(&OWNER, 100, 1).unwrap(), [0..100]);
    assert_eq!(space.claim(&other, 100, 1).unwrap(), [100..200]);
    let stored = space.allocate(&[10]).unwrap();
    assert_eq!(stored, [run(0, 200, 10)]);
    space.consume_claim(&other, &[run(0, 150, 50)]).unwrap();
    assert_eq!(table.free_runs().next(), Some(run(0, 100, 50)));
    Space::new(&mut table).release(&OWNER).unwrap();
    assert_eq!(table.free_runs().next(), Some(run(0, 0, 150)));
}

#[test]
fn unused_pages_of_a_claim_become_free() {
    let mut table = free_file(3);
    let mut space = Space::new(&mut table);
    space.claim(&OWNER, 1536, 512).unwrap();
    space.consume_claim(&OWNER, &[run(0, 0, 512), run(1, 0, 10)]).unwrap();
    assert_eq!(table.free_runs().collect::<Vec<_>>(), [run(1, 10, 502), run(2, 0, 512)]);
    assert!(table.claims.is_empty());
    // Releasing it once more does nothing.
    Space::new(&mut table).release(&OWNER).unwrap();
    assert_eq!(table.chunks.len(), 2);
}

#[test]
fn freed_pages_wait_for_the_oldest_reader_and_one_state_more() {
    let mut table = free_file(1);
    take(&mut table, &[run(0, 0, 10)]);
    table.txn = 5;
    Space::new(&mut table).free(vec![run(0, 0, 10)]).unwrap();
    let reclaimed = |txn: u64, oldest: OldestReader| {
        let mut table = table.clone();
        table.txn = txn;
        Space::new(&mut table).reclaim(oldest, 100).unwrap()
    };
    assert_eq!(reclaimed(6, OldestReader::None), 0);
    assert_eq!(reclaimed(7, OldestReader::None), 1);
    assert_eq!(reclaimed(7, OldestReader::Unknown), 0);
    assert_eq!(reclaimed(9, OldestReader::At(4)), 0);
    assert_eq!(reclaimed(9, OldestReader::At(5)), 1);
}

#[test]
fn each_commit_reclaims_a_part_of_many_freed_pages() {
    let mut table = free_file(4);
    let scattered: Vec<Run> = (0..1000).map(|i| run(i / 250, (i % 250) as u16 * 2, 1)).collect();
    take(&mut table, &scattered);
    Space::new(&mut table).free(scattered).unwrap();
    for left in [872, 744, 616] {
        table.txn += 2;
        let done = Space::new(&mut table).reclaim(OldestReader::None, 100).unwrap();
        assert_eq!(done, 128);
        assert_eq!(table.freed.values().map(Vec::len).sum::<usize>(), left);
    }
}

#[test]
fn adjoining_freed_pages_are_recorded_as_one_run() {
    let mut table = free_file(2);
    let mut space = Space::new(&mut table);
    space.free(vec![run(0, 8, 2), run(1, 0, 3), run(0, 0, 8), run(0, 511, 1)]).unwrap();
    space.free(vec![run(1, 5, 1)]).unwrap();
    let recorded: Vec<Run> = table.freed.values().flatten().copied().collect();
    assert_eq!(recorded, [run(0, 0, 10), run(0, 511, 1), run(1, 0, 3), run(1, 5, 1)]);
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    let corrupt =
        |result: bigarray_core::Result<()>| assert!(result.as_ref().is_err_and(|e| e.is_corrupt()), "{result:?}");
    let mut table = free_file(2);
    table.txn = 9;
    corrupt(Space::new(&mut table).free(vec![run(0, 0, 4), run(0, 3, 1)]));
    corrupt(Space::new(&mut table).free(vec![run(0, 500, 13)]));
    corrupt(Space::new(&mut table).consume_claim(&OWNER, &[run(0, 0, 1)]));
    // Freed, yet free.
    let mut twice = table.clone();
    Space::new(&mut twice).free(vec![run(0, 0, 4)]).unwrap();
    twice.txn = 12;
    corrupt(Space::new(&mut twice).reclaim(OldestReader::None, 9).map(drop));
    // Claimed, yet free.
    let mut claimed = table.clone();
    claimed.claims.insert(OWNER.to_bytes(), vec![0..512]);
    corrupt(Space::new(&mut claimed).release(&OWNER));
    // Claimed by two.
    let mut both = table.clone();
    both.chunks.clear();
    both.fits.clear();
    both.claims.insert(OWNER.to_bytes(), vec![0..200, 199..1024]);
    corrupt(Space::new(&mut both).release(&OWNER));
    // Claimed outside the file.
    claimed.claims.insert(OWNER.to_bytes(), vec![0..u64::MAX]);
    corrupt(Space::new(&mut claimed).release(&OWNER));
    // Listed, but not recorded.
    let mut listed = table.clone();
    take(&mut listed, &[run(0, 0, 1)]);
    listed.chunks.remove(&0);
    corrupt(Space::new(&mut listed).allocate(&[300]).map(drop));
    // Listed under more than it has.
    let mut overrated = table;
    overrated.chunks.insert(0, Bitmap::EMPTY);
    corrupt(Space::new(&mut overrated).allocate(&[512]).map(drop));
}

#[test]
fn small_commits_fill_one_chunk_from_the_front_and_leave_small_gaps_alone() {
    let mut table = free_file(3);
    // Chunk 0 has a few gaps, chunk 1 enough to be opened, chunk 2 is whole.
    let but_every = |chunk: u64, n: usize| {
        (0..CHUNK_PAGES).filter(move |p| usize::from(*p) % n != 0).map(move |p| run(chunk, p, 1))
    };
    take(&mut table, &but_every(0, 16).chain(but_every(1, 4)).collect::<Vec<_>>());
    let mut open = None;
    let mut space = Space::new(&mut table);
    assert_eq!(space.allocate_in(&mut open, &[1]).unwrap(), [run(1, 0, 1)]);
    assert_eq!(space.allocate_in(&mut open, &[1]).unwrap(), [run(1, 4, 1)]);
    // A request without room there opens another chunk, and later ones follow it.
    assert_eq!(space.allocate_in(&mut open, &[2, 3]).unwrap(), [run(2, 0, 2), run(2, 2, 3)]);
    assert_eq!(space.allocate_in(&mut open, &[1]).unwrap(), [run(2, 5, 1)]);
    assert_eq!(open, Some(2));
    // A large request does not go to the open chunk only.
    assert_eq!(space.allocate_in(&mut open, &[100, 60]).unwrap(), [run(2, 6, 100), run(2, 106, 60)]);
}

#[test]
fn the_open_chunk_of_a_dropped_transaction_is_not_used() {
    let mut table = SimulatedTable::new(4);
    table.txn = 1;
    let mut open = None;
    Space::new(&mut table.clone()).allocate_in(&mut open, &[1]).unwrap();
    assert_eq!(open, Some(0));
    let mut space = Space::new(&mut table);
    space.claim(&OWNER, 1024, 512).unwrap();
    assert_eq!(space.allocate_in(&mut open, &[1]).unwrap(), [run(2, 0, 1)]);
}

#[test]
fn pages_behind_a_run_are_allocated_if_they_are_free_or_new() {
    let mut table = free_file(3);
    table.disk = 4;
    take(&mut table, &[run(0, 0, 500), run(1, 100, 1)]);
    let mut space = Space::new(&mut table);
    let mut behind = |before: Run, pages: u16| space.allocate_behind(&before, pages).unwrap();
    assert_eq!(behind(run(0, 480, 20), 112), Some(vec![run(0, 500, 12), run(1, 0, 100)]));
    assert_eq!(behind(run(1, 0, 100), 1), None);
    assert_eq!(behind(run(1, 90, 11), 411), Some(vec![run(1, 101, 411)]));
    assert_eq!(behind(run(2, 0, 100), 413), Some(vec![run(2, 100, 412), run(3, 0, 1)]), "the file grows");
    assert_eq!(behind(run(3, 0, 1), 512), None, "the disk is full");
    assert_eq!(table.free_runs().collect::<Vec<_>>(), [run(2, 0, 100), run(3, 1, 511)]);
}

#[test]
fn a_block_that_others_follow_is_placed_before_free_pages() {
    let mut table = free_file(2);
    take(&mut table, &[run(0, 0, 300)]);
    let mut space = Space::new(&mut table);
    let whole = space.allocate_whole(16, 200).unwrap();
    assert_eq!(whole, [run(0, 312, 16)]);
    assert_eq!(space.allocate_behind(&whole[0], 16).unwrap(), Some(vec![run(0, 328, 16)]));
    assert_eq!(space.allocate_in(&mut Some(0), &[5]).unwrap(), [run(0, 300, 5)]);
    assert_eq!(space.allocate_whole(150, 1).unwrap(), [run(0, 344, 150)], "the tightest place there is");
    assert_eq!(space.allocate_whole(512, 256).unwrap(), [run(1, 0, 512)]);
}

#[test]
fn no_more_pages_are_prezeroed_than_are_in_use() {
    let mut table = free_file(1);
    take(&mut table, &[run(0, 0, 3), run(0, 10, 1), run(0, 40, 60)]);
    let space = Space::new(&mut table);
    let next = |first: u16, pages: u16| space.prezeroed_next(&run(0, first, pages)).unwrap();
    assert_eq!(next(2, 1), Some(run(0, 3, 7)));
    assert_eq!(next(39, 1), None);
    assert_eq!(next(99, 1), Some(run(0, 100, 15)));
    assert_eq!(next(511, 1), None);
    let mut fresh = free_file(1);
    take(&mut fresh, &[run(0, 0, 2)]);
    assert_eq!(Space::new(&mut fresh).prezeroed_next(&run(0, 1, 1)).unwrap(), Some(run(0, 2, 2)));
}

#[test]
fn runs_end_where_chunks_do() {
    let runs: Vec<Run> = runs_of(500..1600).collect();
    assert_eq!(runs, [run(0, 500, 12), run(1, 0, 512), run(2, 0, 512), run(3, 0, 64)]);
    assert_eq!(runs_of(7..7).count(), 0);
}
