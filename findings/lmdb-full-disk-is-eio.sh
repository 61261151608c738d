#!/usr/bin/env bash
# LMDB on a file system that has a few pages left when a transaction commits.
#
# Guess:     the commit fails with ENOSPC (py-lmdb: lmdb.DiskError), as every other program's writes do.
# Behaviour: where the disk fills up in the midst of a write, `pwritev` writes a part and says so. LMDB takes any short
#            count for EIO: "Input/output error", the same as for a broken disk. Only where not one byte fits does
#            ENOSPC come through, so which of the two it is depends on how many pages are left.
# Seen with: py-lmdb 1.7.5 with its bundled LMDB 0.9.33, tmpfs, Linux 6.18.
# Output:    {'No space left on device': 1, 'Input/output error': 40} for 0 to 40 pages left
#
# Needs root, for a mount namespace of its own. Exit status 0: the behaviour is as described; 1: it has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet lmdb==1.7.5
cat > "$dir/try.py" <<'PY'
import collections, errno, os, subprocess, sys
import lmdb

root = sys.argv[1]
print("LMDB", ".".join(map(str, lmdb.version())))
answers = collections.Counter()
for left in range(41):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", root], check=True)
    env = lmdb.open(f"{root}/db", map_size=64 << 20)
    with env.begin(write=True) as txn:
        txn.put(b"first", b"1")
    free = os.statvfs(root).f_bavail
    with open(f"{root}/ballast", "wb") as f:
        f.write(bytes(4096 * (free - left)))
    try:
        with env.begin(write=True) as txn:
            for n in range(400):
                txn.put(b"%06d" % n, bytes(1000))
        answers["Ok"] += 1
    except lmdb.Error as e:
        answers[str(e).split(": ")[-1]] += 1
    env.close()
    subprocess.run(["umount", root], check=True)
print(dict(answers))
sys.exit(not (answers["Input/output error"] > 0 and answers["No space left on device"] > 0))
PY
mkdir "$dir/mnt"
unshare --mount "$dir/venv/bin/python" "$dir/try.py" "$dir/mnt"
