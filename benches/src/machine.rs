//! The machine that was measured on: what a reader needs to judge the seconds, and nothing that names it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the figures depend on besides the code. No host name, no path.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel's version: its release without what a distributor or a host appended.
    pub kernel: String,
    /// The processor's model, or its architecture where the kernel names no model.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// The size of RAM with its unit.
    pub ram: String,
    /// The type of the file system that is measured.
    pub file_system: String,
    /// The kernel's name of the disk under it, where it lies on one.
    pub device: Option<String>,
    /// When huge pages are used: `always`, `madvise` or `never`.
    pub huge_pages: String,
    /// The day, in UTC, as 2026-01-31.
    pub date: String,
}

impl Machine {
    /// This machine, with the file system that `dir` is on. Facts that cannot be found out are called unknown.
    pub fn of(dir: &Path) -> Machine {
        let mount = mount_of(dir);
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").map_or_else(unknown, |release| version(&release)),
            cpu: read("/proc/cpuinfo")
                .and_then(|text| value(&text, "model name"))
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: available_parallelism().map_or(1, usize::from),
            ram: read("/proc/meminfo").and_then(|text| gib(&value(&text, "MemTotal")?)).unwrap_or_else(unknown),
            device: mount.as_ref().and_then(|mount| device(&mount.device)),
            file_system: mount.map_or_else(unknown, |mount| mount.kind),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()))
                .unwrap_or_else(unknown),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400)),
        }
    }

    /// One paragraph, plain enough for a terminal and for Markdown.
    pub fn paragraph(&self) -> String {
        let Machine { kernel, cpu, cores, ram, file_system, huge_pages, date, .. } = self;
        let cores = if *cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
        let disk = self.device.as_ref().map_or_else(String::new, |device| format!(" on {device}"));
        format!(
            "Measured on {date}: Linux {kernel}, {cpu}, {cores}, {ram} of RAM, {file_system}{disk}, \
             transparent huge pages: {huge_pages}."
        )
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn version(release: &str) -> String {
    release.split(['-', '+']).next().unwrap_or(release).to_owned()
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// The value of the first line `key : value`.
fn value(text: &str, key: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().to_owned())
}

/// Of `24683656 kB`, as /proc/meminfo counts.
fn gib(value: &str) -> Option<String> {
    let kib: f64 = value.strip_suffix(" kB")?.parse().ok()?;
    Some(format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}

/// One line of /proc/self/mountinfo.
#[derive(Debug, PartialEq)]
struct Mount {
    point: PathBuf,
    kind: String,
    /// major:minor
    device: String,
}

impl Mount {
    /// `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw`: the number of fields before the dash varies. The
    /// device's path is left alone: it names hosts (NFS) and volumes called after them (LVM).
    fn parse(line: &str) -> Option<Mount> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let device = fields.next()?.to_owned();
        let point = PathBuf::from(unescaped(fields.nth(1)?));
        Some(Mount { point, kind: after.split(' ').next()?.to_owned(), device })
    }
}

/// The kernel writes blanks and backslashes of a mount point as octal.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, char)| text.replace(code, char))
}

fn mount_of(dir: &Path) -> Option<Mount> {
    deepest(&read("/proc/self/mountinfo")?, &fs::canonicalize(dir).ok()?)
}

/// The mount that `dir` is seen through. By path rather than by device number, which btrfs and overlays give anew to
/// each volume; of two mounts on one point the later hides the earlier.
fn deepest(mountinfo: &str, dir: &Path) -> Option<Mount> {
    mountinfo
        .lines()
        .filter_map(Mount::parse)
        .filter(|mount| dir.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// The kernel's own name, as vda or dm-0. File systems without a block device have none.
fn device(number: &str) -> Option<String> {
    let device = fs::read_link(format!("/sys/dev/block/{number}")).ok()?;
    Some(device.file_name()?.to_string_lossy().into_owned())
}

/// The date of a number of days after 1970-01-01. A year here begins in March, so that a leap day is its last.
fn date(days: u64) -> String {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097); // of 400 years
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March; five months have 153 days
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:40 / /data rw,relatime shared:7 master:2 - nfs4 fileserver:/export rw
31 27 0:41 / /data\\040two rw,relatime - btrfs /dev/mapper/box--vg-data rw
32 30 253:1 / /data/fast rw,relatime - ext4 /dev/mapper/box--vg-fast rw
33 32 259:3 / /data/fast rw,relatime - xfs /dev/nvme0n1p3 rw";

    #[test]
    fn a_kernel_is_told_by_its_version_alone() {
        assert_eq!(version("6.18.44-generic"), "6.18.44");
        assert_eq!(version("6.8.0"), "6.8.0");
    }

    fn kind(dir: &str) -> String {
        deepest(MOUNTS, Path::new(dir)).unwrap().kind
    }

    #[test]
    fn a_directory_belongs_to_the_deepest_mount_above_it() {
        assert_eq!(kind("/home/me"), "ext4");
        assert_eq!(kind("/data"), "nfs4");
        assert_eq!(kind("/database"), "ext4");
        assert_eq!(kind("/data two/target"), "btrfs");
    }

    #[test]
    fn of_two_mounts_on_one_point_the_later_counts() {
        let mount = deepest(MOUNTS, Path::new("/data/fast/target")).unwrap();
        assert_eq!(mount, Mount { point: "/data/fast".into(), kind: "xfs".into(), device: "259:3".into() });
    }

    #[test]
    fn days_become_dates() {
        let dates = [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (19_782, "2024-02-29")];
        for (days, expected) in dates {
            assert_eq!(date(days), expected);
        }
        assert_eq!(date(20_453), "2025-12-31");
        assert_eq!(date(20_454), "2026-01-01");
        assert_eq!(date(47_541), "2100-03-01", "2100 is no leap year");
    }

    #[test]
    fn this_machine_is_found_out() {
        let machine = Machine::of(&std::env::temp_dir());
        assert_ne!(machine.kernel, "unknown");
        assert_ne!(machine.file_system, "unknown");
        assert!(machine.ram.ends_with(" GiB") && machine.cores > 0, "{machine:?}");
    }

    #[test]
    fn a_directory_that_is_not_there_lies_on_an_unknown_file_system() {
        let machine = Machine::of(Path::new("/no/such/directory"));
        assert_eq!((machine.file_system.as_str(), machine.device), ("unknown", None));
    }

    #[test]
    fn the_paragraph_leaves_out_a_device_that_is_not_there() {
        let machine = Machine {
            kernel: "6.8.0".into(),
            cpu: "AMD EPYC".into(),
            cores: 1,
            ram: "23.5 GiB".into(),
            file_system: "btrfs".into(),
            device: None,
            huge_pages: "madvise".into(),
            date: "2026-01-31".into(),
        };
        let text = "Measured on 2026-01-31: Linux 6.8.0, AMD EPYC, 1 core, 23.5 GiB of RAM, btrfs, transparent huge \
                    pages: madvise.";
        assert_eq!(machine.paragraph(), text);
        let machine = Machine { device: Some("sda2".into()), cores: 8, ..machine };
        assert!(machine.paragraph().contains(", 8 cores, 23.5 GiB of RAM, btrfs on sda2, "));
    }
}
