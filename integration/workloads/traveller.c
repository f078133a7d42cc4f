/* Has something of everything that a moved container must still have, and counts: shows whether it came along whole, and whether two of it ran.
 *
 * traveller FILE MEBIBYTES: every 50 ms appends "N NANOSECONDS" to FILE (one write with O_APPEND; the time is that of CLOCK_BOOTTIME) and prints
 * "count N", after it has looked at a part of its memory, now and then at all of it, at a file and at one that is deleted, has sent N through a pipe to a thread and got it back,
 * and has seen its timer tick. Never ends by itself, unless something is not as it left it: with code 2 to 7, which says what. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int there[2], back[2];
static volatile sig_atomic_t ticks;

static void tick(int signal)
{
    (void)signal;
    ticks++;
}

static void stop(int signal)
{
    (void)signal;
    _exit(0);
}

static void *echo(void *unused)
{
    long n;
    while (read(there[0], &n, sizeof n) == sizeof n)
        if (write(back[1], &n, sizeof n) != sizeof n) break;
    return unused;
}

static long number(int file)
{
    char text[32] = {0};
    return pread(file, text, sizeof text - 1, 0) > 0 ? atol(text) : -1;
}

static void keep(int file, long n)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", n);
    if (pwrite(file, text, length, 0) != length) _exit(3);
}

int main(int count, char **words)
{
    if (count < 3) return 2;
    int lives = open(words[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
    int kept = open("/kept", O_RDWR | O_CREAT, 0600), gone = open("/gone", O_RDWR | O_CREAT, 0600);
    if (lives < 0 || kept < 0 || gone < 0 || unlink("/gone") || pipe(there) || pipe(back)) return 2;
    size_t bytes = (size_t)atoi(words[2]) << 20;
    unsigned *memory = malloc(bytes);
    unsigned seed = 1;
    /* Nothing that compression could make small. */
    for (size_t i = 0; i < bytes / sizeof *memory; i++) memory[i] = seed = seed * 1664525u + 1013904223u;
    unsigned first = memory[0], last = memory[bytes / sizeof *memory - 1];
    signal(SIGTERM, stop);
    signal(SIGALRM, tick);
    struct itimerval period = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &period, 0);
    pthread_t thread;
    pthread_create(&thread, 0, echo, 0);
    for (long n = 0;; n++) {
        size_t at = (size_t)n * 4096 * 64 / sizeof *memory % (bytes / sizeof *memory - 1);
        if (memory[at + 1] != memory[at] * 1664525u + 1013904223u || memory[0] != first) return 4;
        if (memory[bytes / sizeof *memory - 1] != last) return 4;
        /* Every two seconds all of it. */
        unsigned expected = 1;
        for (size_t i = 0; n % 40 == 39 && i < bytes / sizeof *memory; i++)
            if (memory[i] != (expected = expected * 1664525u + 1013904223u)) return 4;
        if (n > 0 && (number(kept) != n - 1 || number(gone) != n - 1)) return 3;
        keep(kept, n);
        keep(gone, n);
        long answer = -1;
        if (write(there[1], &n, sizeof n) != sizeof n) return 5;
        while (read(back[0], &answer, sizeof answer) != sizeof answer)
            ;
        if (answer != n) return 5;
        struct timespec time;
        clock_gettime(CLOCK_BOOTTIME, &time);
        char line[64];
        int length = snprintf(line, sizeof line, "%ld %lld\n", n, (long long)time.tv_sec * 1000000000 + time.tv_nsec);
        if (write(lives, line, length) != length) return 7;
        printf("count %ld\n", n);
        fflush(stdout);
        int before = ticks;
        /* The other thread may be the one that takes the signal, and may have to wait for its own memory first. */
        for (int round = 0; round == 0 || (n > 20 && ticks == before); round++) {
            if (round == 100) return 6;
            struct timespec rest = {0, 50000000};
            while (nanosleep(&rest, &rest))
                ;
        }
    }
}
