/* A clock that can be set for one process: every reading of the wall clock is shifted by the seconds that stand, as a
 * binary 64-bit number, in the file HELIX_CLOCKS/<name>: HELIX_PROCESS_NAME for a process of ours, the program's own name
 * for a server.
 * Monotonic clocks are left alone, as a jump of a machine's clock leaves them. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t still = 0;
static volatile int64_t *shift_s = &still;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *directory = getenv("HELIX_CLOCKS"), *ours = getenv("HELIX_PROCESS_NAME");
    const char *program = program_invocation_short_name;
    const char *name = ours && strncmp(program, "python", 6) == 0 ? ours : program;
    char path[4096];
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (!directory) return;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (ftruncate(file, sizeof(int64_t)) == 0) {
        void *seen = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
        if (seen != MAP_FAILED) shift_s = seen;
    }
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real_clock_gettime) real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock_gettime(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += *shift_s;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec time;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
