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
            await #expect(processExitsWith: .signal(SIGKILL)) { [folder = folder as String, delay = delay as Int] in
                try await Victim.commitUntilKilled(folder: folder, microseconds: delay)
            }
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
enum Victim {
    static func commitUntilKilled(folder: String, microseconds: Int) async throws {
        let (store, stored) = try await StateStore.open(folder: folder)
        let file = unsafe open(folder + "/acknowledged", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        precondition(file >= 0)
        let numbering = Numbering(store: store, next: stored.nextIndex)
        // The kill comes from a thread of its own, so that it hits any moment of a commit.
        Thread.detachNewThread {
            usleep(UInt32(microseconds))
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
