// The workload of the quickstart: solves random dense systems A x = b, as the LINPACK benchmark does, with all threads of OpenBLAS.
//
// linpack --order N --solves K [--report SECONDS]
//
// Each solve is an LU factorisation with partial pivoting and two triangular solves (dgetrf, dgetrs), checked by the
// benchmark's own residual, |A x - b| / (eps (|A| |x| + |b|) N), which must stay below 16. Exit status: 0 all solves are
// right, 1 one is wrong or a system is singular, 2 wrong arguments or no memory.

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

// Fortran interfaces of OpenBLAS; every argument is a pointer, matrices are column by column.
void dgetrf_(const int *rows, const int *columns, double *a, const int *stride, int *pivots, int *info);
void dgetrs_(const char *transpose, const int *order, const int *columns, const double *a, const int *stride,
             const int *pivots, double *b, const int *bStride, int *info);
void dgemv_(const char *transpose, const int *rows, const int *columns, const double *alpha, const double *a,
            const int *stride, const double *x, const int *xStep, const double *beta, double *y, const int *yStep);
int openblas_get_num_threads(void);

// The first process of a container gets no default handlers: without this it would not end on SIGTERM.
static void end(int signal) { _exit(128 + signal); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double cpuSeconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016), in -0.5 ... 0.5.
static double uniform(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * 0x2545F4914F6CDD1DULL) >> 11) / 9007199254740992.0 - 0.5;
}

static double largest(const double *values, int count) {
    double most = 0;
    for (int i = 0; i < count; i++) most = fmax(most, fabs(values[i]));
    return most;
}

static long number(const char *text, long least, long most, const char *what) {
    char *rest;
    long value = strtol(text, &rest, 10);
    if (*text == 0 || *rest != 0 || value < least || value > most) {
        fprintf(stderr, "linpack: %s must be a whole number from %ld to %ld, not '%s'\n", what, least, most, text);
        exit(2);
    }
    return value;
}

int main(int count, char **arguments) {
    int order = 0;
    long solves = 0, report = 2;
    for (int i = 1; i < count; i += 2) {
        const char *value = i + 1 < count ? arguments[i + 1] : "";
        if (strcmp(arguments[i], "--order") == 0) order = (int)number(value, 2, 40000, "--order");
        else if (strcmp(arguments[i], "--solves") == 0) solves = number(value, 1, 1000000, "--solves");
        else if (strcmp(arguments[i], "--report") == 0) report = number(value, 0, 3600, "--report");
        else {
            fprintf(stderr, "linpack: unknown argument '%s'\n", arguments[i]);
            return 2;
        }
    }
    if (order == 0 || solves == 0) {
        fprintf(stderr, "Usage: linpack --order N --solves K [--report SECONDS]\n");
        return 2;
    }

    signal(SIGTERM, end);
    signal(SIGINT, end);
    setvbuf(stdout, NULL, _IOLBF, 0);

    size_t cells = (size_t)order * (size_t)order;
    double *matrix = malloc(cells * sizeof(double)), *factors = malloc(cells * sizeof(double));
    double *right = malloc((size_t)order * sizeof(double)), *solution = malloc((size_t)order * sizeof(double));
    double *rowSums = malloc((size_t)order * sizeof(double));
    int *pivots = malloc((size_t)order * sizeof(int));
    if (!matrix || !factors || !right || !solution || !rowSums || !pivots) {
        fprintf(stderr, "linpack: no memory for order %d\n", order);
        return 2;
    }

    printf("linpack: %ld systems of order %d on %d threads\n", solves, order, openblas_get_num_threads());
    uint64_t state = 0x9E3779B97F4A7C15ULL;
    const int one = 1;
    const double plus = 1, minus = -1;
    double operations = 2.0 / 3.0 * order * (double)order * order + 2.0 * order * (double)order;
    double started = now(), reported = started, worst = 0, solving = 0;
    for (long solve = 1; solve <= solves; solve++) {
        for (size_t i = 0; i < cells; i++) matrix[i] = uniform(&state);
        for (int i = 0; i < order; i++) right[i] = uniform(&state);
        memcpy(factors, matrix, cells * sizeof(double));
        memcpy(solution, right, (size_t)order * sizeof(double));

        int info;
        double before = now();
        dgetrf_(&order, &order, factors, &order, pivots, &info);
        if (info == 0) dgetrs_("N", &order, &one, factors, &order, pivots, solution, &order, &info);
        double elapsed = now() - before;
        solving += elapsed;
        if (info != 0) {
            fprintf(stderr, "linpack: system %ld cannot be solved (info %d)\n", solve, info);
            return 1;
        }

        memset(rowSums, 0, (size_t)order * sizeof(double));
        for (int column = 0; column < order; column++)
            for (int row = 0; row < order; row++) rowSums[row] += fabs(matrix[(size_t)column * (size_t)order + (size_t)row]);
        double scale = largest(rowSums, order) * largest(solution, order) + largest(right, order);
        dgemv_("N", &order, &order, &plus, matrix, &order, solution, &one, &minus, right, &one);
        double residual = largest(right, order) / (DBL_EPSILON * scale * order);
        worst = fmax(worst, residual);
        if (!(residual < 16)) {
            fprintf(stderr, "linpack: system %ld is solved wrongly: residual %g\n", solve, residual);
            return 1;
        }
        if (now() - reported >= (double)report || solve == solves) {
            reported = now();
            printf("solved %ld of %ld, residual %.4f, %.2f GFLOP/s\n", solve, solves, residual, operations / elapsed / 1e9);
        }
    }
    printf("done: solves=%ld order=%d wall_seconds=%.3f cpu_seconds=%.3f gflops=%.2f worst_residual=%.4f\n", solves, order,
           now() - started, cpuSeconds(), operations * (double)solves / solving / 1e9, worst);
    return 0;
}
