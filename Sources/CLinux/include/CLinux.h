// What Swift cannot call by itself: variadic functions, macros, functions that the Glibc module does not map.
// Declarations only; decisions belong to LinuxSystem.

#ifndef GODWIT_CLINUX_H
#define GODWIT_CLINUX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

// ---- errors

/// The C library's text for an error number, in a buffer of the caller; always terminated.
static inline const char *_Nonnull godwit_error_text(int code, char *_Nonnull buffer, size_t size) {
    // The GNU form returns a pointer that need not be the buffer.
    return strerror_r(code, buffer, size);
}

/// The symbol of an error number (`ENOENT`), or NULL for a number that has none.
extern const char *_Nullable strerrorname_np(int code);
static inline const char *_Nullable godwit_error_name(int code) { return strerrorname_np(code); }

// ---- processes

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/// pidfd_open(2); Linux 5.3.
static inline int godwit_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0u); }

/// pidfd_send_signal(2); Linux 5.1.
static inline int godwit_pidfd_send_signal(int descriptor, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, descriptor, signal, (void *)0, 0u);
}

/// How a child ended: `code` is one of CLD_EXITED, CLD_KILLED, CLD_DUMPED; `pid` is 0 when none has ended yet.
struct godwit_wait_result {
    pid_t pid;
    int code;
    int status;
};

/// waitid(2) for one child through its pidfd, without waiting; reaps it when it has ended.
static inline int godwit_wait_pidfd(int descriptor, struct godwit_wait_result *_Nonnull result) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int failed = waitid((idtype_t)P_PIDFD, (id_t)descriptor, &info, WEXITED | WNOHANG);
    result->pid = info.si_pid;
    result->code = info.si_code;
    result->status = info.si_status;
    return failed;
}

/// waitid(2) for one child by number; with `peek` the child stays to be reaped, with `block` the call waits.
static inline int godwit_wait_child(pid_t pid, int peek, int block, struct godwit_wait_result *_Nonnull result) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int options = WEXITED | (block ? 0 : WNOHANG) | (peek ? WNOWAIT : 0);
    int failed = pid > 0 ? waitid(P_PID, (id_t)pid, &info, options) : waitid(P_ALL, 0, &info, options);
    result->pid = info.si_pid;
    result->code = info.si_code;
    result->status = info.si_status;
    return failed;
}

/// prctl(PR_SET_CHILD_SUBREAPER).
static inline int godwit_set_subreaper(int on) { return prctl(PR_SET_CHILD_SUBREAPER, (unsigned long)on, 0, 0, 0); }

/// prctl(PR_GET_CHILD_SUBREAPER).
static inline int godwit_get_subreaper(int *_Nonnull on) { return prctl(PR_GET_CHILD_SUBREAPER, on, 0, 0, 0); }

/// prctl(PR_SET_NAME) for the calling thread; the kernel keeps 15 bytes.
static inline int godwit_set_thread_name(const char *_Nonnull name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

/// The environment of this process.
extern char *_Nullable *_Nullable environ;
static inline char *_Nullable *_Nullable godwit_environment(void) { return environ; }

/// Has the spawned program start in a session of its own.
static inline short godwit_spawn_setsid(void) { return POSIX_SPAWN_SETSID; }

/// Closes every descriptor from `first` on in the spawned program.
static inline int godwit_spawn_close_from(posix_spawn_file_actions_t *_Nonnull actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

/// Changes the spawned program's working directory before it starts.
static inline int godwit_spawn_change_folder(
    posix_spawn_file_actions_t *_Nonnull actions, const char *_Nonnull path
) {
    return posix_spawn_file_actions_addchdir_np(actions, path);
}

/// How many CPUs the scheduler lets this process use; -1 with errno on failure.
static inline int godwit_usable_cpu_count(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
}

// ---- descriptors

/// fcntl(F_DUPFD_CLOEXEC): a copy that is at least `minimum`.
static inline int godwit_duplicate(int descriptor, int minimum) { return fcntl(descriptor, F_DUPFD_CLOEXEC, minimum); }

/// fcntl(F_SETFL) with O_NONBLOCK set or cleared.
static inline int godwit_set_blocking(int descriptor, int blocking) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0) return -1;
    return fcntl(descriptor, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

/// pipe2(2) with O_CLOEXEC.
static inline int godwit_pipe(int *_Nonnull reading, int *_Nonnull writing) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    *reading = ends[0];
    *writing = ends[1];
    return 0;
}

/// fcntl(F_SETPIPE_SZ).
static inline int godwit_set_pipe_size(int descriptor, int size) { return fcntl(descriptor, F_SETPIPE_SZ, size); }

/// openat2-free O_TMPFILE-free open(2) with a mode.
static inline int godwit_open(const char *_Nonnull path, int flags, mode_t mode) { return open(path, flags, mode); }

/// syncfs(2): writes out the whole file system of the descriptor.
static inline int godwit_sync_file_system(int descriptor) { return syncfs(descriptor); }

// ---- waiting

static inline int godwit_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

/// Adds a descriptor for one notice of readability; `token` comes back with the notice.
static inline int godwit_epoll_add(int epoll, int descriptor, uint64_t token, int once) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN | (once ? EPOLLONESHOT : 0u);
    event.data.u64 = token;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

static inline int godwit_epoll_remove(int epoll, int descriptor) {
    return epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL);
}

/// Waits without limit for up to 64 notices and stores their tokens.
static inline int godwit_epoll_wait(int epoll, uint64_t *_Nonnull tokens, int count) {
    struct epoll_event events[64];
    int ready = epoll_wait(epoll, events, count < 64 ? count : 64, -1);
    for (int index = 0; index < ready; index++) tokens[index] = events[index].data.u64;
    return ready;
}

static inline int godwit_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

// ---- file systems

/// What statfs(2) tells, in plain numbers.
struct godwit_file_system {
    int64_t type;
    uint64_t block_size;
    uint64_t blocks;
    uint64_t blocks_available;
    uint64_t files;
    uint64_t files_free;
};

static inline int godwit_statfs(const char *_Nonnull path, struct godwit_file_system *_Nonnull result) {
    struct statfs status;
    if (statfs(path, &status) != 0) return -1;
    result->type = (int64_t)status.f_type;
    result->block_size = (uint64_t)status.f_frsize;
    result->blocks = (uint64_t)status.f_blocks;
    result->blocks_available = (uint64_t)status.f_bavail;
    result->files = (uint64_t)status.f_files;
    result->files_free = (uint64_t)status.f_ffree;
    return 0;
}

static inline int64_t godwit_list_attributes(const char *_Nonnull path, char *_Nullable buffer, size_t size) {
    return llistxattr(path, buffer, size);
}

static inline int64_t godwit_get_attribute(
    const char *_Nonnull path, const char *_Nonnull name, void *_Nullable buffer, size_t size
) {
    return lgetxattr(path, name, buffer, size);
}

static inline int godwit_set_attribute(
    const char *_Nonnull path, const char *_Nonnull name, const void *_Nullable value, size_t size
) {
    return lsetxattr(path, name, value, size, 0);
}

static inline int godwit_remove_attribute(const char *_Nonnull path, const char *_Nonnull name) {
    return lremovexattr(path, name);
}

static inline int godwit_mount(
    const char *_Nullable source, const char *_Nonnull target, const char *_Nullable type, unsigned long flags,
    const char *_Nullable options
) {
    return mount(source, target, type, flags, options);
}

static inline int godwit_unmount(const char *_Nonnull target, int flags) { return umount2(target, flags); }

// ---- mount flags (macros and enumerators of sys/mount.h under one type)

static const unsigned long GODWIT_MS_RDONLY = MS_RDONLY;
static const unsigned long GODWIT_MS_NOSUID = MS_NOSUID;
static const unsigned long GODWIT_MS_NODEV = MS_NODEV;
static const unsigned long GODWIT_MS_NOEXEC = MS_NOEXEC;
static const unsigned long GODWIT_MS_REMOUNT = MS_REMOUNT;
static const unsigned long GODWIT_MS_BIND = MS_BIND;
static const unsigned long GODWIT_MS_REC = MS_REC;
static const unsigned long GODWIT_MS_PRIVATE = MS_PRIVATE;
static const unsigned long GODWIT_MS_SLAVE = MS_SLAVE;
static const unsigned long GODWIT_MS_NOATIME = MS_NOATIME;
static const int GODWIT_MNT_DETACH = MNT_DETACH;
static const int GODWIT_UMOUNT_NOFOLLOW = UMOUNT_NOFOLLOW;

// ---- features

#ifndef SYS_userfaultfd
#define SYS_userfaultfd 323
#endif

/// userfaultfd(2): a descriptor, or -1 with errno ENOSYS (not in the kernel) or EPERM (not for this user).
static inline int godwit_userfaultfd(void) { return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK); }

#endif
