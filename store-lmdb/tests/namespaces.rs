//! Processes of several PID namespaces on one database, like containers with one volume: process and thread numbers
//! repeat. Each test begins with its story.

mod outside;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use bigarray_core::Result;
use bigarray_core::store::{ArrayChange, Bytes, Change, SpillArea, Store};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::{Edit, Rng, page_of};
use outside::*;

fn database(dir: &Path) -> PathBuf {
    let path = dir.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 0).unwrap();
    path
}

/// A thread number that no thread of a role has before it asks for one.
const THREAD: i32 = 60;

/// Runs `f` in a thread of that number.
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

/// Bytes that are read inside the write transaction, which waits until the test says go.
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
            depends: Vec::new(),
            bytes: &bytes,
        }];
        store.commit(&Change { base: change.base, arrays, attrs: Vec::new(), spill_area: None }, None).map(drop)
    })
}

/// Spills a page, which takes a write transaction without the commit lock.
fn spill(store: &LmdbStore, area: &dyn SpillArea) -> Result<()> {
    let array = store.snapshot()?.array("a")?.expect("the array");
    area.write(&array, 0, &page_of(77)).map(drop)
}

/// A thread in one namespace writes; one of the same number in another waits to write, and is killed. The kernel releases
/// the mutex that a dying thread waits for if its word has the thread's number, which was that of the other thread: then two
/// processes wrote at once, and the index was destroyed.
#[test]
fn a_thread_killed_while_it_waits_to_write_leaves_the_lock_to_its_holder_of_equal_number() {
    play(|path| {
        let store = open(path).unwrap();
        match hear_word().as_str() {
            "write" => say_result(&in_thread_60(|| write_when_told(&store, "a", 1))),
            "wait" => in_thread_60(|| {
                let area = store.spill_area().unwrap();
                say("waiting");
                spill(&store, &*area).unwrap();
                panic!("another thread writes");
            }),
            other => panic!("{other:?}"),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    create(&store, "b", 0).unwrap();
    for round in 0..3 {
        let waiter = if round % 2 == 0 { container_with_shell() } else { container() };
        let (Some(writer), Some(waiter)) = (container(), waiter) else { return };
        let (mut writer, mut waiter) = (Other::start_as(writer, &path), Other::start_as(waiter, &path));
        writer.tell("write");
        assert_eq!(writer.hear(), "writing");
        waiter.tell("wait");
        assert_eq!(waiter.hear(), "waiting");
        // Time to begin to wait. If it is too short, the test passes without testing anything.
        thread::sleep(Duration::from_millis(300));
        waiter.kill_to_the_last();
        let area = store.spill_area().unwrap();
        thread::scope(|scope| {
            let third = scope.spawn(|| spill(&store, &*area));
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
        drop(area);
        write(&store, "a", 0).unwrap();
        check(&store);
    }
    drop(store);
    check(&open(&path).unwrap());
}

/// Commits so often that every page freed before is used again, if no reader sees it.
fn write_much(store: &LmdbStore, first: u64) -> Result<()> {
    (first..first + 40).try_for_each(|tag| write(store, "a", tag))
}

/// Plays a process that writes, takes snapshots and ends as the test tells it.
fn play_as_told() {
    play(|path| {
        let store = open(path).unwrap();
        let mut held = None;
        loop {
            match hear_word().split_once(' ') {
                Some(("write", first)) => say_result(&write_much(&store, first.parse().unwrap())),
                Some(("hold", tag)) => {
                    let snapshot = store.snapshot().unwrap();
                    let tag = tag.parse().unwrap();
                    say(shows(&*snapshot, "a", tag));
                    held = Some((snapshot, tag));
                }
                Some(("look", _)) => {
                    let (snapshot, tag) = held.as_ref().expect("a snapshot");
                    say(shows(&**snapshot, "a", *tag));
                }
                _ => return,
            }
        }
    });
}

fn told(other: &mut Other, word: &str) -> String {
    other.tell(word);
    other.hear()
}

/// LMDB takes two processes of one number for one: neither clears the readers of the other, and each may take the other's
/// readers for its own. Such a second process was once refused.
#[test]
fn a_snapshot_stays_while_a_process_of_equal_number_commits() {
    play_as_told();
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let (Some(first), Some(second)) = (container(), container()) else { return };
    let (mut first, mut second) = (Other::start_as(first, &path), Other::start_as(second, &path));
    let store = open(&path).unwrap();
    assert_eq!(told(&mut first, "hold 0"), "true");
    assert_eq!(told(&mut second, "write 100"), "ok");
    assert_eq!(told(&mut first, "look now"), "true");
    write_much(&store, 200).unwrap();
    assert_eq!(told(&mut first, "look now"), "true");
    assert_eq!(told(&mut second, "hold 239"), "true");
    assert_eq!(told(&mut first, "write 300"), "ok");
    assert_eq!(told(&mut first, "hold 339"), "true");
    write_much(&store, 400).unwrap();
    assert_eq!(told(&mut second, "look now"), "true");
    assert_eq!(told(&mut first, "look now"), "true");
    let freed = store.check(true).unwrap().freed_pages;
    assert!(freed > 60, "both hold what was freed since: {freed}");
    // Readers of a killed process are cleared although another of its number lives, also one that came later.
    first.kill_to_the_last();
    second.tell("end");
    second.finish();
    let Some(third) = container() else { return };
    let mut third = Other::start_as(third, &path);
    assert_eq!(told(&mut third, "write 500"), "ok");
    write_much(&store, 600).unwrap();
    let freed = store.check(true).unwrap().freed_pages;
    assert!(freed < 10, "{freed}");
    third.tell("end");
    third.finish();
}

/// Readers take client numbers of another range, also in a namespace.
#[test]
fn a_snapshot_of_a_reader_stays_beside_writers_of_equal_number() {
    play(|path| {
        let store = if hear_word() == "read" { open_to_read(path) } else { open(path) }.unwrap();
        let snapshot = store.snapshot().unwrap();
        say("holds");
        while hear_word() == "look" {
            say(shows(&*snapshot, "a", 0));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let (Some(reader), Some(writer)) = (container(), container()) else { return };
    let (mut reader, mut writer) = (Other::start_as(reader, &path), Other::start_as(writer, &path));
    assert_eq!(told(&mut reader, "read"), "holds");
    assert_eq!(told(&mut writer, "write"), "holds");
    let store = open(&path).unwrap();
    write_much(&store, 100).unwrap();
    writer.kill_to_the_last();
    write_much(&store, 200).unwrap();
    assert_eq!(told(&mut reader, "look"), "true");
    reader.tell("end");
    reader.finish();
    check(&store);
}

/// Two containers commit and spill as fast as they can, in threads of equal numbers, and are killed at any time.
#[test]
fn processes_of_equal_numbers_killed_at_any_time_leave_a_sound_database() {
    play(|path| {
        let store = open(path).unwrap();
        let name = hear_word();
        say("begins");
        thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    spill(&store, &*store.spill_area().unwrap()).unwrap();
                }
            });
            for tag in 0.. {
                write(&store, &name, tag).unwrap();
            }
        });
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    for name in ["b", "c"] {
        create(&store, name, 0).unwrap();
    }
    let mut rng = Rng::new(1);
    for round in 0..30 {
        let mut others = Vec::new();
        for (name, with_shell) in [("b", false), ("c", round % 3 == 0)] {
            let Some(command) = (if with_shell { container_with_shell() } else { container() }) else { return };
            let mut other = Other::start_as(command, &path);
            other.tell(name);
            others.push(other);
        }
        others.iter_mut().for_each(|other| assert_eq!(other.hear(), "begins"));
        for other in others {
            thread::sleep(Duration::from_micros(rng.below(8000) as u64));
            other.kill_to_the_last();
        }
        write(&store, "a", round).unwrap();
        assert!(shows_now(&store, "a", round));
        assert_eq!(store.check(true).unwrap().claimed_pages, 0, "round {round}");
    }
    drop(store);
    check(&open(&path).unwrap());
}

/// Each snapshot takes a place in the reader table; places of killed processes are used again.
#[test]
fn hundreds_of_snapshots_live_at_once_also_after_many_processes_were_killed_with_theirs() {
    play(|path| {
        let store = open(path).unwrap();
        let _snapshot = store.snapshot().unwrap();
        say("holds");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    let mut killed: Vec<Other> = (0..50)
        .map(|round| {
            let command = if round % 10 == 0 { container() } else { None };
            let mut other = command.map_or_else(|| Other::start(&path), |command| Other::start_as(command, &path));
            assert_eq!(other.hear(), "holds");
            write(&store, "a", round).unwrap();
            other
        })
        .collect();
    killed.drain(..).for_each(Other::kill_to_the_last);
    let all_hold = Barrier::new(401);
    thread::scope(|scope| {
        for tag in 1000..1400 {
            write(&store, "a", tag).unwrap();
            let snapshot = store.snapshot().unwrap();
            let all_hold = &all_hold;
            scope.spawn(move || {
                all_hold.wait();
                assert!(shows(&*snapshot, "a", tag));
            });
        }
        all_hold.wait();
    });
    write_much(&store, 2000).unwrap();
    let freed = store.check(true).unwrap().freed_pages;
    assert!(freed < 10, "{freed}");
}
