//! Writes held back, and memory taken away while it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bigarray_core::PAGE;
use bigarray_core::memory::WrittenTo;

use super::faults::FOREVER;
use super::handler::{BLOCK, Content, Handler, range_of};
use super::{MakeMemory, file_bytes};

/// Pages of a block.
const PAGES: usize = BLOCK / PAGE;

/// What may become of a protected block.
#[derive(Clone, Copy, Debug)]
enum End {
    Unprotect,
    Evict,
}

/// A block that was written to here and there, so that every page is told apart, and what it holds; of `content`.
fn written_to(make: MakeMemory<'_>, content: Content) -> Option<(Arc<Handler>, Vec<u8>)> {
    let fixture = make();
    if !fixture.is_lazy() {
        return None;
    }
    let handler = Handler::new(&fixture, 3);
    let mut bytes = handler.bytes(content, PAGES);
    handler.put(1, content);
    for page in (0..PAGES).step_by(2) {
        handler.span.write(BLOCK + page * PAGE + 7, &[page as u8 + 1]);
        bytes[page * PAGE + 7] = page as u8 + 1;
    }
    handler.assert_reads(range_of(1), &bytes);
    Some((handler, bytes))
}

/// Returns once `waits` holds, or after a time in which it would: a failure is told after the waiting threads can go
/// on.
fn until(mut waits: impl FnMut() -> bool) {
    let since = Instant::now();
    while !waits() && since.elapsed() < FOREVER {
        thread::sleep(Duration::from_millis(1));
    }
}

fn finish(handler: &Handler, end: End) {
    match end {
        End::Unprotect => handler.unprotect(1),
        End::Evict => drop(handler.evict(1)),
    }
}

/// The bytes stand still until the block is let go, or comes back from elsewhere; then the writer goes on, in it.
pub fn a_protected_block_is_read_while_its_writers_wait(make: MakeMemory<'_>) {
    for content in [Content::Zero, Content::Copied(100)] {
        for end in [End::Unprotect, End::Evict] {
            let Some((handler, mut bytes)) = written_to(make, content) else { return };
            let told = handler.told().1.len();
            handler.write_protect(1);
            let (seen, early) = thread::scope(|scope| {
                let (writer, other) = (&handler, &handler);
                let writer = scope.spawn(move || writer.span.write(BLOCK + 2 * PAGE, &[99; 9]));
                until(|| handler.told().1.len() > told);
                // In another page, read only so far.
                let other = scope.spawn(move || other.span.fill_zero(BLOCK + 5 * PAGE..BLOCK + 5 * PAGE + 20));
                until(|| handler.told().1.len() > told + 1);
                let seen = handler.read(range_of(1));
                handler.span.write(2 * BLOCK, &[1]);
                let early = writer.is_finished() || other.is_finished();
                finish(&handler, end);
                (seen, early)
            });
            assert!(seen == bytes && !early, "{content:?}, {end:?}; a thread did not wait: {early}");
            bytes[2 * PAGE..2 * PAGE + 9].fill(99);
            bytes[5 * PAGE..5 * PAGE + 20].fill(0);
            handler.assert_reads(range_of(1), &bytes);
            handler.assert_reads(2 * BLOCK..2 * BLOCK + 2, &[1, 0]);
        }
    }
}

/// Reads and writes of it wait until the block is decided.
pub fn what_was_never_touched_of_a_protected_block_is_missing(make: MakeMemory<'_>) {
    let fixture = make();
    if !fixture.is_lazy() {
        return;
    }
    for end in [End::Unprotect, End::Evict] {
        let handler = Handler::new(&fixture, 3);
        handler.span.write(BLOCK + PAGE, &[1]);
        handler.write_protect(1);
        let told = handler.told().0.len();
        let (seen, early) = thread::scope(|scope| {
            let (reads, writes) = (&handler, &handler);
            let reads = scope.spawn(move || reads.assert_reads(BLOCK + 9 * PAGE..BLOCK + 9 * PAGE + 5, &[0; 5]));
            let writes = scope.spawn(move || writes.span.write(BLOCK + 12 * PAGE, &[2]));
            until(|| handler.told().0.len() >= told + 2);
            let seen = (handler.told().0.split_off(told), handler.read(BLOCK + PAGE..BLOCK + PAGE + 2));
            let early = reads.is_finished() || writes.is_finished();
            finish(&handler, end);
            (seen, early)
        });
        let (mut pages, there) = seen;
        pages.sort_unstable();
        assert_eq!((pages, there), (vec![BLOCK + 9 * PAGE, BLOCK + 12 * PAGE], vec![1, 0]));
        assert!(!early, "{end:?}: a thread did not wait");
        let mut expected = vec![0; BLOCK];
        (expected[PAGE], expected[12 * PAGE]) = (1, 2);
        handler.assert_reads(range_of(1), &expected);
    }
}

/// Where zero pages that were read look written, some of these too; never a page without an access.
pub fn written_pages_of_a_protected_block_are_those_written_before(make: MakeMemory<'_>) {
    let fixture = make();
    if !fixture.is_lazy() {
        return;
    }
    let handler = Handler::new(&fixture, 3);
    for page in [0, 4, 5, PAGES - 1] {
        handler.span.write(BLOCK + page * PAGE, &[0]);
    }
    handler.read(BLOCK + 8 * PAGE..BLOCK + 8 * PAGE + 1);
    handler.write_protect(1);
    let mut found = handler.written(1..2, WrittenTo::Zero);
    found.retain(|page| *page != PAGES + 8);
    assert_eq!(found, [0, 4, 5, PAGES - 1].map(|page| PAGES + page));
    handler.unprotect(1);
    handler.span.write(BLOCK + 6 * PAGE, &[1]);
    handler.write_protect(1);
    let found = handler.written(1..2, WrittenTo::Zero);
    assert!(found.contains(&(PAGES + 6)) && !found.contains(&(PAGES + 7)), "{found:?}");
}

/// Each time with what was written since.
pub fn a_block_is_evicted_and_copied_any_number_of_times(make: MakeMemory<'_>) {
    for content in [Content::Zero, Content::Copied(100)] {
        let Some((handler, mut bytes)) = written_to(make, content) else { return };
        for round in 0..20 {
            handler.write_protect(1);
            assert!(handler.evict(1) == bytes, "{content:?}, round {round}");
            // Sometimes it is read first, sometimes written to, sometimes neither, and then it is not there.
            if round % 3 == 0 {
                handler.assert_reads(range_of(1), &bytes);
            }
            let at = round * 31 % PAGES * PAGE + round;
            handler.span.write(BLOCK + at, &[round as u8; 3]);
            bytes[at..at + 3].fill(round as u8);
            if round % 4 == 0 {
                handler.write_protect(1);
                handler.assert_reads(range_of(1), &bytes);
                handler.unprotect(1);
            }
        }
        handler.assert_reads(range_of(1), &bytes);
        handler.assert_reads(2 * BLOCK..3 * BLOCK, &[0; BLOCK]);
    }
}

/// Threads read and write blocks that are protected, let go, evicted and copied all the time.
pub fn no_thread_sees_other_bytes_while_blocks_are_evicted_and_loaded(make: MakeMemory<'_>) {
    const BLOCKS: usize = 4;
    let fixture = make();
    if !fixture.is_lazy() {
        return;
    }
    let handler = Handler::new(&fixture, BLOCKS);
    handler.put(1, Content::Copied(7));
    handler.put(3, Content::Copied(9));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|n| {
                let handler = &handler;
                scope.spawn(move || {
                    // A page of its own in each block, and in some rounds a page without writers.
                    let at = (1 + n) * PAGE;
                    for round in 0..60_u8 {
                        for block in 0..BLOCKS {
                            handler.span.write(block * BLOCK + at + 100, &[round; 50]);
                        }
                        for block in 0..BLOCKS {
                            let start = block * BLOCK + at + 100;
                            handler.assert_reads(start..start + 50, &[round; 50]);
                        }
                        if round % 8 == n as u8 {
                            let quiet = 9 * PAGE + usize::from(round) * 10;
                            handler.assert_reads(quiet..quiet + 10, &[0; 10]);
                        }
                    }
                })
            })
            .collect();
        let pages = scope.spawn(|| {
            for round in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                let block = round % BLOCKS;
                if handler.is_there(block) {
                    handler.write_protect(block);
                    match round % 3 {
                        0 => handler.unprotect(block),
                        _ => drop(handler.evict(block)),
                    }
                }
                thread::yield_now();
            }
        });
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        pages.join().expect("the thread that pages");
        assert!(outcomes.iter().all(Result::is_ok));
    });
    for (block, content) in [(0, Content::Zero), (1, Content::Copied(7)), (2, Content::Zero), (3, Content::Copied(9))] {
        let mut expected = handler.bytes(content, PAGES);
        (1..4).for_each(|page| expected[page * PAGE + 100..page * PAGE + 150].fill(59));
        handler.assert_reads(range_of(block), &expected);
    }
}

/// It is missing as if it had never been there.
pub fn what_is_evicted_comes_back_as_anything(make: MakeMemory<'_>) {
    for before in [Content::Zero, Content::Copied(100)] {
        for after in [Content::Zero, Content::File(0), Content::Copied(9)] {
            let Some((handler, _)) = written_to(make, before) else { return };
            handler.write_protect(1);
            handler.evict(1);
            handler.forget(1);
            handler.put(1, after);
            let mut expected = handler.bytes(after, PAGES);
            handler.assert_reads(range_of(1), &expected);
            handler.span.write(BLOCK + 3 * PAGE, &[7]);
            expected[3 * PAGE] = 7;
            handler.assert_reads(range_of(1), &expected);
            match after {
                Content::File(_) => assert_eq!(handler.written(1..2, WrittenTo::Mapped), [PAGES + 3]),
                Content::Zero => assert!(handler.written(1..2, WrittenTo::Zero).contains(&(PAGES + 3))),
                Content::Copied(_) => {}
            }
        }
    }
}

/// Its bytes are in the hands of the pager alone. An access waits, and finds them or their replacement.
pub fn a_block_taken_out_is_read_where_it_is(make: MakeMemory<'_>) {
    for content in [Content::Zero, Content::Copied(100)] {
        for put_back in [false, true] {
            let Some((handler, mut bytes)) = written_to(make, content) else { return };
            handler.write_protect(1);
            let told = handler.told().0.len();
            let Some(taken) = handler.span.take_out(range_of(1)).expect("take_out") else { return };
            let (seen, early) = thread::scope(|scope| {
                let (reads, writes) = (&handler, &handler);
                let reads = scope.spawn(move || reads.read(BLOCK + 2 * PAGE..BLOCK + 2 * PAGE + 20));
                let writes = scope.spawn(move || writes.span.write(BLOCK + 4 * PAGE, &[99; 9]));
                until(|| handler.told().0.len() >= told + 2);
                let mut seen = vec![0; BLOCK];
                let mut found = Vec::new();
                match content {
                    Content::Zero => taken.written(&mut found).expect("written"),
                    _ => found.push(range_of(1)),
                }
                for run in found {
                    let to = run.start - BLOCK..run.end - BLOCK;
                    let copied = taken.with(run, &mut |there| {
                        seen[to.clone()].copy_from_slice(there);
                        Ok(())
                    });
                    copied.expect("nothing in the closure fails");
                }
                let early = reads.is_finished() || writes.is_finished();
                if put_back {
                    taken.put_back().expect("put_back");
                    handler.unprotect(1);
                    handler.span.wake(range_of(1));
                } else {
                    taken.let_go().expect("let_go");
                    handler.gone(1, seen.clone());
                }
                assert!(
                    reads.join().expect("the thread that reads") == bytes[2 * PAGE..2 * PAGE + 20],
                    "{content:?}, {put_back}"
                );
                (seen, early)
            });
            assert!(seen == bytes && !early, "{content:?}, put back: {put_back}; a thread did not wait: {early}");
            bytes[4 * PAGE..4 * PAGE + 9].fill(99);
            handler.assert_reads(range_of(1), &bytes);
            handler.assert_reads(2 * BLOCK..3 * BLOCK, &[0; BLOCK]);
        }
    }
}

/// Accesses deliver no fault any more.
pub fn an_unprotected_block_is_as_it_was(make: MakeMemory<'_>) {
    let Some((handler, mut bytes)) = written_to(make, Content::Zero) else { return };
    for round in 0..3 {
        handler.write_protect(1);
        handler.unprotect(1);
        let told = handler.told();
        handler.span.write(BLOCK + 2 * PAGE + round, &[5]);
        handler.span.write(BLOCK + 9 * PAGE + round, &[6]);
        (bytes[2 * PAGE + round], bytes[9 * PAGE + round]) = (5, 6);
        handler.assert_reads(range_of(1), &bytes);
        assert_eq!(handler.told(), told);
    }
    // It may become anything that zero memory may.
    let remapped = BLOCK + PAGE..BLOCK + 3 * PAGE;
    handler.span.remap(remapped.clone(), &handler.file, 0).expect("remap");
    handler.assert_reads(remapped, &file_bytes()[..2 * PAGE]);
}

/// It is refused, and changes nothing.
pub fn nothing_is_write_protected_where_no_fault_is_delivered(make: MakeMemory<'_>) {
    let fixture = make();
    if fixture.is_lazy() {
        return;
    }
    let handler = Handler::new(&fixture, 1);
    handler.put(0, Content::Copied(3));
    let span = &handler.span;
    for outcome in [span.write_protect(range_of(0)), span.unprotect_zero(range_of(0)), span.evict(range_of(0))] {
        assert!(outcome.expect_err("an eager span").is_unsupported());
    }
    handler.assert_reads(range_of(0), &handler.bytes(Content::Copied(3), PAGES));
}
