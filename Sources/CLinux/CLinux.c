#define _GNU_SOURCE

#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

// Numbers that C libraries older than the kernel lack; the same on every architecture since Linux 5.1.
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

const char *godwit_error_text(int code, char *buffer, size_t size) {
    // The GNU form returns a pointer that need not be the buffer.
    return strerror_r(code, buffer, size);
}

const char *godwit_error_name(int code) { return strerrorname_np(code); }

int godwit_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0u); }

int godwit_pidfd_send_signal(int descriptor, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, descriptor, signal, (void *)0, 0u);
}

int godwit_wait_pidfd(int descriptor, struct godwit_wait_result *result) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int failed = waitid((idtype_t)P_PIDFD, (id_t)descriptor, &info, WEXITED | WNOHANG);
    result->pid = info.si_pid;
    result->code = info.si_code;
    result->status = info.si_status;
    return failed;
}

int godwit_wait_child(pid_t pid, int peek, int block, struct godwit_wait_result *result) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int options = WEXITED | (block ? 0 : WNOHANG) | (peek ? WNOWAIT : 0);
    int failed = pid > 0 ? waitid(P_PID, (id_t)pid, &info, options) : waitid(P_ALL, 0, &info, options);
    result->pid = info.si_pid;
    result->code = info.si_code;
    result->status = info.si_status;
    return failed;
}

int godwit_set_subreaper(int on) { return prctl(PR_SET_CHILD_SUBREAPER, (unsigned long)on, 0, 0, 0); }

int godwit_get_subreaper(int *on) { return prctl(PR_GET_CHILD_SUBREAPER, on, 0, 0, 0); }

int godwit_boot_timer(void) { return timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK); }

int godwit_set_boot_timer(int timer, int64_t nanoseconds) {
    struct itimerspec when = {.it_value = {nanoseconds / 1000000000, nanoseconds % 1000000000}};
    return timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

int godwit_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]) {
#ifdef __x86_64__
    return __get_cpuid_count(leaf, subleaf, &registers[0], &registers[1], &registers[2], &registers[3]);
#else
    (void)leaf, (void)subleaf, (void)registers;
    return 0;
#endif
}

int godwit_set_thread_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

char **godwit_environment(void) { return environ; }

short godwit_spawn_setsid(void) { return POSIX_SPAWN_SETSID; }

int godwit_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

int godwit_spawn_change_folder(
    posix_spawn_file_actions_t *actions, const char *path
) {
    return posix_spawn_file_actions_addchdir_np(actions, path);
}

int godwit_usable_cpu_count(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
}

int godwit_duplicate(int descriptor, int minimum) { return fcntl(descriptor, F_DUPFD_CLOEXEC, minimum); }

int godwit_set_blocking(int descriptor, int blocking) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0) return -1;
    return fcntl(descriptor, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

int godwit_exchange(const char *one, const char *other) {
    // By number: C libraries before glibc 2.28 lack the function.
    return (int)syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, 1u << 1);
}

int godwit_pipe(int *reading, int *writing) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    *reading = ends[0];
    *writing = ends[1];
    return 0;
}

int godwit_set_pipe_size(int descriptor, int size) { return fcntl(descriptor, F_SETPIPE_SZ, size); }

int godwit_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }

int godwit_sync_file_system(int descriptor) { return syncfs(descriptor); }

int godwit_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int godwit_epoll_add(int epoll, int descriptor, uint64_t token, int once) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN | (once ? EPOLLONESHOT : 0u);
    event.data.u64 = token;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

int godwit_epoll_remove(int epoll, int descriptor) {
    return epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL);
}

int godwit_epoll_wait(int epoll, uint64_t *tokens, int count) {
    struct epoll_event events[64];
    int ready = epoll_wait(epoll, events, count < 64 ? count : 64, -1);
    for (int index = 0; index < ready; index++) tokens[index] = events[index].data.u64;
    return ready;
}

int godwit_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int godwit_statfs(const char *path, struct godwit_file_system *result) {
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

int64_t godwit_list_attributes(const char *path, char *buffer, size_t size) {
    return llistxattr(path, buffer, size);
}

int64_t godwit_get_attribute(
    const char *path, const char *name, void *buffer, size_t size
) {
    return lgetxattr(path, name, buffer, size);
}

int godwit_set_attribute(
    const char *path, const char *name, const void *value, size_t size
) {
    return lsetxattr(path, name, value, size, 0);
}

int godwit_remove_attribute(const char *path, const char *name) {
    return lremovexattr(path, name);
}

int godwit_mount(
    const char *source, const char *target, const char *type, unsigned long flags,
    const char *options
) {
    return mount(source, target, type, flags, options);
}

int godwit_unmount(const char *target, int flags) { return umount2(target, flags); }

int godwit_trace_exit(pid_t pid) {
    return ptrace(PTRACE_SEIZE, pid, NULL, (void *)(unsigned long)PTRACE_O_TRACEEXIT) < 0 ? -1 : 0;
}

int godwit_is_exit_stop(int status) {
    return WIFSTOPPED(status) && status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXIT << 8));
}

int godwit_traced_status(pid_t pid) {
    unsigned long status = 0;
    return ptrace(PTRACE_GETEVENTMSG, pid, NULL, &status) < 0 ? -1 : (int)status;
}

int godwit_trace_continue(pid_t pid, int signal) {
    return ptrace(PTRACE_CONT, pid, NULL, (void *)(unsigned long)signal) < 0 ? -1 : 0;
}

int godwit_child_events(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void godwit_clear_child_events(int descriptor) {
    struct signalfd_siginfo info;
    while (read(descriptor, &info, sizeof info) == sizeof info) {
    }
}

int godwit_socket_pair(int *first, int *second) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -1;
    *first = ends[0];
    *second = ends[1];
    return 0;
}

int godwit_userfaultfd(void) { return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK); }

int godwit_clock_is_synchronized(void) {
    struct timex state;
    memset(&state, 0, sizeof state);
    int result = adjtimex(&state);
    return result < 0 ? -1 : (state.status & STA_UNSYNC) == 0;
}

const unsigned long GODWIT_MS_RDONLY = MS_RDONLY;
const unsigned long GODWIT_MS_NOSUID = MS_NOSUID;
const unsigned long GODWIT_MS_NODEV = MS_NODEV;
const unsigned long GODWIT_MS_NOEXEC = MS_NOEXEC;
const unsigned long GODWIT_MS_REMOUNT = MS_REMOUNT;
const unsigned long GODWIT_MS_BIND = MS_BIND;
const unsigned long GODWIT_MS_REC = MS_REC;
const unsigned long GODWIT_MS_PRIVATE = MS_PRIVATE;
const unsigned long GODWIT_MS_SLAVE = MS_SLAVE;
const unsigned long GODWIT_MS_NOATIME = MS_NOATIME;
const int GODWIT_MNT_DETACH = MNT_DETACH;
const int GODWIT_UMOUNT_NOFOLLOW = UMOUNT_NOFOLLOW;

int godwit_enter_network(int descriptor) { return setns(descriptor, CLONE_NEWNET); }

int godwit_tap(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    if (strlen(name) >= sizeof request.ifr_name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(request.ifr_name, name);
    int device = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (device < 0) return -1;
    if (ioctl(device, TUNSETIFF, &request) < 0) {
        int code = errno;
        close(device);
        errno = code;
        return -1;
    }
    return device;
}

int godwit_frame_socket(const char *interface) {
    unsigned int index = if_nametoindex(interface);
    if (index == 0) return -1;
    int packets = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (packets < 0) return -1;
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = (int)index};
    if (bind(packets, (struct sockaddr *)&address, sizeof address) < 0) {
        int code = errno;
        close(packets);
        errno = code;
        return -1;
    }
    return packets;
}
