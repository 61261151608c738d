//! Reads LMDB's file without LMDB, which maps it and trusts it: on damaged pages LMDB aborts the process, or reads outside
//! of them. So the pages are checked here before LMDB reads a file that may be damaged: one that is shorter than it says, or
//! that was written without syncing when the system went down, or that is verified.
//!
//! ```text
//! meta page 0, 1    header 16 | magic 4 | version 4 | address 8 | map size 8 | db "free" 48 | db "main" 48 | last page 8 | txn 8
//! db                page size 4 | flags 2 | depth 2 | branch, leaf, overflow pages 24 | entries 8 | root page 8
//! header            page number 8 | pad 2 | flags 2 | lower 2 | upper 2 (or on an overflow page: pages 4), then
//!                   offsets of the nodes, 2 each, up to `lower`
//! node              size of the data or child, low 4 | flags 2 (child: high) | key bytes 2 | key | data
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bigarray_core::{Error, ErrorKind, Result};

const MAGIC: u32 = 0xbeef_c0de;
const VERSION: u32 = 1;
const HEADER: usize = 16;
const NODE: usize = 8;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
/// Mask of the flags for the kind of a page.
const KIND: u16 = 0x6f;
/// Flags of a node: its data lies on overflow pages; its data is the record of a table.
const BIG: u16 = 0x01;
const TABLE: u16 = 0x02;
const NO_PAGE: u64 = u64::MAX;
/// Depth that no tree of LMDB exceeds.
const MAX_DEPTH: usize = 32;

/// Called with the key and data of each node of a leaf.
type Visit<'v> = dyn FnMut(&mut Seen<'_>, &[u8], Data<'_>) -> Result<()> + 'v;

/// A state of the file: the newest one, while no process writes to it, or one that a snapshot holds.
pub(crate) struct Structure {
    file: File,
    path: PathBuf,
    page_bytes: usize,
    /// Whole pages in the file.
    pages: u64,
    len: u64,
    last_page: u64,
    free: u64,
    main: u64,
}

/// A tree, or the part of it below a page.
#[derive(Clone, Copy)]
struct Tree {
    root: u64,
    depth: usize,
    /// It is the list of free pages, which may have branches of one node.
    is_free: bool,
}

impl Tree {
    fn at(root: u64) -> Tree {
        Tree { root, depth: 0, is_free: false }
    }
}

/// The data of a node of a leaf.
enum Data<'d> {
    Bytes(&'d [u8]),
    /// Root of a table.
    Table(u64),
    /// On overflow pages: the first page, and the bytes of the value.
    Big(u64, usize),
}

impl Structure {
    /// Reads the meta pages of the index at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it has none; [`ErrorKind::Unsupported`] for another version of LMDB's format.
    pub(crate) fn read(file: File, path: &Path) -> Result<Structure> {
        let s = Structure::measure(file, path)?;
        let (first, second) = (s.meta_page(0)?, s.meta_page(1)?);
        let (number, newest) = if txn_of(&first) < txn_of(&second) { (1, second) } else { (0, first) };
        s.at_state(number, &newest)
    }

    /// Reads the meta page of commit `txn`. A snapshot holds its state, so that none of its pages is overwritten. `None` if a
    /// later commit overwrote the meta page.
    ///
    /// # Errors
    /// As [`read`](Structure::read).
    pub(crate) fn read_state(file: File, path: &Path, txn: u64) -> Result<Option<Structure>> {
        let s = Structure::measure(file, path)?;
        let number = txn % 2;
        let meta = s.meta_page(number)?;
        // Two reads differ while the page is being written.
        if txn_of(&meta) != txn || meta != s.meta_page(number)? {
            return Ok(None);
        }
        s.at_state(number, &meta).map(Some)
    }

    /// Reads the lengths of the file and of its pages.
    fn measure(file: File, path: &Path) -> Result<Structure> {
        let len = file.metadata().map_err(|e| Error::io(format_args!("looking at {}", path.display()), e))?.len();
        let mut s = Structure {
            file,
            path: path.to_owned(),
            page_bytes: HEADER + 136,
            pages: 1,
            len,
            last_page: 1,
            free: NO_PAGE,
            main: NO_PAGE,
        };
        let first = s.meta_page(0)?;
        let page_bytes = u32_at(&first, 40);
        if !page_bytes.is_power_of_two() || !(512..=65536).contains(&page_bytes) {
            return Err(s.damaged(0, &format!("says that pages have {page_bytes} bytes")));
        }
        s.page_bytes = page_bytes as usize;
        s.pages = len / u64::from(page_bytes);
        Ok(s)
    }

    /// The state that a meta page describes.
    fn at_state(mut self, number: u64, meta: &[u8]) -> Result<Structure> {
        (self.free, self.main, self.last_page) = (u64_at(meta, 80), u64_at(meta, 128), u64_at(meta, 136));
        if u16_at(meta, 92) != 0 || self.last_page >= i64::MAX as u64 / self.page_bytes as u64 {
            return Err(self.damaged(number, "describes what cannot be"));
        }
        Ok(self)
    }

    fn meta_page(&self, number: u64) -> Result<Vec<u8>> {
        let page = self.page(number)?;
        if u32_at(&page, 16) != MAGIC {
            return Err(self.damaged(number, "is not a meta page of LMDB"));
        }
        if u32_at(&page, 20) != VERSION {
            let text = format!("{}: another version of LMDB wrote it", self.path.display());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(page)
    }

    /// Whether the file has fewer pages than its meta page says. It may still be sound: LMDB does not write pages at the end
    /// that a commit took and gave back.
    pub(crate) fn is_short(&self) -> bool {
        self.pages <= self.last_page
    }

    /// Checks all pages that LMDB could follow, and its list of free pages.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], naming the first damaged page.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_tolerable(&mut || {})?.map_or(Ok(()), Err)
    }

    /// The same, but returns damage that is safe for LMDB: with keys out of order it only fails to find records.
    /// Calls `on_progress` several times a second.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], naming the first page that is not safe for LMDB.
    pub(crate) fn check_tolerable(&self, on_progress: &mut dyn FnMut()) -> Result<Option<Error>> {
        let mut seen = Seen::new(self, on_progress);
        let mut tables = Vec::new();
        self.walk(Tree::at(self.main), &mut seen, &mut |seen, _, data| {
            if let Data::Table(root) = data {
                tables.push(root);
            }
            self.check_big(seen, &data).map(drop)
        })?;
        for root in tables {
            self.walk(Tree::at(root), &mut seen, &mut |seen, _, data| match data {
                Data::Table(root) => Err(self.damaged(root, "is a table inside a table")),
                data => self.check_big(seen, &data).map(drop),
            })?;
        }
        self.walk(Tree { is_free: true, ..Tree::at(self.free) }, &mut seen, &mut |seen, _, data| {
            let big = self.check_big(seen, &data)?;
            let list = match &data {
                Data::Bytes(bytes) => bytes,
                _ => big.as_slice(),
            };
            self.check_free(seen, list)
        })?;
        // Pages behind the end were never written, so they have to be free.
        if self.is_short() && seen.beyond != self.last_page - self.pages + 1 {
            return Err(self.cut_off(self.pages));
        }
        Ok(seen.disorder.map(|page| self.damaged(page, "has keys out of order")))
    }

    /// Visits the nodes of all leaves of a tree.
    fn walk(&self, tree: Tree, seen: &mut Seen<'_>, visit: &mut Visit<'_>) -> Result<()> {
        let root = tree.root;
        if root == NO_PAGE && tree.depth == 0 {
            return Ok(());
        }
        if tree.depth == MAX_DEPTH {
            return Err(self.damaged(root, "lies too deep"));
        }
        seen.add(self, root)?;
        let page = self.page(root)?;
        let bad = |why: &str| self.damaged(root, why);
        let kind = u16_at(&page, 10) & KIND;
        if u64_at(&page, 0) != root || (kind != BRANCH && kind != LEAF) {
            return Err(bad("is another page than it should be"));
        }
        let (lower, upper) = (usize::from(u16_at(&page, 12)), usize::from(u16_at(&page, 14)));
        if lower < HEADER || lower > upper || upper > page.len() || lower % 2 != 0 {
            return Err(bad("has bounds that cannot be"));
        }
        let nodes = (lower - HEADER) / 2;
        if nodes == 0 || (kind == BRANCH && nodes == 1 && !tree.is_free) {
            return Err(bad("is empty"));
        }
        let mut before: Option<&[u8]> = None;
        for n in 0..nodes {
            let at = usize::from(u16_at(&page, HEADER + 2 * n));
            if at < upper || at + NODE > page.len() {
                return Err(bad("has a node outside of it"));
            }
            let (low, flags) = (u32_at(&page, at), u16_at(&page, at + 4));
            let (key, rest) = page[at + NODE..]
                .split_at_checked(usize::from(u16_at(&page, at + 6)))
                .ok_or_else(|| bad("has a key that ends outside of it"))?;
            if kind == BRANCH {
                let child = u64::from(low) | u64::from(flags) << 32;
                self.walk(Tree { root: child, depth: tree.depth + 1, ..tree }, seen, visit)?;
                continue;
            }
            // The list of free pages has native numbers as keys, whose bytes are not ordered.
            if before.is_some_and(|before| before >= key) && !tree.is_free {
                seen.disorder.get_or_insert(root);
            }
            before = Some(key);
            let size = if flags & BIG != 0 { 8 } else { low as usize };
            let data = rest.get(..size).ok_or_else(|| bad("has data that ends outside of it"))?;
            let data = match flags {
                0 => Data::Bytes(data),
                BIG => Data::Big(u64_at(data, 0), low as usize),
                // The store's tables have no flags: no duplicates, no numbers as keys.
                TABLE if size == 48 && u16_at(data, 4) == 0 => Data::Table(u64_at(data, 40)),
                _ => return Err(bad("has a node of unknown kind")),
            };
            visit(seen, key, data)?;
        }
        Ok(())
    }

    /// Checks overflow pages, and returns their data.
    fn check_big(&self, seen: &mut Seen<'_>, data: &Data<'_>) -> Result<Vec<u8>> {
        let Data::Big(first, size) = *data else { return Ok(Vec::new()) };
        let head = self.page(first)?;
        let pages = (HEADER + size).div_ceil(self.page_bytes) as u64;
        if u64_at(&head, 0) != first || u16_at(&head, 10) & KIND != OVERFLOW || u64::from(u32_at(&head, 12)) < pages {
            return Err(self.damaged(first, "is another page than it should be"));
        }
        for page in first..first + u64::from(u32_at(&head, 12)) {
            seen.add(self, page)?;
        }
        let mut bytes = vec![0; size];
        self.read_at(&mut bytes, first * self.page_bytes as u64 + HEADER as u64, first)?;
        Ok(bytes)
    }

    /// Checks that no page on the list of free pages is in use.
    fn check_free(&self, seen: &mut Seen<'_>, list: &[u8]) -> Result<()> {
        let bad = || self.damaged(self.free, "lists free pages that cannot be");
        let mut numbers = list.chunks_exact(8).map(|n| u64_at(n, 0));
        let count = numbers.next().ok_or_else(bad)?;
        let mut above = self.last_page.saturating_add(1);
        for _ in 0..count {
            let page = numbers.next().filter(|page| *page < above).ok_or_else(bad)?;
            above = page;
            if page < self.pages {
                seen.add(self, page)?;
            } else {
                seen.beyond += 1;
            }
        }
        Ok(())
    }

    fn page(&self, number: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.page_bytes];
        if number >= self.pages {
            return Err(self.cut_off(number));
        }
        self.read_at(&mut bytes, number * self.page_bytes as u64, number)?;
        Ok(bytes)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64, page: u64) -> Result<()> {
        self.file.read_exact_at(bytes, at).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.cut_off(page),
            _ => Error::io(format_args!("reading page {page} of {}", self.path.display()), e),
        })
    }

    fn cut_off(&self, page: u64) -> Error {
        self.damaged(page, &format!("lies beyond its end at byte {}: it was truncated", self.len))
    }

    fn damaged(&self, page: u64, why: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("{}: its page {page} {why}", self.path.display()))
    }
}

/// The pages seen so far. Each may be in use once.
struct Seen<'p> {
    on_progress: &'p mut dyn FnMut(),
    /// How many there are.
    count: u64,
    /// A bit for each page of the file.
    bits: Vec<u64>,
    /// Free pages behind the end of the file.
    beyond: u64,
    /// The first leaf whose keys are out of order.
    disorder: Option<u64>,
}

impl Seen<'_> {
    /// Pages between two reports of progress: a slow disk reads several times as many a second.
    const REPORT_EVERY: u64 = 32;

    fn new<'p>(of: &Structure, on_progress: &'p mut dyn FnMut()) -> Seen<'p> {
        Seen { on_progress, count: 0, bits: vec![0; of.pages.div_ceil(64) as usize], beyond: 0, disorder: None }
    }

    fn add(&mut self, of: &Structure, page: u64) -> Result<()> {
        if page < 2 || page > of.last_page {
            return Err(of.damaged(page, "is referred to, and there can be none such"));
        }
        if page >= of.pages {
            return Err(of.cut_off(page));
        }
        let (word, bit) = (&mut self.bits[(page / 64) as usize], 1 << (page % 64));
        if *word & bit != 0 {
            return Err(of.damaged(page, "is in use twice"));
        }
        *word |= bit;
        self.count += 1;
        if self.count.is_multiple_of(Seen::REPORT_EVERY) {
            (self.on_progress)();
        }
        Ok(())
    }
}

/// The commit that wrote a meta page.
fn txn_of(meta: &[u8]) -> u64 {
    u64_at(meta, 144)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests;
