#!/usr/bin/env bash
# A file in the lower layer of an overlay mount (as every file that came with a container image), read by one process
# while another opens it to write.
#
# Guess:     a memory map that was made before shows what is written later, as on any local file system; or at least
#            `read` and a new map by one and the same descriptor agree.
# Behaviour: the first opening to write copies the file up. A descriptor opened before then *reads* the new file (the
#            kernel looks the real file up anew for each call) but *maps* the old one, for ever, also in maps that are
#            made after the copy-up. inode and device of both descriptors are equal, so `fstat` cannot tell.
# Seen with: Linux 6.18 (overlayfs), Python 3.11, numpy 2.4.6.
# Output:    read: b'new!'  map made before: b'old!'  map made after, old descriptor: b'old!'  same inode: True
#
# Needs root, for a mount namespace of its own. Exit status 0: the behaviour is as described; 1: it has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet numpy==2.4.6
cat > "$dir/try.py" <<'PY'
import mmap, os, subprocess, sys
import numpy as np

root = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
lower, upper, work, merged = (os.path.join(root, name) for name in ("lower", "upper", "work", "merged"))
for name in (lower, upper, work, merged):
    os.mkdir(name)
with open(f"{lower}/a.bin", "wb") as f:
    f.write(b"old!" * 1024)
options = f"lowerdir={lower},upperdir={upper},workdir={work}"
subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)

path = f"{merged}/a.bin"
before = np.memmap(path, dtype="S4", mode="r")
held = os.open(path, os.O_RDONLY)
with open(path, "r+b") as writer:
    writer.write(b"new!" * 1024)
after = mmap.mmap(held, 4096, prot=mmap.PROT_READ)
seen = os.pread(held, 4, 0), bytes(before[0]), after[:4], os.fstat(held).st_ino == os.stat(path).st_ino
print("read: %r  map made before: %r  map made after, old descriptor: %r  same inode: %r" % seen)
sys.exit(seen != (b"new!", b"old!", b"old!", True))
PY
mkdir "$dir/mnt"
unshare --mount "$dir/venv/bin/python" "$dir/try.py" "$dir/mnt"
