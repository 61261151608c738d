//! The picture: a bar a ratio, from 1 to the left where bigarray is faster and to the right where it is slower.

use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::row::{Bound, Row, Unit};
use crate::table::{number, target};

/// Pixels, of a picture that a README shows without scaling it down.
const WIDTH: i32 = 900;
const MARGIN: i32 = 12;
const TOP: i32 = 64;
const BOTTOM: i32 = 62;
/// A line of a row's label.
const LINE: i32 = 16;
/// Between two rows.
const GAP: i32 = 12;
const BAR: i32 = 14;
/// The column of labels ends here; the scale lies between the next two; targets begin at the last.
const LABELS_END: i32 = 338;
const SCALE: (i32, i32) = (394, 722);
const TARGETS: i32 = 784;
/// Room for the number at a bar's end.
const NUMBER: i32 = 40;
/// Characters in a line of a label: the widest of the usual sans-serif fonts still fits then.
const LABEL_CHARS: usize = 50;

/// Sizes of text in plotters' measure: an SVG gets 1/1.24 of it in pixels.
const TITLE_SIZE: i32 = 18;
const SIZE: i32 = 15;
const SMALL: i32 = 14;

/// Blue and orange rather than green and red: colour-blind readers can tell them apart.
const MET: RGBColor = RGBColor(0x2b, 0x6c, 0xb0);
const MISSED: RGBColor = RGBColor(0xc0, 0x56, 0x21);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const FAINT: RGBColor = RGBColor(0x59, 0x63, 0x6e);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);

/// Writes the rows that are ratios to `path` as an SVG of 900 pixels' width.
///
/// # Errors
///
/// Where the file cannot be written.
pub(crate) fn draw(path: &Path, rows: &[Row]) -> io::Result<()> {
    std::fs::write(path, svg(rows)?)
}

fn svg(rows: &[Row]) -> io::Result<String> {
    let entries: Vec<Entry<'_>> = rows.iter().filter(|row| row.unit == Unit::Ratio).map(Entry::new).collect();
    let height = TOP + entries.iter().map(Entry::height).sum::<i32>() + BOTTOM;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(io::Error::other)?; // so that it can be read on a dark page too
        let canvas = Canvas { area, scale: Scale::of(&entries) };
        canvas.frame(height)?;
        let mut y = TOP;
        for entry in &entries {
            canvas.entry(entry, y)?;
            y += entry.height();
        }
        canvas.legend(height)?;
        canvas.area.present().map_err(io::Error::other)?;
    }
    Ok(svg)
}

/// A row and its label.
struct Entry<'a> {
    row: &'a Row,
    /// The case, broken into lines.
    case: Vec<String>,
    /// What it is measured against, and whether that is the unusual way round.
    against: Vec<String>,
}

impl Entry<'_> {
    fn new(row: &Row) -> Entry<'_> {
        let against = match (row.baseline, row.target) {
            ("", Bound::Most(_) | Bound::Any) => String::new(),
            ("", Bound::Least(_)) => "more is better".to_owned(),
            (baseline, Bound::Most(_) | Bound::Any) => format!("against {baseline}"),
            (baseline, Bound::Least(_)) => format!("against {baseline}; more is better"),
        };
        Entry { row, case: wrap(row.case), against: wrap(&against) }
    }

    fn height(&self) -> i32 {
        (self.case.len() + self.against.len()) as i32 * LINE + GAP
    }
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LABEL_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Ratios as pixels, logarithmically: twice as fast is as far from 1 as half as fast.
struct Scale {
    least: f64,
    greatest: f64,
}

impl Scale {
    /// Just wide enough for medians and targets, and for 0.5 to 2 at least. Single rounds may lie outside.
    fn of(entries: &[Entry<'_>]) -> Scale {
        let shown = entries.iter().flat_map(|entry| [Some(entry.row.figure.median), limit(entry.row.target)]).flatten();
        let (least, greatest) = shown
            .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
            .fold((0.5_f64, 2.0_f64), |(least, greatest), ratio| (least.min(ratio), greatest.max(ratio)));
        Scale { least, greatest }
    }

    fn x(&self, ratio: f64) -> i32 {
        let part = (ratio.clamp(self.least, self.greatest) / self.least).ln() / (self.greatest / self.least).ln();
        SCALE.0 + (part * f64::from(SCALE.1 - SCALE.0)).round() as i32
    }

    /// 1, 2 and 5 of every power of ten that is shown; fewer where they would touch.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.greatest / self.least > 200.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.least.log10().floor() as i32..=self.greatest.log10().ceil() as i32;
        powers
            .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
            .filter(|tick| (self.least * 0.999..=self.greatest * 1.001).contains(tick))
            .collect()
    }
}

fn limit(bound: Bound) -> Option<f64> {
    match bound {
        Bound::Most(limit) | Bound::Least(limit) => Some(limit),
        Bound::Any => None,
    }
}

struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    scale: Scale,
}

impl Canvas<'_> {
    /// What lies behind the bars: title, ticks with their grid, and the line of 1.
    fn frame(&self, height: i32) -> io::Result<()> {
        let title = "Time of bigarray / time of what it is measured against";
        self.bold(title, (MARGIN, 18), HPos::Left, TITLE_SIZE, INK)?;
        let bottom = height - BOTTOM;
        for tick in self.scale.ticks() {
            let x = self.scale.x(tick);
            self.line((x, TOP), (x, bottom), GRID, 1)?;
            self.text(&short(tick), (x, bottom + 12), HPos::Center, SMALL, FAINT)?;
        }
        let one = self.scale.x(1.0);
        self.line((one, TOP - 8), (one, bottom), INK, 1)?;
        self.text("← faster", (one - 8, TOP - 14), HPos::Right, SIZE, INK)?;
        self.text("slower →", (one + 8, TOP - 14), HPos::Left, SIZE, INK)?;
        self.text("target", (TARGETS, TOP - 14), HPos::Left, SIZE, INK)
    }

    fn entry(&self, entry: &Entry<'_>, top: i32) -> io::Result<()> {
        let row = entry.row;
        let mut y = top + GAP / 2 + LINE / 2;
        for line in &entry.case {
            self.text(line, (LABELS_END, y), HPos::Right, SIZE, INK)?;
            y += LINE;
        }
        for line in &entry.against {
            self.text(line, (LABELS_END, y), HPos::Right, SMALL, FAINT)?;
            y += LINE;
        }

        let middle = top + entry.height() / 2;
        let is_met = row.target.is_met(row.figure.median);
        let colour = if is_met { MET } else { MISSED };
        let x = |ratio| self.scale.x(ratio);
        let (one, end, mark) = (x(1.0), x(row.figure.median), limit(row.target).map(x));
        self.bar((one.min(end), middle - BAR / 2), (one.max(end), middle + BAR / 2), colour)?;
        self.line((x(row.figure.low), middle), (x(row.figure.high), middle), INK, 1)?;
        if let Some(mark) = mark {
            self.line((mark, middle - BAR / 2 - 4), (mark, middle + BAR / 2 + 4), INK, 3)?;
        }

        let text = number(row.figure.median);
        if row.figure.median < 1.0 {
            let mut right = end.min(x(row.figure.low)) - 6;
            if let Some(mark) = mark.filter(|mark| (right - NUMBER..right + 4).contains(mark)) {
                right = mark - 6;
            }
            self.bold(&text, (right, middle), HPos::Right, SIZE, colour)?;
        } else {
            let mut left = end.max(x(row.figure.high)) + 6;
            if let Some(mark) = mark.filter(|mark| (left - 4..left + NUMBER).contains(mark)) {
                left = mark + 6;
            }
            self.bold(&text, (left, middle), HPos::Left, SIZE, colour)?;
        }
        let verdict = if is_met { target(row) } else { format!("{}, missed", target(row)) };
        self.text(&verdict, (TARGETS, middle), HPos::Left, SIZE, if is_met { FAINT } else { MISSED })
    }

    fn legend(&self, height: i32) -> io::Result<()> {
        let y = height - 20;
        let text = |text: &str, x: i32| self.text(text, (x, y), HPos::Left, SMALL, FAINT);
        self.bar((120, y - 6), (144, y + 6), MET)?;
        text("median, target met", 152)?;
        self.bar((300, y - 6), (324, y + 6), MISSED)?;
        text("median, target missed", 332)?;
        self.line((500, y - 9), (500, y + 9), INK, 3)?;
        text("target", 508)?;
        self.line((570, y), (600, y), INK, 1)?;
        text("least to greatest round", 608)
    }

    fn bar(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> io::Result<()> {
        self.area.draw(&Rectangle::new([from, to], colour.filled())).map_err(io::Error::other)
    }

    fn line(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor, width: u32) -> io::Result<()> {
        let line = PathElement::new([from, to], colour.stroke_width(width));
        self.area.draw(&line).map_err(io::Error::other)
    }

    fn text(&self, text: &str, at: (i32, i32), to: HPos, size: i32, colour: RGBColor) -> io::Result<()> {
        self.lettering(text, at, ("sans-serif", size).into_text_style(&self.area).color(&colour), to)
    }

    fn bold(&self, text: &str, at: (i32, i32), to: HPos, size: i32, colour: RGBColor) -> io::Result<()> {
        let font = ("sans-serif", size, FontStyle::Bold);
        self.lettering(text, at, font.into_text_style(&self.area).color(&colour), to)
    }

    /// Level with `at`, on the side of it that the anchor says.
    fn lettering(&self, text: &str, at: (i32, i32), style: TextStyle<'_>, anchor: HPos) -> io::Result<()> {
        let style = style.pos(Pos::new(anchor, VPos::Center));
        self.area.draw(&Text::new(text, at, style)).map_err(io::Error::other)
    }
}

/// A tick's label: without digits that are zero anyway.
fn short(tick: f64) -> String {
    let text = format!("{tick:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Spread;

    fn row(case: &'static str, unit: Unit, target: Bound, median: f64) -> Row {
        let figure = Spread { low: median * 0.9, median, high: median * 1.1 };
        Row { case, baseline: "memmap2 <flush>", unit, target, figure, seconds: None }
    }

    fn scale(rows: &[Row]) -> Scale {
        Scale::of(&rows.iter().map(Entry::new).collect::<Vec<_>>())
    }

    /// Left edge and width of every bar, without the legend's.
    fn bars(svg: &str, colour: &str) -> Vec<(i32, i32)> {
        let number = |line: &str, key: &str| -> i32 {
            let (_, rest) = line.split_once(&format!(" {key}=\"")).unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        svg.lines()
            .filter(|line| line.starts_with("<rect ") && line.contains(colour))
            .map(|line| (number(line, "x"), number(line, "width")))
            .filter(|(x, _)| *x >= SCALE.0)
            .collect()
    }

    #[test]
    fn ratios_are_drawn_and_nothing_else() {
        let rows = [
            row("first scan", Unit::Ratio, Bound::Most(1.1), 1.05),
            row("pages a commit", Unit::Pages, Bound::Most(16.0), 12.0),
        ];
        let svg = svg(&rows).unwrap();
        assert!(svg.contains("\nfirst scan\n") && svg.contains("\nagainst memmap2 &lt;flush&gt;\n"), "{svg}");
        assert!(svg.contains("\n1.05\n") && svg.contains("\n≤ 1.1\n"), "{svg}");
        assert!(!svg.contains("pages a commit"), "{svg}");
    }

    #[test]
    fn a_bar_goes_left_from_one_where_faster_and_right_where_slower() {
        let rows =
            [row("faster", Unit::Ratio, Bound::Most(1.0), 0.5), row("slower", Unit::Ratio, Bound::Most(3.0), 2.0)];
        let (one, half, two) = (scale(&rows).x(1.0), scale(&rows).x(0.5), scale(&rows).x(2.0));
        assert_eq!(bars(&svg(&rows).unwrap(), "#2B6CB0"), [(half, one - half), (one, two - one)]);
    }

    #[test]
    fn a_missed_target_has_its_colour_and_its_word() {
        let rows = [
            row("too slow", Unit::Ratio, Bound::Most(1.1), 1.5),
            row("too little", Unit::Ratio, Bound::Least(0.9), 0.8),
        ];
        let svg = svg(&rows).unwrap();
        assert_eq!(bars(&svg, "#C05621").len(), 2);
        assert!(svg.contains("≤ 1.1, missed") && svg.contains("≥ 0.9, missed") && svg.contains("; more is better"));
    }

    #[test]
    fn the_scale_holds_medians_and_targets_and_cuts_off_single_rounds() {
        let mut outlier = row("disturbed", Unit::Ratio, Bound::Most(3.0), 0.2);
        outlier.figure.high = 1_000.0;
        let scale = scale(&[outlier]);
        assert_eq!([0.2, 3.0, 1_000.0, 0.0].map(|ratio| scale.x(ratio)), [SCALE.0, SCALE.1, SCALE.1, SCALE.0]);
        assert_eq!(scale.x(1.0) - scale.x(0.5), scale.x(2.0) - scale.x(1.0), "logarithmic");
        assert_eq!(scale.ticks().iter().map(|tick| short(*tick)).collect::<Vec<_>>(), ["0.2", "0.5", "1", "2"]);
    }

    #[test]
    fn long_labels_are_broken_between_words() {
        let lines = wrap("commit of 2 MiB blocks after 20,000 mixed writes, removals and small commits");
        assert_eq!(lines, ["commit of 2 MiB blocks after 20,000 mixed writes,", "removals and small commits"]);
        assert!(wrap("").is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let error = draw(Path::new("/no/such/directory/comparison.svg"), &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
