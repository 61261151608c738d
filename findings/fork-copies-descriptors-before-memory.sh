#!/usr/bin/env bash
# fork() in one thread while another thread opens files.
#
# Guess:     the child is one picture of the parent: a descriptor that a variable of the child names is open there,
#            since the parent's thread stored the number only after open() had returned.
# Behaviour: the kernel copies the table of descriptors first and the memory later. What another thread opens between
#            the two is known to the child's memory, and its number is free in the child: the next file that the child
#            opens gets it, and then two values of the program mean one file. A handler of pthread_atfork that puts
#            another file in place of the parent's descriptors meets it: the file may get the very number it shall replace.
# Seen with: Linux 6.18 (copy_process: copy_files before copy_mm), glibc 2.36, gcc 12.2.
# Output:    first seen after 18 of at most 20000 forks: the memory says that 3 is open, the table says EBADF
#
# Needs a C compiler and two processors. Exit status 0: the behaviour is as described; 1: it was not seen.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/try.c" <<'C'
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int opened = -1; /* a descriptor that is open for sure, or -1 */

static void *opens_and_closes(void *path) {
    for (;;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        opened = fd;
        for (volatile int n = 0; n < 1000; n++);
        opened = -1;
        close(fd);
    }
    return 0;
}

int main(void) {
    size_t size = 32 << 20; /* pages to copy, which takes the time that the other thread needs */
    memset(malloc(size), 1, size);
    pthread_t thread;
    pthread_create(&thread, 0, opens_and_closes, "/dev/null");
    for (int n = 1; n <= 20000; n++) {
        pid_t child = fork();
        if (child == 0) {
            int fd = opened;
            _exit(fd >= 0 && fcntl(fd, F_GETFD) < 0 && errno == EBADF ? fd : 0);
        }
        int status;
        waitpid(child, &status, 0);
        if (WEXITSTATUS(status)) {
            printf("first seen after %d of at most 20000 forks: the memory says that %d is open, the table says EBADF\n",
                   n, WEXITSTATUS(status));
            return 0;
        }
    }
    puts("not seen in 20000 forks");
    return 1;
}
C
cc -O1 -pthread -o "$dir/try" "$dir/try.c"
timeout 300 "$dir/try"
