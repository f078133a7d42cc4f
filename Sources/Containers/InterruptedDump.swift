internal import ClusterModel
internal import Glibc
internal import LinuxSystem

/// A dump that an agent began and did not live to see the end of: runc, CRIU and tar live on without it.
///
/// CRIU finds the cgroup frozen, lets it run for its own code, and freezes it again when it is done. So whoever thaws the container
/// must come after that; and since a CRIU that is killed half-way may leave its code in the container, its end is awaited first.
struct InterruptedDump: Sendable {
    /// Where it writes; its processes name this folder in their arguments, or have files of it open.
    private let folders: [String]
    /// Names of programs that dump, as the kernel keeps them.
    private let programs: [String]

    /// The dump that a container's mark tells of; nil when it tells of none.
    init?(_ container: ContainerFolder, runc: Tool) {
        guard let mark = try? FileSystem.readText(container.freezeMark, limit: 1 << 16) else { return nil }
        let lines = mark.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count > 1, lines[1].hasPrefix("/") else { return nil }
        let folder = String(lines[1])
        // The kernel tells open files by their real path.
        let real = unsafe realpath(folder, nil).map { text in
            defer { unsafe free(text) }
            return unsafe String(cString: text)
        }
        folders = [folder] + (real.map { [$0] } ?? [])
        programs = [String(FileSystem.name(of: runc.path).prefix(15)), "criu", "tar"]
    }

    /// Waits until nothing of it runs; what still does at the deadline, by ``MonotonicClock``, is killed.
    func end(by deadline: Int64) async throws {
        var pause = Duration.milliseconds(5)
        while MonotonicClock.nanoseconds() < deadline {
            if processes().isEmpty { return }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(100))
        }
        let last = MonotonicClock.nanoseconds() + Duration.seconds(2).nanoseconds
        while case let left = processes(), !left.isEmpty, MonotonicClock.nanoseconds() < last {
            // ESRCH: it has ended in this moment.
            for process in left { if let pidfd = try? Pidfd(of: process) { try? pidfd.signal(SIGKILL) } }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func processes() -> [ProcessIdentity] {
        ((try? FileSystem.list("/proc")) ?? []).compactMap { name in
            guard let pid = Int32(name), pid != ProcessControl.id,
                let program = try? FileSystem.readLine("/proc/\(name)/comm"), dumps(program),
                namesFolder(pid) || holdsFile(pid)
            else { return nil }
            return ProcessIdentity(of: pid)
        }
    }

    /// A CRIU beside the system's libraries is run by a loader, whose name it then has.
    private func dumps(_ program: String) -> Bool { programs.contains(program) || program.hasPrefix("ld-linux") }

    private func namesFolder(_ pid: Int32) -> Bool {
        guard let words = try? FileSystem.read("/proc/\(pid)/cmdline") else { return false }
        return words.split(separator: 0).contains { isWithin(String(decoding: $0, as: UTF8.self)) }
    }

    private func holdsFile(_ pid: Int32) -> Bool {
        ((try? FileSystem.list("/proc/\(pid)/fd")) ?? []).contains { number in
            FileSystem.linkTarget("/proc/\(pid)/fd/\(number)").map(isWithin) ?? false
        }
    }

    private func isWithin(_ path: String) -> Bool { folders.contains { path == $0 || path.hasPrefix("\($0)/") } }
}
