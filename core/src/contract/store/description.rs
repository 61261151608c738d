//! What there is to say of a store, for people.

/// Where a store keeps its bytes, and how much of what it has. What a store does not know is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreDescription {
    /// The kind of file system, or the service.
    pub kind: String,
    /// No block of it is ever in a file that could be mapped: all are copied.
    pub is_copied: bool,
    /// Snapshots and transactions, of all processes of the machine, that keep a state from being forgotten.
    pub readers: Option<usize>,
    /// Bytes that its files take on disk.
    pub stored_bytes: Option<u64>,
    /// Where it keeps what it fetched.
    pub cache: Option<String>,
}
