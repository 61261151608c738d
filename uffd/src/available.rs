//! How much memory this process may have: the machine's, or less where a cgroup says so.
//!
//! A cgroup's limit holds for all below it, so those of all ancestors count. `/proc/self/mountinfo` says where the
//! files of a hierarchy are, `/proc/self/cgroup` where this process is in it. Both paths are as this process's cgroup
//! namespace sees them; in a container without one of its own, what is mounted may be a part of the hierarchy only (its
//! root is the mount's root), and a cgroup that lies outside it cannot be seen: then the mount's own root is the
//! closest that can.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Bytes of memory that this process may use, together with whatever else is in its cgroup: the machine's, or the least
/// limit of a cgroup that it is in (`memory.max` of version 2, `memory.limit_in_bytes` of version 1).
///
/// Reads files of `/proc` and of the mounted cgroup hierarchies each time. What cannot be read limits nothing; `None`
/// where nothing can be read at all. Swap is not counted.
///
/// # Examples
/// ```
/// assert!(bigarray_uffd::memory_limit_bytes().is_none_or(|bytes| bytes > 1 << 20));
/// ```
pub fn memory_limit_bytes() -> Option<u64> {
    let file = |path: &str| fs::read(path).unwrap_or_default();
    let machine = total(&String::from_utf8_lossy(&file("/proc/meminfo")));
    let files = limit_files(&file("/proc/self/cgroup"), &file("/proc/self/mountinfo"));
    let cgroups = files.iter().filter_map(|file| limit(&fs::read_to_string(file).ok()?));
    machine.into_iter().chain(cgroups).min()
}

/// The bytes in the line `MemTotal:  16316412 kB` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The bytes in a file that holds a limit. No limit is `max` in version 2, and in version 1 more than any machine has.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The versions of cgroups.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn limit_file(self) -> &'static str {
        match self {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        }
    }
}

/// A hierarchy as it is mounted.
struct Mount {
    version: Version,
    /// What of the hierarchy is mounted.
    root: PathBuf,
    /// Where.
    at: PathBuf,
}

/// The files that may hold a limit of this process, from its own cgroup upwards, of every hierarchy that has memory.
///
/// Names of cgroups and mount points, also of mounts that have nothing to do with it, are any bytes.
fn limit_files(cgroup: &[u8], mountinfo: &[u8]) -> Vec<PathBuf> {
    let mounts: Vec<Mount> = lines(mountinfo).filter_map(mount).collect();
    let mut files = Vec::new();
    for (version, path) in lines(cgroup).filter_map(membership) {
        for mount in mounts.iter().filter(|mount| mount.version == version) {
            // Outside of what is mounted, or beside the namespace's root (`/..`).
            let below = path.strip_prefix(&mount.root).unwrap_or(Path::new(""));
            let goes_up = below.components().any(|part| part.as_os_str() == "..");
            let own = mount.at.join(if goes_up { Path::new("") } else { below });
            let up = own.ancestors().take_while(|ancestor| ancestor.starts_with(&mount.at));
            files.extend(up.map(|ancestor| ancestor.join(version.limit_file())));
        }
    }
    files
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

/// A line of `/proc/self/cgroup`, `ID:CONTROLLERS:PATH`, if it is of a hierarchy that may limit memory.
fn membership(line: &[u8]) -> Option<(Version, &Path)> {
    let mut fields = line.splitn(3, |&byte| byte == b':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let path = Path::new(OsStr::from_bytes(path));
    match controllers {
        b"" => Some((Version::Two, path)),
        _ if has_memory(controllers) => Some((Version::One, path)),
        _ => None,
    }
}

/// A line of `/proc/self/mountinfo`, if a hierarchy that may limit memory is mounted there:
/// `36 35 98:0 ROOT MOUNT-POINT OPTIONS [TAGS…] - TYPE SOURCE SUPER-OPTIONS`.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ').skip(3);
    let (root, at) = (unescaped(fields.next()?), unescaped(fields.next()?));
    let mut kind = fields.skip_while(|field| *field != b"-").skip(1);
    let (name, options) = (kind.next()?, kind.nth(1)?);
    let version = match name {
        b"cgroup2" => Version::Two,
        b"cgroup" if has_memory(options) => Version::One,
        _ => return None,
    };
    Some(Mount { version, root, at })
}

/// Whether `memory` is one of these, which are separated by commas.
fn has_memory(list: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|it| it == b"memory")
}

/// Spaces, tabs, newlines and backslashes are written as `\040` and so on.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [byte, behind @ ..] = rest {
        let code = behind.get(..3).filter(|_| *byte == b'\\');
        match code.and_then(|code| u8::from_str_radix(str::from_utf8(code).ok()?, 8).ok()) {
            Some(code) => {
                path.push(code);
                rest = &behind[3..];
            }
            None => {
                path.push(*byte);
                rest = behind;
            }
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(cgroup: &str, mountinfo: &str) -> Vec<String> {
        limit_files(cgroup.as_bytes(), mountinfo.as_bytes()).iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn the_machine_has_what_meminfo_says() {
        let meminfo = "MemTotal:       16316412 kB\nMemFree:          123456 kB\nSwapTotal:             0 kB\n";
        assert_eq!(total(meminfo), Some(16_316_412 << 10));
        for text in ["", "MemTotal:", "MemTotal: many kB", "MemTotal: 5", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(total(text), None, "{text}");
        }
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!(limit("536870912\n"), Some(512 << 20));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit(""), None);
        assert_eq!(limit("9223372036854771712\n"), Some(9_223_372_036_854_771_712));
    }

    #[test]
    fn version_2_is_read_from_its_own_cgroup_up_to_the_root() {
        let mountinfo = "24 30 0:22 / /proc rw,nosuid - proc proc rw\n\
             35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "/sys/fs/cgroup/user.slice/job.scope";
        let expected = [own, "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"].map(|it| format!("{it}/memory.max"));
        assert_eq!(files("0::/user.slice/job.scope\n", mountinfo), expected);
    }

    #[test]
    fn version_1_is_read_where_the_memory_controller_is_mounted() {
        let mountinfo = "34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
        let cgroup = "5:cpu,cpuacct:/a/b\n4:memory:/a/b\n1:name=systemd:/elsewhere:with:colons\n";
        let expected = ["/a/b", "/a", ""].map(|it| format!("/sys/fs/cgroup/memory{it}/memory.limit_in_bytes"));
        assert_eq!(files(cgroup, mountinfo), expected);
    }

    #[test]
    fn in_a_hybrid_both_versions_are_read() {
        let mountinfo = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let expected = [
            "/sys/fs/cgroup/memory/job/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/unified/memory.max",
        ];
        assert_eq!(files("4:memory:/job\n0::/\n", mountinfo), expected);
    }

    #[test]
    fn in_a_container_the_root_of_the_mount_is_its_own_cgroup() {
        // A namespace of its own: everything begins there.
        let own = "35 24 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(files("0::/\n", own), ["/sys/fs/cgroup/memory.max"]);
        // Without one: the whole path is given, and a part of the hierarchy is mounted.
        let part = "612 610 0:32 /docker/abc /sys/fs/cgroup/memory ro master:15 - cgroup cgroup rw,memory\n";
        let file = |it: &str| format!("/sys/fs/cgroup/memory{it}/memory.limit_in_bytes");
        assert_eq!(files("4:memory:/docker/abc\n", part), [file("")]);
        assert_eq!(files("4:memory:/docker/abc/job\n", part), [file("/job"), file("")]);
        // The two do not fit: a namespace of its own, but the mount of the parent's; or the process was moved.
        assert_eq!(files("4:memory:/\n", part), [file("")]);
        assert_eq!(files("4:memory:/../other\n", part), [file("")]);
        let whole = "612 610 0:32 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert_eq!(files("4:memory:/../other\n", whole), [file("")]);
    }

    #[test]
    fn mount_points_may_have_spaces() {
        let mountinfo = "35 24 0:30 / /my\\040mounts/c\\134g rw - cgroup2 cgroup2 rw\n";
        assert_eq!(files("0::/a b\n", mountinfo), ["/my mounts/c\\g/a b/memory.max", "/my mounts/c\\g/memory.max"]);
        assert_eq!(unescaped(b"a\\9b\\"), Path::new("a\\9b\\"));
    }

    #[test]
    fn names_may_be_any_bytes() {
        let mountinfo = b"33 24 0:28 / /mnt/\xff rw - tmpfs t rw\n35 24 0:30 / /c\xfe rw - cgroup2 cgroup2 rw\n";
        let expected = [&b"/c\xfe/j\xfdb/memory.max"[..], b"/c\xfe/memory.max"];
        let found = limit_files(b"0::/j\xfdb\n", mountinfo);
        assert_eq!(found, expected.map(|path| Path::new(OsStr::from_bytes(path))));
    }

    #[test]
    fn what_is_not_understood_limits_nothing() {
        for text in ["", "\n", "::", "0:", "0::", "a - b", " - cgroup2", "1 2 3 / /x rw - cgroup2"] {
            assert!(files(text, text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn this_machine_has_some_memory_and_not_more_than_it_says() {
        let machine = total(&fs::read_to_string("/proc/meminfo").unwrap()).unwrap();
        let bytes = memory_limit_bytes().unwrap();
        assert!(bytes > 1 << 20 && bytes <= machine, "{bytes}");
    }
}
