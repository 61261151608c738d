//! Papers that a chart is drawn on: SVG and PNG.

use std::fmt::Write as _;
use std::io::Write;

use super::digits::strokes;
use crate::failure::{Failure, Result};

/// A colour: red, green, blue.
pub(crate) type Rgb = [u8; 3];

/// Where a text is, seen from the point that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// Something to draw on. Places are pixels from the left and from above.
pub(crate) trait Canvas {
    /// A filled rectangle.
    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Rgb);

    /// A straight line.
    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: Rgb);

    /// A text whose middle is at the height `y`. A PNG has only numbers.
    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str);
}

/// A picture as SVG.
pub(crate) struct Svg {
    text: String,
}

impl Svg {
    /// A white picture of that size.
    pub(crate) fn new(width: u32, height: u32) -> Svg {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        Svg { text }
    }

    /// The file.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.text.push_str("</svg>\n");
        self.text.into_bytes()
    }
}

fn hex([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

impl Canvas for Svg {
    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Rgb) {
        let fill = hex(colour);
        // Writing to a text never fails.
        let _ = writeln!(
            self.text,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{fill}\" shape-rendering=\"crispEdges\"/>"
        );
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: Rgb) {
        let stroke = hex(colour);
        let _ = writeln!(
            self.text,
            "<line x1=\"{x1:.2}\" y1=\"{y1:.2}\" x2=\"{x2:.2}\" y2=\"{y2:.2}\" stroke=\"{stroke}\"/>"
        );
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(self.text, "<text x=\"{x:.2}\" y=\"{:.2}\" text-anchor=\"{anchor}\">{text}</text>", y + 4.0);
    }
}

/// A picture as PNG.
pub(crate) struct Png {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Png {
    /// A white picture of that size.
    pub(crate) fn new(width: u32, height: u32) -> Png {
        Png { width, height, pixels: vec![255; 3 * width as usize * height as usize] }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What the output reports.
    pub(crate) fn finish(&self, name: &str, out: &mut impl Write) -> Result<()> {
        let mut encoder = png::Encoder::new(out, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder.write_header().and_then(|mut writer| {
            writer.write_image_data(&self.pixels)?;
            writer.finish()
        });
        written.map_err(|error| match error {
            png::EncodingError::IoError(error) => Failure::io(name, &error),
            other => Failure::new(format!("{name}: {other}")),
        })
    }

    fn set(&mut self, x: i64, y: i64, colour: Rgb) {
        if (0..i64::from(self.width)).contains(&x) && (0..i64::from(self.height)).contains(&y) {
            let at = 3 * (y as usize * self.width as usize + x as usize);
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }
}

impl Canvas for Png {
    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Rgb) {
        for row in y.round() as i64..(y + height).round() as i64 {
            for column in x.round() as i64..(x + width).round() as i64 {
                self.set(column, row, colour);
            }
        }
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: Rgb) {
        let steps = (x2 - x1).abs().max((y2 - y1).abs()).ceil().clamp(1.0, 1e5);
        for n in 0..=steps as u32 {
            let part = f64::from(n) / steps;
            self.set((x1 + (x2 - x1) * part).round() as i64, (y1 + (y2 - y1) * part).round() as i64, colour);
        }
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        const SCALE: f64 = 1.5;
        const CELL: f64 = 5.0 * SCALE;
        let width = text.chars().count() as f64 * CELL;
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        for (n, character) in text.chars().enumerate() {
            let place = |(column, row): (i32, i32)| {
                (left + n as f64 * CELL + f64::from(column) * SCALE, y + (f64::from(row) - 3.0) * SCALE)
            };
            strokes(character).iter().for_each(|(from, to)| self.line(place(*from), place(*to), [0; 3]));
        }
    }
}
