//! Two machines that work on the same arrays at once.

use std::thread::sleep;
use std::time::Duration;

use bigarray::Database;
use bigarray::ndarray::Ix1;

use crate::data::{self, ROWS};
use crate::machine::{self, Machine};
use crate::server::Server;
use crate::support::child::{hear, role, say, this_test};

/// Commits of each machine.
const ROUNDS: u64 = 25;

/// Additions of each machine to one element.
const ADDITIONS: u64 = 10;

/// The row that a machine writes in a round. Those of both are in the same chunks, and in no common block.
fn row(machine: usize, round: u64) -> usize {
    (2 * round as usize + machine) % ROWS
}

fn work(machine: usize) {
    let db = machine::open(Database::options());
    say("ready");
    hear();
    let mut before = vec![0; ROWS];
    for round in 1..=ROUNDS {
        // Run once: nothing that the other machine writes is in the way.
        data::write(&db, row(machine, round), round).unwrap();
        let now = data::read(&db);
        assert_eq!(now[row(machine, round)], round);
        assert!(now.iter().zip(&before).all(|(now, before)| now >= before), "{before:?}, and then {now:?}");
        before = now;
    }
    say("written");
    hear();
    for _ in 0..ADDITIONS {
        db.transact(|txn| {
            txn.array::<u64, Ix1>("count")?.view_mut()[0] += 1;
            Ok(())
        })
        .unwrap();
    }
    say("counted");
}

#[test]
fn two_machines_commit_and_read_at_once_and_nothing_is_lost() {
    if let Some(machine) = role() {
        return work(machine.parse().unwrap());
    }
    let Some(server) = Server::new() else { return };
    data::create(&server);
    server.transact(|txn| txn.create::<u64, _>("count", 1).map(drop)).unwrap();
    let commits = server.commits();
    let mut machines = ["0", "1"].map(|role| Machine::start(&server, this_test!(), role));
    // Neither begins before the other has opened the database.
    machines.iter_mut().for_each(|machine| assert_eq!(machine.process.hear(), "ready"));
    machines.iter_mut().for_each(|machine| machine.process.say("go"));
    machines.iter_mut().for_each(|machine| assert_eq!(machine.process.hear(), "written"));
    let mut expected = vec![0; ROWS];
    for round in 1..=ROUNDS {
        [0, 1].into_iter().for_each(|machine| expected[row(machine, round)] = round);
    }
    assert_eq!(data::read(&server), expected);
    assert_eq!(server.commits(), commits + 2 * ROUNDS as usize);

    machines.iter_mut().for_each(|machine| machine.process.say("count"));
    machines.iter_mut().for_each(|machine| assert_eq!(machine.process.hear(), "counted"));
    assert_eq!(server.array::<u64, Ix1>("count").unwrap().view()[0], 2 * ADDITIONS);
    assert_eq!(server.commits(), commits + 2 * (ROUNDS + ADDITIONS) as usize);
}

/// Commits one value after the other to row 0.
fn count_up() {
    let db = machine::open(Database::options());
    let first = data::read(&db)[0] + 1;
    for value in first.. {
        data::write(&db, 0, value).unwrap();
        say(value);
    }
}

#[test]
fn a_machine_that_is_killed_amid_commits_leaves_whole_states_and_holds_nothing_up() {
    match role().as_deref() {
        Some("killed") => return count_up(),
        Some(_) => return data::commit_as_told(Database::options()),
        None => {}
    }
    let Some(server) = Server::new() else { return };
    data::create(&server);
    let commits = server.commits();
    let mut other = Machine::start(&server, this_test!(), "other");
    // Milliseconds into a commit, more or less.
    for (kill, wait) in [0, 10, 20, 35, 50].into_iter().enumerate() {
        let mut killed = Machine::start(&server, this_test!(), "killed");
        let mut told = vec![killed.process.hear(), killed.process.hear()];
        sleep(Duration::from_millis(wait));
        told.extend(killed.process.kill());
        let told: u64 = told.last().unwrap().parse().unwrap();
        let others = kill as u64 + 1;
        assert_eq!(other.process.ask(format_args!("1 {others}")), "landed");
        let state = data::read(&server);
        // The answer to the last one may have been on its way.
        assert!(state[0] == told || state[0] == told + 1, "{told} commits were told of, {} are there", state[0]);
        assert_eq!(state[1], others);
        assert_eq!(server.commits(), commits + (state[0] + others) as usize);
    }
}
