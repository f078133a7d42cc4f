internal import CLinux
internal import Glibc
internal import ResourceSamples

/// How a process ended.
package enum ProcessExit: Equatable, Sendable, CustomStringConvertible {
    case exited(code: Int32)
    case signalled(number: Int32, hasDumpedCore: Bool)

    /// Whether it said that all went well.
    package var isSuccess: Bool { self == .exited(code: 0) }

    package var description: String {
        switch self {
        case .exited(let code): "exit status \(code)"
        case .signalled(let number, let hasDumpedCore): "signal \(number)\(hasDumpedCore ? ", core dumped" : "")"
        }
    }

    /// nil when the child has not ended yet.
    init?(_ result: godwit_wait_result) {
        guard result.pid != 0 else { return nil }
        switch result.code {
        case Int32(CLD_EXITED): self = .exited(code: result.status)
        case Int32(CLD_DUMPED): self = .signalled(number: result.status, hasDumpedCore: true)
        default: self = .signalled(number: result.status, hasDumpedCore: false)
        }
    }
}

/// One process for all time: its number, when it started, and in which boot.
///
/// The kernel uses numbers again. A record that is to outlive the agent keeps this, so that a stranger who got the number is
/// never taken for a container, and never signalled.
package struct ProcessIdentity: Hashable, Sendable, Codable, CustomStringConvertible {
    /// Its number, as this PID namespace sees it.
    package let pid: Int32
    /// Ticks after boot; field 22 of /proc/PID/stat.
    package let startTicks: UInt64
    /// The kernel's random identity of the boot in which it started.
    package let boot: String

    /// Puts an identity together that was recorded elsewhere.
    package init(pid: Int32, startTicks: UInt64, boot: String) {
        (self.pid, self.startTicks, self.boot) = (pid, startTicks, boot)
    }

    /// Looks up the process that has this number now; nil when none has.
    package init?(of pid: Int32) {
        guard let sample = Self.sample(of: pid) else { return nil }
        self.init(pid: pid, startTicks: sample.startTicks, boot: Machine.bootID)
    }

    /// The calling process.
    package static let current: ProcessIdentity = {
        guard let identity = ProcessIdentity(of: getpid()) else {
            preconditionFailure("/proc is not mounted: /proc/\(getpid())/stat cannot be read")
        }
        return identity
    }()

    /// Whether this very process exists and has not ended; a zombie counts as ended.
    package var isAlive: Bool {
        guard boot == Machine.bootID, let sample = Self.sample(of: pid) else { return false }
        return sample.startTicks == startTicks && sample.isAlive
    }

    package var description: String { "process \(pid)" }

    private static func sample(of pid: Int32) -> ProcessSample? {
        guard pid > 0, let bytes = try? FileSystem.read("/proc/\(pid)/stat") else { return nil }
        return try? ProcessSample(parsing: bytes.span)
    }
}

/// A descriptor that stands for one process, however its number is used later (pidfd_open(2), Linux 5.3).
package struct Pidfd: ~Copyable, Sendable {
    let descriptor: OwnedDescriptor
    private let pid: Int32

    /// Opens the process that has this number now; fails with ESRCH when none has.
    package init(of pid: Int32) throws(SystemError) {
        descriptor = OwnedDescriptor(owning: try retrying("open process", String(pid)) { godwit_pidfd_open(pid) })
        self.pid = pid
    }

    /// Opens exactly this process; fails with ESRCH when it is gone, even if another has its number.
    package init(of identity: ProcessIdentity) throws(SystemError) {
        let opened = try Pidfd(of: identity.pid)
        // Checked after the open: the descriptor pins the process that the check then sees.
        guard identity.isAlive else { throw SystemError("open process", String(identity.pid), code: ESRCH) }
        self = opened
    }

    /// Sends a signal; fails with ESRCH when the process has been reaped.
    package borrowing func signal(_ number: Int32) throws(SystemError) {
        let raw = descriptor.rawValue
        _ = try retrying("send signal \(number) to process", String(pid)) { godwit_pidfd_send_signal(raw, number) }
    }

    /// Whether the process has not ended.
    package borrowing func isAlive() -> Bool {
        var query = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&query, 1, 0) == 0
    }

    /// Reaps the process if it has ended and is a child of this one; nil when it still runs.
    ///
    /// Fails with ECHILD when it is not a child, or was reaped before.
    package borrowing func reap() throws(SystemError) -> ProcessExit? {
        let raw = descriptor.rawValue
        var result = godwit_wait_result()
        _ = try retrying("wait for process", String(pid)) { unsafe godwit_wait_pidfd(raw, &result) }
        return ProcessExit(result)
    }
}

/// The calling process and its children.
package enum ProcessControl {
    /// Has orphaned descendants become children of this process instead of pid 1's.
    package static func becomeSubreaper() throws(SystemError) {
        _ = try retrying("become a subreaper", "") { godwit_set_subreaper(1) }
    }

    /// Whether orphaned descendants become children of this process.
    package static var isSubreaper: Bool {
        var answer: Int32 = 0
        return unsafe godwit_get_subreaper(&answer) == 0 && answer != 0
    }

    /// Starts a session of its own, without a controlling terminal; returns its number.
    @discardableResult
    package static func startSession() throws(SystemError) -> Int32 { try retrying("start a session", "") { setsid() } }

    /// This process's number.
    package static var id: Int32 { getpid() }

    /// Sends a signal to whatever process has this number now; prefer `Pidfd` where the process may have ended.
    package static func signal(_ number: Int32, to pid: Int32) throws(SystemError) {
        _ = try retrying("send signal \(number) to process", String(pid)) { kill(pid, number) }
    }

    /// Waits on this thread until a child ends and reaps it.
    package static func waitForChild(_ pid: Int32) throws(SystemError) -> ProcessExit {
        var result = godwit_wait_result()
        while true {
            _ = try retrying("wait for process", String(pid)) { unsafe godwit_wait_child(pid, 0, 1, &result) }
            if let exit = ProcessExit(result) { return exit }
        }
    }

    /// Reaps children that nobody waits for, as a subreaper must; returns how each ended.
    ///
    /// A child for which `isExpected` answers true is left to the code that waits for it. The kernel shows the ended children one at
    /// a time, so those behind an expected one are reaped at the next call.
    package static func reapOrphans(
        except isExpected: (Int32) -> Bool
    ) throws(SystemError) -> [(pid: Int32, exit: ProcessExit)] {
        var reaped: [(pid: Int32, exit: ProcessExit)] = []
        while true {
            var result = godwit_wait_result()
            do throws(SystemError) {
                _ = try retrying("look for ended children", "") { unsafe godwit_wait_child(0, 1, 0, &result) }
            } catch  where error.code == ECHILD {
                return reaped
            }
            guard result.pid != 0, !isExpected(result.pid) else { return reaped }
            let pid = result.pid
            _ = try retrying("wait for process", String(pid)) { unsafe godwit_wait_child(pid, 0, 0, &result) }
            if let exit = ProcessExit(result) { reaped.append((pid, exit)) }
        }
    }

    /// Names the calling thread as `top` and `gdb` show it; the kernel keeps 15 bytes.
    package static func nameThread(_ name: String) { _ = unsafe godwit_set_thread_name(name) }
}
