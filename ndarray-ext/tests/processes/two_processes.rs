//! Transactions and snapshots of two processes.

use std::time::Duration;

use bigarray::ndarray::{Array1, Array2, Axis, Ix1, Ix2};
use bigarray::{BigArrayMut, Database, Result, Transaction};

use crate::support::child::{Child, command, hear, role, say, this_test};
use crate::support::random::{Random, hash};
use crate::support::{BLOCK, TestDb, small_blocks};

/// A process that does one step after the other as it is told, on arrays of bytes.
struct Peer(Child);

impl Peer {
    fn start(test: &str, db: &TestDb) -> Peer {
        let mut command = command(test, "peer");
        command.env("DB", db.path());
        Peer(Child::start(command))
    }

    /// What came of it: `ok`, `conflict`, another kind of error, or the value read.
    fn does(&mut self, step: &str) -> String {
        self.0.ask(step)
    }
}

fn db_of_parent() -> Database {
    Database::open(std::env::var_os("DB").unwrap()).unwrap()
}

/// The peer's side.
fn be_peer() {
    let db = db_of_parent();
    let mut txn = None;
    loop {
        let line = hear();
        let words: Vec<&str> = line.split(' ').collect();
        let done = peer_step(&db, &mut txn, &words);
        say(match done {
            Ok(value) => value,
            Err(error) => format!("{:?}", error.kind()),
        });
    }
}

fn peer_step(db: &Database, txn: &mut Option<Transaction>, words: &[&str]) -> Result<String> {
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    let open = || txn.as_ref().expect("a transaction").array::<u8, Ix1>(words[1]);
    match words[0] {
        "begin" => *txn = Some(db.begin()?),
        "commit" => txn.take().expect("a transaction").commit()?,
        "write" => open()?.view_mut()[number(2)] = number(3) as u8,
        "resize" => open()?.resize(number(2))?,
        "create" => drop(txn.as_ref().expect("a transaction").create::<u8, _>(words[1], number(2))?),
        "remove" => txn.as_ref().expect("a transaction").remove(words[1])?,
        "read" => return Ok(db.array::<u8, Ix1>(words[1])?.view()[number(2)].to_string()),
        "churn" => {
            let mut random = Random::new(7);
            for _ in 0..number(2) {
                db.transact(|txn| churn(&mut txn.array::<u8, Ix1>(words[1])?, &mut random))?;
            }
            return Ok(hash(db.array::<u8, Ix1>(words[1])?.view().as_slice().unwrap()).to_string());
        }
        other => panic!("no step is called {other}"),
    }
    Ok("ok".to_owned())
}

/// Overwrites a few blocks.
fn churn(a: &mut BigArrayMut<'_, u8, Ix1>, random: &mut Random) -> Result<()> {
    for _ in 0..4 {
        let start = random.within(0..a.len());
        let len = random.within(1..BLOCK).min(a.len() - start);
        let bytes = random.bytes(len);
        a.rows_mut(start..start + bytes.len())?.assign(&Array1::from(bytes));
    }
    Ok(())
}

/// A of eight blocks of ones, and its transactions in this process.
fn ones() -> TestDb {
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create_with::<u8, _>("A", 8 * BLOCK, &small_blocks())?.view_mut().fill(1);
        Ok(())
    })
    .unwrap();
    db
}

#[test]
fn writers_in_two_processes_conflict_on_a_block_and_both_land_on_two() {
    if role().is_some() {
        return be_peer();
    }
    let db = ones();
    let mut peer = Peer::start(this_test!(), &db);
    // One block: the first to commit wins, whichever process that is.
    let mine = db.begin().unwrap();
    mine.array::<u8, Ix1>("A").unwrap().view_mut()[0] = 2;
    for step in ["begin", "write A 5 3", "commit"] {
        assert_eq!(peer.does(step), "ok");
    }
    assert!(mine.commit().unwrap_err().is_conflict());
    assert_eq!(peer.does("begin"), "ok");
    assert_eq!(peer.does("write A 5 4"), "ok");
    db.transact(|txn| {
        txn.array::<u8, Ix1>("A")?.view_mut()[1] = 5;
        Ok(())
    })
    .unwrap();
    assert_eq!(peer.does("commit"), "Conflict");
    // Two blocks.
    let mine = db.begin().unwrap();
    mine.array::<u8, Ix1>("A").unwrap().view_mut()[0] = 6;
    assert_eq!(peer.does("begin"), "ok");
    assert_eq!(peer.does(&format!("write A {} 7", 7 * BLOCK)), "ok");
    mine.commit().unwrap();
    assert_eq!(peer.does("commit"), "ok");
    let a = db.array::<u8, Ix1>("A").unwrap();
    let v = a.view();
    assert_eq!([v[0], v[1], v[2], v[5], v[7 * BLOCK]], [6, 5, 1, 3, 7]);
    assert_eq!(peer.does("read A 0"), "6");
}

#[test]
fn a_hole_that_another_process_filled_is_seen_and_conflicts() {
    if role().is_some() {
        return be_peer();
    }
    let db = TestDb::new();
    db.transact(|txn| txn.create_with::<u8, _>("A", 8 * BLOCK, &small_blocks()).map(drop)).unwrap();
    let mut peer = Peer::start(this_test!(), &db);
    let mine = db.begin().unwrap();
    assert_eq!(mine.array::<u8, Ix1>("A").unwrap().view()[0], 0);
    for step in ["begin", "write A 0 3", "commit"] {
        assert_eq!(peer.does(step), "ok");
    }
    mine.array::<u8, Ix1>("A").unwrap().view_mut()[1] = 2;
    assert!(mine.commit().unwrap_err().is_conflict());
    let again = db.begin().unwrap();
    let mut a = again.array::<u8, Ix1>("A").unwrap();
    assert_eq!(a.view()[0], 3);
    a.view_mut()[1] = 2;
    drop(a);
    again.commit().unwrap();
    assert_eq!(peer.does("read A 0"), "3");
    assert_eq!(peer.does("read A 1"), "2");
}

#[test]
fn shapes_and_names_conflict_between_processes() {
    if role().is_some() {
        return be_peer();
    }
    let db = ones();
    let mut peer = Peer::start(this_test!(), &db);
    let mut clash = |mine: &dyn Fn(&Transaction) -> Result<()>, theirs: &str| {
        let txn = db.begin().unwrap();
        mine(&txn).unwrap();
        for step in ["begin", theirs, "commit"] {
            assert_eq!(peer.does(step), "ok", "{theirs}");
        }
        let error = txn.commit().unwrap_err();
        assert!(error.is_conflict(), "{theirs}: {error}");
    };
    clash(&|txn| txn.array::<u8, Ix1>("A")?.resize(9), &format!("resize A {}", 9 * BLOCK));
    clash(&|txn| txn.create::<u64, _>("N", 3).map(drop), "create N 5");
    clash(
        &|txn| {
            txn.array::<u8, Ix1>("A")?.view_mut()[0] = 2;
            Ok(())
        },
        "remove A",
    );
    assert_eq!(db.array::<u8, Ix1>("N").unwrap().len(), 5);
    assert!(db.array::<u8, Ix1>("A").unwrap_err().is_not_found());
}

#[test]
fn a_snapshot_shows_its_state_while_another_process_commits_a_hundred_times() {
    const BLOCKS: usize = 32;
    if role().is_some() {
        return be_peer();
    }
    let db = TestDb::new();
    let content = Random::new(3).bytes(BLOCKS * BLOCK);
    db.transact(|txn| {
        let mut a = txn.create_with::<u8, _>("A", content.len(), &small_blocks())?;
        a.view_mut().assign(&Array1::from(content.clone()));
        Ok(())
    })
    .unwrap();
    let mut peer = Peer::start(this_test!(), &db);
    let untouched = db.array::<u8, Ix1>("A").unwrap();
    let half = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!(hash(&half.view().as_slice().unwrap()[..BLOCKS / 2 * BLOCK]), hash(&content[..BLOCKS / 2 * BLOCK]));
    peer.0.say("churn A 100");
    // A state in between, whichever it is, stays as it is.
    std::thread::sleep(Duration::from_millis(50));
    let between = db.array::<u8, Ix1>("A").unwrap();
    let first_look: Vec<u8> = between.view().iter().step_by(4096).copied().collect();
    let last = peer.0.hear();
    assert!(untouched.view().as_slice().unwrap() == content, "touched only now");
    assert!(half.view().as_slice().unwrap() == content);
    assert!(between.view().iter().step_by(4096).eq(&first_look));
    let now = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!(hash(now.view().as_slice().unwrap()).to_string(), last);
    assert!(untouched.view().as_slice().unwrap() == content);
    // Spans of this process, used again for what another process left.
    drop((untouched, half, between, now));
    let hashed = peer.does("churn A 3");
    let now = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!(hash(now.view().as_slice().unwrap()).to_string(), hashed);
}

#[test]
fn transact_of_two_processes_with_two_threads_each_counts_exactly() {
    const TIMES: u64 = 40;
    let count = |db: &Database| {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..TIMES {
                        db.transact(|txn| {
                            txn.array::<u64, Ix1>("N")?.view_mut()[0] += 1;
                            Ok(())
                        })
                        .unwrap();
                    }
                });
            }
        });
    };
    if role().is_some() {
        let db = db_of_parent();
        say("ready");
        hear();
        return count(&db);
    }
    let db = TestDb::new();
    db.transact(|txn| txn.create::<u64, _>("N", 1).map(drop)).unwrap();
    let mut command = command(this_test!(), "counter");
    command.env("DB", db.path());
    let mut child = Child::start(command);
    assert_eq!(child.hear(), "ready");
    child.say("go");
    count(&db);
    child.finish();
    assert_eq!(db.array::<u64, Ix1>("N").unwrap().view()[0], 4 * TIMES);
}

/// Kill -9 at random instants: every array shows the last commit that was reported, or the one in flight. The other
/// processes go on.
#[test]
fn a_killed_writer_leaves_a_whole_state_and_other_processes_go_on() {
    const ARRAYS: [&str; 4] = ["a", "b", "c", "d"];
    if role().is_some() {
        let db = db_of_parent();
        let mut value = db.array::<u64, Ix1>("a").unwrap().view()[0];
        loop {
            value += 1;
            db.transact(|txn| {
                for name in ARRAYS {
                    txn.array::<u64, Ix1>(name)?.view_mut().fill(value);
                }
                Ok(())
            })
            .unwrap();
            say(value);
        }
    }
    let db = TestDb::new();
    db.transact(|txn| {
        // Large enough for a payload that is written early, and one that is not.
        for (name, len) in ARRAYS.into_iter().zip([10, 100_000, 3 * BLOCK, 1]) {
            txn.create_with::<u64, _>(name, len, &small_blocks())?;
        }
        txn.create::<u64, _>("mine", 1).map(drop)
    })
    .unwrap();
    let mut random = Random::new(5);
    let mut last_seen = 0;
    for round in 0..12 {
        let held = db.snapshot().unwrap();
        let mut command = command(this_test!(), "writer");
        command.env("DB", db.path());
        let mut child = Child::start(command);
        let mut said = vec![child.hear()];
        std::thread::sleep(Duration::from_micros(random.within(0..30_000) as u64));
        said.extend(child.kill());
        let reported: u64 = said.last().unwrap().parse().unwrap();
        // The other process goes on, and sees whole states only.
        db.transact(|txn| {
            txn.array::<u64, Ix1>("mine")?.view_mut()[0] += 1;
            Ok(())
        })
        .unwrap();
        let states = |snapshot: &bigarray::Snapshot| {
            ARRAYS.map(|name| {
                let a = snapshot.array::<u64, Ix1>(name).unwrap();
                let first = a.view()[0];
                assert!(a.view().iter().all(|&x| x == first), "round {round}: {name} is torn");
                first
            })
        };
        let now = states(&db.snapshot().unwrap());
        assert!(now.iter().all(|&x| x == now[0]), "round {round}: {now:?}");
        assert!(now[0] == reported || now[0] == reported + 1, "round {round}: {now:?}, reported {reported}");
        assert_eq!(states(&held), [last_seen; 4], "round {round}: the state before the child");
        last_seen = now[0];
    }
    assert_eq!(db.array::<u64, Ix1>("mine").unwrap().view()[0], 12);
}

/// Two processes that each enlarge a full map.
#[test]
fn two_processes_fill_and_enlarge_a_small_index_together() {
    const PIECE: usize = 1 << 17; // u64: 1 MiB
    const PIECES: u64 = 64;
    if let Some(which) = role() {
        let which: u64 = which.parse().unwrap();
        let db = Database::options().map_size(8 << 20).open(std::env::var_os("DB").unwrap()).unwrap();
        say("ready");
        hear();
        for piece in 0..PIECES {
            let rows = Array1::from_elem(PIECE, which * PIECES + piece + 1);
            db.transact(|txn| txn.array::<u64, Ix1>("A")?.append(Axis(0), rows.view())).unwrap();
        }
        return;
    }
    let db = TestDb::with(Database::options().map_size(8 << 20));
    db.transact(|txn| txn.create_with::<u64, _>("A", 0, &small_blocks()).map(drop)).unwrap();
    let mut children: Vec<Child> = (0..2)
        .map(|which| {
            let mut command = command(this_test!(), &which.to_string());
            command.env("DB", db.path());
            Child::start(command)
        })
        .collect();
    for child in &mut children {
        assert_eq!(child.hear(), "ready");
        child.say("go");
    }
    for child in children {
        child.finish();
    }
    let a = db.array::<u64, Ix1>("A").unwrap();
    assert_eq!(a.len(), 2 * PIECES as usize * PIECE);
    // Each piece landed whole, once.
    let mut pieces: Vec<u64> = a
        .view()
        .exact_chunks(PIECE)
        .into_iter()
        .map(|piece| {
            assert!(piece.iter().all(|&x| x == piece[0]));
            piece[0]
        })
        .collect();
    pieces.sort_unstable();
    assert_eq!(pieces, (1..=2 * PIECES).collect::<Vec<_>>());
}

/// Another process fills the index while a transaction is open, whose own snapshot is all that keeps it from growing.
#[test]
fn a_transaction_lands_in_an_index_that_another_process_filled_meanwhile() {
    let open = |path: &str| Database::options().map_size(1 << 20).open(path).unwrap();
    let set = |txn: &mut Transaction, who: &str, n: usize| {
        txn.array::<u8, Ix1>(who)?.set_attr(&n.to_string(), format!("{who}{n}").repeat(2_000).into())
    };
    if role().is_some() {
        say("ready");
        loop {
            let line = hear();
            let (many, path) = line.split_once(' ').unwrap();
            let db = open(path);
            (0..many.parse().unwrap()).for_each(|n| db.transact(|txn| set(txn, "theirs", n)).unwrap());
            say("done");
        }
    }
    let mut child = Child::start(command(this_test!(), "filler"));
    assert_eq!(child.hear(), "ready");
    // How much the index holds without growing is LMDB's business: one of these is just that.
    for many in 20..50 {
        let db = TestDb::with(Database::options().map_size(1 << 20));
        db.transact(|txn| {
            txn.create::<u8, _>("theirs", 1)?;
            txn.create::<u8, _>("mine", 1).map(drop)
        })
        .unwrap();
        let mut is_first = true;
        db.transact(|txn| {
            set(txn, "mine", 0)?;
            if std::mem::take(&mut is_first) {
                assert_eq!(child.ask(format_args!("{many} {}", db.path().display())), "done");
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{many}: {error}"));
        assert_eq!(db.array::<u8, Ix1>("theirs").unwrap().attrs().len(), many);
        assert_eq!(db.array::<u8, Ix1>("mine").unwrap().attrs().len(), 1);
    }
    child.kill();
}

/// The same with an index that overflows many times: it holds attributes, as payload does not.
#[test]
fn growth_of_the_index_by_another_process_is_adopted() {
    const ATTRS: usize = 150;
    let fill = |db: &Database, who: &str| {
        for n in 0..ATTRS {
            let text = format!("{who}{n}").repeat(2_000);
            db.transact(|txn| txn.array::<u8, Ix1>(who)?.set_attr(&n.to_string(), text.clone().into())).unwrap();
        }
    };
    let options = || Database::options().map_size(1 << 20);
    if role().is_some() {
        let db = options().open(std::env::var_os("DB").unwrap()).unwrap();
        say("ready");
        hear();
        return fill(&db, "theirs");
    }
    let db = TestDb::with(options());
    db.transact(|txn| {
        txn.create::<u8, _>("theirs", 1)?;
        txn.create::<u8, _>("mine", 1).map(drop)
    })
    .unwrap();
    let mut command = command(this_test!(), "filler");
    command.env("DB", db.path());
    let mut child = Child::start(command);
    assert_eq!(child.hear(), "ready");
    child.say("go");
    fill(&db, "mine");
    child.finish();
    let snapshot = db.snapshot().unwrap();
    for who in ["mine", "theirs"] {
        let a = snapshot.array::<u8, Ix1>(who).unwrap();
        assert_eq!(a.attrs().len(), ATTRS);
        assert!((0..ATTRS).all(|n| a.attrs()[&n.to_string()] == format!("{who}{n}").repeat(2_000)));
    }
}

/// Rows are added to three arrays at once, or to none.
#[test]
fn arrays_appended_to_together_never_differ_in_length() {
    let append = |txn: &Transaction, n: usize| -> Result<()> {
        let start = txn.array::<i64, Ix1>("time")?.len();
        let rows = start..start + n;
        let time: Array1<i64> = rows.clone().map(|i| i as i64).collect();
        txn.array::<i64, Ix1>("time")?.append(Axis(0), time.view())?;
        for (name, factor) in [("a", 2), ("b", 3)] {
            let piece = Array2::from_shape_fn((n, 100), |(i, j)| ((start + i) * factor + j) as i64);
            txn.array::<i64, Ix2>(name)?.append(Axis(0), piece.view())?;
        }
        Ok(())
    };
    if role().is_some() {
        let db = db_of_parent();
        say("ready");
        let mut random = Random::new(std::process::id().into());
        loop {
            db.transact(|txn| append(txn, random.within(1..200))).unwrap();
        }
    }
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create_with::<i64, _>("time", 0, &small_blocks())?;
        for name in ["a", "b"] {
            txn.create_with::<i64, _>(name, (0, 100), &small_blocks())?;
        }
        Ok(())
    })
    .unwrap();
    // Returns the length that all have.
    let look = || {
        let snapshot = db.snapshot().unwrap();
        let time = snapshot.array::<i64, Ix1>("time").unwrap();
        let n = time.len();
        for (name, factor) in [("a", 2), ("b", 3)] {
            let a = snapshot.array::<i64, Ix2>(name).unwrap();
            assert_eq!(a.shape(), [n, 100], "{name}");
            let tail = n.saturating_sub(500)..n;
            for (i, row) in tail.clone().zip(a.rows(tail).unwrap().rows()) {
                assert!(row.iter().enumerate().all(|(j, &x)| x == (i * factor + j) as i64), "{name}, row {i}");
            }
        }
        assert!(time.view().iter().enumerate().all(|(i, &t)| t == i as i64));
        n
    };
    let mut random = Random::new(11);
    let mut last = 0;
    for _ in 0..8 {
        let mut command = command(this_test!(), "writer");
        command.env("DB", db.path());
        let mut child = Child::start(command);
        assert_eq!(child.hear(), "ready");
        let until = std::time::Instant::now() + Duration::from_micros(random.within(5_000..60_000) as u64);
        while std::time::Instant::now() < until {
            let n = look();
            assert!(n >= last);
            last = n;
        }
        child.kill();
        last = look();
    }
    assert!(last > 0, "nothing was written");
    // A commit whose writer was killed before it could say so may show only now, when the next one is made.
    db.transact(|txn| append(txn, 1)).unwrap();
    last = look();

    // A row of another shape: that array is as it was in the transaction, and nothing of it needs to be stored.
    let wrong_row = |txn: &mut Transaction| {
        append(txn, 7)?;
        let mut b = txn.array::<i64, Ix2>("b")?;
        let error = b.append(Axis(0), Array2::zeros((1, 101)).view()).unwrap_err();
        assert!(error.is_shape_mismatch() && error.to_string().contains("\"b\""), "{error}");
        assert_eq!(b.shape(), [last + 7, 100]);
        assert_eq!(b.view()[[last + 6, 99]], ((last + 6) * 3 + 99) as i64);
        Err::<(), _>(error)
    };
    assert!(db.transact(wrong_row).unwrap_err().is_shape_mismatch());
    assert_eq!(look(), last);
    db.transact(|txn| append(txn, 1)).unwrap();
    assert_eq!(look(), last + 1);
}
