//! The owners of claims.

/// The owner of a claim: one transaction of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Number of the client.
    pub(crate) client: u32,
    /// Tells the client from others that had its number.
    pub(crate) token: u64,
    /// Tells the transaction from others of the client.
    pub(crate) serial: u64,
}

impl Owner {
    /// Bytes of a stored owner.
    pub(crate) const BYTES: usize = 20;

    /// As stored, big-endian.
    pub(crate) fn to_bytes(self) -> [u8; Owner::BYTES] {
        let mut bytes = [0; Owner::BYTES];
        bytes[..4].copy_from_slice(&self.client.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.token.to_be_bytes());
        bytes[12..].copy_from_slice(&self.serial.to_be_bytes());
        bytes
    }

    /// Decodes [`to_bytes`](Owner::to_bytes).
    pub(crate) fn from_bytes(bytes: &[u8; Owner::BYTES]) -> Owner {
        let number =
            |from: usize, len: usize| bytes[from..from + len].iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
        Owner { client: number(0, 4) as u32, token: number(4, 8), serial: number(12, 8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_encoding() {
        let owner = Owner { client: 0x0102_0304, token: 0x0506_0708_090a_0b0c, serial: 0x0d0e_0f10_1112_1314 };
        let bytes = owner.to_bytes();
        assert_eq!((bytes[0], bytes[19]), (1, 0x14));
        assert_eq!(Owner::from_bytes(&bytes), owner);
    }
}
