//! What is read where.

use bigarray_core::PAGE;
use bigarray_core::memory::WrittenTo;

use super::handler::{BLOCK, Content, Handler, range_of};
use super::{MakeMemory, file_bytes};

/// Whole and in part.
pub fn zero_memory_reads_as_zeros(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 4);
    handler.put(2, Content::Zero);
    handler.assert_reads(range_of(2), &[0; BLOCK]);
    handler.assert_reads(3 * BLOCK - 5..3 * BLOCK, &[0; 5]);
}

/// From any page of it on.
pub fn mapped_pages_show_the_file(make: MakeMemory<'_>) {
    let fixture = make();
    let file = file_bytes();
    let handler = Handler::new(&fixture, 4);
    for (block, page) in [(0, 0), (1, 7), (2, 496), (3, 0)] {
        let offset = page * PAGE;
        handler.put(block, Content::File(offset as u64));
        handler.assert_reads(range_of(block), &file[offset..offset + BLOCK]);
    }
}

/// Page by page.
pub fn copied_pages_show_what_was_copied(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 2);
    handler.put(0, Content::Copied(100));
    handler.put(1, Content::Copied(200));
    handler.assert_reads(range_of(1), &handler.bytes(Content::Copied(200), 16));
    handler.assert_reads(range_of(0), &handler.bytes(Content::Copied(100), 16));
}

/// Runs of pages beside each other, each from elsewhere.
pub fn one_block_may_be_of_all_origins(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 2);
    let far = Content::File(100 * PAGE as u64);
    let near = Content::File(3 * PAGE as u64);
    let runs = vec![(3, far), (1, Content::Zero), (2, near), (5, Content::Copied(7)), (4, Content::Zero), (1, far)];
    let expected: Vec<u8> = runs.iter().flat_map(|(pages, content)| handler.bytes(*content, *pages)).collect();
    handler.put_runs(1, runs);
    handler.assert_reads(range_of(1), &expected);
}

/// At any byte, over whatever is there.
pub fn what_is_written_reads_back_across_pages_and_blocks(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 4);
    let contents = [Content::Zero, Content::File(0), Content::Copied(50), Content::File(PAGE as u64)];
    let mut expected = Vec::new();
    for (block, content) in contents.into_iter().enumerate() {
        handler.put(block, content);
        expected.extend(handler.bytes(content, BLOCK / PAGE));
    }
    for (at, len) in [(5, 10), (PAGE - 3, 6), (BLOCK - 100, 5000), (2 * BLOCK - 1, BLOCK + 2), (4 * BLOCK - 1, 1)] {
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8 + 1).collect();
        handler.span.write(at, &bytes);
        expected[at..at + len].copy_from_slice(&bytes);
        handler.assert_reads(0..4 * BLOCK, &expected);
    }
    for (at, len) in [(7, 3), (BLOCK - 50, PAGE), (3 * BLOCK - 1, 2)] {
        handler.span.fill_zero(at..at + len);
        expected[at..at + len].fill(0);
        handler.assert_reads(0..4 * BLOCK, &expected);
    }
}

/// Nor any other span.
pub fn writes_do_not_reach_the_file(make: MakeMemory<'_>) {
    let fixture = make();
    let (one, other) = (Handler::new(&fixture, 1), Handler::new(&fixture, 1));
    one.put(0, Content::File(0));
    one.span.write(10, &[1, 2, 3]);
    one.span.fill_zero(PAGE..2 * PAGE);
    other.put(0, Content::File(0));
    other.assert_reads(range_of(0), &file_bytes()[..BLOCK]);
    let mut in_file = vec![0; BLOCK];
    fixture.file.read_at(0, &mut in_file).expect("inside the file");
    assert!(in_file == file_bytes()[..BLOCK]);
}

/// Written or not, mapped, zero memory or copied into an eager span, tracked or not; their neighbours stay as they are.
pub fn pages_remapped_show_their_new_place(make: MakeMemory<'_>) {
    const NEW: usize = 300 * PAGE;
    let file = file_bytes();
    let fixture = make();
    let handler = Handler::new(&fixture, 4);
    handler.put(0, Content::File(0));
    handler.put(1, Content::File(BLOCK as u64));
    handler.put(2, Content::Zero);
    handler.read(0..3 * BLOCK);
    let to = handler.track_writes(1..2);
    let mut blocks = vec![(0, WrittenTo::Mapped), (1, to), (2, WrittenTo::Zero)];
    if !fixture.is_lazy() {
        handler.put(3, Content::Copied(3));
        blocks.push((3, WrittenTo::Mapped));
    }
    for (block, to) in blocks {
        let start = block * BLOCK;
        let remapped = start + 4 * PAGE..start + 7 * PAGE;
        handler.span.write(start + 3 * PAGE, &[1; 3 * PAGE]);
        handler.span.remap(remapped.clone(), &handler.file, NEW as u64).expect("remap");
        handler.assert_reads(remapped.clone(), &file[NEW..NEW + 3 * PAGE]);
        handler.assert_reads(remapped.start - PAGE..remapped.start, &[1; PAGE]);
        let behind = match block {
            2 => vec![0; PAGE],
            3 => handler.bytes(Content::Copied(3), 8)[7 * PAGE..].to_vec(),
            _ => file[start + 7 * PAGE..start + 8 * PAGE].to_vec(),
        };
        handler.assert_reads(remapped.end..remapped.end + PAGE, &behind);
        let mut found = Vec::new();
        handler.span.written(start..remapped.start, to, &mut found).expect("written");
        handler.span.written(remapped.clone(), WrittenTo::Mapped, &mut found).expect("written");
        let pages: Vec<usize> = found.iter().flat_map(|run| run.clone().step_by(PAGE)).collect();
        assert!(pages.contains(&(remapped.start - PAGE)));
        assert!(pages.iter().all(|&page| page < remapped.start), "what was written there is gone");
        handler.span.write(remapped.start + PAGE, &[2]);
        found.clear();
        handler.span.written(remapped.clone(), WrittenTo::Mapped, &mut found).expect("written");
        let written = remapped.start + PAGE..remapped.start + 2 * PAGE;
        assert!(matches!(&found[..], [run] if *run == written), "{found:?}");
    }
}

/// Afterwards a mapped range is there, and as it was.
pub fn read_in_changes_nothing(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 2);
    handler.put(1, Content::File(0));
    handler.read(BLOCK..BLOCK + 1);
    for exactly in [true, false] {
        handler.span.read_in(range_of(1), &handler.file, 0, exactly).expect("the file is long enough");
    }
    handler.span.populate(range_of(1)).expect("the file is long enough");
    handler.assert_reads(range_of(1), &file_bytes()[..BLOCK]);
}
