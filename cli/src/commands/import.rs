//! `import`: files become an array, in one transaction.

use std::ops::Range;
use std::path::Path;

use bigarray::ndarray::Order;
use bigarray::{AnyArrayMut, Transaction};

use super::How;
use super::create::options;
use super::ls::described;
use super::names::not_found;
use crate::address::Address;
use crate::args;
use crate::failure::{Failure, Result};
use crate::formats::{self, Input, Layout, Reading, Source};
use crate::progress::Progress;
use crate::{interrupt, open, units};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

pub(crate) fn run(args: &args::Import, how: How) -> Result<()> {
    interrupt::changes();
    let (address, files) = match args.paths.split_last() {
        Some((address, files)) if !files.is_empty() => (Address::of_whole_array(address)?, files),
        _ => return Err(Failure::usage("import takes a file and an array, as bigarray import FILE DB:NAME")),
    };
    if files.len() > 1 && !args.append {
        return Err(Failure::usage("several files become one array by --append"));
    }
    let reading = Reading {
        format: args.format,
        dtype: args.dtype.clone(),
        shape: args.shape.clone(),
        order: args.order.map(Into::into),
        offset: args.offset,
    };
    let open_file = |file: &String| -> Result<_> {
        let input = Input::open(Path::new(file))?;
        let name = input.name();
        Ok((formats::source(input, &reading)?, name))
    };
    // Before the database is opened: a file that is none creates none.
    let (first, name) = open_file(&files[0])?;
    let db = open::or_create(&address.database)?;
    let txn = db.begin()?;
    let mut import = Import { txn: &txn, address: &address, args, how };
    let mut array = import.begin(first.layout(), &name)?;
    import.add(&mut array, first, &name)?;
    for file in &files[1..] {
        let (source, name) = open_file(file)?;
        import.add(&mut array, source, &name)?;
    }
    let info = array.info();
    drop(array);
    interrupt::finish();
    txn.commit()?;
    how.done(
        || format!("{address}: {} {}, {}", info.dtype, units::shape(&info.shape), units::bytes(info.nbytes as u64)),
        || described(&info),
    )
}

/// An import under way.
struct Import<'t> {
    txn: &'t Transaction,
    address: &'t Address,
    args: &'t args::Import,
    how: How,
}

impl<'t> Import<'t> {
    /// The array, which is created with no rows, or is there.
    fn begin(&mut self, layout: &Layout, file: &str) -> Result<AnyArrayMut<'t>> {
        let name = &self.address.name;
        let there = self.txn.arrays()?.into_iter().any(|info| info.name == *name);
        match (there, self.args.append, self.args.replace) {
            (true, true, _) if layout.shape.is_empty() => {
                return Err(Failure::new(format!(
                    "{file}: it is a single number, which cannot be added to {}",
                    self.address
                )));
            }
            (true, true, _) => return self.txn.any_array(name).map_err(|e| not_found(self.txn, e, name)),
            (true, _, false) => {
                let why = format!(
                    "{}: it is there; --append adds rows to it, --replace puts the new one in its place",
                    self.address
                );
                return Err(Failure::new(why));
            }
            (true, _, true) => self.txn.remove(name)?,
            (false, ..) => {}
        }
        let mut shape = layout.shape.clone();
        // A shape of no axes has no rows that could be added.
        if let Some(axis) = growth_axis(layout) {
            shape[axis] = 0;
        }
        let options = options(self.args.storage, layout.order);
        self.txn.create_any(name, &layout.dtype, &shape, &options).map_err(|e| Failure::from(e).at(file))
    }

    /// Adds the rows of a file behind those that are there.
    fn add(&mut self, array: &mut AnyArrayMut<'_>, mut source: Box<dyn Source>, file: &str) -> Result<()> {
        let layout = source.layout().clone();
        check_fits(array, &layout, self.address).map_err(|failure| failure.at(file))?;
        for (key, value) in source.attrs() {
            if array.attrs().get(&key).is_some_and(|there| *there != value) {
                return Err(Failure::new(format!(
                    "{file}: its {key} are {value}, and those of {} are others; nothing was imported",
                    self.address
                )));
            }
            array.set_attr(&key, value)?;
        }
        if layout.is_open {
            return self.add_open(array, &mut *source, file);
        }
        let rows = match growth_axis(&layout) {
            None => 0..1,
            Some(axis) => {
                let mut shape = array.shape().to_vec();
                let (before, more) = (shape[axis], layout.shape[axis]);
                let end = before.checked_add(more);
                shape[axis] =
                    end.ok_or_else(|| Failure::new(format!("{file}: its {more} rows are too many to count")))?;
                array.resize(&shape).map_err(|e| Failure::from(e).at(file))?;
                before..shape[axis]
            }
        };
        self.fill(array, rows, &mut *source, file)
    }

    /// Fills the rows `rows`, block by block: past the memory budget, those before are spilled.
    fn fill(&self, array: &mut AnyArrayMut<'_>, rows: Range<usize>, source: &mut dyn Source, file: &str) -> Result<()> {
        let (mut buffer, mut done) = (Vec::new(), 0);
        let item = array.info().item_size;
        let all = source.layout().shape.iter().fold(item, |bytes, len| bytes.saturating_mul(*len));
        let mut progress = Progress::new(Some(all as u64), self.how.quiet);
        for block in array.blocks() {
            let block = block.start.max(rows.start)..block.end.min(rows.end);
            if block.is_empty() {
                continue;
            }
            let bytes = array.row_bytes_mut(block)?;
            // Not into the array itself: a system call may not wait for its pages.
            for piece in bytes.chunks_mut((PIECE / item).max(1) * item) {
                buffer.resize(piece.len(), 0);
                let filled = source.fill(&mut buffer)?;
                if filled < piece.len() {
                    let end = done + filled;
                    let why = format!(
                        "{file}: it ends after {end} of {all} bytes of elements; it is cut short, so nothing was imported"
                    );
                    return Err(Failure::new(why));
                }
                piece.copy_from_slice(&buffer);
                done += filled;
                progress.add(filled as u64);
            }
        }
        Ok(())
    }

    /// Adds rows until the file ends.
    fn add_open(&self, array: &mut AnyArrayMut<'_>, source: &mut dyn Source, file: &str) -> Result<()> {
        let row = rest(source.layout()).product::<usize>() * array.info().item_size;
        if row == 0 {
            return Err(Failure::new(format!("{file}: a row of it has no elements")));
        }
        let mut buffer = vec![0; (PIECE / row).max(1) * row];
        let mut progress = Progress::new(None, self.how.quiet);
        loop {
            let filled = source.fill(&mut buffer)?;
            if filled % row != 0 {
                let why =
                    format!("{file}: it ends amid a row of {row} bytes; it is cut short, so nothing was imported");
                return Err(Failure::new(why));
            }
            array.append_bytes(&buffer[..filled])?;
            progress.add(filled as u64);
            if filled < buffer.len() {
                return Ok(());
            }
        }
    }
}

/// The axis along which an array of that layout grows.
fn growth_axis(layout: &Layout) -> Option<usize> {
    let last = layout.shape.len().checked_sub(1)?;
    Some(if layout.order.is_row_major() { 0 } else { last })
}

/// Lengths of the other axes.
fn rest(layout: &Layout) -> impl Iterator<Item = usize> {
    let axis = growth_axis(layout);
    layout.shape.iter().enumerate().filter(move |(n, _)| Some(*n) != axis).map(|(_, len)| *len)
}

/// Refuses a file whose rows are not those of the array.
fn check_fits(array: &AnyArrayMut<'_>, layout: &Layout, address: &Address) -> Result<()> {
    let info = array.info();
    let has = format!("{address} has {} {}", info.dtype, units::shape(&info.shape));
    let given = format!("{} {}", layout.dtype, units::shape(&layout.shape));
    if canonical(&info.dtype) != canonical(&layout.dtype) {
        return Err(Failure::new(format!(
            "its elements are {}, and {has}; the types have to be the same",
            layout.dtype
        )));
    }
    let is_column_major = |order: Order| order.is_column_major();
    let orders_differ = info.shape.len() > 1 && is_column_major(info.order) != is_column_major(layout.order);
    if orders_differ {
        let why =
            format!("it is of order {}, and {has} of order {}", units::order(layout.order), units::order(info.order));
        return Err(Failure::new(why + "; import it as an array of its own"));
    }
    let of_array = Layout { shape: info.shape.clone(), ..layout.clone() };
    if info.shape.len() != layout.shape.len() || !rest(&of_array).eq(rest(layout)) {
        return Err(Failure::new(format!(
            "it is {given}, and {has}; all axes but that which grows have to be the same"
        )));
    }
    Ok(())
}

/// A type without a byte order where it has none.
fn canonical(dtype: &str) -> String {
    ["b1", "i1", "u1"].iter().fold(dtype.to_owned(), |name, one| name.replace(&format!("<{one}"), &format!("|{one}")))
}
