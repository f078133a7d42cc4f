import ClusterModel
import Foundation
import Glibc
import Storage
import Testing

/// `kill -9` at random moments: what was acknowledged is there.
@Suite struct KillTests {
    /// Each round is a process that commits with 8 callers until it is killed; `GODWIT_KILLS` sets how many.
    @Test(.timeLimit(.minutes(10)))
    func everyAcknowledgedEntryIsThereAfterAKill() async throws {
        let rounds = ProcessInfo.processInfo.environment["GODWIT_KILLS"].flatMap(Int.init) ?? 25
        let scratch = Scratch()
        var generator = SeededGenerator(seed: 1)
        var acknowledged: UInt64 = 0
        for round in 0..<rounds {
            let folder = scratch.path
            let delay = Int(1000 + generator.next() % 60_000)
            #expect(try Victim.runToItsEnd(folder: folder, microseconds: delay) == SIGKILL)
            let (store, stored) = try await StateStore.open(folder: folder)
            let log = try String(contentsOfFile: folder + "/acknowledged", encoding: .utf8)
            // A line that the kill cut short was not acknowledged.
            let lines = log.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            acknowledged = max(acknowledged, lines.compactMap { UInt64($0) }.max() ?? 0)
            let from = stored.snapshot?.index ?? 0
            #expect(
                stored.nextIndex > acknowledged,
                "round \(round): entry \(acknowledged) was acknowledged and is lost"
            )
            #expect(stored.entries.map(\.index) == Array((from + 1)..<stored.nextIndex))
            // Each entry came with its decision, in one transaction.
            let decisions = try await store.decisions(of: nil, after: 0, limit: 100_000)
            #expect(decisions.map(\.sequence) == Array(1..<stored.nextIndex).suffix(100_000))
            // Keeps the log short and proves that a snapshot survives as well.
            try await store.save(StoredSnapshot(index: stored.nextIndex - 1, term: term, state: Array("\(round)".utf8)))
            try await store.close()
        }
        #expect(acknowledged > UInt64(rounds), "hardly anything was committed before the kills")
        print("kills: \(rounds), acknowledged entries: \(acknowledged), lost: 0")
    }
}

/// What runs in the process that is killed.
@Suite struct VictimTests {
    /// A test only in the process that ``KillTests`` starts.
    @Test(.enabled(if: Victim.order != nil, "runs in the process that is killed"))
    func commitsUntilItIsKilled() async throws {
        let (folder, delay) = try #require(Victim.order)
        try await Victim.commitUntilKilled(folder: folder, microseconds: delay)
    }
}

/// The process that is killed: this program again, told by its environment what to do.
///
/// Not an exit test: the library's thread for those waits for any child, and spins for ever on one that another test has
/// not reaped yet.
enum Victim {
    private static let key = "GODWIT_STATE_VICTIM"

    /// The folder and after how many microseconds to die, in a process that was started to be killed.
    static var order: (folder: String, microseconds: Int)? {
        guard let words = ProcessInfo.processInfo.environment[key]?.split(separator: " ", maxSplits: 1),
            words.count == 2, let delay = Int(words[0])
        else { return nil }
        return (String(words[1]), delay)
    }

    /// Starts the process and waits for its end.
    ///
    /// - Returns: the signal that ended it; 0 when none did.
    static func runToItsEnd(folder: String, microseconds: Int) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["--testing-library", "swift-testing", "--filter", "VictimTests"]
        process.environment = ProcessInfo.processInfo.environment
            .merging([key: "\(microseconds) \(folder)"]) { $1 }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationReason == .uncaughtSignal ? process.terminationStatus : 0
    }

    static func commitUntilKilled(folder: String, microseconds: Int) async throws {
        let (store, stored) = try await StateStore.open(folder: folder)
        let file = unsafe open(folder + "/acknowledged", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        precondition(file >= 0)
        let numbering = Numbering(store: store, next: stored.nextIndex)
        // The kill comes from a thread of its own, so that it hits any moment of a commit.
        Thread.detachNewThread {
            usleep(UInt32(microseconds))  // polls: nothing; any moment of a commit is to be hit
            kill(getpid(), SIGKILL)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    while true {
                        let index = try await numbering.commit()
                        let line = Array("\(index)\n".utf8)
                        _ = unsafe line.withUnsafeBytes { unsafe write(file, $0.baseAddress, $0.count) }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private actor Numbering {
        let store: StateStore
        var next: UInt64

        init(store: StateStore, next: UInt64) {
            self.store = store
            self.next = next
        }

        func commit() async throws -> UInt64 {
            let index = next
            next += 1
            try await store.commit(StateBatch(entries: [entry(index)], decisions: [decision(index)]))
            return index
        }
    }
}
