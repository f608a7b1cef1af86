/* A witness of what the disk was asked to keep: after each fdatasync or fsync that succeeded, the size that the file had
 * when it was called is written to a file of its own, named by the inode, in the directory HELIX_FSYNC_WITNESS.
 * What lies behind that size would be gone after a power cut. Loaded into the log server with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*sync_function)(int);

static void bear_witness(ino_t inode, off_t size) {
    const char *directory = getenv("HELIX_FSYNC_WITNESS");
    char path[4096], line[32];
    if (!directory) return;
    snprintf(path, sizeof path, "%s/%llu", directory, (unsigned long long)inode);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return;
    int length = snprintf(line, sizeof line, "%020lld", (long long)size);
    if (pwrite(file, line, length, 0) != length) abort(); /* a witness that is silent would make the test blind */
    close(file);
}

static int witnessed(const char *name, int fd) {
    sync_function real = (sync_function)dlsym(RTLD_NEXT, name);
    struct stat before;
    int known = fstat(fd, &before) == 0 && S_ISREG(before.st_mode);
    int result = real(fd);
    int kept_errno = errno;
    if (result == 0 && known) bear_witness(before.st_ino, before.st_size);
    errno = kept_errno;
    return result;
}

int fdatasync(int fd) { return witnessed("fdatasync", fd); }
int fsync(int fd) { return witnessed("fsync", fd); }
