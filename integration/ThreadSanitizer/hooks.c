// Lets ThreadSanitizer see what Swift's concurrency runtime promises; `integration/test thread` preloads this library.
//
// The runtime is not built for the sanitizer but tells it what happens before what: that the resume of a continuation happens before
// its task goes on, say. Two paths forget to. One: a continuation that is resumed before its task waits for it lets
// swift_continuation_await go on at once, without a word to the sanitizer, and what the resuming thread wrote is reported as a race.
//
// The other is a Mutex that somebody waits for: it is taken and given back inside the library, by the kernel. `lockSlow` and `unlockSlow`
// stand before the library's functions and say what they do. A mutex nobody waits for is a few instructions in the program itself, which
// the sanitizer sees.
//
// For the first, the constructor below puts a jump to `awaited` over the beginning of that function, since the library calls it from within itself and
// a function of the same name would not be asked. `awaited` lets the task go on through `resumed`, which says it.

#include <dlfcn.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ASYNC __attribute__((swiftasynccall))
#define ASYNC_CONTEXT __attribute__((swift_async_context))

struct context;
typedef ASYNC void resumption(ASYNC_CONTEXT struct context *);

// The head of an AsyncContext of the Swift runtime; its layout is part of the platform's ABI.
struct context {
    struct context *parent;
    resumption *resume;
};

// Weak, because programs that the tests start are given this library too.
extern __attribute__((swiftcall, weak)) void *swift_task_getCurrent(void);
extern __attribute__((weak)) void __tsan_acquire(void *);
extern __attribute__((weak)) void __tsan_release(void *);

// The resumptions of the tasks that wait, by the address of their context, which nobody else has meanwhile.
struct waiting {
    struct waiting *next;
    struct context *context;
    resumption *resume;
};

// Spin locks, because the sanitizer would take a mutex of the system for an order between the tasks, and miss true races.
#define BUCKETS 1024
static struct bucket {
    atomic_flag taken;
    struct waiting *first;
} buckets[BUCKETS];

static void lock(struct bucket *bucket) {
    while (atomic_flag_test_and_set_explicit(&bucket->taken, memory_order_acquire)) sched_yield();
}

static void unlock(struct bucket *bucket) { atomic_flag_clear_explicit(&bucket->taken, memory_order_release); }

static struct bucket *bucketOf(struct context *context) { return &buckets[((unsigned long)context >> 4) % BUCKETS]; }

static void remember(struct context *context) {
    struct waiting *entry = malloc(sizeof *entry);
    if (!entry) abort();
    struct bucket *bucket = bucketOf(context);
    lock(bucket);
    *entry = (struct waiting){bucket->first, context, context->resume};
    bucket->first = entry;
    unlock(bucket);
}

static resumption *forget(struct context *context) {
    struct bucket *bucket = bucketOf(context);
    lock(bucket);
    struct waiting **link = &bucket->first;
    while (*link && (*link)->context != context) link = &(*link)->next;
    struct waiting *entry = *link;
    if (!entry) abort();
    *link = entry->next;
    unlock(bucket);
    resumption *resume = entry->resume;
    free(entry);
    return resume;
}

static ASYNC void resumed(ASYNC_CONTEXT struct context *context) {
    resumption *resume = forget(context);
    if (__tsan_acquire) __tsan_acquire(swift_task_getCurrent());
    context->resume = resume;
    __attribute__((musttail)) return resume(context);
}

// The runtime's function: its first three instructions, which the jump takes the place of, then the rest of it.
static void *rest __attribute__((used));
static const unsigned char beginning[] = {0x55, 0x48, 0x89, 0xe5, 0x41, 0x57};
extern ASYNC void original(struct context *);
__asm__("original: push %rbp; mov %rsp, %rbp; push %r15; jmp *rest(%rip)");

static ASYNC void awaited(struct context *context) {
    remember(context);
    context->resume = resumed;
    __attribute__((musttail)) return original(context);
}

// _MutexHandle._lockSlow(UInt32) and _unlockSlow() of the Synchronization library: self comes in the context register.
#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context))
#define LOCK_SLOW "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK_SLOW "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"
SWIFT void lockSlow(uint32_t thread, SELF void *handle) __asm__(LOCK_SLOW);
SWIFT void unlockSlow(SELF void *handle) __asm__(UNLOCK_SLOW);
static SWIFT void (*takenByLibrary)(uint32_t thread, SELF void *handle);
static SWIFT void (*givenBackByLibrary)(SELF void *handle);

SWIFT void lockSlow(uint32_t thread, SELF void *handle) {
    takenByLibrary(thread, handle);
    if (__tsan_acquire) __tsan_acquire(handle);
}

SWIFT void unlockSlow(SELF void *handle) {
    if (__tsan_release) __tsan_release(handle);
    givenBackByLibrary(handle);
}

static __attribute__((constructor)) void intercept(void) {
    *(void **)&takenByLibrary = dlsym(RTLD_NEXT, LOCK_SLOW);
    *(void **)&givenBackByLibrary = dlsym(RTLD_NEXT, UNLOCK_SLOW);
    unsigned char *await = dlsym(RTLD_DEFAULT, "swift_continuation_await");
    if (!__tsan_acquire || !await) return;  // a program that the tests start
    if (!takenByLibrary || !givenBackByLibrary) {
        fprintf(stderr, "hooks.so: the Synchronization library has no _MutexHandle as in Swift 6.3: look at it and change hooks.c\n");
        abort();
    }
    long distance = (unsigned char *)awaited - (await + 5);
    if (memcmp(await, beginning, sizeof beginning) != 0 || distance != (int)distance) {
        fprintf(stderr, "hooks.so: swift_continuation_await does not begin as it did in Swift 6.3: look at it and change hooks.c\n");
        abort();
    }
    rest = await + sizeof beginning;
    unsigned char jump[] = {0xe9, distance, distance >> 8, distance >> 16, distance >> 24};
    unsigned long page = (unsigned long)await & -4096UL;
    if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) {
        perror("hooks.so: mprotect");
        abort();
    }
    // The pages stay writable: the agent gives pages back that hold only what is in their file.
    memcpy(await, jump, sizeof jump);
}
