//! How faults are delivered, and which threads wait. In an eager span there are no faults, and reads are right too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bigarray_core::PAGE;
use bigarray_core::sync::Mutex;

use super::MakeMemory;
use super::handler::{BLOCK, Content, Handler, range_of};

/// Longer than any machine takes, so that a test that fails ends.
pub(super) const FOREVER: Duration = Duration::from_secs(20);

/// The page of the access, not its block or byte.
pub fn a_fault_names_its_page(make: MakeMemory<'_>) {
    let fixture = make();
    let handler = Handler::new(&fixture, 4);
    handler.put(2, Content::File(0));
    handler.read(2 * BLOCK + 5 * PAGE + 100..2 * BLOCK + 5 * PAGE + 101);
    handler.span.write(3 * BLOCK + PAGE + 9, &[1]);
    let (mut told, _) = handler.told();
    told.dedup();
    let expected = [2 * BLOCK + 5 * PAGE, 3 * BLOCK + PAGE];
    assert_eq!(told, if fixture.is_lazy() { expected.to_vec() } else { Vec::new() });
}

/// However often it is read, and whatever is written to zero or mapped pages.
pub fn what_is_present_does_not_fault(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 3);
    handler.put(0, Content::Zero);
    handler.put(1, Content::File(0));
    handler.put(2, Content::Copied(1));
    for block in 0..3 {
        handler.read(block * BLOCK..block * BLOCK + 1);
    }
    let installed = handler.installs();
    for _ in 0..3 {
        handler.read(0..3 * BLOCK);
        handler.span.write(BLOCK - 10, &[7; 20]);
    }
    let (_, protected) = handler.told();
    assert_eq!((handler.installs(), protected), (installed, Vec::new()));
}

/// All of them go on with the same bytes.
pub fn many_threads_load_one_block_once(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 3);
    for (block, content) in [(0, Content::File(PAGE as u64)), (1, Content::Copied(5)), (2, Content::Zero)] {
        let before = handler.installs();
        handler.put(block, content);
        let expected = handler.bytes(content, BLOCK / PAGE);
        thread::scope(|scope| {
            for n in 0..16 {
                let (handler, expected) = (&handler, &expected);
                scope.spawn(move || {
                    let at = n % 4 * PAGE;
                    handler.assert_reads(block * BLOCK + at..(block + 1) * BLOCK, &expected[at..]);
                });
            }
        });
        assert_eq!(handler.installs(), before + 1, "block {block}");
    }
}

/// Blocks of every kind, read and written, through jobs and without.
pub fn many_threads_load_many_blocks(make: MakeMemory<'_>) {
    for jobs in [false, true] {
        let handler = Handler::new(&make(), 32);
        if jobs {
            handler.use_jobs(|_| ());
        }
        let content = |block: usize| match block % 3 {
            0 => Content::Zero,
            1 => Content::File((block * BLOCK) as u64 % (1 << 20)),
            _ => Content::Copied(block as u64 * 100),
        };
        for block in 0..32 {
            handler.put(block, content(block));
        }
        thread::scope(|scope| {
            for n in 0..8 {
                let handler = &handler;
                scope.spawn(move || {
                    for step in 0..32 {
                        // Two by two they meet in a block, each in a page of its own.
                        let block = (step + n / 2 * 8) % 32;
                        let mut expected = handler.bytes(content(block), BLOCK / PAGE);
                        let at = n * PAGE;
                        handler.assert_reads(block * BLOCK + at..block * BLOCK + at + PAGE, &expected[at..at + PAGE]);
                        handler.span.write(block * BLOCK + at, &[n as u8; 8]);
                        expected[at..at + 8].fill(n as u8);
                        handler.assert_reads(block * BLOCK + at..block * BLOCK + at + PAGE, &expected[at..at + PAGE]);
                    }
                });
            }
        });
        assert_eq!(handler.installs(), 32);
    }
}

/// And the thread waits for it.
pub fn a_job_is_run(make: MakeMemory<'_>) {
    let fixture = make();
    let handler = Handler::new(&fixture, 2);
    let run = Arc::new(AtomicUsize::new(0));
    let counted = run.clone();
    handler.use_jobs(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    handler.put(0, Content::Copied(1));
    handler.put(1, Content::File(0));
    handler.assert_reads(range_of(0), &handler.bytes(Content::Copied(1), BLOCK / PAGE));
    handler.assert_reads(range_of(1), &handler.bytes(Content::File(0), BLOCK / PAGE));
    assert_eq!(run.load(Ordering::SeqCst), if fixture.is_lazy() { 2 } else { 0 });
}

/// Makes jobs of block 0 wait: gives what says that one began, and what ends it.
fn slow_block_0(handler: &Handler) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begins, begun) = mpsc::channel();
    let (go, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    handler.use_jobs(move |block| {
        if block == 0 {
            begins.send(()).expect("the test waits for it");
            let gate = gate.lock();
            gate.recv_timeout(FOREVER).expect("the test lets it go");
        }
    });
    (begun, go)
}

/// Not shorter, not longer.
pub fn a_thread_waits_until_its_page_is_there(make: MakeMemory<'_>) {
    let fixture = make();
    if !fixture.is_lazy() {
        return;
    }
    let handler = Handler::new(&fixture, 1);
    handler.put(0, Content::Copied(1));
    let (begun, go) = slow_block_0(&handler);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn({
                    let handler = &handler;
                    move || handler.read(n * PAGE..(n + 1) * PAGE)
                })
            })
            .collect();
        begun.recv_timeout(FOREVER).expect("the job begins");
        thread::sleep(Duration::from_millis(30));
        let early = readers.iter().any(|reader| reader.is_finished());
        go.send(()).expect("the job waits for it");
        let expected = handler.bytes(Content::Copied(1), BLOCK / PAGE);
        for (n, reader) in readers.into_iter().enumerate() {
            assert!(reader.join().expect("a reader") == expected[n * PAGE..(n + 1) * PAGE]);
        }
        assert!(!early, "a thread went on before its page was there");
    });
    assert_eq!(handler.installs(), 1);
}

/// Other blocks come meanwhile.
pub fn a_slow_job_delays_no_other_fault(make: MakeMemory<'_>) {
    let fixture = make();
    if !fixture.is_lazy() {
        return;
    }
    let handler = Handler::new(&fixture, 3);
    handler.put(0, Content::Copied(1));
    let (begun, go) = slow_block_0(&handler);
    thread::scope(|scope| {
        let slow = scope.spawn(|| handler.read(0..1));
        begun.recv_timeout(FOREVER).expect("the job begins");
        let (done, others) = mpsc::channel();
        scope.spawn({
            let handler = &handler;
            move || {
                handler.read(BLOCK..BLOCK + 1);
                handler.span.write(2 * BLOCK, &[1]);
                done.send(()).expect("the test waits for it");
            }
        });
        let others = others.recv_timeout(FOREVER / 2);
        let early = slow.is_finished();
        go.send(()).expect("the job waits for it");
        slow.join().expect("the slow one");
        assert!(others.is_ok() && !early, "the others: {others:?}; the slow one first: {early}");
    });
}

/// Any number of times.
pub fn a_wake_without_waiters_is_harmless(make: MakeMemory<'_>) {
    let handler = Handler::new(&make(), 2);
    handler.span.wake(0..2 * BLOCK);
    handler.put(0, Content::File(0));
    handler.read(0..1);
    handler.span.wake(0..BLOCK);
    handler.span.wake(PAGE..2 * PAGE);
    handler.assert_reads(range_of(0), &handler.bytes(Content::File(0), BLOCK / PAGE));
}

/// Or zero, where there are no faults; whatever was there.
pub fn a_reset_page_is_missing_again(make: MakeMemory<'_>) {
    let fixture = make();
    let handler = Handler::new(&fixture, 1);
    for content in [Content::Zero, Content::File(0), Content::Copied(3), Content::File(PAGE as u64)] {
        handler.put(0, content);
        handler.assert_reads(range_of(0), &handler.bytes(content, BLOCK / PAGE));
        handler.span.write(PAGE, &[7]);
        handler.reset(0);
        if fixture.is_lazy() {
            let installed = handler.installs();
            handler.put(0, Content::File(2 * PAGE as u64));
            handler.read(0..1);
            assert_eq!(handler.installs(), installed + 1);
            handler.reset(0);
        } else {
            handler.assert_reads(range_of(0), &[0; BLOCK]);
        }
    }
}
