import Glibc
import LinuxSystem

/// Runs scenarios in processes of their own, several at a time: most of what a cluster's scenario does is to wait.
///
/// All that a scenario makes on the machine has the number of its process in its name, so none is in the way of another.
struct SideBySide {
    /// What each process is told beside its scenario.
    let words: [String]
    /// How many may run at a time.
    let width: Int

    /// Runs them all, those alone that need the whole machine; prints what each said when it is over, and returns how many failed.
    func run(_ scenarios: [any Scenario.Type]) async -> Int {
        var failures = 0
        for scenario in scenarios where scenario.needsWholeMachine { failures += await run(scenario) ? 0 : 1 }
        // The later ones of the list take longer, and whoever begins a long one last waits for it alone.
        var waiting = scenarios.filter { !$0.needsWholeMachine }.reversed()[...]
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<width {
                if let next = waiting.popFirst() { group.addTask { await run(next) } }
            }
            while let passed = await group.next() {
                failures += passed ? 0 : 1
                if let next = waiting.popFirst() { group.addTask { await run(next) } }
            }
        }
        return failures
    }

    private func run(_ scenario: any Scenario.Type) async -> Bool {
        let path = "/tmp/godwit-scenario-\(getpid())-\(scenario.name).log"
        do {
            let log = try OwnedDescriptor(opening: path, O_WRONLY | O_CREAT | O_TRUNC)
            let pid = try ProcessRunner.spawn(
                ProgramCommand(ownProgram, ["run", "--within", String(getpid())] + words + [scenario.name]),
                standardOutput: log.rawValue,
                standardError: log.rawValue
            )
            var status: Int32 = 0
            while unsafe waitpid(pid, &status, WNOHANG) == 0 { try await Task.sleep(for: .milliseconds(100)) }
            say(try FileSystem.readText(path, limit: 64 << 20))
            try FileSystem.removeAll(path)
            // A scenario that failed has said so; one whose process died has not.
            if status & 0x7f != 0 { say("    FAILED: \(scenario.name) was ended by signal \(status & 0x7f)\n") }
            return status == 0
        } catch {
            say("    FAILED: \(scenario.name) could not be run: \(error)\n")
            return false
        }
    }

    /// Ends this process as soon as the one that started it is gone.
    static func endWith(parent: Int32) {
        Task {
            while getppid() == parent { try? await Task.sleep(for: .seconds(1)) }
            exit(1)
        }
    }
}
