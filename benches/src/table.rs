//! A table of cases: for the terminal, and in Markdown.

use std::fmt::Write;

use crate::machine::Machine;
use crate::row::{Bound, Row, Unit};

const HEADINGS: [&str; 7] = ["case", "against", "ours", "baseline", "figure", "target", "met"];
/// Columns of numbers, set to the right.
const NUMBERS: [bool; 7] = [false, false, true, true, true, true, false];

/// Aligned columns under the machine's description, for a terminal.
pub fn terminal(rows: &[Row], machine: &Machine) -> String {
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

/// The same as lines of Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let rule = NUMBERS.map(|number| if number { "---:" } else { "---" }).join("|");
    let mut text = format!("| {} |\n|{rule}|\n", HEADINGS.join(" | "));
    for row in rows {
        let _ = writeln!(text, "| {} |", cells(row).map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    text
}

/// How many targets are met, in a sentence.
pub fn summary(rows: &[Row]) -> String {
    let with_target: Vec<&Row> = rows.iter().filter(|row| !matches!(row.target, Bound::Any)).collect();
    let met = with_target.iter().filter(|row| row.target.is_met(row.figure.median)).count();
    format!("{met} of {} targets are met.", with_target.len())
}

/// What a figure is to be, as a reader sees it.
pub fn target(row: &Row) -> String {
    let (sign, limit) = match row.target {
        Bound::Most(limit) => ("≤", limit),
        Bound::Least(limit) => ("≥", limit),
        Bound::Any => return "–".to_owned(),
    };
    format!("{sign} {limit}{}", suffix(row.unit))
}

/// Three significant digits, two below 1: more is noise. No exponent.
pub fn number(value: f64) -> String {
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
        Unit::RoundTrips => " round trips",
        Unit::Requests => " requests",
        Unit::Commits => " commits",
        Unit::Megabytes => " MB",
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
    fn the_markdown_table_has_every_row() {
        let table = [
            "| case | against | ours | baseline | figure | target | met |",
            "|---|---|---:|---:|---:|---:|---|",
            "| first scan | memmap2 | 32.1 ms | 31.1 ms | 1.03 (0.97–1.20) | ≤ 1.1 | ✓ |",
            "| pages a commit, \\|x\\| changed | – | – | – | 17.0 pages (9.00–121) | ≤ 16 pages | ✗ |",
            "| speed-up by two threads | memmap2's | – | – | 0.98 (0.92–1.00) | ≥ 0.9 | ✓ |",
        ];
        assert_eq!(markdown(&rows()).lines().collect::<Vec<_>>(), table);
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
}
