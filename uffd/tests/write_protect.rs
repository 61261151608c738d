//! Memory is taken away and given back under threads that go on using it: a pager of a few lines holds writes to a
//! block back, saves what is in it, evicts it, and copies it back when it is asked for. Counters that threads
//! increment all over it lose nothing, whatever the pages are.

mod common;

use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use bigarray_core::PAGE;
use bigarray_core::memory::{Faults, Job, Memory, Residency, Span, WrittenTo};
use bigarray_core::sync::{Mutex, MutexGuard};
use bigarray_testing::Rng;
use bigarray_uffd::{Pagemap, Userfaultfd};
use common::*;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Zero,
    Copied,
    /// Its writers wait, and so does each access to a missing page of zero memory. Whether it was copied.
    Protected(bool),
}

/// Blocks of zero memory that come and go.
struct Pager {
    span: Box<dyn Span>,
    block: usize,
    table: Mutex<Table>,
}

struct Table {
    state: Vec<State>,
    /// What a block is to hold; zeros, if nothing is said.
    saved: HashMap<usize, Vec<u8>>,
    evictions: usize,
}

impl Pager {
    fn new(memory: &dyn Memory, len: usize, block: usize) -> Arc<Pager> {
        let span = memory.reserve(0..len, Residency::Lazy).unwrap();
        let state = vec![State::Missing; len / block];
        let table = Mutex::new(Table { state, saved: HashMap::new(), evictions: 0 });
        let pager = Arc::new(Pager { span, block, table });
        let faults: Weak<Pager> = Arc::downgrade(&pager);
        pager.span.attach(faults);
        pager
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    fn range(&self, block: usize) -> Range<usize> {
        block * self.block..(block + 1) * self.block
    }

    /// A counter; the span lives as long as the pager.
    fn counter(&self, at: usize) -> &AtomicU64 {
        counter(&*self.span, at)
    }

    /// Guards a block that is there, without keeping the lock, as a pager with much to write would.
    fn write_protect(&self, block: usize) -> bool {
        let mut table = self.table();
        let copied = match table.state[block] {
            State::Zero => false,
            State::Copied => true,
            State::Missing | State::Protected(_) => return false,
        };
        self.span.write_protect(self.range(block)).unwrap();
        table.state[block] = State::Protected(copied);
        true
    }

    /// What a protected block holds.
    fn bytes(&self, block: usize) -> Vec<u8> {
        let range = self.range(block);
        let State::Protected(copied) = self.table().state[block] else { panic!("block {block} is not protected") };
        let mut there = Vec::new();
        match copied {
            true => there.push(range.clone()),
            false => self.span.written(range.clone(), WrittenTo::Zero, &mut there).unwrap(),
        }
        let mut all = vec![0; self.block];
        for run in there {
            let to = run.start - range.start..run.end - range.start;
            all[to].copy_from_slice(&bytes(&*self.span, run));
        }
        all
    }

    fn evict(&self, block: usize, bytes: Vec<u8>) {
        let table = self.table();
        self.span.evict(self.range(block)).unwrap();
        self.gone(table, block, bytes);
    }

    /// The same for a block that is taken out first, if it can be; or it is put back.
    fn take_out(&self, block: usize, put_back: bool) {
        let range = self.range(block);
        let State::Protected(copied) = self.table().state[block] else { panic!("block {block} is not protected") };
        let Some(taken) = self.span.take_out(range.clone()).unwrap() else {
            let bytes = self.bytes(block);
            return self.evict(block, bytes);
        };
        if put_back {
            taken.put_back().unwrap();
            return self.unprotect(block);
        }
        let mut there = Vec::new();
        match copied {
            true => there.push(range.clone()),
            false => taken.written(&mut there).unwrap(),
        }
        let mut all = vec![0; self.block];
        for run in there {
            let to = run.start - range.start..run.end - range.start;
            taken
                .with(run, &mut |bytes| {
                    all[to.clone()].copy_from_slice(bytes);
                    Ok(())
                })
                .unwrap();
        }
        let table = self.table();
        taken.let_go().unwrap();
        self.gone(table, block, all);
    }

    fn gone(&self, mut table: MutexGuard<'_, Table>, block: usize, bytes: Vec<u8>) {
        table.saved.insert(block, bytes);
        table.state[block] = State::Missing;
        table.evictions += 1;
        drop(table);
        self.span.wake(self.range(block));
    }

    fn unprotect(&self, block: usize) {
        let mut table = self.table();
        let range = self.range(block);
        table.state[block] = match table.state[block] {
            State::Protected(false) => {
                self.span.unprotect_zero(range).unwrap();
                State::Zero
            }
            State::Protected(true) => {
                self.span.unprotect(range).unwrap();
                State::Copied
            }
            State::Missing | State::Zero | State::Copied => panic!("block {block} is not protected"),
        };
    }
}

impl Faults for Pager {
    fn missing(&self, offset: usize) -> Vec<Job> {
        let block = offset / self.block;
        let mut table = self.table();
        match table.state[block] {
            State::Missing => {
                if let Some(bytes) = table.saved.get(&block) {
                    self.span.copy(block * self.block, bytes).unwrap();
                    table.state[block] = State::Copied;
                } else {
                    // With all in the same 2 MiB that never were there, so that huge pages lie across blocks.
                    let blocks = (2 * MIB / self.block).max(1);
                    let chunk = block / blocks * blocks..(block / blocks + 1) * blocks;
                    let fresh = |n: &usize| table.state[*n] == State::Missing && !table.saved.contains_key(n);
                    let first = (chunk.start..block).rev().take_while(fresh).last().unwrap_or(block);
                    let end = (block..chunk.end).take_while(fresh).last().unwrap() + 1;
                    self.span.zero(first * self.block..end * self.block).unwrap();
                    table.state[first..end].fill(State::Zero);
                }
            }
            State::Protected(_) => return Vec::new(),
            State::Zero | State::Copied => {}
        }
        self.span.wake(self.range(block));
        Vec::new()
    }

    fn protected(&self, offset: usize) {
        let block = offset / self.block;
        match self.table().state[block] {
            State::Protected(_) => {}
            State::Copied => self.span.unprotect(self.range(block)).unwrap(),
            State::Missing | State::Zero => self.span.wake(self.range(block)),
        }
    }

    fn fail(&self, why: &str) {
        panic!("{why}");
    }
}

/// Counters are in the front half of each page that is divisible by this; others are left to system calls, or are never
/// touched but by loads.
const COUNTED: usize = 3;

/// Threads that increment, and read, while blocks are evicted so many times. With `calls`, one that reads a file into
/// pages of its own by system calls.
fn stress(memory: &dyn Memory, len: usize, block: usize, evictions: usize, calls: bool) {
    let pager = Pager::new(memory, len, block);
    let pages = len / PAGE;
    let done = AtomicBool::new(false);
    let at_random = |rng: &mut Rng, kind: usize| (rng.below(pages / COUNTED) * COUNTED + kind) * PAGE;
    let totals: Vec<HashMap<usize, u64>> = thread::scope(|scope| {
        let (pager, done) = (&pager, &done);
        let incrementing: Vec<_> = (0..2)
            .map(|n| {
                scope.spawn(move || {
                    let mut rng = Rng::new(n);
                    let mut counts = HashMap::new();
                    while !done.load(Ordering::Relaxed) {
                        // Both threads in the same words.
                        let at = at_random(&mut rng, 0) + rng.below(4) * 8;
                        pager.counter(at).fetch_add(1, Ordering::Relaxed);
                        *counts.entry(at).or_insert(0) += 1;
                    }
                    counts
                })
            })
            .collect();
        scope.spawn(move || {
            let mut rng = Rng::new(10);
            let mut seen: HashMap<usize, u64> = HashMap::new();
            while !done.load(Ordering::Relaxed) {
                let at = at_random(&mut rng, 0) + rng.below(4) * 8;
                let now = pager.counter(at).load(Ordering::Relaxed);
                let before = seen.insert(at, now).unwrap_or(0);
                assert!(before <= now, "the counter at {at} went back from {before} to {now}");
                let untouched = at_random(&mut rng, 1);
                assert_eq!(pager.counter(untouched).load(Ordering::Relaxed), 0, "no thread writes to {untouched}");
            }
        });
        if calls {
            scope.spawn(move || read_files(pager, done, |rng| at_random(rng, 2)));
        }
        let mut rng = Rng::new(20);
        while pager.table().evictions < evictions {
            let block = rng.below(len / pager.block);
            if pager.write_protect(block) {
                match rng.below(6) {
                    0 => pager.unprotect(block),
                    1 => pager.evict(block, pager.bytes(block)),
                    n => pager.take_out(block, n == 2),
                }
            }
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        incrementing.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut expected: HashMap<usize, u64> = HashMap::new();
    for (at, count) in totals.into_iter().flatten() {
        *expected.entry(at).or_insert(0) += count;
    }
    assert!(!expected.is_empty());
    for (at, count) in expected {
        assert_eq!(pager.counter(at).load(Ordering::Relaxed), count, "increments at {at}");
    }
}

/// Reads pages of a file, by `read`, into pages of no other use, and checks them at once and in the end.
fn read_files(pager: &Pager, done: &AtomicBool, at_random: impl Fn(&mut Rng) -> usize) {
    const PAGES: usize = 64;
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&contents(0..PAGES * PAGE), 0).unwrap();
    let mut rng = Rng::new(30);
    let mut last = HashMap::new();
    while !done.load(Ordering::Relaxed) {
        let (at, page) = (at_random(&mut rng), rng.below(PAGES));
        // SAFETY: the page is the span's, and only this thread uses it, beside the pager while no thread can write.
        let to = unsafe { std::slice::from_raw_parts_mut(pager.span.base().as_ptr().add(at), PAGE) };
        file.read_exact_at(to, (page * PAGE) as u64).unwrap();
        assert!(to == contents(page * PAGE..(page + 1) * PAGE), "what was just read into {at}");
        last.insert(at, page);
    }
    for (at, page) in last {
        assert!(
            bytes(&*pager.span, at..at + PAGE) == contents(page * PAGE..(page + 1) * PAGE),
            "what was read into {at}"
        );
    }
}

fn in_every_mode(test: impl Fn(&dyn Memory, bool)) {
    for memory in lazy_memories() {
        test(&*memory, memory.delivers_kernel_faults());
    }
    let legacy = memory_with(Userfaultfd::Auto, Pagemap::Legacy);
    if legacy.delivers_faults() {
        test(&*legacy, legacy.delivers_kernel_faults());
    }
}

#[test]
fn no_increment_is_lost_in_small_pages() {
    let _dog = watchdog();
    in_every_mode(|memory, calls| stress(memory, 4 * MIB, BLOCK, 300, calls));
}

#[test]
fn no_increment_is_lost_in_huge_pages() {
    let _dog = watchdog();
    in_every_mode(|memory, calls| stress(memory, 8 * MIB, 2 * MIB, 40, calls));
}

#[test]
fn no_increment_is_lost_where_huge_pages_lie_across_blocks() {
    let _dog = watchdog();
    in_every_mode(|memory, calls| stress(memory, 8 * MIB, 4 * BLOCK, 150, calls));
}

#[test]
fn a_huge_page_is_write_protected_whole_or_in_part() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        for block in [2 * MIB, 8 * BLOCK] {
            let pager = Pager::new(&*memory, 4 * MIB, block);
            let last = 2 * MIB / block - 1;
            pager.counter(5 * PAGE).store(1, Ordering::Relaxed);
            pager.counter(2 * MIB - 8).store(2, Ordering::Relaxed);
            assert!(pager.write_protect(0));
            // What is not protected is written to as ever.
            if last != 0 {
                pager.counter(block).store(3, Ordering::Relaxed);
            }
            let bytes = pager.bytes(0);
            assert_eq!(bytes[5 * PAGE..5 * PAGE + 2], [1, 0]);
            pager.evict(0, bytes);
            assert_eq!(pager.table().state[last] == State::Missing, last == 0);
            assert_eq!(pager.counter(2 * MIB - 8).load(Ordering::Relaxed), 2);
            pager.counter(5 * PAGE).fetch_add(1, Ordering::Relaxed);
            assert_eq!(pager.counter(5 * PAGE).load(Ordering::Relaxed), 2);
            assert_eq!(pager.counter(6 * PAGE).load(Ordering::Relaxed), 0);
            if last != 0 {
                assert_eq!(pager.counter(block).load(Ordering::Relaxed), 3);
            }
        }
    }
}

#[test]
fn pages_only_read_are_not_written_out_where_they_can_be_told_apart() {
    let _dog = watchdog();
    for memory in lazy_memories().iter().filter(|memory| memory.describe().contains("PAGEMAP_SCAN")) {
        let pager = Pager::new(&**memory, 2 * MIB, BLOCK);
        // Small pages: the zero page of one is told apart by every kernel that can scan.
        pager.span.zero(0..BLOCK).unwrap();
        pager.table().state[0] = State::Zero;
        assert_eq!(pager.counter(0).load(Ordering::Relaxed), 0);
        pager.counter(PAGE).store(1, Ordering::Relaxed);
        assert!(pager.write_protect(0));
        let mut found = Vec::new();
        pager.span.written(0..BLOCK, WrittenTo::Zero, &mut found).unwrap();
        assert!(matches!(&found[..], [run] if *run == (PAGE..2 * PAGE)), "{found:?}");
        pager.unprotect(0);
    }
}

#[test]
fn a_block_across_two_mappings_is_copied_all_the_same() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let pager = Pager::new(&*memory, 4 * MIB, BLOCK);
        // Huge pages are advised for one half, so that the two never become one mapping.
        pager.span.zero(2 * MIB..4 * MIB).unwrap();
        pager.counter(2 * MIB).store(1, Ordering::Relaxed);
        pager.span.write_protect(2 * MIB..4 * MIB).unwrap();
        pager.span.evict(2 * MIB..4 * MIB).unwrap();
        let range = 2 * MIB - 3 * PAGE..2 * MIB + 4 * PAGE;
        assert_eq!(mappings_in(&*pager.span, range.clone()), 2);
        pager.span.copy(range.start, &contents(range.clone())).unwrap();
        assert_eq!(bytes(&*pager.span, range.clone()), contents(range));
    }
}

#[test]
fn what_is_not_write_protected_is_not_taken_away() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let pager = Pager::new(&*memory, 2 * MIB, BLOCK);
        pager.counter(0).store(1, Ordering::Relaxed);
        assert!(pager.span.evict(0..BLOCK).is_err());
        assert_eq!(pager.counter(0).load(Ordering::Relaxed), 1);
        assert!(pager.span.write_protect(0..2 * MIB + PAGE).unwrap_err().is_invalid());
        for range in [0..0, 2 * MIB..2 * MIB] {
            pager.span.write_protect(range.clone()).unwrap();
            pager.span.unprotect_zero(range.clone()).unwrap();
            pager.span.evict(range).unwrap();
        }
    }
}

#[test]
fn write_protecting_and_letting_go_leaves_no_mappings_behind() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let pager = Pager::new(&*memory, 2 * MIB, BLOCK);
        for block in 0..2 * MIB / BLOCK {
            pager.counter(block * BLOCK).store(1, Ordering::Relaxed);
        }
        assert_eq!(mappings_in(&*pager.span, 0..2 * MIB), 1);
        for block in (0..2 * MIB / BLOCK).step_by(2) {
            assert!(pager.write_protect(block));
        }
        assert_eq!(mappings_in(&*pager.span, 0..2 * MIB), 2 * MIB / BLOCK);
        for block in (0..2 * MIB / BLOCK).step_by(2) {
            pager.unprotect(block);
        }
        assert_eq!(mappings_in(&*pager.span, 0..2 * MIB), 1);
    }
}

/// Splits mappings until the system refuses more, in a process of its own: the limit is one for all of it.
#[test]
fn at_the_limit_of_mappings_a_block_that_cannot_be_write_protected_is_as_it_was() {
    const ROLE: &str = "at the limit of mappings";
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    if limit.trim().parse::<usize>().unwrap() > 100_000 {
        eprintln!("skipped: {} mappings take too long", limit.trim());
        return;
    }
    if !is_child(ROLE) {
        child_succeeds(ROLE, &[]);
        return;
    }
    let _dog = watchdog();
    for memory in lazy_memories() {
        let pager = Pager::new(&*memory, 64 * MIB, BLOCK);
        pager.span.zero(0..64 * MIB).unwrap();
        pager.table().state.fill(State::Zero);
        let file = ContentFile::make(PAGE);
        let others = memory.reserve(0..1 << 30, Residency::Lazy).unwrap();
        let full = (0..1 << 30).step_by(2 * PAGE).find_map(|at| others.map(at..at + PAGE, &file, 0, true).err());
        assert!(full.is_some_and(|error| error.is_too_large()));
        // Every other block, so that none of them is of one mapping with another.
        let mut held = Vec::new();
        let refused =
            (1..64 * MIB / BLOCK).step_by(2).find_map(|block| match pager.span.write_protect(pager.range(block)) {
                Ok(()) => {
                    held.push(block);
                    None
                }
                Err(error) => Some((block, error)),
            });
        let (block, error) = refused.unwrap();
        assert!(error.is_too_large() && error.to_string().contains("vm.max_map_count"), "{error}");
        // No fault is delivered: neither for a page without an access so far, nor for one written to again.
        pager.table().state[block] = State::Protected(false);
        for at in [pager.range(block).start, pager.range(block).end - 8, pager.range(block).start] {
            pager.counter(at).fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(pager.counter(pager.range(block).start).load(Ordering::Relaxed), 2);
        for block in held {
            pager.span.unprotect_zero(pager.range(block)).unwrap();
        }
        drop(others);
        pager.span.write_protect(pager.range(block)).unwrap();
        pager.unprotect(block);
    }
}
