//! The commands, a file each.

mod attr;
mod check;
mod copy;
mod create;
mod diff;
mod doctor;
mod export;
mod head;
mod import;
mod info;
mod ls;
mod names;
mod pages;
mod plot;
mod resize;
mod slice;
mod space;
mod stats;
mod tree;
mod watch;

use bigarray::serde_json::Value;

use crate::args::{self, Cli, Command};
use crate::failure::Result;
use crate::output::print;

/// What all commands are told.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// Nothing is said but errors.
    pub(crate) quiet: bool,
    /// Results are JSON.
    pub(crate) json: bool,
}

/// Does what the command line says.
///
/// # Errors
/// Why it cannot be done.
pub(crate) fn run(cli: Cli) -> Result<()> {
    let how = How { quiet: cli.quiet, json: cli.json };
    match cli.command {
        Command::Ls(args) => ls::run(&args, how),
        Command::Info(args) => info::run(&args, how),
        Command::Head(args) => head::run(&args, how),
        Command::Slice(args) => slice::run(&args, how),
        Command::Stats(args) => stats::run(&args, how),
        Command::Plot(args) => plot::run(&args, how),
        Command::Completions(args) => pages::completions(args.shell),
        Command::Man => pages::man(),
        Command::Tree(args) => tree::run(&args, how),
        Command::Cp(args) => copy::run(&args, how),
        Command::Resize(args) => resize::run(&args, how),
        Command::Append(args) => import::run(&args::Import { append: true, ..args }, how),
        Command::Diff(args) => diff::run(&args, how),
        Command::Check(args) => check::run(&args, how),
        Command::Space(args) => space::run(&args, how),
        Command::Watch(args) => watch::run(&args, how),
        Command::Doctor(args) => doctor::run(&args, how),
        Command::Create(args) => create::run(&args, how),
        Command::Rm(args) => names::remove(&args, how),
        Command::Mv(args) => names::rename(&args, how),
        Command::Attr(args) => attr::run(&args, how),
        Command::Import(args) => import::run(&args, how),
        Command::Export(args) => export::run(&args, how),
    }
}

impl How {
    /// Says what was done: a line, or JSON.
    fn done(self, line: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> Result<()> {
        match self {
            How { json: true, .. } => self.json(&json()),
            How { quiet: true, .. } => Ok(()),
            _ => print(&(line() + "\n")),
        }
    }

    /// Prints JSON, on one line.
    fn json(self, value: &Value) -> Result<()> {
        print(&format!("{value}\n"))
    }
}
