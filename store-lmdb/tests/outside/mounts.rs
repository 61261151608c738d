//! File systems that a test mounts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::skip;

/// How long a mount may be busy because of other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted file system, unmounted when dropped.
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mount {
    /// A tmpfs of that size; `None` if this process may not mount.
    pub(crate) fn tmpfs(bytes: u64) -> Option<Mount> {
        let options = format!("size={bytes},mode=777");
        Mount::new(|at| mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), Some(&*options)))
            .inspect_err(|e| skip(&format!("this process may not mount a tmpfs: {e}")))
            .ok()
    }

    /// A file system made by `mkfs.KIND` in an image of that size; `None` if the program or kernel support is missing.
    pub(crate) fn image(kind: &str, bytes: u64) -> Option<Mount> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
        fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image");
        fs::create_dir(&at).expect("a directory");
        let quiet = if kind.starts_with("ext") { "-qF" } else { "-q" };
        for (program, arguments) in [
            (format!("mkfs.{kind}"), vec![quiet, image.to_str().expect("UTF-8")]),
            ("mount".to_owned(), vec!["-o", "loop", image.to_str().expect("UTF-8"), at.to_str().expect("UTF-8")]),
        ] {
            match Command::new(&program).args(arguments).output() {
                Ok(output) if output.status.success() => {}
                failed => {
                    skip(&format!("{program} of {kind}: {failed:?}"));
                    return None;
                }
            }
        }
        Some(Mount { at, _dir: dir })
    }

    /// An overlayfs over the directory `lower`, with its upper layer in the directory `upper`, which it makes; `None` if this
    /// process may not mount it.
    pub(crate) fn overlay(lower: &Path, upper: &Path) -> Option<Mount> {
        let (files, work) = (upper.join("files"), upper.join("work"));
        fs::create_dir_all(&files).and_then(|()| fs::create_dir(&work)).expect("directories");
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), files.display(), work.display());
        Mount::new(|at| mount(Some("none"), at, Some("overlay"), MsFlags::empty(), Some(&*options)))
            .inspect_err(|e| skip(&format!("this process may not mount an overlayfs: {e}")))
            .ok()
    }

    /// The directory `what` in a second place. Only called after a tmpfs was mounted.
    pub(crate) fn bind(what: &Path, read_only: bool) -> Mount {
        let none = None::<&str>;
        let bound = Mount::new(|at| mount(Some(what), at, none, MsFlags::MS_BIND, none)).expect("mounting");
        if read_only {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            remount(&bound.at, flags);
        }
        bound
    }

    fn new(mount: impl FnOnce(&Path) -> nix::Result<()>) -> nix::Result<Mount> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = dir.path().to_owned();
        mount(&at)?;
        Ok(Mount { at, _dir: dir })
    }

    /// Makes it read-only.
    pub(crate) fn make_read_only(&self) {
        remount(&self.at, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    }
}

/// Makes a mount read-only, which fails while a process has a file there open to write. A child that another test has
/// started has this process's open files until it executes its program.
fn remount(at: &Path, flags: MsFlags) {
    let since = Instant::now();
    let none = None::<&str>;
    loop {
        match mount(none, at, none, flags, none) {
            Err(Errno::EBUSY) if since.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            outcome => return outcome.expect("remounting"),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(e) = umount2(&self.at, MntFlags::MNT_DETACH) {
            println!("unmounting {}: {e}", self.at.display());
        }
    }
}
