//! What a process may use is seen in a real cgroup, where one can be made.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bigarray_uffd::memory_limit_bytes;
use common::*;

/// A cgroup of version 1 below this process's own; gone when this is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    /// With that limit; none where the machine has no such hierarchy, or does not let this process make one.
    fn make(name: &str, limit_bytes: usize) -> Option<Cgroup> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.split_once(":memory:"))?.1.trim_start_matches('/').to_owned();
        let path = Path::new("/sys/fs/cgroup/memory").join(own).join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let cgroup = Cgroup(path);
        fs::write(cgroup.0.join("memory.limit_in_bytes"), limit_bytes.to_string()).ok()?;
        Some(cgroup)
    }

    fn enter(&self) {
        fs::write(self.0.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_limit_of_a_cgroup_and_of_those_above_it_is_seen() {
    const ROLE: &str = "in a cgroup";
    const LIMIT: &str = "BIGARRAY_UFFD_TEST_LIMIT";
    if is_child(ROLE) {
        let paths = std::env::var(LIMIT).unwrap();
        let expected = [300 * MIB, 200 * MIB, 200 * MIB];
        for (path, expected) in paths.split('\n').zip(expected) {
            let cgroup = Cgroup(path.into());
            cgroup.enter();
            // The child's handle must not remove what is its parent's.
            std::mem::forget(cgroup);
            assert_eq!(memory_limit_bytes(), Some(expected as u64), "in {path}");
        }
        return;
    }
    let Some(outer) = Cgroup::make("bigarray-outer", 300 * MIB) else {
        eprintln!("skipped: no cgroup of version 1 can be made here");
        return;
    };
    let inner = Cgroup(outer.0.join("inner"));
    fs::create_dir(&inner.0).unwrap();
    fs::write(inner.0.join("memory.limit_in_bytes"), (200 * MIB).to_string()).unwrap();
    // Without a limit of its own.
    let innermost = Cgroup(inner.0.join("innermost"));
    fs::create_dir(&innermost.0).unwrap();
    let paths = [&outer, &inner, &innermost].map(|cgroup| cgroup.0.to_str().unwrap()).join("\n");
    child_succeeds(ROLE, &[(LIMIT, &paths)]);
    // From the inside out.
    drop(innermost);
    drop(inner);
    assert!(outer.0.exists());
}
