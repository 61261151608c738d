//! A file system of one file, served by a thread of the test. Opened as `direct_io`: the kernel stores what is read
//! straight into the pages of the reader. Answers are as slow as the test likes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const ROOT: u64 = 1;
const THE_FILE: u64 = 2;
const FOPEN_DIRECT_IO: u32 = 1;

/// The protocol that is spoken: 7.31.
const VERSION: [u32; 2] = [7, 31];

/// Mounted until it is dropped.
pub(crate) struct Fuse {
    at: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Fuse {
    /// Serves `content` as the file `f` in the directory `at`, calling `before` before each answer with bytes of it. `None`
    /// where this cannot be mounted.
    pub(crate) fn mount(at: &Path, content: Vec<u8>, before: impl FnMut() + Send + 'static) -> Option<Fuse> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("test"), at, Some("fuse.test"), flags, Some(options.as_str())).ok()?;
        let thread = std::thread::spawn(move || serve(&device, &content, before));
        Some(Fuse { at: at.to_owned(), thread: Some(thread) })
    }

    pub(crate) fn file(&self) -> File {
        File::open(self.at.join("f")).unwrap()
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        let served = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || served.is_none_or(|served| served.is_ok()), "the file system panicked");
    }
}

/// Until it is unmounted.
fn serve(mut device: &File, content: &[u8], mut before: impl FnMut()) {
    let mut request = vec![0; 1 << 20];
    while let Ok(len) = device.read(&mut request) {
        let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
        let (opcode, unique, node) = (number(4), &request[8..16], long(16));
        let answer = match opcode {
            FORGET | BATCH_FORGET | INTERRUPT => continue,
            INIT => Ok(init()),
            LOOKUP if request[40..len].starts_with(b"f\0") => {
                let valid = [0_u64; 3].map(u64::to_ne_bytes).concat();
                Ok([&THE_FILE.to_ne_bytes()[..], &valid, &[0; 8], &attributes(THE_FILE, content.len())].concat())
            }
            LOOKUP => Err(libc::ENOENT),
            GETATTR => Ok([&[0; 16][..], &attributes(node, content.len())].concat()),
            OPEN => Ok([&[0; 8][..], &FOPEN_DIRECT_IO.to_ne_bytes(), &[0; 4]].concat()),
            READ => {
                before();
                let start = (long(48) as usize).min(content.len());
                let end = (start + number(56) as usize).min(content.len());
                Ok(content[start..end].to_vec())
            }
            FLUSH | RELEASE => Ok(Vec::new()),
            _ => Err(libc::ENOSYS),
        };
        let (error, payload) = match answer {
            Ok(payload) => (0, payload),
            Err(errno) => (-errno, Vec::new()),
        };
        let head = [&(16 + payload.len() as u32).to_ne_bytes()[..], &error.to_ne_bytes(), unique].concat();
        // The reader may be gone.
        let _ = device.write(&[head, payload].concat());
    }
}

fn init() -> Vec<u8> {
    let (max_readahead, flags, max_background, max_write) = (0_u32, 0_u32, [0_u8; 4], 128_u32 << 10);
    let mut answer = VERSION.map(u32::to_ne_bytes).concat();
    answer.extend([max_readahead, flags].map(u32::to_ne_bytes).concat());
    answer.extend(max_background);
    answer.extend(max_write.to_ne_bytes());
    answer.resize(64, 0);
    answer
}

/// `struct fuse_attr`.
fn attributes(node: u64, len: usize) -> Vec<u8> {
    let (mode, len) = match node {
        ROOT => (libc::S_IFDIR | 0o755, 0),
        _ => (libc::S_IFREG | 0o644, len as u64),
    };
    let mut attributes = [node, len, len.div_ceil(512), 0, 0, 0].map(u64::to_ne_bytes).concat();
    attributes.extend([0; 12]); // nanoseconds
    attributes.extend([mode, 1].map(u32::to_ne_bytes).concat());
    attributes.resize(88, 0);
    attributes
}
