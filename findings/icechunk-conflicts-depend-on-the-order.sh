#!/usr/bin/env bash
# Two sessions of Icechunk change one array, each without knowing of the other; the second one commits with
# rebase_with=ConflictDetector(), which is to tell whether they changed the same.
#
# Guess:     whether two changes conflict does not depend on which of them is committed first.
# Behaviour: it does. A session that wrote a chunk is refused after one that set an attribute; the other way round both are
#            kept. A session that cuts the array within a chunk, as zarr's resize does, passes after one that filled what
#            is cut off: both commits said yes, and what the first one stored is gone. Where the cut came first, the fill
#            is refused.
# Seen with: icechunk 2.3.0, zarr 3.4.2, Python 3.12.
# Output:    attribute, then chunk: conflict     chunk, then attribute: both
#            cut, then fill: conflict            fill, then cut: both
#
# Takes Python 3.12 or later, from the variable PYTHON or from the path. Exit status 0: the behaviour is as described; 1: it
# has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet icechunk==2.3.0 zarr==3.4.2 numpy==2.5.5 numcodecs==0.17.1
cat > "$dir/try.py" <<'PY'
import sys
import icechunk, zarr

icechunk.set_logs_filter("error")
CHANGES = {
    "attribute": lambda array: array.attrs.update({"unit": "K"}),
    "chunk": lambda array: array.__setitem__(slice(0, 10), 5),
    "fill": lambda array: array.__setitem__(slice(90, 100), 5),
    "cut": lambda array: array.resize((95,)),
}


def array(session):
    return zarr.open_group(session.store)["a"]


def meet(first, second):
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    zarr.open_group(session.store).create_array("a", shape=100, chunks=10, dtype="i8")
    session.commit("made")
    sessions = [repository.writable_session("main") for _ in range(2)]
    for session, change in zip(sessions, (first, second)):
        CHANGES[change](array(session))
    sessions[0].commit(first)
    try:
        sessions[1].commit(second, rebase_with=icechunk.ConflictDetector())
    except icechunk.RebaseFailedError:
        return "conflict"
    return "both"


met = {pair: meet(*pair) for pair in [("attribute", "chunk"), ("chunk", "attribute"), ("cut", "fill"), ("fill", "cut")]}
for (first, second), outcome in met.items():
    print(f"{first}, then {second}: {outcome}")
sys.exit(list(met.values()) != ["conflict", "both", "conflict", "both"])
PY
"$dir/venv/bin/python" "$dir/try.py"
