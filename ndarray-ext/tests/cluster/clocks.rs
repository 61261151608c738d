//! Machines whose clocks differ.

use bigarray::Database;

use crate::data::{self, ROWS};
use crate::machine::Machine;
use crate::server::Server;
use crate::support::child::{role, this_test};

/// Icechunk takes no state that is not later than the one before: the machine that is behind waits.
#[test]
fn commits_of_clocks_twenty_seconds_apart_land() {
    if role().is_some() {
        return data::commit_as_told(Database::options());
    }
    let Some(server) = Server::out_of_turn() else { return };
    data::create(&server);
    let commits = server.commits();
    let Some(mut ahead) = Machine::with_clock(&server, this_test!(), "ahead", 10) else { return };
    let Some(mut behind) = Machine::with_clock(&server, this_test!(), "behind", -10) else { return };
    assert_eq!(ahead.process.ask("0 1"), "landed");
    assert_eq!(behind.process.ask("1 2"), "landed");
    assert_eq!(ahead.process.ask("2 3"), "landed");
    let mut expected = vec![0; ROWS];
    expected[..3].copy_from_slice(&[1, 2, 3]);
    assert_eq!(data::read(&server), expected);
    assert_eq!(server.commits(), commits + 3);
}

#[test]
fn a_commit_of_a_clock_that_is_too_far_behind_says_both_times() {
    if role().is_some() {
        return data::commit_as_told(Database::options());
    }
    let Some(server) = Server::out_of_turn() else { return };
    data::create(&server);
    let Some(mut ahead) = Machine::with_clock(&server, this_test!(), "ahead", 60) else { return };
    let Some(mut behind) = Machine::with_clock(&server, this_test!(), "behind", -60) else { return };
    assert_eq!(ahead.process.ask("0 1"), "landed");
    let commits = server.commits();
    let error = behind.process.ask("0 2");
    assert!(error.starts_with("Unavailable") && error.contains(server.name()) && error.contains("NTP"), "{error}");
    assert_eq!((data::read(&server)[0], server.commits()), (1, commits));
}
