//! What there is to say of a database in a directory, for people.

use bigarray_core::Result;
use bigarray_core::store::StoreDescription;

use crate::shared::Shared;

/// Kinds of file systems: `f_type` of `statfs`, and the name.
const FILE_SYSTEMS: &[(u64, &str)] = &[
    (0xef53, "ext4, or ext2 or ext3"),
    (0x9123_683e, "btrfs"),
    (0x5846_5342, "XFS"),
    (0x2fc1_2fc1, "ZFS"),
    (0xf2f5_2010, "F2FS"),
    (0xca45_1a4e, "bcachefs"),
    (0x0102_1994, "tmpfs, which is memory"),
    (0x794c_7630, "overlayfs"),
    (0x6573_5546, "FUSE"),
    (0x6969, "NFS"),
];

/// Asks the file system, and LMDB for its readers.
pub(crate) fn describe(shared: &Shared) -> Result<StoreDescription> {
    let number = shared.locks.files.dir.file_system()?;
    let known = FILE_SYSTEMS.iter().find(|(of, _)| *of == number);
    let kind = known.map_or_else(|| format!("a file system of type {number:#x}"), |(_, name)| (*name).to_owned());
    Ok(StoreDescription {
        kind,
        is_copied: false,
        readers: shared.index.env.readers()?.living(),
        stored_bytes: Some(shared.data.stored_bytes()?),
        cache: None,
    })
}
