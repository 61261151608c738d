//! A figure in a terminal, by characters of Unicode.

use super::{Figure, colour, label};

/// The figure as lines of text of about that width and height, in colours if the terminal shows them.
pub(crate) fn draw(figure: &Figure, width: usize, height: usize, in_colour: bool) -> String {
    match figure {
        Figure::Lines { series, .. } => lines(figure, series, width, height),
        Figure::Histogram { range, counts } => bars(*range, counts, width),
        Figure::Image { rows, .. } => image(figure, rows, in_colour),
    }
}

/// How many rows of an image fit: two pixels a character.
pub(crate) fn image_size(width: usize, height: usize) -> (usize, usize) {
    (height * 2, width)
}

fn lines(figure: &Figure, series: &[Vec<(f64, f64)>], width: usize, height: usize) -> String {
    // A character of Braille has dots in two columns and four rows.
    const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
    let (low, high) = figure.range();
    let (across, down) = (width * 2, height * 4);
    let mut cells = vec![vec![0u8; width]; height];
    let row =
        |value: f64| ((high - value) / (high - low) * (down - 1) as f64).round().clamp(0.0, (down - 1) as f64) as usize;
    for series in series {
        let parts = series.len().max(2) - 1;
        let mut before: Option<(usize, usize)> = None;
        for (n, (least, greatest)) in series.iter().enumerate() {
            if !(least.is_finite() && greatest.is_finite()) {
                before = None;
                continue;
            }
            let x = n * (across - 1) / parts;
            let (top, bottom) = (row(*greatest), row(*least));
            if let Some((last, from)) = before {
                // Between two points each column has the piece of the line that crosses it.
                let mut upper = from;
                for column in last + 1..=x {
                    let part = (column - last) as f64 / (x - last) as f64;
                    let lower = (from as f64 + (bottom as f64 - from as f64) * part).round() as usize;
                    let piece = upper.min(lower)..=upper.max(lower);
                    piece.for_each(|y| cells[y / 4][column / 2] |= DOTS[y % 4][column % 2]);
                    upper = lower;
                }
            }
            (top..=bottom).for_each(|y| cells[y / 4][x / 2] |= DOTS[y % 4][x % 2]);
            before = Some((x, row(*greatest)));
        }
    }
    let marks = [(0, high), (height / 2, (low + high) / 2.0), (height - 1, low)];
    let mut text = String::new();
    for (n, cells) in cells.iter().enumerate() {
        let mark = marks.iter().find(|(row, _)| *row == n).map(|(_, value)| short(*value)).unwrap_or_default();
        let dots: String = cells.iter().map(|dots| char::from_u32(0x2800 + u32::from(*dots)).unwrap_or(' ')).collect();
        text.push_str(&format!("{mark:>10} ┤{dots}\n"));
    }
    text
}

fn bars((from, to): (f64, f64), counts: &[u64], width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let step = (to - from) / counts.len().max(1) as f64;
    let mut text = String::new();
    for (n, count) in counts.iter().enumerate() {
        let eighths = (*count as f64 / most as f64 * (width * 8) as f64).round() as usize;
        let bar = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
        text.push_str(&format!("{:>10} ┤{bar} {count}\n", short(from + n as f64 * step)));
    }
    text.push_str(&format!("{:>10} ┘\n", short(to)));
    text
}

fn image(figure: &Figure, rows: &[Vec<f64>], in_colour: bool) -> String {
    const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
    let (low, high) = figure.range();
    let part = |value: f64| (value - low) / (high - low);
    let mut text = String::new();
    for pair in rows.chunks(2) {
        for (n, above) in pair[0].iter().enumerate() {
            let below = pair.get(1).map_or(f64::NAN, |row| row[n]);
            if in_colour {
                let ([r, g, b], [s, t, u]) = (colour(part(*above)), colour(part(below)));
                text.push_str(&format!("\x1b[38;2;{r};{g};{b}m\x1b[48;2;{s};{t};{u}m▀"));
            } else {
                let both = if below.is_nan() { part(*above) } else { (part(*above) + part(below)) / 2.0 };
                let shade = if both.is_nan() { '?' } else { SHADES[((both * 5.0) as usize).min(4)] };
                text.push(shade);
            }
        }
        text.push_str(if in_colour { "\x1b[0m\n" } else { "\n" });
    }
    text.push_str(&format!("{} … {}\n", short(low), short(high)));
    text
}

/// A number of few digits.
fn short(value: f64) -> String {
    let text = format!("{value:.3e}");
    label(text.parse().unwrap_or(value))
}
