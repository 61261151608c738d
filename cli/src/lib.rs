//! The command `bigarray`: look at arrays of a database, import, export and change them, without writing a program.
//!
//! `bigarray --help` tells what it does. This crate has one public function, which is the program.

mod address;
mod args;
mod commands;
mod convert;
mod dtype;
mod failure;
mod formats;
mod interrupt;
mod open;
mod output;
mod plot;
mod progress;
mod select;
mod sketch;
mod summary;
mod units;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::failure::{Failure, Result};

/// The program: reads the command line, does what it says, and returns the exit code.
pub fn main() -> ExitCode {
    interrupt::watch();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(line) = failure.line() {
                // Where standard error is gone, too, the exit code is left.
                let _ = writeln!(std::io::stderr(), "bigarray: {line}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run() -> Result<()> {
    match Cli::try_parse() {
        Ok(cli) => commands::run(cli),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => output::print(&error.to_string()),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Err(Failure::usage("which command? bigarray --help lists them"))
            }
            _ => Err(Failure::usage(in_one_line(&error.to_string()))),
        },
    }
}

/// What clap says, without the usage behind it.
fn in_one_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let said = text.split("\n\nUsage:").next().unwrap_or(text).split("\n\nFor more").next().unwrap_or(text);
    format!("{}; --help has examples", said.split_whitespace().collect::<Vec<_>>().join(" "))
}
