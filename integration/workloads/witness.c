/* Leaves a trace of when it lived, so that two copies of one job that run at once can be seen afterwards.
 *
 * witness FILE SECONDS: every 100 ms appends "ID NANOSECONDS" to FILE, where ID is this process's own (random) and the time is that of
 * CLOCK_BOOTTIME, which all processes of a machine share. Prints "life ID" first. Ends with code 0 after SECONDS, 0 also when it is told
 * to stop (a container's first process would not notice otherwise), 7 when it cannot write. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static void stop(int signal)
{
    (void)signal;
    _exit(0);
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_BOOTTIME, &time);
    return (long long)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(int count, char **words)
{
    if (count < 3) return 7;
    signal(SIGTERM, stop);
    unsigned long long id;
    if (getrandom(&id, sizeof id, 0) != sizeof id) return 7;
    int file = open(words[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0) return 7;
    printf("life %016llx\n", id);
    fflush(stdout);
    for (long long end = now() + (long long)(atof(words[2]) * 1e9); now() < end; usleep(100000)) {
        char line[64];
        int length = snprintf(line, sizeof line, "%016llx %lld\n", id, now());
        /* One write(2) with O_APPEND: lines of two copies would not mix. */
        if (write(file, line, (size_t)length) != length) return 7;
    }
    return 0;
}
