/* A disk that fails once, and remembers: preloaded into a process, it counts the calls that change files under a watched
   folder, lets the n-th one fail, and writes all of them to a journal from which a disk that lost power is made anew.

   disk_watch(folder, journal): from now on. disk_fail(n, how): the n-th call from now fails, n >= 1, once; how: 1 EIO,
   2 ENOSPC, 3 half of a write and then ENOSPC. disk_calls(): how many calls there were since disk_fail or disk_watch.
   disk_note(text): a line of the caller's own in the journal. Single-threaded; a file has one path while it is open. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char watched[1024];
static int journal = -1;
static long calls, fail_at, fail_how;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void raw(const void *data, size_t size) {
    static ssize_t (*write_)(int, const void *, size_t);
    if (!write_) write_ = REAL(write);
    if (journal >= 0 && write_(journal, data, size) != (ssize_t)size) abort();
}

/* kind, path, second path or "", offset, size of the data; then the data. */
static void say(const char *kind, const char *path, const char *other, long at, const void *data, size_t size) {
    char line[4096];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%ld\t%zu\n", kind, path, other, at, size);
    raw(line, length);
    if (size) raw(data, size);
}

/* The path of an open file under the watched folder, without it. The shared memory of the log is no part of the disk. */
static int known(const char *full, char *path) {
    size_t length = strlen(watched);
    if (!length || strncmp(full, watched, length) || strstr(full, "-shm")) return 0;
    strcpy(path, full[length] == '/' ? full + length + 1 : ".");
    return 1;
}

static int path_of(int fd, char *path) {
    char link[64], full[2048];
    if (!watched[0] || fd == journal) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, full, sizeof full - 1);
    if (length < 0) return 0;
    full[length] = 0;
    return known(full, path);
}

/* What the call is to fail with, or 0. */
static int fails(void) {
    if (++calls != fail_at) return 0;
    return fail_how == 1 ? EIO : ENOSPC;
}

void disk_watch(const char *folder, const char *to) {
    strcpy(watched, folder);
    if (journal >= 0) close(journal);
    journal = to && *to ? open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    calls = fail_at = 0;
}
void disk_fail(long n, long how) { calls = 0; fail_at = n; fail_how = how; }
long disk_calls(void) { return calls; }
void disk_note(const char *text) { say("note", text, "", 0, "", 0); }

static ssize_t put(int fd, const void *data, size_t size, off_t at, int moves) {
    static ssize_t (*write_)(int, const void *, size_t);
    static ssize_t (*pwrite_)(int, const void *, size_t, off_t);
    char path[2048];
    if (!write_) { write_ = REAL(write); pwrite_ = REAL(pwrite); }
    if (path_of(fd, path)) {
        int error = fails();
        if (moves) at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
        if (error && fail_how != 3) { errno = error; return -1; }
        if (error) {
            size /= 2;
            fail_at = calls + 1; /* the rest of it does not fit */
            fail_how = 2;
            if (!size) { errno = error; return -1; }
        }
        say("write", path, "", at, data, size);
    }
    return moves ? write_(fd, data, size) : pwrite_(fd, data, size, at);
}
ssize_t write(int fd, const void *data, size_t size) { return put(fd, data, size, 0, 1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return put(fd, data, size, at, 0); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return put(fd, data, size, at, 0); }

#define ON_FILE(name, kind, arguments, call, at)                                   \
    int name arguments {                                                           \
        static int (*real) arguments;                                              \
        char path[2048];                                                           \
        if (!real) real = (int (*) arguments)dlsym(RTLD_NEXT, #name);              \
        if (path_of(fd, path)) {                                                   \
            int error = fails();                                                   \
            if (error) { errno = error; return -1; }                               \
            say(kind, path, "", at, "", 0);                                        \
        }                                                                          \
        return real call;                                                          \
    }
ON_FILE(fsync, "sync", (int fd), (fd), 0)
ON_FILE(fdatasync, "sync", (int fd), (fd), 0)
ON_FILE(ftruncate, "cut", (int fd, off_t size), (fd, size), (long)size)
ON_FILE(ftruncate64, "cut", (int fd, off64_t size), (fd, size), (long)size)

static int absolute(const char *path, char *found) {
    char full[2048];
    if (path[0] == '/') return known(path, found);
    if (!getcwd(full, 1024)) return 0;
    strcat(strcat(full, "/"), path);
    return known(full, found);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    char a[2048], b[2048];
    if (!real) real = REAL(rename);
    if (absolute(from, a) && absolute(to, b)) {
        int error = fails();
        if (error) { errno = error; return -1; }
        say("rename", a, b, 0, "", 0);
    }
    return real(from, to);
}

int unlink(const char *path) {
    static int (*real)(const char *);
    char a[2048];
    if (!real) real = REAL(unlink);
    if (absolute(path, a)) {
        int error = fails();
        if (error) { errno = error; return -1; }
        say("unlink", a, "", 0, "", 0);
    }
    return real(path);
}
