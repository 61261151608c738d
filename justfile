# One recipe a CI step; `.ci/run` holds what each does, so that CI needs no just.

# Before a commit: what is quick.
check: format lint test

# All that CI runs.
ci:
    bash .ci/run

format:
    bash .ci/run format

lint:
    bash .ci/run lint

docs:
    bash .ci/run docs

# Licences, sources and known vulnerabilities of dependencies.
deny:
    bash .ci/run deny

# The library with the oldest Rust that the manifest allows.
msrv:
    bash .ci/run msrv

test:
    bash .ci/run test

# The store on object storage: lint, documentation, tests. Needs Rust 1.95.
icechunk:
    bash .ci/run icechunk

# Python's icechunk, zarr and xarray open what is written, and the other way round (Python 3.12 or later).
interchange:
    bash .ci/run interchange

# The same store on a real S3 server: Ceph's gateway from Debian's packages, started and stopped here.
cluster:
    bash .ci/run cluster

# The product's tests in every other pager mode.
modes:
    bash .ci/run modes

# The same as an ordinary user.
unprivileged:
    bash .ci/run unprivileged

# The main job of the README.
quickstart:
    bash .ci/run quickstart

# The other examples, whose answers are checked.
examples:
    bash .ci/run examples

# The README's example in a program of its own, set up as the README says.
outside:
    bash .ci/run outside

# What is published is packed, and built from its packages. Needs Rust 1.95.
package:
    bash .ci/run package

# What a build without a codec can do with arrays that are stored with it: `tests/outside`.
codecs:
    bash .ci/run codecs

# The store's tests with the LMDB of a distribution.
system-lmdb:
    bash .ci/run system-lmdb

# The comparison with mapped files, in short.
compare:
    bash .ci/run compare

# What becomes of the data file under a million commits of each kind, by the allocator alone: `just space-model 10000000`.
space-model commits="1000000":
    COMMITS={{commits}} cargo test --release -p bigarray-store-lmdb --lib -- --nocapture --test-threads=1 space_model

# Object storage measured against plain requests to the same server, as `just remote --url s3://bucket/prefix`.
remote *args:
    cargo run --release -p bigarray-benches --features icechunk --bin remote -- {{args}}

# The files of a crate by floors, what each imports, and circles; of every crate without a name.
architecture *crates:
    cargo run -q -p bigarray-architecture -- {{crates}}

# Criterion benches of the pieces; `just bench FILTER` runs some.
bench *args:
    cargo bench -p bigarray-benches --bench pieces -- {{args}}

# Jobs beyond RAM, in short.
jobs:
    bash .ci/run jobs

# Random programs until one fails; needs nightly, cargo-fuzz and a C++ compiler.
fuzz *args:
    cargo +nightly fuzz run pager {{args}}
