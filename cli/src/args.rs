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
  cat data/sunspots_309x2_f8.npy | bigarray import - sea.bigarray:sunspots")]
    Import(Import),
    /// Export an array, or a slice of it, to a file
    #[command(after_help = "Examples:
  bigarray export sea.bigarray:sst sst.npy
  bigarray export 'sea.bigarray:sst[::2, 0]' - | wc -c
  bigarray export sea.bigarray:sst sst.raw")]
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
    /// The files; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The array
    #[arg(value_name = "DB:NAME")]
    pub(crate) address: String,
    /// Add rows to the array if it is there; several files are added one after the other
    #[arg(long)]
    pub(crate) append: bool,
    /// Replace the array if it is there
    #[arg(long, conflicts_with = "append")]
    pub(crate) replace: bool,
    /// The files' format, where their endings do not tell
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Raw files: NumPy's name of the element type, as '<f4' or '>i2'
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
