/* What containers of the benchmarks run: nothing, memory that can be compressed in part, or a given amount of CPU time.
 *
 * bench wait               sleeps until SIGTERM.
 * bench hold MEBIBYTES     holds mixed pages: a quarter zero, half memory-like (pointers, small numbers, text), a quarter noise. Prints
 *                          "ready", then "gap END LENGTH" (seconds, CLOCK_REALTIME: CRIU gives a restored
 *                          process a monotonic clock of its own) whenever it could not run for 5 ms or more. Writes other pages over a
 *                          twentieth of them and prints "changed": after SIGUSR1 in one stretch, after SIGUSR2 every 20th.
 * bench spin SECONDS THREADS   uses SECONDS of CPU time on THREADS threads. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void leave(int number)
{
    (void)number;
    _exit(0);
}

static uint64_t state = 42;

static uint64_t next(void) /* splitmix64 */
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void fill(uint64_t *page)
{
    static const char *words[] = {"the ", "container ", "meets ", "its ", "deadline ", "of ", "CPU ", "time ",
                                  "godwit ", "flies ", "over ", "sea ", "sample: ", "0.25 ", "node-17 ", "error\n"};
    uint64_t arena;
    switch (next() % 8) {
    case 0: case 1: memset(page, 0, 4096); break;
    case 2: case 3:
        for (int i = 0; i < 512; i++) page[i] = next();
        break;
    case 4: case 5:
        arena = 0x7f3a5c000000u + ((next() % 64) << 20);
        for (int i = 0; i < 512; i++)
            page[i] = i % 4 == 0 ? arena + ((next() % 4096) << 4) : i % 4 == 1 ? next() % 64 : i % 4 == 2 ? 0x300000001u : 0;
        break;
    case 6:
        for (int i = 0; i < 512; i++) page[i] = next() % 1000;
        break;
    default:
        for (size_t used = 0; used < 4096;) {
            const char *word = words[next() % 16];
            size_t length = strlen(word);
            if (length > 4096 - used) length = 4096 - used;
            memcpy((char *)page + used, word, length);
            used += length;
        }
    }
}

static volatile sig_atomic_t order;

static void note(int number) { order = number; }

static void change(uint64_t *memory, size_t bytes)
{
    static size_t round;
    size_t pages = bytes / 4096, count = pages / 20;
    round++;
    for (size_t n = 0; n < count; n++) {
        size_t page = order == SIGUSR1 ? round * count + n : n * 20 + round * 7 % 20;
        fill(memory + page % pages * 512);
    }
    order = 0;
    printf("changed\n");
    fflush(stdout);
}

static int hold(size_t mebibytes)
{
    size_t bytes = mebibytes << 20;
    uint64_t *memory;
    if (posix_memalign((void **)&memory, 4096, bytes) != 0) return 1;
    for (size_t at = 0; at < bytes; at += 4096) fill(memory + at / 8);
    signal(SIGUSR1, note);
    signal(SIGUSR2, note);
    printf("ready\n");
    fflush(stdout);
    double last = seconds(CLOCK_REALTIME);
    for (;;) {
        struct timespec wait = {0, 500000};
        nanosleep(&wait, 0);
        if (order) {
            change(memory, bytes);
            last = seconds(CLOCK_REALTIME);
        }
        double now = seconds(CLOCK_REALTIME);
        if (now - last >= 0.005) {
            printf("gap %.6f %.6f\n", now, now - last);
            fflush(stdout);
            now = seconds(CLOCK_REALTIME);
        }
        last = now;
    }
}

static double wanted;

static void *work(void *unused)
{
    volatile double x = 1;
    while (seconds(CLOCK_PROCESS_CPUTIME_ID) < wanted)
        for (int i = 0; i < 200000; i++) x = x * 1.0000001 + 1e-9;
    return unused;
}

static int spin(double amount, int threads)
{
    pthread_t ids[64];
    wanted = amount;
    if (threads > 64) threads = 64;
    for (int i = 1; i < threads; i++) pthread_create(&ids[i], 0, work, 0);
    work(0);
    for (int i = 1; i < threads; i++) pthread_join(ids[i], 0);
    return 0;
}

int main(int count, char **words)
{
    signal(SIGTERM, leave);
    if (count == 3 && !strcmp(words[1], "hold")) return hold((size_t)atoi(words[2]));
    if (count == 4 && !strcmp(words[1], "spin")) return spin(atof(words[2]), atoi(words[3]));
    if (count == 2 && !strcmp(words[1], "wait"))
        for (;;) pause();
    return 2;
}
