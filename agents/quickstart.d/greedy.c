// The neighbour of the quickstart: keeps a number of threads busy for ever, and so takes all CPU time that it is given.
//
// greedy THREADS

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// The first process of a container gets no default handlers: without this it would not end on SIGTERM.
static void end(int signal) { _exit(128 + signal); }

static void *spin(void *unused) {
    (void)unused;
    for (volatile uint64_t turns = 0;; turns++) {}
    return NULL;
}

int main(int count, char **arguments) {
    int threads = count == 2 ? atoi(arguments[1]) : 0;
    if (threads < 1 || threads > 4096) {
        fprintf(stderr, "Usage: greedy THREADS (1 to 4096)\n");
        return 2;
    }
    signal(SIGTERM, end);
    signal(SIGINT, end);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("greedy: %d threads take what they get\n", threads);
    for (int i = 1; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, spin, NULL) != 0) {
            perror("greedy: cannot start a thread");
            return 1;
        }
    }
    spin(NULL);
}
