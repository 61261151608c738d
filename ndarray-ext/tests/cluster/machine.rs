//! Machines: processes in network namespaces of their own, each joined to the server by a link that a test can cut.

use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use bigarray::{Database, OpenOptions};

use crate::server::Server;
use crate::support::child::{Child, command, hear, say};
use crate::support::skip;

/// A machine.
pub(crate) struct Machine {
    // Dropped first.
    pub(crate) process: Child,
    link: Link,
}

/// The server's end of a link, by its name. The namespace of the other end goes with the machine's process, or, where that
/// ended while the link was down, minutes later with what the kernel still has to send.
struct Link(String);

impl Drop for Link {
    fn drop(&mut self) {
        // It may be gone.
        let _ = Command::new("ip").args(["link", "del", &self.0]).output();
    }
}

impl Machine {
    /// One that runs `test` in `role`.
    pub(crate) fn start(server: &Server, test: &str, role: &str) -> Machine {
        Machine::started(server, command(test, role))
    }

    /// One whose clock is so many seconds ahead of the server's, or behind it. `None`, and the test is over, without
    /// libfaketime.
    pub(crate) fn with_clock(server: &Server, test: &str, role: &str, seconds: i32) -> Option<Machine> {
        let Some(library) = faketime() else {
            skip("a clock of its own takes libfaketime");
            return None;
        };
        let mut command = command(test, role);
        command.env("LD_PRELOAD", library).env("FAKETIME", format!("{seconds:+}"));
        // Of the wall's clock alone; and it keeps nothing in shared memory, which a killed process would leave there.
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DISABLE_SHM", "1");
        Some(Machine::started(server, command))
    }

    fn started(server: &Server, command: Command) -> Machine {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let [here, there] = addresses(number);
        let mut apart = Command::new("unshare");
        apart.arg("--net").arg(env::current_exe().unwrap()).args(command.get_args());
        apart.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        apart.env("URL", server.name()).env("AWS_ENDPOINT_URL", format!("http://{here}:{}", server.port));
        let mut process = Child::start(apart);
        assert_eq!(process.hear(), "here");

        let (link, pid) = (format!("big{}x{number}", process::id()), process.id());
        run(&format!("ip link add {link} type veth peer name veth netns {pid}"));
        let link = Link(link);
        run(&format!("ip addr add {here}/30 dev {}", link.0));
        run(&format!("ip link set {} up", link.0));
        run(&format!("nsenter --net=/proc/{pid}/ns/net ip addr add {there}/30 dev veth"));
        run(&format!("nsenter --net=/proc/{pid}/ns/net ip link set veth up"));
        process.say("linked");
        Machine { process, link }
    }

    /// Takes the link down: from now on nothing passes, and nothing says so.
    pub(crate) fn cut(&self) {
        run(&format!("ip link set {} down", self.link.0));
    }

    /// Takes the link up again.
    pub(crate) fn mend(&self) {
        run(&format!("ip link set {} up", self.link.0));
    }
}

/// In a machine: the database, once there is a link.
pub(crate) fn open(options: OpenOptions) -> Database {
    say("here");
    assert_eq!(hear(), "linked");
    let url = env::var("URL").unwrap();
    // A busy server may be slower than a short deadline.
    for _ in 0..20 {
        match options.clone().open_url(&url) {
            Err(error) if error.is_unavailable() => println!("{error}"),
            opened => return opened.unwrap(),
        }
    }
    panic!("{url} stays unavailable");
}

/// The server's end of a link and the machine's, in a range that is for tests of networks (RFC 2544). Links of several
/// test processes are most likely others.
fn addresses(number: u32) -> [Ipv4Addr; 2] {
    let link = process::id() % 512 * 64 + number % 64;
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 4 * link;
    [first + 1, first + 2].map(Ipv4Addr::from)
}

fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
