//! Spilling: claims of killed writers and when they are released, the place of spilled pages, and refused calls.

mod outside;
mod support;

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bigarray_core::store::{Snapshot, SpillArea, SpilledPages, Store};
use bigarray_core::{BlockNo, PAGE};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::{Edit, page_of};

use nix::libc::{self, c_int};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use outside::{Other, play, say, wait};
use support::crash::{in_child, kill_at, killed};
use support::{
    Db, Written, assert_page, check, commit, commit_spilled, commit_with_spilled, id_of, large_array_of, now, spill,
};

/// Blocks of 2 MiB: they take several claims.
const BLOCKS: u64 = 9;

fn prepare(db: &Db) {
    commit(&db.open(), |_| Edit::create("a", large_array_of(40)));
}

/// Spills blocks, and some pages that lie between them in the file.
fn ingest(area: &dyn SpillArea, base: &dyn Snapshot) -> Vec<Written> {
    let array = base.array("a").unwrap().unwrap();
    let mut written: Vec<Written> =
        (0..BLOCKS).map(|block| (block, spill(area, &array, 0, 512, 1000 * block))).collect();
    written.push((30, spill(area, &array, 7, 3, 30_000)));
    written.push((31, spill(area, &array, 0, 512, 31_000)));
    written
}

fn assert_ingested(base: &dyn Snapshot) {
    for (block, pages) in (0..BLOCKS).map(|block| (block, [0, 255, 256, 511])).chain([(31, [0, 508, 509, 511])]) {
        for page in pages {
            assert_page(base, "a", block, page, Some(1000 * block + u64::from(page)));
        }
    }
    for (page, tag) in [(6, None), (7, Some(30_000)), (9, Some(30_002)), (10, None)] {
        assert_page(base, "a", 30, page, tag);
    }
}

fn assert_empty(store: &LmdbStore) {
    let report = check(store);
    assert_eq!((report.blocks, report.stored_pages), (0, 0));
}

/// A whole ingest, and the length of the data file then.
fn ingest_again(store: &LmdbStore, path: &Path) -> u64 {
    let (base, area) = (now(store), store.spill_area().unwrap());
    let written = ingest(&*area, &*base);
    commit_spilled(store, &*base, &*area, &written).unwrap();
    drop((area, written));
    assert_ingested(&*now(store));
    assert_eq!(check(store).claimed_pages, 0);
    length(path)
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path.join("data")).unwrap().len()
}

/// Runs as another process, which is killed.
#[test]
fn child_ingests() {
    let Some((path, _)) = in_child() else { return };
    let store = support::open(&path);
    ingest_again(&store, &path);
    panic!("nothing but the kill ends it");
}

fn after_a_kill_at(point: &str, committed: bool) {
    let db = Db::new();
    prepare(&db);
    kill_at(point, "child_ingests", &db, "");
    // Opening releases the claims of the dead process, before anything is written.
    let store = db.open();
    if committed {
        assert_eq!(check(&store).claimed_pages, 0, "{point}");
        return assert_ingested(&*now(&store));
    }
    assert_empty(&store);
    assert_eq!(check(&store).claimed_pages, 0, "{point}");
    ingest_again(&store, &db.path);
}

killed! {
    killed_before_its_first_claim_is_committed: "claiming", committed: false;
    killed_after_its_first_claim: "claimed", committed: false;
    killed_after_its_first_write: "spilled", committed: false;
    killed_after_the_sync_of_all: "payload written", committed: false;
    killed_inside_the_write_transaction: "checked", committed: false;
    killed_after_the_records: "records written", committed: false;
    killed_right_before_the_commit: "data synced", committed: false;
    killed_after_the_commit: "committed", committed: true;
}

/// Plays a process that spills much, and waits to be killed.
fn play_an_ingest() {
    play(|path| {
        let store = outside::open(path).unwrap();
        let (base, area) = (store.snapshot().unwrap(), store.spill_area().unwrap());
        let _written = ingest(&*area, &*base);
        say("written");
        wait();
    });
}

// A process spilled much and was killed: the next opening gives the space back, and the same ingest fits into it.
#[test]
fn the_space_of_a_killed_ingest_is_used_again() {
    play_an_ingest();
    let db = Db::new();
    prepare(&db);
    let mut other = Other::start(&db.path);
    assert_eq!(other.hear(), "written");
    let before = length(&db.path);
    other.kill();
    let store = db.open();
    assert_empty(&store);
    assert_eq!(check(&store).claimed_pages, 0);
    assert!(ingest_again(&store, &db.path) <= before);
}

// Killed writers whose parent does not wait for them, as in a container without an init, stay in the list of processes.
// They count as dead.
#[test]
fn the_space_of_killed_ingests_that_stay_zombies_is_used_again() {
    play_an_ingest();
    let db = Db::new();
    prepare(&db);
    let mut longest = 0;
    let _zombies: Vec<Other> = (0..3)
        .map(|round| {
            let mut other = Other::start(&db.path);
            assert_eq!(other.hear(), "written");
            longest = if round == 0 { length(&db.path) } else { longest };
            assert_eq!(length(&db.path), longest, "round {round}");
            other.kill_unreaped();
            assert_eq!(check(&db.open()).claimed_pages, 0, "round {round}");
            other
        })
        .collect();
    assert!(ingest_again(&db.open(), &db.path) <= longest);
}

// The same without an opening: a process that has the database open meanwhile releases dead claims when it claims pages,
// or when it commits.
#[test]
fn the_space_of_a_killed_ingest_is_used_again_by_a_process_that_has_the_database_open() {
    play_an_ingest();
    for commits_first in [false, true] {
        let db = Db::new();
        prepare(&db);
        let store = db.open();
        let mut other = Other::start(&db.path);
        assert_eq!(other.hear(), "written");
        let mut most = length(&db.path);
        assert!(check(&store).claimed_pages > 0);
        if commits_first {
            other.kill();
            // Its committed pages stay, in another chunk.
            most += 2 << 20;
            commit(&store, |base| Edit::of(base, "a").block(base, 35, 1));
            assert_eq!(check(&store).claimed_pages, 0);
        } else {
            other.kill_unreaped();
        }
        let length = ingest_again(&store, &db.path);
        assert!(length <= most, "commits first: {commits_first}: {length} bytes, and {most} were enough");
    }
}

// While the writer lives, no opening and no commit of another process takes its spilled pages.
#[test]
fn spilled_pages_of_a_living_process_are_left_alone() {
    play(|path| {
        let store = outside::open(path).unwrap();
        let (base, area) = (store.snapshot().unwrap(), store.spill_area().unwrap());
        let written = ingest(&*area, &*base);
        say("written");
        wait();
        commit_spilled(&store, &*base, &*area, &written).unwrap();
        say("committed");
        wait();
    });
    let db = Db::new();
    prepare(&db);
    let mut other = Other::start(&db.path);
    assert_eq!(other.hear(), "written");
    for round in 0..2 {
        let store = db.open();
        let claimed = check(&store).claimed_pages;
        assert!(claimed >= 512 * (BLOCKS + 1), "{claimed}");
        for n in 0..4 {
            commit(&store, |base| Edit::of(base, "a").block(base, 35, 100 * round + n));
        }
        assert_eq!(check(&store).claimed_pages, claimed);
    }
    other.go();
    assert_eq!(other.hear(), "committed");
    let store = db.open();
    assert_ingested(&*now(&store));
    assert_eq!(check(&store).claimed_pages, 0);
    other.go();
    other.finish();
}

// A container may have another boot id than its host: neither system has gone down.
#[test]
fn spilled_pages_of_a_living_process_of_another_boot_id_are_left_alone() {
    play(|path| {
        let store = outside::open(path).unwrap();
        let (base, area) = (store.snapshot().unwrap(), store.spill_area().unwrap());
        let written = ingest(&*area, &*base);
        say(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim());
        wait();
        commit_spilled(&store, &*base, &*area, &written).unwrap();
    });
    let db = Db::new();
    prepare(&db);
    let boot_id = db.path.with_file_name("boot_id");
    let id = "01234567-89ab-4cde-8f01-23456789abcd";
    std::fs::write(&boot_id, format!("{id}\n")).unwrap();
    let start = || {
        let mut other = Other::start_as(outside::container_booted(&boot_id)?, &db.path);
        assert_eq!(other.hear(), id);
        Some(other)
    };
    let (Some(mut living), Some(dead)) = (start(), start()) else { return };
    let claimed = check(&db.open()).claimed_pages;
    dead.kill_to_the_last();
    for round in 0..2 {
        let store = db.open();
        for n in 0..4 {
            commit(&store, |base| Edit::of(base, "a").block(base, 35, 100 * round + n));
        }
        assert_eq!(check(&store).claimed_pages, claimed / 2, "round {round}");
    }
    living.go();
    living.finish();
    let store = db.open();
    assert_ingested(&*now(&store));
    assert_eq!(check(&store).claimed_pages, 0);
}

// A forked child that lives on has copies of all descriptors, but not the locks that show that its parent lives.
#[test]
fn spilled_pages_of_a_killed_process_become_free_although_its_forked_child_lives() {
    play(|path| {
        let store = outside::open(path).unwrap();
        let (base, area) = (store.snapshot().unwrap(), store.spill_area().unwrap());
        let _written = ingest(&*area, &*base);
        // SAFETY: the child sleeps, and ends without a destructor.
        if let nix::unistd::ForkResult::Parent { .. } = unsafe { nix::unistd::fork() }.unwrap() {
            say("written");
        }
        wait();
    });
    let db = Db::new();
    prepare(&db);
    let store = db.open();
    let mut other = Other::start(&db.path);
    assert_eq!(other.hear(), "written");
    assert!(check(&store).claimed_pages > 0);
    other.kill_unreaped();
    commit(&store, |base| Edit::of(base, "a").block(base, 35, 1));
    assert_eq!(check(&store).claimed_pages, 0);
}

/// Ends the thread that gets the signal, and no other.
extern "C" fn end_thread(_: c_int) {
    // SAFETY: the call touches no memory. Values on the thread's stack are never dropped.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Ends the first thread of this process, which then looks like a zombie, while its other threads go on.
fn end_first_thread() {
    let action = SigAction::new(SigHandler::Handler(end_thread), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler makes one system call, which is allowed at any point of a thread.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let pid = std::process::id() as c_int;
    // SAFETY: the call touches no memory. The first thread has the number of the process.
    assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, Signal::SIGUSR1 as c_int) }, 0);
}

// A process whose first thread has ended looks dead, but its other threads have its files, and write.
#[test]
fn spilled_pages_of_a_process_without_its_first_thread_are_left_alone() {
    play(|path| {
        let work = || {
            let store = outside::open(path).unwrap();
            let (base, area) = (store.snapshot().unwrap(), store.spill_area().unwrap());
            let written = ingest(&*area, &*base);
            end_first_thread();
            say("written");
            wait();
            commit_spilled(&store, &*base, &*area, &written).unwrap();
            std::process::exit(0);
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    });
    let db = Db::new();
    prepare(&db);
    let mut other = Other::start(&db.path);
    assert_eq!(other.hear(), "written");
    while other.state() != "Z" {
        std::thread::yield_now();
    }
    for round in 0..2 {
        let store = db.open();
        let claimed = check(&store).claimed_pages;
        assert!(claimed >= 512 * (BLOCKS + 1), "{claimed}");
        commit(&store, |base| Edit::of(base, "a").block(base, 35, round));
        assert_eq!(check(&store).claimed_pages, claimed);
    }
    other.go();
    other.finish();
    let store = db.open();
    assert_ingested(&*now(&store));
    assert_eq!(check(&store).claimed_pages, 0);
}

#[test]
fn pages_spilled_by_one_thread_lie_in_one_piece() {
    let db = Db::new();
    prepare(&db);
    let store = db.open();
    let (base, area) = (now(&store), store.spill_area().unwrap());
    let array = base.array("a").unwrap().unwrap();
    let written: Vec<Written> = (0..BLOCKS).map(|block| (block, spill(&*area, &array, 0, 512, 1000 * block))).collect();
    commit_spilled(&store, &*base, &*area, &written).unwrap();
    let offsets = written.iter().map(|(_, runs)| runs[0].slot.extent(0).unwrap());
    assert!(offsets.is_sorted_by(|one, next| one + (2 << 20) == *next));
    assert_eq!(check(&store).segments, BLOCKS);
}

#[test]
fn pages_spilled_repeatedly_take_no_more_space() {
    let db = Db::new();
    prepare(&db);
    let store = db.open();
    let (base, area) = (now(&store), store.spill_area().unwrap());
    let array = base.array("a").unwrap().unwrap();
    let mut last = Vec::new();
    for round in 0..60 {
        // In turn by block, by page, and by ranges of pages.
        last = match round % 3 {
            0 => vec![(0, spill(&*area, &array, 0, 512, round))],
            1 => (0..16).map(|n| (n, spill(&*area, &array, 0, 1, round + n))).collect::<Vec<Written>>(),
            _ => vec![(0, spill(&*area, &array, 100, 300, round))],
        };
    }
    let claimed = check(&store).claimed_pages;
    assert!(claimed <= 3 * 512, "{claimed}");
    commit_spilled(&store, &*base, &*area, &last).unwrap();
    for page in 100..400 {
        assert_page(&*now(&store), "a", 0, page, Some(59 + u64::from(page) - 100));
    }
    assert_eq!(check(&store).claimed_pages, 0);
}

#[test]
fn without_a_commit_all_space_becomes_free_at_once() {
    let db = Db::new();
    prepare(&db);
    let store = db.open();
    let before = length(&db.path);
    let area = store.spill_area().unwrap();
    drop(area);
    assert_eq!(length(&db.path), before, "it costs nothing until it writes");
    let area = store.spill_area().unwrap();
    let written = ingest(&*area, &*now(&store));
    assert!(check(&store).claimed_pages > 0);
    drop(area);
    let report = check(&store);
    assert_eq!((report.claimed_pages, report.stored_pages), (0, 0));
    assert_eq!(report.free_pages, length(&db.path) / PAGE as u64 - 1, "all but the header");
    drop(written);
    ingest_again(&store, &db.path);
}

#[test]
fn a_commit_takes_only_pages_that_its_own_transaction_spilled_and_only_once() {
    let db = Db::new();
    prepare(&db);
    let store = db.open();
    let base = now(&store);
    let array = base.array("a").unwrap().unwrap();
    let (area, other) = (store.spill_area().unwrap(), store.spill_area().unwrap());
    let written = vec![(0, spill(&*area, &array, 0, 8, 100))];
    let foreign = vec![(0, spill(&*other, &array, 0, 8, 200))];

    let error = commit_spilled(&store, &*base, &*area, &foreign).unwrap_err();
    assert!(error.is_invalid(), "{error}");
    let elsewhere = Db::new();
    prepare(&elsewhere);
    let error = commit_spilled(&elsewhere.open(), &*base, &*area, &written).unwrap_err();
    assert!(error.is_invalid(), "{error}");
    assert_empty(&store);

    commit_spilled(&store, &*base, &*area, &written).unwrap();
    let base = now(&store);
    let error = commit_spilled(&store, &*base, &*area, &written).unwrap_err();
    assert!(error.is_invalid(), "{error}");
    let error = area.write(&array, 0, &page_of(1)).unwrap_err();
    assert!(error.is_invalid(), "{error}");
    let error = other.write(&array, 511, &[0; 2 * PAGE]).unwrap_err();
    assert!(error.is_invalid(), "{error}");
    drop((area, written));
    commit_spilled(&store, &*base, &*other, &foreign).unwrap();
    assert_page(&*now(&store), "a", 0, 7, Some(207));
}

#[test]
fn damage_to_spilled_pages_is_found_when_they_are_read() {
    let db = Db::new();
    prepare(&db);
    let store = db.open();
    let (base, area) = (now(&store), store.spill_area().unwrap());
    let written: Vec<SpilledPages> = spill(&*area, &base.array("a").unwrap().unwrap(), 4, 3, 100);
    let slot = &written[0].slot;
    let data = std::fs::File::options().write(true).open(db.path.join("data")).unwrap();
    data.write_all_at(b"x", slot.extent(5).unwrap() + 17).unwrap();
    let mut page = vec![0; PAGE];
    slot.read(4, &mut page).unwrap();
    assert_eq!(page, page_of(100));
    let error = slot.read(5, &mut page).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("page 5"), "{error}");
    let error = slot.read(6, &mut [0; 2 * PAGE]).unwrap_err();
    assert!(error.is_invalid(), "{error}");
}

// A commit of a few pages from memory with many spilled ones, and of many with a few.
#[test]
fn payload_from_memory_joins_spilled_pages() {
    let db = Db::new();
    prepare(&db);
    let store = db.open();
    for (round, from_memory) in [(0, 3), (1, 900)] {
        let (base, area) = (now(&store), store.spill_area().unwrap());
        let array = base.array("a").unwrap().unwrap();
        let written = vec![(round, spill(&*area, &array, 0, 512, 1000))];
        let edit = (0..from_memory).fold(Edit::of(&*base, "a"), |edit, n| {
            edit.page(&*base, 10 + 2 * round + n / 512, (n % 512) as u32, 5000 + n)
        });
        commit_with_spilled(&store, &*base, edit, "a", &*area, &written).unwrap();
        drop((area, written));
        let base = now(&store);
        assert_page(&*base, "a", round, 511, Some(1511));
        for n in 0..from_memory {
            assert_page(&*base, "a", 10 + 2 * round + n / 512, (n % 512) as u32, Some(5000 + n));
        }
        let report = check(&store);
        assert_eq!(report.claimed_pages, 0);
        assert!(base.block(id_of(&*base, "a"), BlockNo(round)).unwrap().is_some());
    }
}

// A transaction whose commit fails repeatedly does not fill the disk.
#[test]
fn a_payload_whose_commit_failed_gives_its_pages_back_to_its_transaction() {
    let db = Db::new();
    prepare(&db);
    let store = db.open();
    let (base, area) = (now(&store), store.spill_area().unwrap());
    let written = vec![(0, spill(&*area, &base.array("a").unwrap().unwrap(), 0, 512, 1000))];
    commit(&store, |base| Edit::of(base, "a").page(base, 0, 0, 1));
    let edit = Edit::of(&*base, "a").block(&*base, 5, 5000).block(&*base, 6, 6000);
    for _ in 0..10 {
        let error = commit_with_spilled(&store, &*base, edit.clone(), "a", &*area, &written).unwrap_err();
        assert!(error.is_conflict(), "{error}");
    }
    let claimed = check(&store).claimed_pages;
    assert!(claimed <= 4 * 512, "{claimed}");
    let base = now(&store);
    commit_with_spilled(&store, &*base, Edit::of(&*base, "a").block(&*base, 5, 5000), "a", &*area, &written).unwrap();
    assert_page(&*now(&store), "a", 0, 511, Some(1511));
    assert_page(&*now(&store), "a", 5, 511, Some(5511));
}
