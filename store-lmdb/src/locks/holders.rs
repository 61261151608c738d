//! The processes that hold a lock of a file, for messages. `fcntl` says of an open file's lock only that there is one,
//! and several processes may share the open file. But `/proc/PID/fdinfo` lists, for each descriptor, the locks of its open
//! file. Process numbers there are those of this process's PID namespace.

use std::fs::{self, File};
use std::path::Path;

use super::byte_locks::Lock;
use super::files::FileId;

const UNSEEN: &str = "a process that cannot be seen from here: another user's, or of another PID namespace";

/// Most processes that a message names.
const NAMED: usize = 4;

/// Names the processes that hold a lock which conflicts with `lock`.
pub(super) fn holders(file: &File, lock: Lock) -> String {
    let found = FileId::of(file).map_or_else(|_| Vec::new(), |id| find(id, lock));
    match found.as_slice() {
        [] => UNSEEN.to_owned(),
        [one] => named(*one),
        several => several.iter().map(|pid| named(*pid)).collect::<Vec<_>>().join(", "),
    }
}

fn find(id: FileId, lock: Lock) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| has_lock(*pid, id, lock)).take(NAMED).collect()
}

/// Whether a descriptor of the process is of an open file with such a lock.
fn has_lock(pid: u32, id: FileId, lock: Lock) -> bool {
    let of_process = Path::new("/proc").join(pid.to_string());
    let Ok(descriptors) = fs::read_dir(of_process.join("fdinfo")) else { return false };
    descriptors.flatten().any(|descriptor| {
        let listed = fs::read_to_string(descriptor.path()).is_ok_and(|info| lists(&info, id.inode, lock));
        // Inode numbers repeat across file systems, so the device is compared too. This comes last: asking for a file on a
        // file system that hangs would hang too.
        listed
            && fs::metadata(of_process.join("fd").join(descriptor.file_name()))
                .map_or(true, |file| FileId::from(&file) == id)
    })
}

/// Whether the text of a descriptor lists a lock of the file `inode` that conflicts with `lock`.
fn lists(info: &str, inode: u64, lock: Lock) -> bool {
    info.lines().filter_map(|line| line.strip_prefix("lock:")).any(|line| {
        // 1: OFDLCK ADVISORY  WRITE -1 00:1b:1234 4611686018427387908 4611686018427387908
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, kind, _, access, _, of, start, ..] = fields[..] else { return false };
        of.rsplit(':').next().is_some_and(|found| found.parse() == Ok(inode))
            && lock.conflicts_with(kind, access, start)
    })
}

/// Names a process by its number and its program. 0 stands for a process without a number in this PID namespace.
pub(super) fn named(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        _ if pid == 0 => UNSEEN.to_owned(),
        Ok(name) => format!("process {pid} ({})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::byte_locks::COMMIT_LOCK;
    use super::*;

    #[test]
    fn locks_of_open_files_are_found_in_a_descriptors_text() {
        let line = |rest: &str| format!("pos:\t0\nflags:\t0100002\nino:\t1234\nlock:\t1: {rest}\n");
        let lock = line(&format!("OFDLCK ADVISORY  WRITE -1 00:1b:1234 {COMMIT_LOCK} {COMMIT_LOCK}"));
        assert!(lists(&lock, 1234, Lock::Exclusive(COMMIT_LOCK)) && lists(&lock, 1234, Lock::Shared(COMMIT_LOCK)));
        assert!(
            !lists(&lock, 1235, Lock::Exclusive(COMMIT_LOCK)) && !lists(&lock, 1234, Lock::Exclusive(COMMIT_LOCK + 1))
        );
        let shared = line(&format!("OFDLCK ADVISORY  READ -1 00:1b:1234 {COMMIT_LOCK} {COMMIT_LOCK}"));
        assert!(lists(&shared, 1234, Lock::Exclusive(COMMIT_LOCK)) && !lists(&shared, 1234, Lock::Shared(COMMIT_LOCK)));
        let directory = line("FLOCK  ADVISORY  WRITE 77 00:1b:1234 0 EOF");
        assert!(lists(&directory, 1234, Lock::Directory) && !lists(&lock, 1234, Lock::Directory));
        assert!(!lists("lock:\n", 1234, Lock::Directory) && !lists("pos:\t0\n", 1234, Lock::Directory));
    }
}
