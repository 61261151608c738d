//! Steps of a transaction, each done in its model too.

use std::ops::Range;

use bigarray_core::{Codec, Descriptor, FillValue, Transaction, Writer};
use bigarray_testing::Versions;

use crate::model::{Attrs, BLOCK, FILL, Model, assert_same, bytes_array, resize, writer_bytes};
use crate::world::World;

const MOST: usize = 6 * BLOCK;
const NAMES: [&str; 3] = ["a", "b", "c"];

impl World {
    /// One step inside a transaction and in its model.
    pub(crate) fn step(&mut self, transaction: &Transaction, model: &mut Model) {
        let name = NAMES[self.rng.below(NAMES.len())];
        let Some((_, data)) = model.get_mut(name) else {
            let len = self.length();
            drop(transaction.create(name, self.array(len)).unwrap());
            let data = self.new_data(len);
            model.insert(name.to_owned(), (self.rng.draw(), data));
            return;
        };
        match self.rng.below(14) {
            0 => {
                transaction.remove(name).unwrap();
                model.remove(name);
            }
            1 => {
                let to = NAMES[self.rng.below(NAMES.len())];
                if to == name || model.contains_key(to) {
                    assert_eq!(transaction.rename(name, to).is_ok(), to == name);
                } else {
                    transaction.rename(name, to).unwrap();
                    let data = model.remove(name).unwrap();
                    model.insert(to.to_owned(), data);
                }
            }
            2..5 => {
                let len = self.length();
                let mut writer = transaction.open(name).unwrap();
                writer.set_shape(&[len / writer.descriptor().item_size]).unwrap();
                resize(data, len, self.mode.fill);
                assert_same(&writer_bytes(&writer, &self.memory), data, "after a resize");
            }
            5 => {
                let mut writer = transaction.open(name).unwrap();
                let before = writer.descriptor().clone();
                assert!(writer.set_shape(&[1, 1]).unwrap_err().is_shape_mismatch());
                assert_eq!(*writer.descriptor(), before);
            }
            6 | 7 => {
                let mut writer = transaction.open(name).unwrap();
                let rows = match self.rng.below(6) {
                    0 => data.len(),
                    1 => self.rng.below(data.len() + 1),
                    _ => self.rng.below(data.len().min(2 * BLOCK) + 1),
                };
                assert!(writer.drop_front(data.len() + 1).unwrap_err().is_shape_mismatch());
                let item_size = writer.descriptor().item_size;
                match writer.drop_front(rows / item_size) {
                    Ok(()) => drop(data.drain(..rows / item_size * item_size)),
                    Err(error) => assert!(self.mode.versions == Versions::Hashes && error.is_unsupported(), "{error}"),
                }
                assert_same(&writer_bytes(&writer, &self.memory), data, "after rows at the front went");
            }
            _ => {
                let mut writer = transaction.open(name).unwrap();
                if self.rng.one_in(3) {
                    let part = self.part_of(data.len());
                    self.prefetches.push(writer.prefetch_ahead(part).unwrap());
                }
                for _ in 0..self.rng.below(4) {
                    self.write(&mut writer, data);
                }
                if self.rng.one_in(3) {
                    writer.prefetch(0..data.len()).unwrap();
                }
                if self.rng.one_in(6) {
                    writer.flush().unwrap();
                }
                if self.rng.one_in(3) {
                    assert_same(&writer_bytes(&writer, &self.memory), data, "in a transaction");
                }
            }
        }
    }

    /// Sets or removes an attribute of the database, now and then.
    pub(crate) fn set_attr(&mut self, transaction: &Transaction, attrs: &mut Attrs) {
        let name = ["unit", "title", "source"][self.attrs_rng.below(3)];
        match self.attrs_rng.below(8) {
            0 => {
                let value = self.attrs_rng.draw();
                transaction.set_attr(name, value.into()).unwrap();
                attrs.insert(name.to_owned(), value.into());
            }
            1 => assert_eq!(transaction.remove_attr(name).unwrap(), attrs.remove(name)),
            2 => assert_eq!(transaction.attrs().unwrap(), *attrs),
            _ => {}
        }
    }

    pub(crate) fn write(&mut self, writer: &mut Writer<'_>, data: &mut [u8]) {
        if data.is_empty() {
            return;
        }
        let at = self.rng.below(data.len());
        let most = if self.rng.one_in(4) { data.len() - at } else { (data.len() - at).min(5000) };
        let mut bytes = vec![0; 1 + self.rng.below(most)];
        if !self.rng.one_in(3) {
            self.rng.fill(&mut bytes);
        }
        // Views are often of the whole, and often of a part.
        if self.rng.one_in(2) {
            writer.expose_mut(0..data.len()).unwrap();
        } else {
            writer.expose_mut(at..at + bytes.len()).unwrap();
        }
        let (span, first) = self.memory.span_over(writer.base().unwrap());
        span.store(first + at, &bytes).unwrap();
        data[at..at + bytes.len()].copy_from_slice(&bytes);
        if self.mode.devices && self.rng.one_in(2) {
            // A device is given the page, and takes a while, in which others are needed.
            let page = (first + at) / 4096;
            span.pin(page).unwrap();
            for _ in 0..4 {
                let from = self.rng.below(data.len());
                assert_eq!(span.load(first + from..first + from + 1).unwrap(), data[from..from + 1]);
            }
            let byte = self.rng.draw() as u8;
            span.store_pinned(page, (first + at) % 4096, &[byte]);
            data[at] = byte;
            span.unpin(page);
        }
    }

    pub(crate) fn array(&self, len: usize) -> Descriptor {
        let codec = if self.mode.compressed { Codec::Lz4 { shuffle: false } } else { Codec::None };
        match self.mode.fill {
            true => {
                let (item_size, shape) = (FILL.len(), vec![len / FILL.len()]);
                Descriptor { codec, item_size, shape, fill: FillValue::new(&FILL), ..bytes_array(len) }
            }
            false => Descriptor { codec, ..bytes_array(len) },
        }
    }

    /// Bytes of an array, a whole number of elements.
    pub(crate) fn length(&mut self) -> usize {
        let len = match self.rng.below(4) {
            0 => self.rng.below(3),
            1 => (1 + self.rng.below(5)) * BLOCK,
            _ => self.rng.below(MOST),
        };
        if self.mode.fill { len / FILL.len() * FILL.len() } else { len }
    }

    pub(crate) fn new_data(&self, len: usize) -> Vec<u8> {
        let mut data = Vec::new();
        resize(&mut data, len, self.mode.fill);
        data
    }

    pub(crate) fn part_of(&mut self, len: usize) -> Range<usize> {
        let start = self.rng.below(len + 1);
        start..start + self.rng.below(len - start + 1)
    }
}
