#!/usr/bin/env bash
# A robust mutex in a file that processes of several PID namespaces map, as LMDB has two of in its lock file: containers
# that share a volume.
#
# Guess:     a robust mutex is taken from its owner when the owner dies, and then only.
# Behaviour: a thread that is killed while it waits for the mutex takes it from the owner, if the two have one thread
#            number, each in its own namespace; process 1 of two containers has. The word of the mutex holds the owner's
#            number; the thread that dies has noted what it waits for (list_op_pending), and the kernel marks that as left
#            by the dead if the word has the dying thread's number (handle_futex_death). The next to ask gets EOWNERDEAD
#            and the mutex, and the owner goes on as if it had it. LMDB then has two writers at once.
# Seen with: Linux 6.18, glibc 2.36. The test of what bigarray does about it:
#            store-lmdb/tests/namespaces.rs, a_thread_killed_while_it_waits_to_write_...
# Output:    asked while the owner lives and the waiter lives: EBUSY; and when the waiter was killed: EOWNERDEAD
#
# Needs root, for PID namespaces, and a C compiler. Exit status 0: the behaviour is as described; 1: it has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null; rm -rf "$dir"' EXIT
cat > "$dir/try.c" <<'C'
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int fd = open(argv[2], O_RDWR | O_CREAT, 0600);
    if (argc != 3 || fd < 0 || ftruncate(fd, 4096)) return 2;
    pthread_mutex_t *mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!strcmp(argv[1], "own")) {
        pthread_mutexattr_t attr;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(mutex, &attr);
    }
    int got = strcmp(argv[1], "ask") ? pthread_mutex_lock(mutex) : pthread_mutex_trylock(mutex);
    puts(got == 0 ? "locked" : got == EBUSY ? "EBUSY" : got == EOWNERDEAD ? "EOWNERDEAD" : strerror(got));
    fflush(stdout);
    if (strcmp(argv[1], "ask")) pause();
    return 0;
}
C
cc -pthread -o "$dir/try" "$dir/try.c"
contained() { exec unshare --pid --fork --kill-child "$dir/try" "$1" "$dir/mutex"; }
contained own > "$dir/owner" &
until grep -q locked "$dir/owner"; do sleep 0.1; done
contained wait > "$dir/waiter" &
waiter=$!
sleep 1
before=$("$dir/try" ask "$dir/mutex")
kill -KILL "$waiter"
sleep 1
after=$("$dir/try" ask "$dir/mutex")
echo "asked while the owner lives and the waiter lives: $before; and when the waiter was killed: $after"
[ "$before $after" = "EBUSY EOWNERDEAD" ]
