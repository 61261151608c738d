//! A machine whose link is down for a while.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bigarray::Database;
use bigarray::ndarray::Ix2;
use nix::libc;

use crate::data;
use crate::machine::{self, Machine};
use crate::server::Server;
use crate::support::child::{hear, role, say, this_test};

/// Short, so that some cuts are longer.
const DEADLINE: Duration = Duration::from_secs(3);

#[test]
fn a_link_that_is_down_for_two_seconds_is_a_pause_of_reads() {
    if role().is_some() {
        return data::read_long();
    }
    let Some(server) = Server::new() else { return };
    data::create(&server);
    data::create_long(&server);
    let mut machine = Machine::start(&server, this_test!(), "reader");
    assert_eq!(machine.process.hear(), "0 wrong");
    // Some chunks are on their way; the others are asked for while nothing passes.
    machine.cut();
    machine.process.say("on");
    data::write(&server, 0, 1).unwrap();
    sleep(Duration::from_secs(2));
    assert_eq!(machine.process.heard(), [""; 0]);
    machine.mend();
    assert_eq!(machine.process.hear(), "0 wrong");
}

/// Rows of 2 MiB, a block and a chunk each, of ones.
fn create_blocks(db: &Database) {
    db.transact(|txn| {
        txn.create::<u64, _>("blocks", (8, (2 << 20) / 8))?.view_mut().fill(1);
        Ok(())
    })
    .unwrap();
}

fn read_without_patience() {
    let db = machine::open(Database::options().deadline(DEADLINE).patience(DEADLINE));
    let blocks = db.array::<u64, Ix2>("blocks").unwrap();
    blocks.prefetch(0..1).unwrap();
    say("begun");
    hear();
    for error in [blocks.prefetch(1..2).unwrap_err(), db.snapshot().map(drop).unwrap_err()] {
        assert!(error.is_unavailable(), "{error:?}");
        say(error);
    }
    hear();
    // What failed has left nothing behind.
    blocks.prefetch(1..2).unwrap();
    assert!(blocks.view().rows().into_iter().take(2).flatten().all(|element| *element == 1));
    db.snapshot().unwrap();
    say("right");
    hear();
    say(format_args!("it is {}", blocks.view()[[7, 0]]));
}

/// Where an error can be returned, it is; an access to a page, which cannot, ends the process.
#[test]
fn a_link_that_is_down_for_longer_is_unavailable_and_ends_an_access_without_patience() {
    if role().is_some() {
        return read_without_patience();
    }
    let Some(server) = Server::new() else { return };
    create_blocks(&server);
    let mut machine = Machine::start(&server, this_test!(), "reader");
    assert_eq!(machine.process.hear(), "begun");
    machine.cut();
    let error = machine.process.ask("on");
    assert!(error.contains(server.name()) && error.contains("/chunks/") && error.contains("blocks"), "{error}");
    let error = machine.process.hear();
    assert!(error.contains(server.name()), "{error}");
    machine.mend();
    assert_eq!(machine.process.ask("on"), "right");
    machine.cut();
    machine.process.say("on");
    assert_eq!(machine.process.wait().signal(), Some(libc::SIGBUS));
    assert_eq!(machine.process.heard(), [""; 0]);
}

#[test]
fn a_commit_over_a_link_that_goes_down_lands_once_or_not_at_all() {
    match role().as_deref() {
        Some("hasty") => return data::commit_as_told(Database::options().deadline(DEADLINE)),
        Some(_) => return data::commit_as_told(Database::options()),
        None => {}
    }
    let Some(server) = Server::new() else { return };
    data::create(&server);
    // The first has the usual deadline, which is enough for a commit that nothing disturbs. Each commit of the hasty one may
    // fail.
    let mut machines = ["patient", "hasty"].map(|role| Machine::start(&server, this_test!(), role));
    assert_eq!(machines[0].process.ask("0 1"), "landed");
    let began = Instant::now();
    assert_eq!(machines[0].process.ask("0 2"), "landed");
    let usual = began.elapsed();
    let (mut last, mut commits) = (2, server.commits());
    // Whose link goes down, at which part of a commit, more or less, and for how many milliseconds. The long ones are more
    // than a request of the hasty machine waits. A short one before each shows it a link that is up.
    let cuts = [
        (0, 0., 1000),
        (0, 0.25, 1000),
        (0, 0.5, 1000),
        (0, 0.75, 1000),
        (1, 0., 1000),
        (1, 0.4, 4500),
        (1, 0., 1000),
        (1, 0.7, 4500),
    ];
    let mut amid = 0;
    for ((machine, part, down), value) in cuts.into_iter().zip(3..) {
        let machine = &mut machines[machine];
        machine.process.say(format_args!("0 {value}"));
        sleep(usual.mul_f64(part));
        machine.cut();
        let came_before = machine.process.heard().pop();
        amid += u32::from(came_before.is_none());
        // By loopback. What is committed meanwhile, in the same chunk, comes before that commit, or after it.
        let meanwhile = data::read(&server)[0];
        assert!(meanwhile == last || meanwhile == value, "{meanwhile}");
        data::write(&server, 1, value).unwrap();
        commits += 1;
        sleep(Duration::from_millis(down));
        machine.mend();
        let answer = came_before.unwrap_or_else(|| machine.process.hear());
        let state = data::read(&server);
        let now = state[0];
        assert_eq!(state[1], value);
        println!("cut at {part} of {usual:?}: {answer}");
        if answer == "landed" || answer.contains("the commit is stored") {
            assert_eq!(now, value, "{answer}");
            commits += 1;
        } else {
            // Whether it is there is known: no cut is as long as a commit looks for itself.
            assert!(answer.starts_with("Unavailable") && !answer.contains("not known"), "{answer}");
            assert_eq!(now, last, "{answer}");
        }
        assert_eq!(server.commits(), commits);
        last = now;
    }
    println!("{amid} of {} cuts were amid a commit", cuts.len());
    // Down from the start.
    let [mut patient, _hasty] = machines;
    patient.cut();
    let answer = patient.process.ask("0 100");
    assert!(answer.starts_with("Unavailable") && answer.contains(server.name()), "{answer}");
    assert_eq!((data::read(&server)[0], server.commits()), (last, commits));
    patient.mend();
    assert_eq!(patient.process.ask("0 101"), "landed");
    assert_eq!((data::read(&server)[0], server.commits()), (101, commits + 1));
}
