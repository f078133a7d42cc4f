internal import Checkpointing
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// Lets go of a lazily dumped container when the agent that holds it is gone.
///
/// CRIU takes the end of its stream for the word that all pages are elsewhere, and kills what it has dumped. So a process that outlives the agent holds the
/// agent's end, too; when the agent ends, it says there what makes CRIU give the dump up, and the container stands still as it was.
final class DumpGuard: Sendable {
    /// What CRIU does not understand, as long as one of its messages.
    static let nonsense = [UInt8](repeating: 0xFF, count: PageServerMessage.byteCount)

    private let process: Int32
    private let watcher: ProcessWatcher
    /// The guard reads from the other end, and sees when this one is closed.
    private let life: Mutex<Int32?>

    init(of socket: Int32, watcher: ProcessWatcher) throws(SystemError) {
        // As printf(1) of any shell takes bytes.
        let octal = Self.nonsense.map { "\\" + String($0, radix: 8) }.joined()
        let script = "read -r line <&3; printf '\(octal)' >&4"
        let (pid, writing) = try OwnedDescriptor.pipe().take { (reading, writing) throws(SystemError) in
            let pid = try ProcessRunner.spawn(
                ProgramCommand("/bin/sh", ["-c", script], environment: [], startsSession: true),
                inherited: [reading.rawValue, socket]
            )
            return (pid, writing.release())
        }
        (process, self.watcher) = (pid, watcher)
        life = Mutex(writing)
    }

    deinit { if let life = takeLife() { close(life) } }

    /// Ends it without a word.
    func dismiss() async {
        guard let life = takeLife() else { return }
        _ = Glibc.kill(process, SIGKILL)
        _ = try? await watcher.exit(of: process)
        close(life)
    }

    private func takeLife() -> Int32? {
        life.withLock { life in
            defer { life = nil }
            return life
        }
    }
}
