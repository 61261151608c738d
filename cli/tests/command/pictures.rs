//! Pictures: in the terminal, as PNG and as SVG.

use std::fs;

use crate::support::Place;

fn place() -> Place {
    Place::with(&[("elnino_sst_61x12_f8.npy", "sst"), ("digits_1797x8x8_u1.npy", "digits")])
}

#[test]
fn a_terminal_shows_lines_bars_and_shades() {
    let place = place();
    let line = place.ok(&["plot", "a.bigarray:sst[:, 0]"]);
    assert_eq!(line.lines().count(), 18);
    assert!(line.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{line}");
    let bars = place.ok(&["plot", "--bins", "17", "a.bigarray:digits"]);
    assert_eq!(bars.lines().count(), 18);
    // 0 is the most frequent pixel.
    assert!(bars.lines().next().unwrap().ends_with(&format!("{} 56272", "█".repeat(70))), "{bars}");
    let image = place.ok(&["plot", "a.bigarray:digits[0]"]);
    let rows: Vec<&str> = image.lines().collect();
    assert_eq!((rows.len(), rows[0].chars().count(), rows[4]), (5, 8, "0 … 15"), "{image}");
}

#[test]
fn files_are_pictures_of_the_numbers() {
    let place = place();
    for (address, name) in
        [("a.bigarray:sst", "image"), ("a.bigarray:sst[:, :3]", "line"), ("a.bigarray:digits", "histogram")]
    {
        place.ok(&["plot", address, "--kind", name, "-o", "out.png"]);
        let mut reader =
            png::Decoder::new(std::io::Cursor::new(fs::read(place.path("out.png")).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (900, 540));
        assert_eq!((frame.color_type, frame.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        let coloured = pixels.chunks_exact(3).filter(|pixel| pixel[0] != pixel[1] || pixel[1] != pixel[2]).count();
        assert!(coloured > 1000, "{name}: {coloured}");
        place.ok(&["plot", address, "--kind", name, "-o", "out.svg"]);
        let svg = fs::read_to_string(place.path("out.svg")).unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains(&format!(">{address}</text>")),
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_drawn_says_why() {
    let place = place();
    assert!(place.fails(2, &["plot", "a.bigarray:sst", "-o", "out.gif"]).contains(".png or an .svg"));
    assert!(place.fails(2, &["plot", "a.bigarray:sst", "--kind", "line"]).contains("up to 8 columns"));
    assert!(place.fails(2, &["plot", "a.bigarray:digits", "--kind", "image"]).contains("two axes"));
    place.ok(&["create", "a.bigarray:nan", "--dtype", "<f8", "--shape", "9", "--fill", "NaN"]);
    place.ok(&["plot", "a.bigarray:nan"]);
    place.ok(&["plot", "a.bigarray:nan", "--kind", "histogram", "-o", "out.png"]);
    place.ok(&["create", "a.bigarray:none", "--dtype", "<f8", "--shape", "0,5"]);
    place.ok(&["plot", "a.bigarray:none"]);
    place.ok(&["create", "a.bigarray:complex", "--dtype", "<c8", "--shape", "3"]);
    assert!(place.fails(1, &["plot", "a.bigarray:complex"]).contains("real numbers"));
}
