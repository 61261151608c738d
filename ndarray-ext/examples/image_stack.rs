//! A stack of images read frame by frame, and across its frames: which order to store it in, and what reading costs.
//!
//! ```text
//! cargo run --release --example image_stack [PICTURE.pgm]
//! ```
//!
//! The frames are 1,797 images of digits, each enlarged sixteen times. Shows: storage order, compression, how many blocks a
//! read touches, an image that can be looked at.

use std::error::Error;
use std::path::{Path, PathBuf};

use bigarray::ndarray::{Array2, ArrayView2, ArrayView3, Axis, Ix3, Order, s};
use bigarray::{ArrayOptions, Codec, Database};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Images of 8 × 8 pixels, values 0 to 16 (see `data/README.md`).
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/digits_1797x8x8_u1.npy");
const ENLARGED: usize = 16;
/// The column of pixels that is followed through all frames.
const COLUMN: usize = 60;
/// The frame that is looked at.
const FRAME: usize = 1000;
/// Small blocks, since single frames and columns are read.
const BLOCK: usize = 64 << 10;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?; // removed at the end
    let path = dir.path().join("stack.bigarray");
    // The same frames twice: as they come from a camera, and such that a column of pixels lies together in all frames.
    let db = Database::open(&path)?;
    db.transact(|txn| txn.read_npy::<u8, Ix3>("images", DATA).map(drop))?;
    let images = db.array::<u8, Ix3>("images")?.view().to_owned();
    let (frames, side) = (images.len_of(Axis(0)), 8 * ENLARGED);
    let smooth = ArrayOptions::new().codec(Codec::Lz4 { shuffle: false }).block_size(BLOCK);
    db.transact(|txn| {
        let mut by_frame = txn.create_with::<u8, _>("by_frame", (frames, side, side), &smooth)?;
        let mut view = by_frame.view_mut();
        for (mut frame, image) in view.axis_iter_mut(Axis(0)).zip(images.axis_iter(Axis(0))) {
            frame.assign(&Array2::from_shape_fn((side, side), |(y, x)| image[[y / ENLARGED, x / ENLARGED]]));
        }
        let by_column = smooth.clone().order(Order::ColumnMajor);
        let mut by_column = txn.create_with::<u8, _>("by_column", (frames, side, side), &by_column)?;
        by_column.view_mut().assign(&by_frame.view());
        Ok(())
    })?;
    drop(db); // the next ones read from disk

    let (frame, of_frame) = cold(&path, "by_frame", |stack| stack.index_axis_move(Axis(0), FRAME))?;
    let (across, of_across) = cold(&path, "by_frame", |stack| stack.slice_move(s![.., .., COLUMN]))?;
    let (same_frame, of_same_frame) = cold(&path, "by_column", |stack| stack.index_axis_move(Axis(0), FRAME))?;
    let (same_across, of_same_across) = cold(&path, "by_column", |stack| stack.slice_move(s![.., .., COLUMN]))?;
    println!("Blocks read, of {} each:", (frames * side * side).div_ceil(BLOCK));
    println!("  stored frame by frame:   {of_frame:>3} for a frame, {of_across:>3} for a column of all frames");
    println!(
        "  stored column by column: {of_same_frame:>3} for a frame, {of_same_across:>3} for a column of all frames"
    );

    assert!(frame == same_frame && across == same_across, "both orders hold the same images");
    for ((y, x), value) in frame.indexed_iter() {
        assert_eq!(*value, images[[FRAME, y / ENLARGED, x / ENLARGED]]);
    }
    for ((n, y), value) in across.indexed_iter() {
        assert_eq!(*value, images[[n, y / ENLARGED, COLUMN / ENLARGED]]);
    }
    let sum: u64 = across.iter().map(|value| u64::from(*value)).sum();
    let expected: u64 = images.index_axis(Axis(2), COLUMN / ENLARGED).iter().map(|value| u64::from(*value)).sum();
    println!("The sum over that column in all frames: {sum} (should be {})", expected * ENLARGED as u64);
    assert_eq!(sum, expected * ENLARGED as u64);

    let picture = std::env::args_os().nth(1).map_or_else(|| dir.path().join("column.pgm"), PathBuf::from);
    std::fs::write(&picture, pgm(across.view()))?;
    println!("{} shows the column, a line of the picture for each frame.", picture.display());
    Ok(())
}

/// What `part` picks, from a database opened anew, and how many blocks were read for it.
fn cold(
    path: &Path,
    name: &str,
    part: impl FnOnce(ArrayView3<'_, u8>) -> ArrayView2<'_, u8>,
) -> bigarray::Result<(Array2<u8>, u64)> {
    let db = Database::open(path)?;
    let stack = db.array::<u8, Ix3>(name)?;
    let picked = part(stack.view()).to_owned();
    Ok((picked, db.memory_use().blocks_copied))
}

/// A grey picture in a format that image viewers know, from values of 0 to 16.
fn pgm(picture: ArrayView2<'_, u8>) -> Vec<u8> {
    let mut bytes = format!("P5 {} {} 16\n", picture.ncols(), picture.nrows()).into_bytes();
    bytes.extend(picture.iter());
    bytes
}
