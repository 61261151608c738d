//! Blocks are taken out of a span and put back, or loaded again, under threads that go on storing to it and under
//! system calls that refer to its pages. No increment of a counter is lost, also where the kernel refuses a move half
//! way.

mod common;

use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, Read as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use bigarray_core::PAGE;
use bigarray_core::memory::{Faults, Job, Memory, Residency, Span};
use bigarray_core::sync::{Mutex, MutexGuard};
use bigarray_testing::Rng;
use common::*;
use nix::fcntl::{SpliceFFlags, vmsplice};

/// One huge page, or a part of one.
const LEN: usize = 4 * MIB;

/// Blocks that start as zero memory.
struct Pager {
    span: Box<dyn Span>,
    block: usize,
    table: Mutex<Table>,
}

struct Table {
    state: Vec<State>,
    saved: HashMap<usize, Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    Zero,
    Copied,
    /// Taken out just now, or about to be.
    Out,
}

/// What became of blocks.
#[derive(Debug, Default)]
struct Seen {
    put_back: usize,
    let_go: usize,
    refused: usize,
    /// Of those that were refused: the kernel found a page moved already.
    lost_count: usize,
}

impl Pager {
    fn new(memory: &dyn Memory, block: usize) -> Arc<Pager> {
        let span = memory.reserve(0..LEN, Residency::Lazy).unwrap();
        let table = Table { state: vec![State::Missing; LEN / block], saved: HashMap::new() };
        let pager = Arc::new(Pager { span, block, table: Mutex::new(table) });
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

    fn counter(&self, at: usize) -> &AtomicU64 {
        counter(&*self.span, at)
    }

    /// Takes a block out, and has it back in place or loaded again. `None` if the kernel has no moves.
    fn take_out(&self, block: usize, put_back: bool, seen: &mut Seen) -> Option<()> {
        let range = self.range(block);
        let was = {
            let mut table = self.table();
            let was = table.state[block];
            if matches!(was, State::Missing | State::Out) {
                return Some(());
            }
            self.span.write_protect(range.clone()).unwrap();
            table.state[block] = State::Out;
            was
        };
        match self.span.take_out(range.clone()) {
            Ok(None) => return None,
            Err(error) => {
                assert!(error.is_in_use(), "{error}");
                seen.lost_count += usize::from(error.to_string().contains("EEXIST"));
                seen.refused += 1;
                self.let_through(block, was);
            }
            Ok(Some(taken)) if put_back => {
                taken.put_back().unwrap();
                seen.put_back += 1;
                self.let_through(block, was);
            }
            Ok(Some(taken)) => {
                let mut all = Vec::new();
                taken
                    .with(range.clone(), &mut |bytes| {
                        all = bytes.to_vec();
                        Ok(())
                    })
                    .unwrap();
                let mut table = self.table();
                taken.let_go().unwrap();
                seen.let_go += 1;
                table.saved.insert(block, all);
                table.state[block] = State::Missing;
                drop(table);
                self.span.wake(range);
            }
        }
        Some(())
    }

    fn let_through(&self, block: usize, was: State) {
        let mut table = self.table();
        let range = self.range(block);
        if was == State::Zero { self.span.unprotect_zero(range) } else { self.span.unprotect(range) }.unwrap();
        table.state[block] = was;
        drop(table);
        self.span.wake(self.range(block));
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
                    self.span.zero(0..LEN).unwrap();
                    table.state.fill(State::Zero);
                }
            }
            State::Out => return Vec::new(),
            State::Zero | State::Copied => {}
        }
        drop(table);
        self.span.wake(self.range(block));
        Vec::new()
    }

    fn protected(&self, offset: usize) {
        let block = offset / self.block;
        match self.table().state[block] {
            State::Out => {}
            State::Copied => self.span.unprotect(self.range(block)).unwrap(),
            State::Missing | State::Zero => self.span.wake(self.range(block)),
        }
    }

    fn fail(&self, why: &str) {
        panic!("{why}");
    }
}

/// The whole of it in huge pages of zero memory, once. Then threads increment, one reads, one hands pages to a pipe and
/// takes them out again, while blocks are taken out so many times.
fn stress(memory: &dyn Memory, block: usize, times: usize) -> Option<Seen> {
    let pager = Pager::new(memory, block);
    let done = AtomicBool::new(false);
    let mut seen = Seen::default();
    let moves = thread::scope(|scope| {
        let (pager, done) = (&pager, &done);
        let counting: Vec<_> = (0..3)
            .map(|n| {
                scope.spawn(move || {
                    let mut rng = Rng::new(n);
                    let mut counts: HashMap<usize, u64> = HashMap::new();
                    while !done.load(Ordering::Relaxed) {
                        let at = rng.below(LEN / PAGE) * PAGE + rng.below(2) * 8;
                        pager.counter(at).fetch_add(1, Ordering::Relaxed);
                        *counts.entry(at).or_insert(0) += 1;
                    }
                    counts
                })
            })
            .collect();
        if memory.delivers_kernel_faults() {
            scope.spawn(move || refer_to_pages(pager, done));
        }
        let mut rng = Rng::new(20);
        let mut moves = Some(());
        pager.counter(0).load(Ordering::Relaxed);
        for _ in 0..times {
            let out = rng.below(LEN / block);
            pager.counter(out * block).load(Ordering::Relaxed);
            moves = moves.and_then(|()| pager.take_out(out, rng.below(3) != 0, &mut seen));
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        let mut expected: HashMap<usize, u64> = HashMap::new();
        for (at, count) in counting.into_iter().flat_map(|thread| thread.join().unwrap()) {
            *expected.entry(at).or_insert(0) += count;
        }
        moves.map(|()| {
            assert!(!expected.is_empty());
            for (at, count) in expected {
                assert_eq!(pager.counter(at).load(Ordering::Relaxed), count, "increments at {at}");
            }
        })
    });
    moves.map(|()| seen)
}

/// Has a pipe refer to a page until it is read; how many bytes of it.
fn refer_to(pipe: &OwnedFd, pager: &Pager, at: usize) -> usize {
    // SAFETY: the page is the span's. Its bytes may change meanwhile, and what comes of that is compared with nothing.
    unsafe {
        let page = std::slice::from_raw_parts(pager.span.base().as_ptr().add(at), PAGE);
        vmsplice(pipe, &[IoSlice::new(page)], SpliceFFlags::empty()).unwrap()
    }
}

/// Has a pipe refer to pages for a moment, as a system call does that sends them.
fn refer_to_pages(pager: &Pager, done: &AtomicBool) {
    let (from, to) = nix::unistd::pipe().unwrap();
    let mut from = File::from(from);
    let mut rng = Rng::new(30);
    while !done.load(Ordering::Relaxed) {
        let at = rng.below(LEN / PAGE) * PAGE;
        let sent = refer_to(&to, pager, at);
        let mut bytes = vec![0; sent];
        from.read_exact(&mut bytes).unwrap();
    }
}

/// Makes the kernel migrate pages in use, until it is dropped. Does nothing where this process may not.
struct Compaction(Arc<AtomicBool>);

impl Compaction {
    fn begin() -> Compaction {
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        thread::spawn(move || {
            while !until.load(Ordering::Relaxed) && std::fs::write("/proc/sys/vm/compact_memory", "1").is_ok() {}
        });
        Compaction(done)
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn no_increment_is_lost(block: usize, times: usize) {
    let _dog = watchdog();
    for memory in lazy_memories() {
        match stress(&*memory, block, times) {
            Some(seen) => {
                println!("{seen:?}");
                assert!(seen.put_back > 0 && seen.let_go > 0, "{seen:?}");
            }
            None => skip("UFFDIO_MOVE is missing"),
        }
    }
}

#[test]
fn no_increment_is_lost_while_parts_of_huge_pages_are_taken_out_and_put_back() {
    no_increment_is_lost(BLOCK, 600);
}

#[test]
fn no_increment_is_lost_while_huge_pages_are_taken_out_and_put_back() {
    no_increment_is_lost(2 * MIB, 400);
}

/// Linux 6.18 loses count of what it moves when a page is just being migrated.
#[test]
fn no_increment_is_lost_while_the_kernel_migrates_pages() {
    let _migrating = Compaction::begin();
    no_increment_is_lost(2 * MIB, 400);
}

/// A huge page is split up while something refers to it for a moment: the kernel tries again, and may lose count.
#[test]
fn no_page_is_lost_whose_huge_page_is_split_up_while_a_pipe_refers_to_it() {
    let _dog = watchdog();
    for memory in lazy_memories().iter().filter(|memory| memory.delivers_kernel_faults()) {
        let mut seen = Seen::default();
        for round in 0..200 {
            let pager = Pager::new(&**memory, [BLOCK, 8 * BLOCK][round % 2]);
            for at in (0..LEN).step_by(PAGE) {
                pager.counter(at).store(at as u64, Ordering::Relaxed);
            }
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| refer_to_pages(&pager, &done));
                for block in 0..LEN / pager.block {
                    if pager.take_out(block, block % 3 != 0, &mut seen).is_none() {
                        skip("UFFDIO_MOVE is missing");
                        break;
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            for at in (0..LEN).step_by(PAGE) {
                assert_eq!(pager.counter(at).load(Ordering::Relaxed), at as u64);
            }
        }
        println!("{seen:?}");
    }
}

/// A pipe keeps a page: none of its huge page can be split off.
#[test]
fn a_block_of_a_huge_page_that_a_pipe_refers_to_stays_or_moves() {
    let _dog = watchdog();
    for memory in lazy_memories().iter().filter(|memory| memory.delivers_kernel_faults()) {
        let pager = Pager::new(&**memory, BLOCK);
        for at in (0..LEN).step_by(PAGE) {
            pager.counter(at).store(at as u64, Ordering::Relaxed);
        }
        let (_from, to) = nix::unistd::pipe().unwrap();
        assert_eq!(refer_to(&to, &pager, 0), PAGE);
        let mut seen = Seen::default();
        if pager.take_out(1, true, &mut seen).is_none() {
            skip("UFFDIO_MOVE is missing");
        }
        println!("{seen:?}");
        for at in (0..LEN).step_by(PAGE) {
            assert_eq!(pager.counter(at).load(Ordering::Relaxed), at as u64);
        }
    }
}

/// Linux 6.18 moves pages home without counting them, and then finds them in its way.
#[test]
fn what_is_at_home_already_stays_there_when_the_rest_is_put_back() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        for block in [BLOCK, 2 * MIB] {
            let pager = Pager::new(&*memory, block);
            for at in (0..LEN).step_by(PAGE) {
                pager.counter(at).store(1, Ordering::Relaxed);
            }
            pager.span.write_protect(pager.range(1)).unwrap();
            pager.table().state[1] = State::Out;
            let Some(taken) = pager.span.take_out(pager.range(1)).unwrap() else {
                return skip("UFFDIO_MOVE is missing");
            };
            let home = [0, 5, 6, block / PAGE - 1].map(|page| block + page * PAGE);
            for at in home {
                pager.span.copy(at, &[9; PAGE]).unwrap();
            }
            taken.put_back().unwrap();
            pager.let_through(1, State::Zero);
            for at in (0..LEN).step_by(PAGE) {
                let expected = if home.contains(&at) { u64::from_ne_bytes([9; 8]) } else { 1 };
                assert_eq!(pager.counter(at).fetch_add(1, Ordering::Relaxed), expected, "{at}");
            }
        }
    }
}
