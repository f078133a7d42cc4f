internal import CLinux
internal import ClusterModel
internal import Glibc
internal import ResourceSamples

extension Cgroup {
    /// Stops all its processes where they are and waits until the kernel says so; about 3 ms.
    ///
    /// Polls in steps of 50 µs at first, where CRIU polls in steps of 100 ms. A process in an uninterruptible wait delays it; when
    /// `timeout` is over, or the task is cancelled, everything runs again and it fails.
    @concurrent
    package func freeze(timeout: Duration = .seconds(5)) async throws {
        let (file, isUnified) = try file("freezer", v1: "freezer.state", v2: "cgroup.freeze")
        let start = MonotonicClock.nanoseconds()
        try FileSystem.writeValue(isUnified ? "1" : "FROZEN", to: file)
        do {
            var rounds = 0
            while try !isFrozen() {
                let passed = Duration.nanoseconds(MonotonicClock.nanoseconds() - start)
                guard passed < timeout else {
                    throw SystemError(
                        "freeze",
                        path,
                        code: ETIMEDOUT,
                        remedy:
                            "A process did not stop within \(timeout.text): it probably waits for storage or a network file system."
                    )
                }
                rounds += 1
                if passed < .milliseconds(20) {
                    MonotonicClock.sleepThread(for: .microseconds(50))
                } else {
                    try await Task.sleep(for: .milliseconds(1))
                }
                // A v1 group in which processes fork can stay FREEZING: a second request takes the new ones in (cgroup-v1/freezer).
                if !isUnified, rounds.isMultiple(of: 64) { try FileSystem.writeValue("FROZEN", to: file) }
            }
        } catch {
            try? thaw()
            throw error
        }
    }

    /// Lets all its processes run again; returns when they do.
    package func thaw() throws {
        let (file, isUnified) = try file("freezer", v1: "freezer.state", v2: "cgroup.freeze")
        try FileSystem.writeValue(isUnified ? "0" : "THAWED", to: file)
    }

    /// Whether all its processes stand still.
    package func isFrozen() throws -> Bool {
        let (file, isUnified) = try file("freezer", v1: "freezer.state", v2: "cgroup.events")
        let bytes = try FileSystem.read(file)
        if isUnified { return try CgroupEvents(parsing: bytes.span).isFrozen }
        return try FreezerState(parsing: bytes.span) == .frozen
    }

    /// Sends SIGKILL to all its processes; they have not necessarily ended when it returns.
    ///
    /// Frozen ones are thawed, since on v1 they could not die otherwise.
    package func killAll() throws {
        // One write that no fork can escape (Linux 5.14).
        if hierarchy.mode == .v2, let folder = folder("freezer"), FileSystem.exists(folder + "/cgroup.kill") {
            try FileSystem.writeValue("1", to: folder + "/cgroup.kill")
            return
        }
        for pid in try processes() { try Self.killProcess(pid) }
        do { try thaw() } catch let error as SystemError where error.isAbsent { return }
    }

    private static func killProcess(_ pid: Int32) throws(SystemError) {
        do throws(SystemError) { try ProcessControl.signal(SIGKILL, to: pid) } catch  where error.code == ESRCH {
            return
        }
    }

    /// Kills all its processes, and those that they start meanwhile, until none is left.
    ///
    /// - Parameter timeout: a process in an uninterruptible wait cannot be killed, so this has a limit.
    /// - Throws: ``SystemError`` with ETIMEDOUT, naming one that is left.
    @concurrent
    package func kill(timeout: Duration = .seconds(10)) async throws {
        let start = MonotonicClock.nanoseconds()
        var wait = Duration.microseconds(200)
        var left: Set<ProcessIdentity> = []
        while true {
            // A process leaves its cgroup a moment before it has ended.
            left.formUnion(try processes().compactMap { ProcessIdentity(of: $0) })
            left = left.filter(\.isAlive)
            guard let first = left.first else { return }
            try killAll()
            guard .nanoseconds(MonotonicClock.nanoseconds() - start) < timeout else {
                throw SystemError(
                    "kill all processes of",
                    path,
                    code: ETIMEDOUT,
                    remedy: "\(left.count) did not end within \(timeout.text), \(first) among them: "
                        + "look at /proc/\(first.pid)/stack; a hanging file system is the usual cause."
                )
            }
            try await Task.sleep(for: wait)
            wait = min(wait * 2, .milliseconds(20))
        }
    }

    /// Removes it, and cgroups below it, from every hierarchy; it must have no processes.
    ///
    /// The kernel may need a moment after the last process has gone, so EBUSY is tried again for up to `timeout`.
    @concurrent
    package func remove(timeout: Duration = .seconds(2)) async throws {
        let start = MonotonicClock.nanoseconds()
        for mountPoint in hierarchy.mountPoints {
            let folder = mountPoint + path
            var wait = Duration.milliseconds(1)
            while let error = Self.failureOfRemovingTree(folder) {
                guard error.code == EBUSY, .nanoseconds(MonotonicClock.nanoseconds() - start) < timeout else {
                    throw SystemError(
                        "remove cgroup",
                        folder,
                        code: error.code,
                        remedy: error.code == EBUSY ? "Processes are still in it: kill them first." : nil
                    )
                }
                try await Task.sleep(for: wait)
                wait = min(wait * 2, .milliseconds(50))
            }
        }
    }

    /// Works with rmdir(2) from the leaves up: the files in a cgroup cannot be removed and need not be.
    private static func failureOfRemovingTree(_ folder: String) -> SystemError? {
        guard FileSystem.exists(folder) else { return nil }
        let names: [String]
        do throws(SystemError) { names = try FileSystem.list(folder) } catch { return error.isAbsent ? nil : error }
        for name in names where FileSystem.status("\(folder)/\(name)")?.kind == .folder {
            if let failure = failureOfRemovingTree("\(folder)/\(name)") { return failure }
        }
        guard unsafe rmdir(folder) != 0, errno != ENOENT else { return nil }
        return SystemError.last("remove cgroup", folder)
    }
}
