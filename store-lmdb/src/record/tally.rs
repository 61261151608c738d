//! How many records of one kind there are, and a sum over them: evidence that one of them is missing. A record that is not
//! found would otherwise count as absent, and a block without a record is a hole.
//!
//! A commit subtracts the old record and adds the new one, so the order of records does not matter.

use serde::{Deserialize, Serialize};

use super::CRC_BYTES;

/// The tally of the records of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// How many.
    #[serde(rename = "count")]
    pub(crate) records: u64,
    /// The sum of their weights.
    pub(crate) sum: u64,
}

impl Tally {
    /// Adds the record `value` that is stored under `key`.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.records = self.records.wrapping_add(1);
        self.sum = self.sum.wrapping_add(weight(key, value));
    }

    /// Subtracts that record.
    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.records = self.records.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(weight(key, value));
    }
}

impl Tally {
    /// Says that records of `what` are missing, if this tally of those found is not the `stored` one.
    pub(crate) fn lacks(&self, stored: Tally, what: &str) -> Option<String> {
        let (found, records) = (self.records, stored.records);
        let text = || format!("{found} records of {what} were found, which are not the {records} there should be");
        (*self != stored).then(text)
    }
}

/// The tallies of the records of one array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tallies {
    /// Its blocks.
    pub(crate) blocks: Tally,
    /// Its checksums.
    pub(crate) sums: Tally,
    /// Its attributes.
    pub(crate) attrs: Tally,
}

/// The weight of a record: its checksum stands for its bytes. Records that differ in key or checksum differ in weight.
fn weight(key: &[u8], value: &[u8]) -> u64 {
    let crc = value.last_chunk::<CRC_BYTES>().map_or(0, |crc| u32::from_le_bytes(*crc));
    mix(u64::from(crc32c::crc32c(key)) << 32 | u64::from(crc))
}

/// The last step of SplitMix64: a bijection that scatters. Checksums are linear, so that equal sums of them would be
/// likely.
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::seal;

    #[test]
    fn a_tally_does_not_depend_on_order_and_removal_undoes_addition() {
        let records = [7u64, 8, 9].map(|n| (n.to_be_bytes(), seal(&n.to_be_bytes(), vec![n as u8; 20])));
        let mut tally = Tally::default();
        records.iter().for_each(|(key, value)| tally.add(key, value));
        let mut other = Tally::default();
        records.iter().rev().for_each(|(key, value)| other.add(key, value));
        assert_eq!(tally, other);
        assert_eq!(tally.records, 3);
        other.remove(&records[1].0, &records[1].1);
        assert_ne!(tally, other);
        other.remove(&records[0].0, &records[0].1);
        other.remove(&records[2].0, &records[2].1);
        assert_eq!(other, Tally::default());
    }

    #[test]
    fn any_flipped_bit_of_a_key_or_of_a_checksum_changes_the_sum() {
        let key = [3u8; 16];
        let value = seal(&key, vec![5; 33]);
        let mut tally = Tally::default();
        tally.add(&key, &value);
        for bit in 0..8 * key.len() {
            let (mut flipped, mut other) = (key, Tally::default());
            flipped[bit / 8] ^= 1 << (bit % 8);
            other.add(&flipped, &value);
            assert_ne!(tally, other);
        }
        for bit in 0..32 {
            let (mut flipped, mut other) = (value.clone(), Tally::default());
            flipped[33 + bit / 8] ^= 1 << (bit % 8);
            other.add(&key, &flipped);
            assert_ne!(tally, other);
        }
    }
}
