//! Async write tracking. A memory that refuses it is searched as any other, and must show the same.

use std::sync::Arc;
use std::thread;

use bigarray_core::PAGE;
use bigarray_core::memory::WrittenTo;

use super::handler::{BLOCK, Content, Handler, range_of};
use super::{MakeMemory, MemoryFixture, file_bytes};

/// Pages of a block.
const PAGES: usize = BLOCK / PAGE;

/// `blocks` blocks that show the file from its beginning, and have been read from.
fn mapped(fixture: &MemoryFixture, blocks: usize) -> Arc<Handler> {
    let handler = Handler::new(fixture, blocks);
    for block in 0..blocks {
        handler.put(block, Content::File((block * BLOCK) as u64));
        handler.read(block * BLOCK..block * BLOCK + 1);
    }
    handler
}

/// However it is written, whatever else is read, however often it is asked.
pub fn writes_after_tracking_began_are_found_and_no_others(make: MakeMemory<'_>) {
    let handler = mapped(&make(), 4);
    handler.read(0..4 * BLOCK);
    let to = handler.track_writes(0..4);
    assert!(handler.written(0..4, to).is_empty());
    handler.read(0..4 * BLOCK);
    assert!(handler.written(0..4, to).is_empty(), "reading is no writing");
    handler.span.write(0, &[1]);
    handler.span.write(5 * PAGE - 1, &[1, 1]);
    handler.span.fill_zero(2 * BLOCK - 10..2 * BLOCK + 10);
    handler.span.write(7 * PAGE, &file_bytes()[7 * PAGE..8 * PAGE]);
    handler.span.write(4 * BLOCK - PAGE, &[7; PAGE]);
    let expected = [0, 4, 5, 7, 2 * PAGES - 1, 2 * PAGES, 4 * PAGES - 1];
    assert_eq!(handler.written(0..4, to), expected);
    handler.read(0..4 * BLOCK);
    assert_eq!(handler.written(0..4, to), expected, "asking changes nothing");
    handler.span.write(3 * PAGES * PAGE, &[1]);
    assert_eq!(handler.written(3..4, to), [3 * PAGES, 4 * PAGES - 1], "nor does it stop the watch");
    assert_eq!(handler.written(0..1, to), [0, 4, 5, 7]);
}

/// Read ones, that is; those first written are.
pub fn pages_first_read_while_tracked_are_not_reported(make: MakeMemory<'_>) {
    let handler = mapped(&make(), 4);
    let to = handler.track_writes(0..4);
    handler.read(9 * PAGE..9 * PAGE + 1);
    handler.read(BLOCK..4 * BLOCK);
    assert!(handler.written(0..4, to).is_empty());
    handler.span.write(10 * PAGE, &[1]);
    handler.span.write(9 * PAGE, &[1]);
    handler.span.write(2 * BLOCK, &[1]);
    assert_eq!(handler.written(0..4, to), [9, 10, 2 * PAGES]);
}

/// As it would have been without.
pub fn writes_before_tracking_began_are_found_too(make: MakeMemory<'_>) {
    let handler = mapped(&make(), 3);
    handler.span.write(PAGE, &[1]);
    handler.span.write(2 * BLOCK - 1, &[1, 1]);
    let to = handler.track_writes(0..3);
    assert_eq!(handler.written(0..3, to), [1, 2 * PAGES - 1, 2 * PAGES]);
    handler.span.write(2 * PAGE, &[1]);
    handler.span.write(PAGE, &[1]);
    assert_eq!(handler.written(0..3, to), [1, 2, 2 * PAGES - 1, 2 * PAGES]);
}

/// Nor does it lose what was written since.
pub fn tracking_again_changes_nothing(make: MakeMemory<'_>) {
    let handler = mapped(&make(), 3);
    let to = handler.track_writes(0..3);
    assert_eq!(handler.track_writes(0..3), to);
    handler.read(0..3 * BLOCK);
    assert_eq!(handler.track_writes(1..2), to);
    handler.span.write(PAGE, &[1]);
    handler.span.write(2 * BLOCK, &[1]);
    assert_eq!(handler.track_writes(0..3), to);
    handler.span.write(BLOCK + PAGE, &[1]);
    assert_eq!(handler.written(0..3, to), [1, PAGES + 1, 2 * PAGES]);
    handler.assert_reads(BLOCK + 2 * PAGE..2 * BLOCK, &file_bytes()[BLOCK + 2 * PAGE..2 * BLOCK]);
}

/// The rest is searched as before.
pub fn a_range_may_be_tracked_in_part(make: MakeMemory<'_>) {
    let handler = mapped(&make(), 5);
    let to = handler.track_writes(1..2);
    assert_eq!(handler.track_writes(3..4), to);
    for block in 0..5 {
        handler.span.write(block * BLOCK + (block + 1) * PAGE, &[1]);
        handler.read(range_of(block));
    }
    for block in 0..5 {
        let to = if block % 2 == 1 { to } else { WrittenTo::Mapped };
        assert_eq!(handler.written(block..block + 1, to), [block * PAGES + block + 1]);
    }
    // Later the rest as well, in one go with what is tracked.
    let handler = mapped(&make(), 5);
    handler.track_writes(1..2);
    let to = handler.track_writes(0..5);
    handler.span.write(2 * BLOCK - 1, &[1, 1]);
    assert_eq!(handler.written(0..5, to), [2 * PAGES - 1, 2 * PAGES]);
}

/// Whatever comes in its place, and its neighbours stay as they are.
pub fn a_reset_range_is_not_tracked_any_more(make: MakeMemory<'_>) {
    let handler = mapped(&make(), 3);
    for after in [Content::Zero, Content::File(0), Content::Copied(9), Content::File(5 * PAGE as u64)] {
        let to = handler.track_writes(0..3);
        handler.span.write(BLOCK + PAGE, &[7]);
        handler.reset(1);
        handler.put(1, after);
        handler.assert_reads(range_of(1), &handler.bytes(after, PAGES));
        handler.span.write(BLOCK + 2 * PAGE, &[7]);
        if let Content::File(_) = after {
            assert_eq!(handler.written(1..2, WrittenTo::Mapped), [PAGES + 2]);
        }
        handler.span.write(PAGE, &[7]);
        handler.span.write(2 * BLOCK + PAGE, &[7]);
        assert_eq!(handler.written(0..1, to), [1]);
        assert_eq!(handler.written(2..3, to), [2 * PAGES + 1]);
        for block in 0..3 {
            handler.reset(block);
            handler.put(block, Content::File(0));
            handler.assert_reads(range_of(block), &file_bytes()[..BLOCK]);
        }
    }
}

/// All of them, and no others.
pub fn writes_of_many_threads_to_tracked_memory_are_found(make: MakeMemory<'_>) {
    const BLOCKS: usize = 16;
    let handler = mapped(&make(), BLOCKS);
    let to = handler.track_writes(0..BLOCKS);
    thread::scope(|scope| {
        for n in 0..8 {
            let handler = &handler;
            scope.spawn(move || {
                for page in (n..BLOCKS * PAGES).step_by(8).filter(|page| page % 3 != 1) {
                    handler.span.write(page * PAGE + n, &[n as u8]);
                    handler.read(page * PAGE..page * PAGE + 1);
                }
            });
        }
    });
    let expected: Vec<usize> = (0..BLOCKS * PAGES).filter(|page| page % 3 != 1).collect();
    assert_eq!(handler.written(0..BLOCKS, to), expected);
}

/// Before writes and after.
pub fn tracked_memory_shows_what_it_did(make: MakeMemory<'_>) {
    let handler = mapped(&make(), 2);
    handler.track_writes(0..2);
    let mut expected = file_bytes()[..2 * BLOCK].to_vec();
    handler.assert_reads(0..2 * BLOCK, &expected);
    for at in [0, PAGE - 1, 3 * PAGE + 17, BLOCK - 1] {
        handler.span.write(at, &[1, 2]);
        expected[at..at + 2].copy_from_slice(&[1, 2]);
        handler.assert_reads(0..2 * BLOCK, &expected);
    }
    let mut in_file = vec![0; BLOCK];
    handler.file.read_at(0, &mut in_file).expect("inside the file");
    assert!(in_file == file_bytes()[..BLOCK]);
}

/// The system may have brought in neighbours.
pub fn resident_is_what_was_touched(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 4);
    handler.put(0, Content::File(0));
    handler.put(1, Content::File(BLOCK as u64));
    handler.read(BLOCK..BLOCK + 1);
    let resident = |blocks: std::ops::Range<usize>| {
        handler.span.resident(blocks.start * BLOCK..blocks.end * BLOCK).expect("resident")
    };
    assert!((PAGE..=BLOCK).contains(&resident(1..2)));
    handler.read(range_of(1));
    assert_eq!(resident(1..2), BLOCK);
    handler.read(range_of(0));
    assert_eq!(resident(0..2), 2 * BLOCK);
    handler.track_writes(0..2);
    assert_eq!(resident(0..2), 2 * BLOCK);
    assert_eq!(resident(1..1), 0);
}
