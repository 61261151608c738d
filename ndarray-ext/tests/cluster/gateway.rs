//! A gateway that is stopped: connections stay open, and nothing answers.

use std::thread::sleep;
use std::time::Duration;

use bigarray::Database;

use crate::data;
use crate::machine::Machine;
use crate::server::Server;
use crate::support::child::{role, this_test};

#[test]
fn a_gateway_that_is_stopped_for_three_seconds_is_a_pause_of_reads_and_commits() {
    match role().as_deref() {
        Some("reader") => return data::read_long(),
        Some(_) => return data::commit_as_told(Database::options()),
        None => {}
    }
    let Some(server) = Server::new() else { return };
    data::create(&server);
    data::create_long(&server);
    let commits = server.commits();
    let [mut reader, mut writer] = ["reader", "writer"].map(|role| Machine::start(&server, this_test!(), role));
    assert_eq!(reader.process.hear(), "0 wrong");
    assert_eq!(writer.process.ask("0 1"), "landed");
    // Milliseconds into a commit, more or less.
    for (wait, value) in [0, 25].into_iter().zip(2..) {
        writer.process.say(format_args!("0 {value}"));
        sleep(Duration::from_millis(wait));
        let stopped = server.stop();
        if value == 2 {
            reader.process.say("on");
        }
        sleep(Duration::from_secs(3));
        if value == 2 {
            assert_eq!(reader.process.heard(), [""; 0]);
        }
        drop(stopped);
        assert_eq!(writer.process.hear(), "landed");
        assert_eq!(data::read(&server)[0], value);
    }
    assert_eq!(reader.process.hear(), "0 wrong");
    assert_eq!(server.commits(), commits + 3);
}
