/* Makes the n-th file-system call below some folders fail: a library for LD_PRELOAD.
 *
 * FAULTS_UNDER  folders whose files count, separated by ':'
 * FAULTS_AT     which call fails, from 1; 0: none, they are only counted
 * FAULTS_ERRNO  the error it fails with
 * FAULTS_REPORT file that gets the number of counted calls and the name of the one that failed, at the end
 *
 * Only the process itself is disturbed: what it starts does not inherit the library. Calls count in the order in
 * which they happen, over all threads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char under[8][PATH_MAX];
static int folders;
static long at;
static int error;
static atomic_long calls;
static _Atomic(const char *) failed;
static char report[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    const char *list = getenv("FAULTS_UNDER");
    char copy[sizeof under];
    char *rest = copy;
    char *one;
    if (!list) return;
    snprintf(copy, sizeof copy, "%s", list);
    while (folders < 8 && (one = strsep(&rest, ":"))) snprintf(under[folders++], PATH_MAX, "%s", one);
    if (getenv("FAULTS_AT")) at = atol(getenv("FAULTS_AT"));
    if (getenv("FAULTS_ERRNO")) error = atoi(getenv("FAULTS_ERRNO"));
    if (getenv("FAULTS_REPORT")) snprintf(report, sizeof report, "%s", getenv("FAULTS_REPORT"));
    unsetenv("LD_PRELOAD");
}

__attribute__((destructor)) static void end(void) {
    char line[128];
    const char *name = atomic_load(&failed);
    int length = snprintf(line, sizeof line, "%ld %s\n", atomic_load(&calls), name ? name : "-");
    int file;
    if (!report[0]) return;
    file = (int)syscall(SYS_openat, AT_FDCWD, report, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file >= 0) {
        syscall(SYS_write, file, line, length);
        syscall(SYS_close, file);
    }
}

static int is_under(const char *path) {
    for (int folder = 0; folder < folders; folder++) {
        size_t length = strlen(under[folder]);
        if (strncmp(path, under[folder], length) == 0 && (path[length] == '/' || path[length] == 0)) return 1;
    }
    return 0;
}

static int is_descriptor_under(int descriptor) {
    char link[64];
    char path[PATH_MAX];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_under(path);
}

static int is_place_under(int folder, const char *path) {
    if (path && path[0] == '/') return is_under(path);
    return folder != AT_FDCWD && is_descriptor_under(folder);
}

/* Whether this call is the one that fails. */
static int fails(int counts, const char *name) {
    if (!counts) return 0;
    if (atomic_fetch_add(&calls, 1) + 1 != at) return 0;
    atomic_store(&failed, name);
    errno = error;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENER(name)                                                          \
    int name(const char *path, int flags, ...) {                              \
        mode_t mode = 0;                                                      \
        if (flags & (O_CREAT | O_TMPFILE)) {                                  \
            va_list more;                                                     \
            va_start(more, flags);                                            \
            mode = va_arg(more, mode_t);                                      \
            va_end(more);                                                     \
        }                                                                     \
        if (fails(is_place_under(AT_FDCWD, path), #name)) return -1;          \
        return NEXT(name)(path, flags, mode);                                 \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name)                                                       \
    int name(int folder, const char *path, int flags, ...) {                  \
        mode_t mode = 0;                                                      \
        if (flags & (O_CREAT | O_TMPFILE)) {                                  \
            va_list more;                                                     \
            va_start(more, flags);                                            \
            mode = va_arg(more, mode_t);                                      \
            va_end(more);                                                     \
        }                                                                     \
        if (fails(is_place_under(folder, path), #name)) return -1;            \
        return NEXT(name)(folder, path, flags, mode);                         \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

#define FORWARD(type, name, parameters, counts, arguments)                    \
    type name parameters {                                                    \
        if (fails(counts, #name)) return -1;                                  \
        return NEXT(name) arguments;                                          \
    }
FORWARD(int, mkdir, (const char *path, mode_t mode), is_place_under(AT_FDCWD, path), (path, mode))
FORWARD(int, mkdirat, (int folder, const char *path, mode_t mode), is_place_under(folder, path), (folder, path, mode))
FORWARD(int, rmdir, (const char *path), is_place_under(AT_FDCWD, path), (path))
FORWARD(int, unlink, (const char *path), is_place_under(AT_FDCWD, path), (path))
FORWARD(int, unlinkat, (int folder, const char *path, int flags), is_place_under(folder, path), (folder, path, flags))
FORWARD(int, rename, (const char *from, const char *to), is_place_under(AT_FDCWD, to), (from, to))
FORWARD(int, renameat, (int one, const char *from, int two, const char *to), is_place_under(two, to), (one, from, two, to))
FORWARD(int, renameat2, (int one, const char *from, int two, const char *to, unsigned flags), is_place_under(two, to),
        (one, from, two, to, flags))
FORWARD(int, link, (const char *from, const char *to), is_place_under(AT_FDCWD, to), (from, to))
FORWARD(int, linkat, (int one, const char *from, int two, const char *to, int flags), is_place_under(two, to),
        (one, from, two, to, flags))
FORWARD(int, symlink, (const char *text, const char *path), is_place_under(AT_FDCWD, path), (text, path))
FORWARD(int, symlinkat, (const char *text, int folder, const char *path), is_place_under(folder, path), (text, folder, path))
FORWARD(int, chmod, (const char *path, mode_t mode), is_place_under(AT_FDCWD, path), (path, mode))
FORWARD(int, fchmod, (int file, mode_t mode), is_descriptor_under(file), (file, mode))
FORWARD(int, fchmodat, (int folder, const char *path, mode_t mode, int flags), is_place_under(folder, path),
        (folder, path, mode, flags))
FORWARD(int, utimensat, (int folder, const char *path, const struct timespec times[2], int flags),
        is_place_under(folder, path), (folder, path, times, flags))
FORWARD(int, futimens, (int file, const struct timespec times[2]), is_descriptor_under(file), (file, times))
FORWARD(int, fsync, (int file), is_descriptor_under(file), (file))
FORWARD(int, fdatasync, (int file), is_descriptor_under(file), (file))
FORWARD(int, syncfs, (int file), is_descriptor_under(file), (file))
FORWARD(int, ftruncate, (int file, off_t length), is_descriptor_under(file), (file, length))
FORWARD(int, ftruncate64, (int file, off64_t length), is_descriptor_under(file), (file, length))
FORWARD(ssize_t, write, (int file, const void *bytes, size_t length), is_descriptor_under(file), (file, bytes, length))
FORWARD(ssize_t, writev, (int file, const struct iovec *parts, int count), is_descriptor_under(file), (file, parts, count))
FORWARD(ssize_t, pwrite, (int file, const void *bytes, size_t length, off_t offset), is_descriptor_under(file),
        (file, bytes, length, offset))
FORWARD(ssize_t, pwrite64, (int file, const void *bytes, size_t length, off64_t offset), is_descriptor_under(file),
        (file, bytes, length, offset))
FORWARD(ssize_t, read, (int file, void *bytes, size_t length), is_descriptor_under(file), (file, bytes, length))
FORWARD(ssize_t, pread64, (int file, void *bytes, size_t length, off64_t offset), is_descriptor_under(file),
        (file, bytes, length, offset))
