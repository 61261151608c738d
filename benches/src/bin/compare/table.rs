//! The table: for the terminal, and as a document.

use std::fmt::Write;

use crate::machine::Machine;
use crate::row::{Bound, Row, Unit};

/// How the comparison is run, as a user types it.
const COMMAND: &str = "cargo run --release -p bigarray-benches --bin compare";

const HEADINGS: [&str; 7] = ["case", "against", "ours", "baseline", "figure", "target", "met"];
/// Columns of numbers, set to the right.
const NUMBERS: [bool; 7] = [false, false, true, true, true, true, false];

/// Aligned columns under the machine's description, for a terminal.
pub(crate) fn terminal(rows: &[Row], machine: &Machine) -> String {
    let lines: Vec<[String; 7]> = std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let widths: [usize; 7] =
        std::array::from_fn(|n| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0));
    let mut text = format!("{}\n\n", machine.paragraph());
    for line in &lines {
        let mut padded = String::new();
        for ((cell, width), number) in line.iter().zip(widths).zip(NUMBERS) {
            let _ = if number { write!(padded, "{cell:>width$}  ") } else { write!(padded, "{cell:<width$}  ") };
        }
        let _ = writeln!(text, "{}", padded.trim_end());
    }
    let _ = writeln!(text, "\n{}", summary(rows));
    text
}

/// The document: how it was made, on what, the picture `comparison.svg` beside it, and the table.
pub(crate) fn markdown(rows: &[Row], machine: &Machine, quick: bool) -> String {
    let (arguments, remark) = match quick {
        true => (" -- --quick", " Small arrays and few rounds: a first look, not figures to quote."),
        false => ("", ""),
    };
    let mut text = format!(
        "# Comparison\n\n\
         What bigarray costs beside what a user would pick instead. Made by\n\n\
         ```sh\n{COMMAND}{arguments}\n```\n\n\
         {}{remark}\n\n\
         ![Times of bigarray as ratios to the baselines' times](comparison.svg)\n\n\
         Where there is a baseline, both sides run in turn and the figure is time ours / time baseline: less than 1 \
         is faster. (Where the target is a ≥, more is better.) A figure is the median of all rounds, with the least \
         and the greatest in parentheses; it is held against its target before it is rounded. {}\n\n",
        machine.paragraph(),
        summary(rows),
    );
    let _ = writeln!(text, "| {} |", HEADINGS.join(" | "));
    let _ = writeln!(text, "|{}|", NUMBERS.map(|number| if number { "---:" } else { "---" }).join("|"));
    for row in rows {
        let _ = writeln!(text, "| {} |", cells(row).map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    text
}

/// What a figure is to be, as a reader sees it.
pub(crate) fn target(row: &Row) -> String {
    let (sign, limit) = match row.target {
        Bound::Most(limit) => ("≤", limit),
        Bound::Least(limit) => ("≥", limit),
        Bound::Any => return "–".to_owned(),
    };
    format!("{sign} {limit}{}", suffix(row.unit))
}

/// Three significant digits, two below 1: more is noise. No exponent.
pub(crate) fn number(value: f64) -> String {
    let exponent = if value == 0.0 { 2.0 } else { value.abs().log10().floor() };
    let decimals = if exponent < 0.0 { 1.0 - exponent } else { 2.0 - exponent };
    format!("{value:.*}", decimals.clamp(0.0, 9.0) as usize)
}

fn cells(row: &Row) -> [String; 7] {
    let side = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), duration);
    [
        row.case.to_owned(),
        if row.baseline.is_empty() { "–".to_owned() } else { row.baseline.to_owned() },
        side(row.seconds.map(|(ours, _)| ours)),
        side(row.seconds.map(|(_, baseline)| baseline)),
        figure(row),
        target(row),
        match row.target {
            Bound::Any => "–",
            target if target.is_met(row.figure.median) => "✓",
            _ => "✗",
        }
        .to_owned(),
    ]
}

fn figure(row: &Row) -> String {
    let [low, median, high] = [row.figure.low, row.figure.median, row.figure.high].map(number);
    format!("{median}{} ({low}–{high})", suffix(row.unit))
}

fn suffix(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => "",
        Unit::Micros => " µs",
        Unit::MillisPerGib => " ms/GiB",
        Unit::Pages => " pages",
        Unit::Percent => " %",
    }
}

/// Seconds in the unit that leaves one to three digits before the point.
fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds.abs() {
        ..1e-6 => (seconds * 1e9, "ns"),
        ..1e-3 => (seconds * 1e6, "µs"),
        ..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    format!("{} {unit}", number(value))
}

fn summary(rows: &[Row]) -> String {
    let with_target: Vec<&Row> = rows.iter().filter(|row| !matches!(row.target, Bound::Any)).collect();
    let met = with_target.iter().filter(|row| row.target.is_met(row.figure.median)).count();
    format!("{met} of {} targets are met.", with_target.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Spread;

    fn machine() -> Machine {
        Machine {
            kernel: "6.8.0".into(),
            cpu: "AMD EPYC".into(),
            cores: 2,
            ram: "23.5 GiB".into(),
            file_system: "ext4".into(),
            device: Some("vda".into()),
            huge_pages: "madvise".into(),
            date: "2026-01-31".into(),
        }
    }

    fn rows() -> [Row; 3] {
        [
            Row {
                case: "first scan",
                baseline: "memmap2",
                unit: Unit::Ratio,
                target: Bound::Most(1.1),
                figure: Spread { low: 0.97, median: 1.0321, high: 1.2 },
                seconds: Some((0.0321, 0.0311)),
            },
            Row {
                case: "pages a commit, |x| changed",
                baseline: "",
                unit: Unit::Pages,
                target: Bound::Most(16.0),
                figure: Spread { low: 9.0, median: 17.0, high: 121.4 },
                seconds: None,
            },
            Row {
                case: "speed-up by two threads",
                baseline: "memmap2's",
                unit: Unit::Ratio,
                target: Bound::Least(0.9),
                figure: Spread { low: 0.92, median: 0.98, high: 1.0 },
                seconds: None,
            },
        ]
    }

    #[test]
    fn the_terminal_table_is_aligned() {
        let text = terminal(&rows(), &machine());
        let expected = "
case                         against       ours  baseline                 figure      target  met
first scan                   memmap2    32.1 ms   31.1 ms       1.03 (0.97–1.20)       ≤ 1.1  ✓
pages a commit, |x| changed  –                –         –  17.0 pages (9.00–121)  ≤ 16 pages  ✗
speed-up by two threads      memmap2's        –         –       0.98 (0.92–1.00)       ≥ 0.9  ✓

2 of 3 targets are met.
";
        assert_eq!(text, format!("{}\n{expected}", machine().paragraph()));
    }

    #[test]
    fn the_document_holds_command_machine_picture_and_every_row() {
        let text = markdown(&rows(), &machine(), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# Comparison");
        assert!(lines.contains(&COMMAND));
        assert!(lines.contains(&machine().paragraph().as_str()));
        assert!(text.contains("](comparison.svg)\n"));
        let table = [
            "| case | against | ours | baseline | figure | target | met |",
            "|---|---|---:|---:|---:|---:|---|",
            "| first scan | memmap2 | 32.1 ms | 31.1 ms | 1.03 (0.97–1.20) | ≤ 1.1 | ✓ |",
            "| pages a commit, \\|x\\| changed | – | – | – | 17.0 pages (9.00–121) | ≤ 16 pages | ✗ |",
            "| speed-up by two threads | memmap2's | – | – | 0.98 (0.92–1.00) | ≥ 0.9 | ✓ |",
        ];
        assert_eq!(lines[lines.len() - 5..], table);
        assert!(text.contains(" 2 of 3 targets are met.\n"));
    }

    #[test]
    fn a_quick_run_says_so() {
        let text = markdown(&rows(), &machine(), true);
        assert!(text.contains("--bin compare -- --quick\n") && text.contains("not figures to quote"));
        assert!(!markdown(&rows(), &machine(), false).contains("quick"));
    }

    #[test]
    fn seconds_are_told_in_a_unit_a_human_reads() {
        let told = [1.2e-8, 6.4e-5, 0.000_999, 0.012_34, 1.0, 75.25].map(duration);
        assert_eq!(told, ["12.0 ns", "64.0 µs", "999 µs", "12.3 ms", "1.00 s", "75.2 s"]);
    }

    #[test]
    fn numbers_keep_the_digits_that_mean_something() {
        let told = [0.0, 0.003_456, 0.1, 1.0, 9.876, 98.76, 987.6, 98_760.0].map(number);
        assert_eq!(told, ["0", "0.0035", "0.10", "1.00", "9.88", "98.8", "988", "98760"]);
    }

    #[test]
    fn a_figure_is_judged_before_it_is_rounded() {
        let [mut row, ..] = rows();
        row.figure.median = 1.1001;
        assert_eq!(cells(&row)[4..], ["1.10 (0.97–1.20)", "≤ 1.1", "✗"]);
    }

    /// Both are written by hand from one run.
    #[test]
    fn the_readme_shows_the_table_of_the_document() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let table = |name: &str| -> Vec<String> {
            let text = std::fs::read_to_string(root.join(name)).expect("a document of the project");
            let start = text.find("| case |").expect("the table of the comparison");
            text[start..].lines().take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
        };
        assert_eq!(table("README.md"), table("docs/comparison.md"));
    }
}
