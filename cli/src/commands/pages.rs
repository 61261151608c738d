//! `completions` and `man`: what a package installs beside the command.

use std::fmt::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Failure, Result};
use crate::output::print;

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bigarray", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints the man page: the command, and each of its commands with examples.
pub(crate) fn man() -> Result<()> {
    let failed = |e: std::io::Error| Failure::io("the man page", &e);
    let mut page = Vec::new();
    let command = Cli::command();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    for command in command.get_subcommands() {
        let mut help = command.clone().bin_name(format!("bigarray {}", command.get_name()));
        let help = help.render_long_help().to_string().replace('\\', "\\\\");
        // A line that begins with a point or a quote would be a request.
        let lines =
            help.lines().map(|line| format!("{}{line}\n", if line.starts_with(['.', '\'']) { "\\&" } else { "" }));
        // Writing to a text never fails.
        let _ =
            write!(page, ".SH BIGARRAY {}\n.nf\n{}.fi\n", command.get_name().to_uppercase(), lines.collect::<String>());
    }
    print(&page)
}
