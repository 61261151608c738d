//! The fakes end a test where a pager breaks the contract, and show what a kernel would not forgive.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bigarray_core::memory::{Faults, Job, Memory, Residency, Span, WrittenTo};
use bigarray_core::store::{DataFile, Store};
use bigarray_core::{BlockSize, PAGE};
use bigarray_testing::memory_suite::file_bytes;
use bigarray_testing::{Edit, MemFile, MemStore, Signal, SimEvent, SimMemory, SimOp, SimOptions, SimSpan, array_of};

const LEN: usize = 2 << 20;

/// What a pager does about a missing page.
type Missing = dyn Fn(&dyn Span, usize) -> Option<Job> + Send + Sync;

/// A pager that does what a test says.
struct Pager {
    span: OnceLock<Box<dyn Span>>,
    missing: Box<Missing>,
    failed: Mutex<Vec<String>>,
}

impl Faults for Pager {
    fn missing(&self, offset: usize) -> Vec<Job> {
        let Some(span) = self.span.get() else { return Vec::new() };
        (self.missing)(&**span, offset / PAGE * PAGE).into_iter().collect()
    }

    fn protected(&self, offset: usize) {
        if let Some(span) = self.span.get() {
            span.unprotect(offset..offset + PAGE).expect("unprotect");
        }
    }

    fn fail(&self, why: &str) {
        self.failed.lock().expect("no panic under it").push(why.to_owned());
        if let Some(span) = self.span.get() {
            span.poison(0..LEN, why);
        }
    }
}

struct World {
    file: Arc<dyn DataFile>,
    memory: SimMemory,
    pager: Arc<Pager>,
    span: Arc<SimSpan>,
}

impl World {
    fn new(options: SimOptions, missing: impl Fn(&dyn Span, usize) -> Option<Job> + Send + Sync + 'static) -> World {
        let file: Arc<dyn DataFile> = Arc::new(MemFile::new(file_bytes()));
        // One thread: no other could wake it.
        let memory = SimMemory::with(file.clone(), SimOptions { patience: Duration::ZERO, ..options });
        let reserved = memory.reserve(0..LEN, Residency::Lazy).expect("addresses");
        let span = memory.span_at(reserved.base());
        let (missing, failed) = (Box::new(missing), Mutex::default());
        let pager = Arc::new(Pager { span: OnceLock::new(), missing, failed });
        let faults: Weak<Pager> = Arc::downgrade(&pager);
        reserved.attach(faults);
        assert!(pager.span.set(reserved).is_ok());
        World { file, memory, pager, span }
    }

    fn zeroing() -> World {
        World::new(SimOptions::default(), |span, page| {
            span.zero(page..page + PAGE).expect("zero");
            span.wake(page..page + PAGE);
            None
        })
    }

    fn span(&self) -> &dyn Span {
        &**self.pager.span.get().expect("set")
    }
}

/// Asserts that `f` panics with a message that has `part` in it.
#[track_caller]
fn refused<R>(part: &str, f: impl FnOnce() -> R) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(f)) else { panic!("nothing was refused") };
    let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(message.contains(part), "{message:?} does not speak of {part:?}");
}

#[test]
fn installing_over_what_is_there_is_refused() {
    let world = World::zeroing();
    let (span, file) = (world.span(), &world.file);
    span.map(0..2 * PAGE, file, 0, false).unwrap();
    refused("not missing, but mapped", || span.zero(PAGE..3 * PAGE));
    refused("not missing, but mapped", || span.map(0..PAGE, file, 0, false));
    refused("not missing, but mapped", || span.copy(0, &[0; PAGE]));
    span.reset(0..2 * PAGE).unwrap();
    span.zero(0..2 * PAGE).unwrap();
    world.span.store(5, &[1]).unwrap();
    refused("zero and written", || span.copy(0, &[0; PAGE]));
}

#[test]
fn ranges_that_are_no_pages_of_the_span_are_refused() {
    let world = World::zeroing();
    let span = world.span();
    refused("not whole pages", || span.zero(0..100));
    refused("not whole pages", || span.wake(1..PAGE));
    refused("the span has", || span.reset(LEN..LEN + PAGE));
    refused("not a page's start", || span.map(0..PAGE, &world.file, 7, false));
    refused("was not made with", || span.map(0..PAGE, &(Arc::new(MemFile::default()) as Arc<dyn DataFile>), 0, false));
    refused("multiples of 2 MiB", || world.memory.reserve(0..PAGE, Residency::Lazy));
    refused("attach was called twice", || {
        let faults: Weak<Pager> = Arc::downgrade(&world.pager);
        span.attach(faults);
    });
}

#[test]
fn unprotecting_and_scanning_what_was_not_installed_so_is_refused() {
    let world = World::zeroing();
    let span = world.span();
    span.copy(0, &[1; PAGE]).unwrap();
    span.map(PAGE..2 * PAGE, &world.file, 0, true).unwrap();
    refused("page 1, which is mapped", || span.unprotect(0..2 * PAGE));
    refused("page 2, which is missing", || span.unprotect(2 * PAGE..3 * PAGE));
    refused("copied and protected", || {
        span.written(PAGE * 3..PAGE * 3, WrittenTo::Mapped, &mut Vec::new()).and_then(|()| {
            span.copy(3 * PAGE, &[1; PAGE])?;
            span.written(PAGE * 3..PAGE * 4, WrittenTo::Mapped, &mut Vec::new())
        })
    });
    refused("which is mapped", || span.written(PAGE..2 * PAGE, WrittenTo::Zero, &mut Vec::new()));
}

#[test]
fn only_zero_and_copied_pages_are_write_protected_and_only_those_taken_away() {
    let world = World::new(SimOptions::default(), |_, _| None);
    let span = world.span();
    span.zero(0..2 * PAGE).expect("zero");
    span.map(2 * PAGE..3 * PAGE, &world.file, 0, true).expect("map");
    span.copy(3 * PAGE, &[1; 2 * PAGE]).expect("copy");
    refused("WriteProtect of page 5, which is missing", || span.write_protect(5 * PAGE..6 * PAGE));
    refused("WriteProtect of page 2, which is mapped", || span.write_protect(2 * PAGE..3 * PAGE));
    refused("UnprotectZero of page 0, which is zero", || span.unprotect_zero(0..PAGE));
    refused("Evict of page 0, which is zero", || span.evict(0..PAGE));
    refused("Evict of page 2, which is mapped", || span.evict(2 * PAGE..3 * PAGE));
    span.write_protect(0..PAGE).expect("zero memory");
    refused("WriteProtect of page 0, which is protected", || span.write_protect(0..2 * PAGE));
    refused("not copied", || span.unprotect(0..PAGE));
    refused("is not missing, but protected", || span.remap(0..PAGE, &world.file, 0));
    span.unprotect(3 * PAGE..5 * PAGE).expect("copied");
    refused("Evict of page 3, which is copied and unprotected", || span.evict(3 * PAGE..4 * PAGE));
    span.write_protect(3 * PAGE..4 * PAGE).expect("copied");
    refused("UnprotectZero of page 3, which is copied and protected", || span.unprotect_zero(3 * PAGE..4 * PAGE));
    span.evict(0..PAGE).expect("protected");
    span.evict(3 * PAGE..4 * PAGE).expect("protected");
    assert!(!world.span.is_present(0) && !world.span.is_present(3 * PAGE) && world.span.is_present(4 * PAGE));
    // An eviction that stopped half way is begun again.
    span.evict(0..PAGE).expect("gone already");
}

#[test]
fn zero_memory_and_copied_pages_are_not_write_protected_at_once() {
    let world = World::new(SimOptions::default(), |_, _| None);
    world.span().zero(0..PAGE).expect("zero");
    world.span().copy(PAGE, &[1; PAGE]).expect("copy");
    refused("zero memory and copied pages at once", || world.span().write_protect(0..2 * PAGE));
}

#[test]
fn a_protected_page_that_is_never_released_is_a_deadlock_for_its_writer() {
    let world = World::new(SimOptions::default(), |_, _| None);
    let span = world.span();
    span.zero(0..2 * PAGE).expect("zero");
    world.span.store(0, &[1]).expect("zero memory");
    span.write_protect(0..2 * PAGE).expect("zero memory");
    assert_eq!(world.span.load(0..2), Ok(vec![1, 0]));
    refused("the page is Some(\"protected and never touched\")", || world.span.load(PAGE..PAGE + 1));
    refused("the page is Some(\"protected and never touched\")", || span.with_bytes(0..2 * PAGE, &mut |_| Ok(())));
}

#[test]
fn tracked_pages_are_searched_as_such_and_no_others_are() {
    let world = World::zeroing();
    let span = world.span();
    span.map(0..2 * PAGE, &world.file, 0, true).unwrap();
    span.zero(2 * PAGE..3 * PAGE).unwrap();
    refused("page 2, which is zero, not mapped", || span.track_writes(0..3 * PAGE));
    refused("page 3, which is missing, not mapped", || span.track_writes(3 * PAGE..4 * PAGE));
    refused("page 2, which is not mapped, but zero", || span.resident(0..3 * PAGE));
    span.reset(0..PAGE).unwrap();
    span.map(0..PAGE, &world.file, 0, true).unwrap();
    assert!(span.track_writes(PAGE..2 * PAGE).unwrap());
    let written = |pages: Range<usize>, to| span.written(pages.start * PAGE..pages.end * PAGE, to, &mut Vec::new());
    refused("Tracked) over page 0, which is mapped", || written(0..2, WrittenTo::Tracked));
    refused("Mapped) over page 1, which is mapped and tracked", || written(0..2, WrittenTo::Mapped));
    written(0..1, WrittenTo::Mapped).unwrap();
    written(1..2, WrittenTo::Tracked).unwrap();
}

#[test]
fn a_memory_that_does_not_track_writes_changes_nothing() {
    for (tracks, residency) in [(false, Residency::Lazy), (true, Residency::Eager)] {
        let file: Arc<dyn DataFile> = Arc::new(MemFile::new(file_bytes()));
        let memory = SimMemory::with(file.clone(), SimOptions { tracks, ..SimOptions::default() });
        let span = memory.reserve(0..LEN, residency).unwrap();
        span.map(0..PAGE, &file, 0, true).unwrap();
        assert!(!span.track_writes(0..PAGE).unwrap());
        span.write(5, &[1]);
        let mut found = Vec::new();
        span.written(0..PAGE, WrittenTo::Mapped, &mut found).unwrap();
        assert_eq!((found.len(), memory.count(SimOp::TrackWrites)), (1, 1));
    }
}

#[test]
fn a_page_that_is_installed_but_not_woken_is_a_deadlock() {
    let world = World::new(SimOptions::default(), |span, page| {
        span.zero(page..page + PAGE).expect("zero");
        None
    });
    refused("deadlock", || world.span.load(0..1));
    let world = World::new(SimOptions::default(), |_, _| None);
    refused("the page is Some(\"missing\")", || world.span.load(0..1));
}

#[test]
fn the_receiver_of_faults_may_not_touch_memory_and_a_job_may_not_wait_for_it() {
    let world = World::new(SimOptions::default(), |span, _| {
        span.with_bytes(0..1, &mut |_| Ok(())).expect("never returns");
        None
    });
    refused("the thread that receives faults touches", || world.span.load(0..1));
    // A job holds on to what it works for.
    let slot: Arc<OnceLock<Weak<SimSpan>>> = Arc::default();
    let inner = slot.clone();
    let world = World::new(SimOptions::default(), move |_, _| {
        let inner = inner.clone();
        Some(Box::new(move || drop(inner.get().expect("set").upgrade().expect("alive").load(0..1))))
    });
    slot.set(Arc::downgrade(&world.span)).expect("once");
    refused("would wait for itself", || world.span.load(0..1));
}

#[test]
fn a_span_given_back_is_used_no_more() {
    let memory = SimMemory::new(Arc::new(MemFile::default()));
    let reserved = memory.reserve(0..LEN, Residency::Eager).unwrap();
    let (base, span) = (reserved.base(), memory.span_at(reserved.base()));
    assert_eq!(span.load(0..1), Ok(vec![0]));
    drop(reserved);
    refused("after it was given back", || span.load(0..1));
    refused("no simulated span", || memory.span_at(base));
}

#[test]
fn poison_and_the_end_of_the_file_are_signals() {
    let world = World::zeroing();
    let span = world.span();
    span.zero(0..2 * PAGE).unwrap();
    span.poison(PAGE..2 * PAGE, "a test");
    assert_eq!(world.span.load(0..PAGE), Ok(vec![0; PAGE]));
    assert_eq!(world.span.load(PAGE - 1..PAGE + 1), Err(Signal::Bus));
    assert_eq!(world.span.store(PAGE, &[1]), Err(Signal::Bus));
    span.map(4 * PAGE..6 * PAGE, &world.file, (LEN - PAGE) as u64, false).unwrap();
    assert!(world.span.load(4 * PAGE..5 * PAGE).is_ok());
    assert_eq!(world.span.load(5 * PAGE..6 * PAGE), Err(Signal::Bus));
}

#[test]
fn a_mapped_page_follows_the_file_until_it_is_written() {
    let file = Arc::new(MemFile::new(vec![1; 2 * PAGE]));
    let data: Arc<dyn DataFile> = file.clone();
    let memory = SimMemory::new(data.clone());
    let reserved = memory.reserve(0..LEN, Residency::Lazy).unwrap();
    let span = memory.span_at(reserved.base());
    reserved.map(0..2 * PAGE, &data, 0, false).unwrap();
    assert_eq!(span.load(0..1), Ok(vec![1]));
    span.store(0, &[2]).unwrap();
    file.write_at(0, &[9; 2 * PAGE]);
    assert_eq!(span.load(0..2), Ok(vec![2, 1]), "the process's own copy");
    assert_eq!(span.load(PAGE..PAGE + 1), Ok(vec![9]), "what the file holds now: its user must see to that");
}

#[test]
fn system_calls_get_an_error_for_missing_pages_where_only_threads_may_wait() {
    let world = World::new(SimOptions { delivers_kernel_faults: false, ..SimOptions::default() }, |span, page| {
        span.zero(page..page + PAGE).expect("zero");
        span.wake(page..page + PAGE);
        None
    });
    assert!(!world.memory.delivers_kernel_faults());
    assert_eq!(world.span.load_in_kernel(0..10), Err(Signal::Efault));
    assert!(!world.span.is_present(0));
    assert_eq!(world.span.load(0..10), Ok(vec![0; 10]));
    assert!(world.span.is_present(0));
    assert_eq!(world.span.load_in_kernel(0..10), Ok(vec![0; 10]));
    assert_eq!(World::zeroing().span.load_in_kernel(0..10), Ok(vec![0; 10]));
}

#[test]
fn mappings_run_out() {
    let world = World::new(SimOptions { most_mappings: 2, ..SimOptions::default() }, |_, _| None);
    let (span, file) = (world.span(), &world.file);
    assert!(world.memory.has_room_for_mappings(2));
    span.map(0..PAGE, file, 0, false).unwrap();
    span.map(PAGE..2 * PAGE, file, PAGE as u64, false).unwrap();
    assert!(world.memory.has_room_for_mappings(1), "they follow each other: one mapping");
    span.map(2 * PAGE..3 * PAGE, file, 0, false).unwrap();
    assert!(!world.memory.has_room_for_mappings(1));
    assert!(span.map(3 * PAGE..4 * PAGE, file, 0, false).unwrap_err().is_io());
    span.zero(3 * PAGE..4 * PAGE).unwrap();
}

#[test]
fn failures_come_when_ordered() {
    let world = World::zeroing();
    world.memory.fail(SimOp::Zero, 1);
    world.memory.fail(SimOp::Reserve, 0);
    assert!(world.memory.reserve(0..LEN, Residency::Lazy).err().unwrap().is_too_large());
    world.span().zero(0..PAGE).unwrap();
    assert!(world.span().zero(PAGE..2 * PAGE).unwrap_err().is_io());
    world.span().zero(PAGE..2 * PAGE).unwrap();
    assert_eq!(world.memory.pending_failures(), 0);
}

#[test]
fn when_faults_stop_every_pager_is_told() {
    let world = World::zeroing();
    world.span.load(0..1).unwrap();
    world.memory.fail_faults("the monitor is gone");
    assert_eq!(*world.pager.failed.lock().unwrap(), ["the monitor is gone"]);
    assert_eq!(world.span.load(PAGE..PAGE + 1), Err(Signal::Bus));
}

#[test]
fn a_job_may_stay_queued_until_it_is_run() {
    // Pages are there at once, but what was asked for besides may come later.
    let world = |leaves_jobs, seed| {
        World::new(SimOptions { seed, leaves_jobs, ..SimOptions::default() }, |span, page| {
            span.zero(page..page + PAGE).expect("zero");
            span.wake(page..page + PAGE);
            Some(Box::new(|| ()))
        })
    };
    let mut left = 0;
    for seed in 0..20 {
        let kept = world(true, seed);
        kept.span.load(0..1).unwrap();
        left += kept.memory.jobs();
        kept.memory.run_jobs();
        assert_eq!((kept.memory.jobs(), kept.memory.count(SimOp::Job)), (0, 1));
        let drained = world(false, seed);
        drained.span.load(0..1).unwrap();
        assert_eq!(drained.memory.jobs(), 0);
    }
    assert!((1..20).contains(&left), "{left} of 20 jobs were left: the seed decides");
}

#[test]
fn stale_faults_come_and_the_trace_shows_them() {
    let run = |seed| {
        let world = World::new(SimOptions { seed, ..SimOptions::default() }, |span, page| {
            // As a pager must: what is there already is only woken.
            let mut there = Vec::new();
            span.written(page..page + PAGE, WrittenTo::Zero, &mut there).expect("written");
            if there.is_empty() {
                span.reset(page..page + PAGE).expect("reset");
                span.zero(page..page + PAGE).expect("zero");
            }
            span.wake(page..page + PAGE);
            None
        });
        for page in 0..100 {
            world.span.store(page * PAGE, &[7]).unwrap();
        }
        assert!((0..100).all(|page| world.span.load(page * PAGE..page * PAGE + 1) == Ok(vec![7])));
        world.memory.trace()
    };
    let missing = |trace: &[SimEvent]| trace.iter().filter(|event| event.op == SimOp::Missing).count();
    assert!(missing(&run(1)) > 100, "some are told twice");
    assert!(run(1) == run(1) && run(1) != run(2));
}

#[test]
fn the_memory_store_refuses_what_no_transaction_may_ask_for() {
    let store = MemStore::new();
    let none = store.snapshot().unwrap();
    Edit::commit(&store, &*none, &[Edit::create("a", array_of(2))]).unwrap();
    let base = store.snapshot().unwrap();
    let of = || Edit::of(&*base, "a");
    let commit = |edit: Edit| Edit::commit(&store, &*base, &[edit]);
    refused("end in block 2 or before", || commit(of().page(&*base, 5, 0, 1)));
    refused("behind its end", || commit(of().reshape(&[100]).page(&*base, 0, 0, 1)));
    refused("pages: runs", || commit(of().page(&*base, 0, BlockSize::MIN.pages(), 1)));
    refused("two arrays the name", || {
        Edit::commit(&store, &*base, &[Edit::create("b", array_of(1)), Edit::create("b", array_of(1))])
    });
    commit(of().page(&*base, 1, 0, 1)).unwrap();
    let now = store.snapshot().unwrap();
    let shorter = Edit::of(&*now, "a").reshape(&[BlockSize::MIN.bytes()]);
    refused("block 1 stays stored", || Edit::commit(&store, &*now, &[shorter]));
    assert_eq!(store.pages(), (1, 0));
}
