//! CRC-32C, that of Zarr's codec `crc32c`.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum of bytes that come in parts.
pub(crate) struct Sum(Digest);

impl Sum {
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    pub(crate) fn total(&self) -> u32 {
        self.0.finalize() as u32
    }
}

impl Default for Sum {
    fn default() -> Sum {
        Sum(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another crate's, over all lengths of what is summed by vectors and what is left of it, from any address.
    #[test]
    fn it_is_the_sum_that_others_compute() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let bytes: Vec<u8> = (0..70_064u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let lengths = (0..1200).chain([4095, 4096, 4097, 65_536, 69_999]);
        for length in lengths {
            let part = &bytes[length % 64..][..length];
            assert_eq!(crc32c(part), crc32c::crc32c(part), "{length} bytes");
            let (first, second) = part.split_at(length / 3);
            let mut sum = Sum::default();
            sum.add(first);
            sum.add(second);
            assert_eq!(sum.total(), crc32c::crc32c(part), "{length} bytes in two parts");
        }
    }
}
