//! The comparison as a document.

use crate::machine::Machine;
use crate::row::Row;
use crate::table;

/// How the comparison is run, as a user types it.
const COMMAND: &str = "cargo run --release -p bigarray-benches --bin compare";

/// How it was made, on what, the picture `comparison.svg` beside it, and the table.
pub(crate) fn markdown(rows: &[Row], machine: &Machine, quick: bool) -> String {
    let (arguments, remark) = match quick {
        true => (" -- --quick", " Small arrays and few rounds: a first look, not figures to quote."),
        false => ("", ""),
    };
    format!(
        "# Comparison\n\n\
         What bigarray costs beside what a user would pick instead. Made by\n\n\
         ```sh\n{COMMAND}{arguments}\n```\n\n\
         {}{remark}\n\n\
         ![Times of bigarray as ratios to the baselines' times](comparison.svg)\n\n\
         Where there is a baseline, both sides run in turn and the figure is time ours / time baseline: less than 1 \
         is faster. (Where the target is a ≥, more is better.) A figure is the median of all rounds, with the least \
         and the greatest in parentheses; it is held against its target before it is rounded. {}\n\n{}",
        machine.paragraph(),
        table::summary(rows),
        table::markdown(rows),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Bound, Spread, Unit};

    fn row() -> Row {
        Row {
            case: "first scan",
            baseline: "memmap2",
            unit: Unit::Ratio,
            target: Bound::Most(1.1),
            figure: Spread { low: 0.97, median: 1.0321, high: 1.2 },
            seconds: Some((0.0321, 0.0311)),
        }
    }

    #[test]
    fn the_document_holds_command_machine_picture_and_every_row() {
        let machine = Machine::of(&std::env::temp_dir());
        let text = markdown(&[row(), row()], &machine, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# Comparison");
        assert!(lines.contains(&COMMAND));
        assert!(lines.contains(&machine.paragraph().as_str()));
        assert!(text.contains("](comparison.svg)\n"));
        assert_eq!(lines[lines.len() - 4..].join("\n"), table::markdown(&[row(), row()]).trim_end());
        assert!(text.contains(" 2 of 2 targets are met.\n"));
    }

    #[test]
    fn a_quick_run_says_so() {
        let machine = Machine::of(&std::env::temp_dir());
        let text = markdown(&[row()], &machine, true);
        assert!(text.contains("--bin compare -- --quick\n") && text.contains("not figures to quote"));
        assert!(!markdown(&[row()], &machine, false).contains("quick"));
    }

    /// Some rows of the document, without their targets: both are written by hand from one run.
    #[test]
    fn the_readme_shows_rows_of_the_document() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let rows = |name: &str| -> Vec<Vec<String>> {
            let text = std::fs::read_to_string(root.join(name)).expect("a document of the project");
            let start = text.find("| case |").expect("the table of the comparison");
            let lines = text[start..].lines().take_while(|line| line.starts_with('|'));
            lines
                .map(|line| line.split(" | ").take(5).map(|cell| cell.trim_matches(['|', ' ']).to_owned()).collect())
                .collect()
        };
        let (shown, all) = (rows("README.md"), rows("docs/comparison.md"));
        assert_eq!(shown.len(), 2 + 5);
        for row in &shown[2..] {
            assert!(all.contains(row), "{row:?}");
        }
    }
}
