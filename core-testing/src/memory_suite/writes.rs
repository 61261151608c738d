//! How writes are noticed.

use bigarray_core::PAGE;
use bigarray_core::memory::WrittenTo;

use super::handler::{BLOCK, Content, Handler, range_of};
use super::{MakeMemory, file_bytes};

/// Pages of a block.
const PAGES: usize = BLOCK / PAGE;

/// None more, none less, however much was read.
pub fn mapped_pages_written_are_found_exactly(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 3);
    for block in 0..3 {
        handler.put(block, Content::File((block * BLOCK) as u64));
    }
    handler.read(0..3 * BLOCK);
    assert!(handler.written(0..3, WrittenTo::Mapped).is_empty());
    handler.span.write(0, &[1]);
    handler.span.write(5 * PAGE - 1, &[1, 1]);
    handler.span.fill_zero(2 * BLOCK - 10..2 * BLOCK + 10);
    handler.span.write(3 * BLOCK - PAGE, &[7; PAGE]);
    let expected = [0, 4, 5, 2 * PAGES - 1, 2 * PAGES, 3 * PAGES - 1];
    assert_eq!(handler.written(0..3, WrittenTo::Mapped), expected);
    assert_eq!(handler.written(0..3, WrittenTo::Mapped), expected, "asking changes nothing");
    handler.span.write(9 * PAGE, &[1]);
    assert!(handler.written(0..1, WrittenTo::Mapped).contains(&9), "nor does it stop the watch");
}

/// Pages that were only read may be reported, no others.
pub fn zero_pages_written_are_never_missed(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 3);
    for block in 0..3 {
        handler.put(block, Content::Zero);
    }
    handler.read(7 * PAGE..7 * PAGE + 1);
    handler.span.write(0, &[1]);
    handler.span.write(BLOCK - 1, &[1, 1]);
    handler.span.write(3 * BLOCK - PAGE, &[0; PAGE]);
    let found = handler.written(0..3, WrittenTo::Zero);
    for page in [0, PAGES - 1, PAGES, 3 * PAGES - 1] {
        assert!(found.contains(&page), "page {page} was written, found {found:?}");
    }
    handler.assert_reads(BLOCK - 1..BLOCK + 2, &[1, 1, 0]);
}

/// What was found elsewhere stays in the list.
pub fn written_looks_in_its_range_and_appends(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 3);
    for block in 0..3 {
        handler.put(block, Content::File(0));
        handler.span.write(block * BLOCK + PAGE, &[1]);
    }
    let earlier = 0..PAGE;
    let mut found = vec![earlier.clone()];
    handler.span.written(range_of(1), WrittenTo::Mapped, &mut found).expect("written");
    let one = BLOCK + PAGE..BLOCK + 2 * PAGE;
    assert_eq!(found, [earlier, one]);
    let mut found = Vec::new();
    handler.span.written(2 * BLOCK..2 * BLOCK + PAGE, WrittenTo::Mapped, &mut found).expect("written");
    assert!(found.is_empty(), "{found:?}");
}

/// Bytes are not compared.
pub fn writing_the_same_bytes_is_writing(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 1);
    handler.put(0, Content::File(0));
    handler.span.write(3 * PAGE, &file_bytes()[3 * PAGE..4 * PAGE]);
    assert_eq!(handler.written(0..1, WrittenTo::Mapped), [3]);
}

/// Reads go through; the first write waits for the pager, those after it do not.
pub fn a_copied_block_is_told_of_its_first_write_only(make: MakeMemory<'_>) {
    let fixture = make();
    let handler = Handler::new(&fixture, 2);
    handler.put(1, Content::Copied(100));
    let mut expected = handler.bytes(Content::Copied(100), PAGES);
    handler.assert_reads(range_of(1), &expected);
    assert!(handler.told().1.is_empty(), "a read is no write");
    for page in [3, 4, 0, 3] {
        handler.span.write(BLOCK + page * PAGE + 5, &[7]);
        expected[page * PAGE + 5] = 7;
    }
    handler.assert_reads(range_of(1), &expected);
    let mut told = handler.told().1;
    told.dedup();
    let first = if fixture.is_lazy() { vec![BLOCK + 3 * PAGE] } else { Vec::new() };
    assert_eq!(told, first);
}

/// Without a trace of the time before.
pub fn a_block_copied_again_is_protected_again(make: MakeMemory<'_>) {
    let fixture = make();
    let handler = Handler::new(&fixture, 1);
    handler.put(0, Content::Copied(100));
    handler.span.write(0, &[7]);
    let told = handler.told().1.len();
    handler.reset(0);
    handler.put(0, Content::Copied(200));
    handler.assert_reads(range_of(0), &handler.bytes(Content::Copied(200), PAGES));
    handler.span.write(PAGE, &[7]);
    assert_eq!(handler.told().1.len() > told, fixture.is_lazy());
}

/// Where no fault is delivered, the scan finds them.
pub fn eagerly_copied_pages_are_found_as_mapped_ones(make: MakeMemory<'_>) {
    let fixture = make();
    if fixture.is_lazy() {
        return;
    }
    let handler = Handler::new(&fixture, 2);
    handler.put(0, Content::Copied(100));
    handler.put(1, Content::File(0));
    handler.read(0..2 * BLOCK);
    assert!(handler.written(0..2, WrittenTo::Mapped).is_empty());
    handler.span.write(2 * PAGE, &[7]);
    handler.span.write(BLOCK + PAGE, &[7]);
    assert_eq!(handler.written(0..2, WrittenTo::Mapped), [2, PAGES + 1]);
}

/// Whatever was there, and whatever comes.
pub fn reset_forgets_what_was_written(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 2);
    let contents = [Content::Zero, Content::File(0), Content::Copied(9)];
    for before in contents {
        for after in contents {
            handler.put(0, before);
            handler.put(1, Content::File(0));
            handler.span.write(2 * PAGE, &[7]);
            handler.span.write(BLOCK + 3 * PAGE, &[7]);
            handler.reset(0);
            handler.put(0, after);
            handler.assert_reads(range_of(0), &handler.bytes(after, PAGES));
            if let Content::File(_) = after {
                assert!(handler.written(0..1, WrittenTo::Mapped).is_empty());
                handler.span.write(4 * PAGE, &[7]);
                assert_eq!(handler.written(0..1, WrittenTo::Mapped), [4]);
            }
            assert_eq!(handler.written(1..2, WrittenTo::Mapped), [PAGES + 3], "the neighbour stays as it was");
            handler.reset(0);
            handler.reset(1);
        }
    }
}
