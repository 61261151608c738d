#!/usr/bin/env bash
# cargo package of two crates of a workspace, twice, with one target directory.
#
# Guess:     each run verifies the packages that it has just made: the crate above is built with the crate below as it is
#            packed now.
# Behaviour: the second run builds the crate above with the sources of the first run. cargo puts the packed crate below into
#            a registry of its own in the target directory, and unpacks it from there into its home, as it does for any
#            registry, by name and version. A package of that name and version that is unpacked there already is taken as
#            it is. The version in development does not change from run to run, so a new function of the crate below is
#            "not found", and a removed one is still there: the check fails without a fault, or passes with one.
# Seen with: cargo 1.95.0, which packs whole workspaces (that came with 1.90); Linux 6.18.
# Output:    error[E0425]: cannot find function `second` in crate `below_for_a_finding`
#
# Needs cargo 1.90 or later. Exit status 0: the behaviour is as described; 1: it was not seen.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export CARGO_HOME=$dir/home CARGO_TARGET_DIR=$dir/target CARGO_NET_OFFLINE=true

crate() { # name, dependencies, source
  mkdir -p "$dir/$1/src"
  printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\n%s\n' "$1" "$2" > "$dir/$1/Cargo.toml"
  echo "$3" > "$dir/$1/src/lib.rs"
}

above() { crate above_for_a_finding 'below_for_a_finding = { path = "../below_for_a_finding", version = "0.1.0" }' "$1"; }
below() { crate below_for_a_finding "" "$1"; }

package() { cargo package --quiet --allow-dirty --manifest-path "$dir/Cargo.toml" --workspace 2>&1; }

printf '[workspace]\nresolver = "2"\nmembers = ["above_for_a_finding", "below_for_a_finding"]\n' > "$dir/Cargo.toml"
below 'pub fn first() {}'
above 'pub fn all() { below_for_a_finding::first() }'
package > "$dir/log" || { cat "$dir/log"; echo "the first run failed"; exit 1; }

below 'pub fn first() {} pub fn second() {}'
above 'pub fn all() { below_for_a_finding::second() }'
# The workspace itself is right.
cargo check --quiet --manifest-path "$dir/Cargo.toml" --workspace
if package > "$dir/log"; then
  echo "the second run verified what it packed: the behaviour has changed"
  exit 1
fi
grep -m 1 'cannot find function' "$dir/log" || { cat "$dir/log"; exit 1; }
# Without what was unpacked and built it is verified.
rm -rf "$CARGO_HOME"/registry/src/*/below_for_a_finding-0.1.0 "$CARGO_TARGET_DIR"
package > "$dir/log" || { cat "$dir/log"; exit 1; }
echo "the second run was built with the sources of the first"
