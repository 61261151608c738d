//! A memory cgroup for one process: what it may have of all memory, page cache included. Version 1 or 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Outcome;

/// A group of its own beneath the one this process is in (version 1) or beside it (version 2, where a group with
/// processes has none beneath). Removed when dropped; it must be empty by then.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    pub(crate) fn new(limit_bytes: usize) -> Outcome<Cgroup> {
        let (parent, limit, swap) = place()?;
        let path = parent.join(format!("bigarray-jobs-{}", std::process::id()));
        fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let cgroup = Cgroup(path);
        let limit = cgroup.0.join(limit);
        fs::write(&limit, limit_bytes.to_string()).map_err(|e| format!("{}: {e}", limit.display()))?;
        // Where there is no swap, or it is not counted, the file is missing.
        let _ = fs::write(cgroup.0.join(swap.0), if swap.1 { "0".to_owned() } else { limit_bytes.to_string() });
        Ok(cgroup)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes have ended, but may not be gone yet.
        let start = Instant::now();
        while fs::remove_dir(&self.0).is_err() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Puts this process into a group.
pub(crate) fn enter(path: &Path) -> Outcome<()> {
    Ok(fs::write(path.join("cgroup.procs"), "0").map_err(|e| format!("{}: {e}", path.display()))?)
}

/// Where a group can be made, the file of its limit, and that of swap with whether it counts swap alone.
fn place() -> Outcome<(PathBuf, &'static str, (&'static str, bool))> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = |wanted: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let (kind, options) = (after.split(' ').next()?, after.rsplit(' ').next()?);
            wanted(kind, options).then(|| before.split(' ').nth(4).map(PathBuf::from))?
        })
    };
    let group = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            wanted(fields.next()?).then(|| fields.next().map(|path| path.trim_start_matches('/').to_owned()))?
        })
    };
    let memory = |list: &str| list.split(',').any(|controller| controller == "memory");
    if let (Some(mount), Some(own)) = (mount(&|kind, options| kind == "cgroup" && memory(options)), group(&memory)) {
        // In a container the group's path may be one of the host, of which only the mount's root is seen.
        let parent = Some(mount.join(own)).filter(|path| path.is_dir()).unwrap_or(mount);
        return Ok((parent, "memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", false)));
    }
    if let (Some(mount), Some(own)) = (mount(&|kind, _| kind == "cgroup2"), group(&str::is_empty)) {
        let own = mount.join(own);
        let parent = if own == mount { own } else { own.parent().map_or(mount, Path::to_owned) };
        return Ok((parent, "memory.max", ("memory.swap.max", true)));
    }
    Err("no memory cgroups are mounted".into())
}
