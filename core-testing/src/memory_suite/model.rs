//! Random operations beside a model of a few lines.

use std::collections::BTreeSet;
use std::sync::Arc;

use bigarray_core::PAGE;
use bigarray_core::memory::WrittenTo;

use super::handler::{BLOCK, Content, Handler};
use super::{MakeMemory, MemoryFixture};
use crate::Rng;

const BLOCKS: usize = 6;
const PAGES: usize = BLOCK / PAGE;

struct Model {
    handler: Arc<Handler>,
    lazy: bool,
    contents: Vec<Content>,
    bytes: Vec<u8>,
    /// Pages written since their block was last reset.
    written: BTreeSet<usize>,
    /// How mapped blocks are searched.
    searched: Vec<WrittenTo>,
}

/// Installing, reading, writing, asking, resetting, evicting, in any order.
pub fn any_sequence_of_operations_shows_what_a_model_does(make: MakeMemory<'_>) {
    for seed in 0..8 {
        let mut rng = Rng::new(seed);
        let mut model = Model::new(&make(), &mut rng);
        for _ in 0..150 {
            model.step(&mut rng);
        }
    }
}

fn any_content(rng: &mut Rng) -> Content {
    match rng.below(3) {
        0 => Content::Zero,
        1 => Content::File((rng.below(400) * PAGE) as u64),
        _ => Content::Copied(rng.draw() >> 8),
    }
}

impl Model {
    fn new(fixture: &MemoryFixture, rng: &mut Rng) -> Model {
        let mut model = Model {
            handler: Handler::new(fixture, BLOCKS),
            lazy: fixture.is_lazy(),
            contents: vec![Content::Zero; BLOCKS],
            bytes: vec![0; BLOCKS * BLOCK],
            written: BTreeSet::new(),
            searched: vec![WrittenTo::Mapped; BLOCKS],
        };
        for block in 0..BLOCKS {
            model.put(block, any_content(rng));
        }
        model
    }

    fn put(&mut self, block: usize, content: Content) {
        self.handler.put(block, content);
        self.contents[block] = content;
        self.searched[block] = WrittenTo::Mapped;
        let bytes = self.handler.bytes(content, PAGES);
        self.bytes[block * BLOCK..(block + 1) * BLOCK].copy_from_slice(&bytes);
    }

    fn step(&mut self, rng: &mut Rng) {
        let start = rng.below(BLOCKS * BLOCK);
        let most = if rng.one_in(4) { 2 * BLOCK } else { 2 * PAGE };
        let range = start..(start + rng.below(most)).min(BLOCKS * BLOCK);
        match rng.below(8) {
            0 | 1 => self.handler.assert_reads(range.clone(), &self.bytes[range]),
            2 => {
                let mut bytes = vec![0; range.len()];
                rng.fill(&mut bytes);
                self.handler.span.write(range.start, &bytes);
                self.bytes[range.clone()].copy_from_slice(&bytes);
                self.mark(range);
            }
            3 => {
                self.handler.span.fill_zero(range.clone());
                self.bytes[range.clone()].fill(0);
                self.mark(range);
            }
            4 => {
                let block = rng.below(BLOCKS);
                self.handler.reset(block);
                self.written.retain(|page| page / PAGES != block);
                self.put(block, any_content(rng));
            }
            5 => self.track_writes(rng.below(BLOCKS)),
            6 => self.hold(rng.below(BLOCKS), rng.one_in(3)),
            _ => self.compare_written(rng.below(BLOCKS)),
        }
    }

    fn mark(&mut self, range: std::ops::Range<usize>) {
        if !range.is_empty() {
            self.written.extend(range.start / PAGE..range.end.div_ceil(PAGE));
        }
    }

    /// If the block is mapped.
    fn track_writes(&mut self, block: usize) {
        if let Content::File(_) = self.contents[block] {
            // It is as soon as it is touched.
            self.handler.read(block * BLOCK..block * BLOCK + 1);
            self.searched[block] = self.handler.track_writes(block..block + 1);
        }
    }

    /// If the block is there and may be taken away under its users: holds it, and lets it go or evicts it.
    fn hold(&mut self, block: usize, let_go: bool) {
        let mapped = matches!(self.contents[block], Content::File(_));
        if mapped || !self.lazy || !self.handler.is_there(block) {
            return;
        }
        self.handler.write_protect(block);
        if let_go {
            return self.handler.unprotect(block);
        }
        assert!(self.handler.evict(block) == self.bytes[block * BLOCK..(block + 1) * BLOCK]);
        // It comes back as a copy, whatever of.
        self.contents[block] = Content::Copied(0);
    }

    fn compare_written(&self, block: usize) {
        let expected: Vec<usize> = self.written.range(block * PAGES..(block + 1) * PAGES).copied().collect();
        match self.contents[block] {
            Content::Zero => {
                let found = self.handler.written(block..block + 1, WrittenTo::Zero);
                assert!(expected.iter().all(|page| found.contains(page)), "written {expected:?}, found {found:?}");
            }
            Content::Copied(_) if self.lazy => {}
            Content::File(_) | Content::Copied(_) => {
                assert_eq!(self.handler.written(block..block + 1, self.searched[block]), expected);
            }
        }
    }
}
