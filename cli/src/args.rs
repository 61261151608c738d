//! The command line, and the help that teaches it by examples.

use std::path::PathBuf;

use bigarray::Codec;
use bigarray::ndarray::Order;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::formats::Format;

/// Look at arrays of a bigarray database, import, export and change them.
///
/// An array is named DB:NAME, elements of it DB:NAME[SLICE] in NumPy's slice syntax, as 'sea.bigarray:sst[10:20, ::2, -1]'.
/// DB is a directory; it ends at the first colon, or behind '.bigarray'.
#[derive(Debug, Parser)]
#[command(name = "bigarray", version, arg_required_else_help = true, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say nothing but errors, and show no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const AFTER: &str = "\
Examples:
  bigarray import data/elnino_sst_61x12_f8.npy sea.bigarray:sst
  bigarray ls sea.bigarray
  bigarray head 'sea.bigarray:sst[-3:, ::2]'
  bigarray export 'sea.bigarray:sst[:, 0]' january.npy

Exit codes: 0 done, 1 failed, 2 wrong command line, 130 interrupted (143 by SIGTERM), 141 the reader of the output is gone.
'bigarray COMMAND --help' has the examples of a command.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the arrays of a database
    #[command(after_help = "Examples:
  bigarray ls sea.bigarray
  bigarray ls sea.bigarray --json")]
    Ls(OfDatabase),
    /// Tell what is known of an array, or of a database
    #[command(after_help = "Examples:
  bigarray info sea.bigarray:sst
  bigarray info sea.bigarray")]
    Info(OfAddress),
    /// Print the first rows of an array, or of a slice
    #[command(after_help = "Examples:
  bigarray head sea.bigarray:sst
  bigarray head -n 3 'sea.bigarray:sst[::-1, 0:4]'")]
    Head(Head),
    /// Print all elements of an array, or of a slice, a row a line
    #[command(after_help = "Examples:
  bigarray slice 'sea.bigarray:sst[48:51, ::3]'
  bigarray slice 'sea.bigarray:sst[:, 2]' | sort -n | tail -1")]
    Slice(OfSlice),
    /// Count, extremes, mean, deviation and quantiles, in one pass
    #[command(after_help = "Examples:
  bigarray stats sea.bigarray:sst
  bigarray stats --by-column 'sea.bigarray:sst[:, :4]'

NaN are counted and left out of all else. Quantiles are right within 1 part in 256, and the deviation is that of all elements
(NumPy's std).")]
    Stats(Stats),
    /// Draw a line, a histogram or an image: in the terminal, or as a PNG or SVG file
    #[command(after_help = "Examples:
  bigarray plot 'sea.bigarray:sst[:, 0]'
  bigarray plot --kind histogram sea.bigarray:sst
  bigarray plot 'sea.bigarray:sst[:, 0:3]' --kind line -o months.svg
  bigarray plot sea.bigarray:sst -o sst.png

One axis is a line, two are an image, and more a histogram, unless --kind says otherwise. Letters are in SVG files only.")]
    Plot(Plot),
    /// Print the completions of a shell
    #[command(after_help = "Example:
  bigarray completions bash > bigarray.bash")]
    Completions(Completions),
    /// Print the man page
    #[command(after_help = "Example:
  bigarray man > bigarray.1")]
    Man,
    /// List the arrays of a database as a tree, by the slashes in their names
    #[command(after_help = "Example:
  bigarray tree sea.bigarray")]
    Tree(OfDatabase),
    /// Copy an array or a slice: to another name, database, type, order, codec or block size
    #[command(after_help = "Examples:
  bigarray cp sea.bigarray:sst sea.bigarray:copy
  bigarray cp 'sea.bigarray:sst[:, 0]' sea.bigarray:january
  bigarray cp sea.bigarray:sst sea.bigarray:rows --order C --codec zstd
  bigarray cp sea.bigarray:sst other.bigarray:small --dtype '<f4'

A number that the new type does not have is an error: an integer out of range, a fraction in an integer, a float too large.
Floats are rounded.")]
    Cp(Cp),
    /// Make the axis along which an array grows longer or shorter
    #[command(after_help = "Example:
  bigarray resize sea.bigarray:rows 100")]
    Resize(Resize),
    /// Add the rows of files to an array: import --append
    #[command(after_help = "Example:
  bigarray append data/digits_1797x8x8_u1.npy sea.bigarray:digits")]
    Append(Import),
    /// Compare two arrays, or slices
    #[command(after_help = "Examples:
  bigarray diff sea.bigarray:sst sea.bigarray:copy
  bigarray diff 'sea.bigarray:sst[0:10]' 'sea.bigarray:copy[0:10]'

Exit code 1 if they differ, as of diff. NaN is the same as NaN.")]
    Diff(Diff),
    /// Read all that is stored, and compare it with its checksums
    #[command(after_help = "Example:
  bigarray check sea.bigarray")]
    Check(OfDatabase),
    /// Tell what the files of a database are used for, and which process holds an old state
    #[command(after_help = "Examples:
  bigarray space sea.bigarray
  bigarray space --json sea.bigarray")]
    Space(OfDatabase),
    /// Print rows as they are committed, until it is interrupted
    #[command(after_help = "Examples:
  bigarray watch sea.bigarray:log
  bigarray watch --for 0.1 sea.bigarray:log")]
    Watch(Watch),
    /// Tell what this kernel and file system allow, which limits are near, and what a commit costs here
    #[command(after_help = "Examples:
  bigarray doctor
  bigarray doctor sea.bigarray")]
    Doctor(Doctor),
    /// Create an array that was never written
    #[command(after_help = "Examples:
  bigarray create sea.bigarray:wind --dtype '<f4' --shape 0,180,360 --fill NaN
  bigarray create sea.bigarray:mask --dtype '|b1' --shape 61,12 --codec lz4")]
    Create(Create),
    /// Remove arrays
    #[command(after_help = "Example:
  bigarray rm sea.bigarray:wind sea.bigarray:mask")]
    Rm(Addresses),
    /// Rename an array
    #[command(after_help = "Example:
  bigarray mv sea.bigarray:sst monthly")]
    Mv(Mv),
    /// Print, set or remove attributes of an array, or of a database
    #[command(after_help = "Examples:
  bigarray attr sea.bigarray:sst
  bigarray attr sea.bigarray:sst unit=degC 'valid_range=[20, 30]'
  bigarray attr sea.bigarray:sst unit
  bigarray attr sea.bigarray:sst --remove unit
  bigarray attr sea.bigarray title='El Nino'

A value is JSON where it is that, and a text otherwise.")]
    Attr(Attr),
    /// Import files as an array, in one transaction
    #[command(after_help = "Examples:
  bigarray import data/elnino_sst_61x12_f8.npy sea.bigarray:sst
  bigarray import --append data/elnino_sst_61x12_f8.npy data/elnino_sst_bigendian_f8.npy sea.bigarray:twice
  bigarray import --codec zstd data/digits_1797x8x8_u1.npy sea.bigarray:digits
  bigarray import --dtype '<f8' --shape 61,12 --offset 128 data/elnino_sst_61x12_f8.npy --format raw sea.bigarray:raw
  cat data/sunspots_309x2_f8.npy | bigarray import - sea.bigarray:sunspots
  printf 'year,spots\\n1700,5\\n1701,11\\n' | bigarray import --format csv - sea.bigarray:csv

Text files (.csv, .tsv): a first row without numbers has the names of the columns, which become the attribute 'columns'. Without
--dtype the first 1000 rows decide: integers become <i8, all else <f8. An empty field is NaN. Files ending in .gz are
decompressed.")]
    Import(Import),
    /// Export an array, or a slice of it, to a file
    #[command(after_help = "Examples:
  bigarray export sea.bigarray:sst sst.npy
  bigarray export 'sea.bigarray:sst[::2, 0]' - | wc -c
  bigarray export sea.bigarray:sst sst.raw
  bigarray export sea.bigarray:sst sst.csv.gz")]
    Export(Export),
}

#[derive(Debug, Args)]
pub(crate) struct OfDatabase {
    /// The database
    #[arg(value_name = "DB")]
    pub(crate) database: String,
}

#[derive(Debug, Args)]
pub(crate) struct OfAddress {
    /// The array, or the database
    #[arg(value_name = "DB[:NAME]")]
    pub(crate) address: String,
}

#[derive(Debug, Args)]
pub(crate) struct Addresses {
    /// The arrays
    #[arg(value_name = "DB:NAME", required = true)]
    pub(crate) addresses: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Head {
    /// The array, and which elements of it
    #[arg(value_name = "DB:NAME[SLICE]")]
    pub(crate) address: String,
    /// How many rows
    #[arg(short = 'n', long, default_value_t = 10)]
    pub(crate) rows: usize,
}

#[derive(Debug, Args)]
pub(crate) struct OfSlice {
    /// The array, and which elements of it
    #[arg(value_name = "DB:NAME[SLICE]")]
    pub(crate) address: String,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The array, and which elements of it
    #[arg(value_name = "DB:NAME[SLICE]")]
    pub(crate) address: String,
    /// Each column by itself: each index of the last axis
    #[arg(long)]
    pub(crate) by_column: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plot {
    /// The array, and which elements of it
    #[arg(value_name = "DB:NAME[SLICE]")]
    pub(crate) address: String,
    /// The picture, a .png or .svg file; without it, it is drawn in the terminal
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// What is drawn
    #[arg(short, long)]
    pub(crate) kind: Option<PlotKind>,
    /// Parts of a histogram
    #[arg(long, value_name = "N")]
    pub(crate) bins: Option<usize>,
}

/// What is drawn of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlotKind {
    Line,
    Histogram,
    Image,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// The array, and which elements of it
    #[arg(value_name = "DB:NAME[SLICE]")]
    pub(crate) from: String,
    /// The copy
    #[arg(value_name = "DB:NAME")]
    pub(crate) to: String,
    /// NumPy's name of the new element type, as '<f4'
    #[arg(long)]
    pub(crate) dtype: Option<String>,
    /// The new order: which axis grows and is outermost, C the first, F the last
    #[arg(long, value_name = "C|F")]
    pub(crate) order: Option<GivenOrder>,
    /// Compression of the copy: none, lz4 or zstd, after byte shuffle; that of the array by default
    #[arg(long, value_name = "NAME[:LEVEL]", value_parser = codec)]
    pub(crate) codec: Option<Codec>,
    /// Bytes of a block, 65536 to 2097152; that of the array by default
    #[arg(long, value_name = "BYTES")]
    pub(crate) block: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// The array
    #[arg(value_name = "DB:NAME")]
    pub(crate) address: String,
    /// Its new length along the axis that grows
    #[arg(value_name = "ROWS")]
    pub(crate) rows: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// One array
    #[arg(value_name = "DB:NAME[SLICE]")]
    pub(crate) one: String,
    /// The other
    #[arg(value_name = "DB:NAME[SLICE]")]
    pub(crate) other: String,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The array
    #[arg(value_name = "DB:NAME")]
    pub(crate) address: String,
    /// Stop after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) seconds: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// A database, or the directory where one would be
    #[arg(value_name = "DB", default_value = ".")]
    pub(crate) place: String,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The array
    #[arg(value_name = "DB:NAME")]
    pub(crate) address: String,
    /// NumPy's name of the element type, as '<f8', '<i4', '|u1', '|b1', or a list of fields
    #[arg(long)]
    pub(crate) dtype: String,
    /// Length of each axis
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub(crate) shape: Vec<usize>,
    /// What elements are that were never written
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) fill: Option<String>,
    /// Which axis grows and is outermost: C is the first, F the last
    #[arg(long, value_name = "C|F", default_value = "C")]
    pub(crate) order: GivenOrder,
    #[command(flatten)]
    pub(crate) storage: Storage,
}

/// How an array is stored.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Storage {
    /// Compression: none, lz4 or zstd, after byte shuffle
    #[arg(long, value_name = "NAME[:LEVEL]", value_parser = codec, default_value = "none")]
    pub(crate) codec: Codec,
    /// Bytes of a block: the unit of loading and of conflicts, 65536 to 2097152
    #[arg(long, value_name = "BYTES")]
    pub(crate) block: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Mv {
    /// The array
    #[arg(value_name = "DB:NAME")]
    pub(crate) from: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    pub(crate) to: String,
}

#[derive(Debug, Args)]
pub(crate) struct Attr {
    /// The array, or the database
    #[arg(value_name = "DB[:NAME]")]
    pub(crate) address: String,
    /// NAME=VALUE to set, NAME to print
    #[arg(value_name = "NAME[=VALUE]")]
    pub(crate) attrs: Vec<String>,
    /// Remove an attribute
    #[arg(long, value_name = "NAME")]
    pub(crate) remove: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The files, of which - is standard input, and the array
    #[arg(value_name = "FILE… DB:NAME", required = true, num_args = 1..)]
    pub(crate) paths: Vec<String>,
    /// Add rows to the array if it is there; several files are added one after the other
    #[arg(long)]
    pub(crate) append: bool,
    /// Replace the array if it is there
    #[arg(long, conflicts_with = "append")]
    pub(crate) replace: bool,
    /// The files' format, where their endings do not tell
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Raw files: NumPy's name of the element type, as '<f4' or '>i2'. Text files: the type that their numbers get
    #[arg(long)]
    pub(crate) dtype: Option<String>,
    /// Raw files: length of each axis; without it there is one axis, as long as the file is
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub(crate) shape: Option<Vec<usize>>,
    /// Raw files: which axis is outermost, C the first, F the last
    #[arg(long, value_name = "C|F")]
    pub(crate) order: Option<GivenOrder>,
    /// Raw files: bytes before the first element
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) offset: u64,
    #[command(flatten)]
    pub(crate) storage: Storage,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The array, and which elements of it
    #[arg(value_name = "DB:NAME[SLICE]")]
    pub(crate) address: String,
    /// The file; - is standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Its format, where its ending does not tell
    #[arg(long)]
    pub(crate) format: Option<Format>,
}

/// An order of elements by NumPy's letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GivenOrder {
    #[value(name = "C", alias = "c")]
    C,
    #[value(name = "F", alias = "f")]
    F,
}

impl From<GivenOrder> for Order {
    fn from(order: GivenOrder) -> Order {
        Order::row_major(order == GivenOrder::C)
    }
}

fn codec(text: &str) -> Result<Codec, String> {
    match text.split_once(':') {
        None if text == "none" => Ok(Codec::None),
        None if text == "lz4" => Ok(Codec::Lz4 { shuffle: true }),
        None if text == "zstd" => Ok(Codec::Zstd { level: 3, shuffle: true }),
        Some(("zstd", level)) => {
            let level = level.parse().ok().filter(|level| (-7..=22).contains(level));
            level
                .map(|level| Codec::Zstd { level, shuffle: true })
                .ok_or_else(|| "the levels of zstd are -7 to 22".to_owned())
        }
        _ => Err("it takes none, lz4, zstd or zstd:LEVEL".to_owned()),
    }
}
