//! Processes of several PID namespaces on one database, as the containers of one volume are: process and thread numbers
//! repeat. Each test opens with its story.

mod outside;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use bigarray_core::Result;
use bigarray_core::store::{Ahead, ArrayChange, Bytes, Change, Store};
use bigarray_core::testing::{Edit, page_of};
use bigarray_store_lmdb::LmdbStore;
use outside::*;

fn database(dir: &Path) -> PathBuf {
    let path = dir.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 0).unwrap();
    path
}

/// The role of this test as process 1 of a PID namespace of its own.
fn first_process(path: &Path) -> Other {
    let mut command = namespace();
    command.arg(std::env::current_exe().unwrap());
    Other::start_as(command, path)
}

/// The same as process 2: process 1 is a shell.
fn second_process(path: &Path) -> Other {
    let mut command = namespace();
    command.args(["sh", "-c", "\"$0\" \"$@\"; exit"]).arg(std::env::current_exe().unwrap());
    Other::start_as(command, path)
}

fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]);
    command
}

fn can_make_namespaces() -> bool {
    let can = namespace().arg("true").status().is_ok_and(|status| status.success());
    if !can {
        skip("this process may not make PID namespaces");
    }
    can
}

/// A thread number that no thread of a role has before it asks for it.
const THREAD: i32 = 60;

/// Runs `f` in the thread of that number.
fn in_thread_60<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let mut f = Some(f);
    loop {
        let done = thread::scope(|scope| {
            let f = &mut f;
            let run = move || {
                let number = nix::unistd::gettid().as_raw();
                assert!(number <= THREAD, "thread {number} came first");
                (number == THREAD).then(|| f.take().expect("run once")())
            };
            scope.spawn(run).join().unwrap()
        });
        if let Some(result) = done {
            return result;
        }
    }
}

/// Bytes that are asked for inside the write transaction, and come when the test says go.
struct WhenTold<'b>(&'b dyn Bytes);

impl Bytes for WhenTold<'_> {
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        say("writing");
        wait();
        self.0.with(range, f)
    }
}

/// Commits `tag` as the first page of an array, in a write transaction that takes as long as the test likes.
fn write_when_told(store: &LmdbStore, name: &str, tag: u64) -> Result<()> {
    let base = store.snapshot()?;
    Edit::with_change(&*base, &[Edit::of(&*base, name).page(&*base, 0, 0, tag)], |change| {
        let array = &change.arrays[0];
        let bytes = WhenTold(array.bytes);
        let arrays = vec![ArrayChange {
            before: array.before.clone(),
            after: array.after.clone(),
            dropped_from: array.dropped_from,
            dropped: array.dropped.clone(),
            blocks: array.blocks.clone(),
            attrs: array.attrs.clone(),
            bytes: &bytes,
        }];
        store.commit(&Change { base: change.base, arrays, ahead: None }, None).map(drop)
    })
}

/// Writes a page ahead, which takes a write transaction without the turn.
fn write_ahead(store: &LmdbStore, ahead: &dyn Ahead) -> Result<()> {
    let array = store.snapshot()?.array("a")?.expect("the array");
    ahead.write(&array, 0, &page_of(77)).map(drop)
}

/// A thread in one namespace writes; one of the same number in another waits to write, and is killed. The kernel lets go
/// of what a dying thread waited for if the lock's word has the thread's number, which was that of the other: from then on
/// two processes wrote at once, and the index was destroyed.
#[test]
fn a_thread_killed_while_it_waits_to_write_leaves_the_lock_to_the_one_of_its_number() {
    play(|path| {
        let store = open(path).unwrap();
        match hear_word().as_str() {
            "write" => say_result(&in_thread_60(|| write_when_told(&store, "a", 1))),
            "wait" => in_thread_60(|| {
                let ahead = store.ahead().unwrap();
                say("waiting");
                write_ahead(&store, &*ahead).unwrap();
                panic!("somebody writes");
            }),
            other => panic!("{other:?}"),
        }
    });
    if !can_make_namespaces() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    create(&store, "b", 0).unwrap();
    for round in 0..3 {
        let mut writer = first_process(&path);
        let mut waiter = if round % 2 == 0 { second_process(&path) } else { first_process(&path) };
        writer.tell("write");
        assert_eq!(writer.hear(), "writing");
        waiter.tell("wait");
        assert_eq!(waiter.hear(), "waiting");
        // Time to come to wait, most of it in the lock. Were it too short, the test would see less, and pass.
        thread::sleep(Duration::from_millis(300));
        waiter.kill_to_the_last();
        let ahead = store.ahead().unwrap();
        thread::scope(|scope| {
            let third = scope.spawn(|| write_ahead(&store, &*ahead));
            thread::sleep(Duration::from_millis(100));
            assert!(!third.is_finished(), "two processes write at once");
            writer.go();
            assert_eq!(writer.hear(), "ok");
            third.join().unwrap().unwrap();
        });
        writer.finish();
        assert!(shows_now(&store, "a", 1));
        assert!(store.check(true).unwrap().claimed_pages > 0, "what was claimed meanwhile is lost");
        write(&store, "b", round).unwrap();
        drop(ahead);
        write(&store, "a", 0).unwrap();
        check(&store);
    }
    drop(store);
    check(&open(&path).unwrap());
}
