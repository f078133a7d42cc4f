/* Counts in memory and in a file, slowly or as fast as its threads can: shows whether a container was disturbed.
 *
 * counter SECONDS THREADS MEBIBYTES: uses SECONDS of CPU time on THREADS threads (0 threads: only counts), holding MEBIBYTES of
 * memory. Every 100 ms it prints "count N" and writes N to /state. Ends with code 0, or 9 when its own memory is not as it left it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double wanted;

static double used(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void *work(void *unused)
{
    volatile double x = 1;
    while (used() < wanted)
        for (int i = 0; i < 200000; i++) x = x * 1.0000001 + 1e-9;
    return unused;
}

int main(int count, char **words)
{
    wanted = count > 1 ? atof(words[1]) : 1;
    int threads = count > 2 ? atoi(words[2]) : 1;
    size_t bytes = (size_t)(count > 3 ? atoi(words[3]) : 0) << 20;
    unsigned char *memory = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i += 4096) memset(memory + i, (int)(i / 4096 % 251), 4096);
    pthread_t ids[64];
    for (int i = 0; i < threads && i < 64; i++) pthread_create(&ids[i], 0, work, 0);
    for (long n = 0; threads == 0 ? 1 : used() < wanted; n++) {
        printf("count %ld\n", n);
        fflush(stdout);
        FILE *file = fopen("/state", "w");
        if (file) { fprintf(file, "%ld\n", n); fclose(file); }
        usleep(100000);
    }
    for (int i = 0; i < threads && i < 64; i++) pthread_join(ids[i], 0);
    for (size_t i = 0; i < bytes; i += 4096)
        if (memory[i] != (unsigned char)(i / 4096 % 251)) return 9;
    printf("done\n");
    return 0;
}
