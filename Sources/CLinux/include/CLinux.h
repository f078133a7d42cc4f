// What Swift cannot call by itself: variadic functions, macros, functions that the Glibc module does not map.
// Declarations only; decisions belong to LinuxSystem.
//
// The definitions are not inline here: they need _GNU_SOURCE, and a header that sets it gives the C library's types another
// shape than the Glibc module has them in, which Swift refuses to mix.

#ifndef GODWIT_CLINUX_H
#define GODWIT_CLINUX_H

#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// ---- errors

/// The C library's text for an error number, in a buffer of the caller; always terminated.
const char *_Nonnull godwit_error_text(int code, char *_Nonnull buffer, size_t size);

/// The symbol of an error number (`ENOENT`), or NULL for a number that has none.
const char *_Nullable godwit_error_name(int code);

// ---- processes

/// pidfd_open(2); Linux 5.3.
int godwit_pidfd_open(pid_t pid);

/// pidfd_send_signal(2); Linux 5.1.
int godwit_pidfd_send_signal(int descriptor, int signal);

/// How a child ended: `code` is one of CLD_EXITED, CLD_KILLED, CLD_DUMPED; `pid` is 0 when none has ended yet.
struct godwit_wait_result {
    pid_t pid;
    int code;
    int status;
};

/// waitid(2) for one child through its pidfd, without waiting; reaps it when it has ended.
int godwit_wait_pidfd(int descriptor, struct godwit_wait_result *_Nonnull result);

/// waitid(2) for one child by number; with `peek` the child stays to be reaped, with `block` the call waits.
int godwit_wait_child(pid_t pid, int peek, int block, struct godwit_wait_result *_Nonnull result);

/// prctl(PR_SET_CHILD_SUBREAPER).
int godwit_set_subreaper(int on);

/// prctl(PR_GET_CHILD_SUBREAPER).
int godwit_get_subreaper(int *_Nonnull on);

/// timerfd_create(2) on CLOCK_BOOTTIME, which goes on while the machine is suspended; readable when the moment has come.
int godwit_boot_timer(void);

/// Sets the one moment of such a timer, in nanoseconds of CLOCK_BOOTTIME; a past one comes at once, and 0 means none.
int godwit_set_boot_timer(int timer, int64_t nanoseconds);

/// prctl(PR_SET_NAME) for the calling thread; the kernel keeps 15 bytes.
int godwit_set_thread_name(const char *_Nonnull name);

/// The environment of this process.
char *_Nullable *_Nullable godwit_environment(void);

/// Has the spawned program start in a session of its own.
short godwit_spawn_setsid(void);

/// Closes every descriptor from `first` on in the spawned program.
int godwit_spawn_close_from(posix_spawn_file_actions_t *_Nonnull actions, int first);

/// Changes the spawned program's working directory before it starts.
int godwit_spawn_change_folder(
    posix_spawn_file_actions_t *_Nonnull actions, const char *_Nonnull path
);

/// How many CPUs the scheduler lets this process use; -1 with errno on failure.
int godwit_usable_cpu_count(void);

// ---- descriptors

/// fcntl(F_DUPFD_CLOEXEC): a copy that is at least `minimum`.
int godwit_duplicate(int descriptor, int minimum);

/// fcntl(F_SETFL) with O_NONBLOCK set or cleared.
int godwit_set_blocking(int descriptor, int blocking);

/// renameat2(2) with RENAME_EXCHANGE: two files of one file system swap their names at once.
int godwit_exchange(const char *_Nonnull one, const char *_Nonnull other);

/// pipe2(2) with O_CLOEXEC.
int godwit_pipe(int *_Nonnull reading, int *_Nonnull writing);

/// fcntl(F_SETPIPE_SZ).
int godwit_set_pipe_size(int descriptor, int size);

/// open(2), which is variadic.
int godwit_open(const char *_Nonnull path, int flags, mode_t mode);

/// syncfs(2): writes out the whole file system of the descriptor.
int godwit_sync_file_system(int descriptor);

// ---- waiting

int godwit_epoll_create(void);

/// Adds a descriptor for one notice of readability; `token` comes back with the notice.
int godwit_epoll_add(int epoll, int descriptor, uint64_t token, int once);

int godwit_epoll_remove(int epoll, int descriptor);

/// Waits without limit for up to 64 notices and stores their tokens.
int godwit_epoll_wait(int epoll, uint64_t *_Nonnull tokens, int count);

int godwit_eventfd(void);

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

int godwit_statfs(const char *_Nonnull path, struct godwit_file_system *_Nonnull result);

int64_t godwit_list_attributes(const char *_Nonnull path, char *_Nullable buffer, size_t size);

int64_t godwit_get_attribute(
    const char *_Nonnull path, const char *_Nonnull name, void *_Nullable buffer, size_t size
);

int godwit_set_attribute(
    const char *_Nonnull path, const char *_Nonnull name, const void *_Nullable value, size_t size
);

int godwit_remove_attribute(const char *_Nonnull path, const char *_Nonnull name);

int godwit_mount(
    const char *_Nullable source, const char *_Nonnull target, const char *_Nullable type, unsigned long flags,
    const char *_Nullable options
);

int godwit_unmount(const char *_Nonnull target, int flags);

// ---- mount flags (macros and enumerators of sys/mount.h under one type)

extern const unsigned long GODWIT_MS_RDONLY;
extern const unsigned long GODWIT_MS_NOSUID;
extern const unsigned long GODWIT_MS_NODEV;
extern const unsigned long GODWIT_MS_NOEXEC;
extern const unsigned long GODWIT_MS_REMOUNT;
extern const unsigned long GODWIT_MS_BIND;
extern const unsigned long GODWIT_MS_REC;
extern const unsigned long GODWIT_MS_PRIVATE;
extern const unsigned long GODWIT_MS_SLAVE;
extern const unsigned long GODWIT_MS_NOATIME;
extern const int GODWIT_MNT_DETACH;
extern const int GODWIT_UMOUNT_NOFOLLOW;

// ---- watching a process at its very end (ptrace(2))

/// Attaches to a process, so that it is held in its exit, whatever ends it, while all that it has open is still open; -1 with errno on failure.
int godwit_trace_exit(pid_t pid);

/// Whether a wait status says that a traced process is held in its exit.
int godwit_is_exit_stop(int status);

/// The wait status that a process which is held in its exit will have; -1 when it cannot be known.
int godwit_traced_status(pid_t pid);

/// Lets a traced process go on, with a signal unless that is 0.
int godwit_trace_continue(pid_t pid, int signal);

/// A descriptor that becomes readable when a child stops or ends, from now on; -1 with errno on failure.
int godwit_child_events(void);

/// Takes what such a descriptor has to say, without waiting.
void godwit_clear_child_events(int descriptor);

/// Two ends of a stream, both close-on-exec; -1 with errno on failure.
int godwit_socket_pair(int *_Nonnull first, int *_Nonnull second);

// ---- features

/// userfaultfd(2): a descriptor, or -1 with errno ENOSYS (not in the kernel) or EPERM (not for this user).
int godwit_userfaultfd(void);

/// The four registers, from EAX to EDX, that the processor answers a leaf of CPUID with; 0 where it does not know the leaf, and not on amd64.
int godwit_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[_Nonnull 4]);

/// Whether the kernel believes its clock to be set by NTP or the like (adjtimex(2)); -1 with errno on failure.
int godwit_clock_is_synchronized(void);

// ---- networks

/// setns(2) for the calling thread alone, with a descriptor of a network namespace.
int godwit_enter_network(int descriptor);

/// Makes a TAP device without a packet information header; its descriptor does not wait.
int godwit_tap(const char *_Nonnull name);

/// A packet(7) socket that sends frames with their link header through one interface, and receives none.
int godwit_frame_socket(const char *_Nonnull interface);

#endif
