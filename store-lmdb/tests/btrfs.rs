//! btrfs compresses the data file as the mount says, however large the file.

mod outside;
mod support;

use std::path::Path;
use std::process::Command;

use bigarray_core::store::Store as _;
use bigarray_testing::Edit;
use nix::sys::statvfs::statvfs;

use outside::Mount;
use support::{Written, check, commit, commit_spilled, large_array_of, now, open};

/// More chunks than a file has that is lengthened without preallocation.
const BLOCKS: u64 = 90;

fn free_bytes(at: &Path) -> u64 {
    // Written bytes count once they are on disk.
    nix::unistd::sync();
    let fs = statvfs(at).unwrap();
    fs.blocks_available() * fs.fragment_size()
}

#[test]
fn a_large_data_file_is_compressed_as_the_mount_says() {
    let Some(mount) = Mount::image("btrfs", 512 << 20) else { return };
    let remounted = Command::new("mount").args(["-o", "remount,compress-force=zstd"]).arg(&mount.at).status();
    assert!(remounted.unwrap().success());
    let store = open(&mount.at.join("a.bigarray"));
    commit(&store, |_| Edit::create("a", large_array_of(BLOCKS as usize)));
    let before = free_bytes(&mount.at);
    // Bytes that compress well, but are not zeros.
    let base = now(&store);
    let array = base.array("a").unwrap().unwrap();
    let area = store.spill_area().unwrap();
    let bytes = vec![7; array.block_size.bytes()];
    let written: Vec<Written> = (0..BLOCKS).map(|block| (block, area.write(&array, 0, &bytes).unwrap())).collect();
    commit_spilled(&store, &*base, &*area, &written).unwrap();
    let taken = before.saturating_sub(free_bytes(&mount.at));
    assert!(taken < BLOCKS * (2 << 20) / 2, "{BLOCKS} blocks of 2 MiB take {} MiB", taken >> 20);
    check(&store);
}
