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
            #expect(try await Victim.runToItsEnd(.appends, folder: folder, microseconds: delay) == SIGKILL)
            let (store, stored) = try await StateStore.open(folder: folder)
            acknowledged = max(acknowledged, try Victim.acknowledged(in: folder))
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

    /// The process writes what a follower under changing leaders writes: what it leaves is what the first so many batches leave,
    /// all that were acknowledged among them, each of them whole.
    @Test(.timeLimit(.minutes(10)))
    func noBatchIsHalfThereAfterAKill() async throws {
        let rounds = ProcessInfo.processInfo.environment["GODWIT_KILLS"].flatMap(Int.init) ?? 25
        let scratch = Scratch()
        var generator = SeededGenerator(seed: 2)
        var before = StoredState()
        var batches: UInt64 = 0
        for round in 0..<rounds {
            let folder = scratch.path
            let delay = Int(1000 + generator.next() % 60_000)
            #expect(try await Victim.runToItsEnd(.overwrites, folder: folder, microseconds: delay) == SIGKILL)
            let (store, stored) = try await StateStore.open(folder: folder)
            batches = BatchScript.generation(of: stored)
            let acknowledged = try Victim.acknowledged(in: folder)
            #expect(batches >= acknowledged, "round \(round): batch \(acknowledged) was acknowledged and is lost")
            // The same script again, as far as the process came.
            let twin = InMemoryStateStore(before)
            var script = BatchScript(seed: BatchScript.generation(of: before), after: before)
            var state = before
            while state != stored {
                try await script.next().write(to: twin)
                state = try await twin.load()
                try #require(BatchScript.generation(of: state) <= batches, "round \(round): half of a batch is there")
            }
            let decisions = try await store.decisions(of: nil, after: 0, limit: 100_000)
            #expect(decisions.map(\.sequence) == (0..<batches).map { $0 + 1 }.suffix(100_000))
            before = stored
            try await store.close()
        }
        #expect(batches > UInt64(rounds), "hardly anything was written before the kills")
        print("kills: \(rounds), batches: \(batches), lost or halved: 0")
    }
}

/// What runs in the process that is killed.
@Suite struct VictimTests {
    /// A test only in the process that ``KillTests`` starts.
    @Test(.enabled(if: Victim.order != nil, "runs in the process that is killed"))
    func commitsUntilItIsKilled() async throws {
        let (work, folder, delay) = try #require(Victim.order)
        try await Victim.commitUntilKilled(work, folder: folder, microseconds: delay)
    }
}

/// The process that is killed: this program again, told by its environment what to do.
///
/// Not an exit test: the library's thread for those waits for any child, and spins for ever on one that another test has
/// not reaped yet.
enum Victim {
    private static let key = "GODWIT_STATE_VICTIM"

    enum Work: String {
        case appends, overwrites
    }

    /// What to do, where, and after how many microseconds to die, in a process that was started to be killed.
    static var order: (work: Work, folder: String, microseconds: Int)? {
        guard let words = ProcessInfo.processInfo.environment[key]?.split(separator: " ", maxSplits: 2),
            words.count == 3, let work = Work(rawValue: String(words[0])), let delay = Int(words[1])
        else { return nil }
        return (work, String(words[2]), delay)
    }

    /// Starts the process and waits for its end, on no thread that other tests need.
    ///
    /// - Returns: the signal that ended it; 0 when none did.
    static func runToItsEnd(_ work: Work, folder: String, microseconds: Int) async throws -> Int32 {
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["--testing-library", "swift-testing", "--filter", "VictimTests"]
        process.environment = ProcessInfo.processInfo.environment
            .merging([key: "\(work.rawValue) \(microseconds) \(folder)"]) { $1 }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in continuation.resume() }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        return process.terminationReason == .uncaughtSignal ? process.terminationStatus : 0
    }

    /// The greatest number that was acknowledged by any process so far.
    static func acknowledged(in folder: String) throws -> UInt64 {
        let log = try String(contentsOfFile: folder + "/acknowledged", encoding: .utf8)
        // A line that the kill cut short was not acknowledged.
        let lines = log.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        return lines.compactMap { UInt64($0) }.max() ?? 0
    }

    static func commitUntilKilled(_ work: Work, folder: String, microseconds: Int) async throws {
        let (store, stored) = try await StateStore.open(folder: folder)
        let file = unsafe open(folder + "/acknowledged", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        precondition(file >= 0)
        let writer = Writer(work, to: store, after: stored)
        // The kill comes from a thread of its own, so that it hits any moment of a commit.
        Thread.detachNewThread {
            usleep(UInt32(microseconds))  // polls: nothing; any moment of a commit is to be hit
            kill(getpid(), SIGKILL)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    while true {
                        let number = try await writer.write()
                        let line = Array("\(number)\n".utf8)
                        _ = unsafe line.withUnsafeBytes { unsafe write(file, $0.baseAddress, $0.count) }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// Numbers what is written; the number and the call are one step.
    private actor Writer {
        let work: Work
        let store: StateStore
        var next: UInt64
        var script: BatchScript

        init(_ work: Work, to store: StateStore, after stored: StoredState) {
            self.work = work
            self.store = store
            next = stored.nextIndex
            script = BatchScript(seed: BatchScript.generation(of: stored), after: stored)
        }

        /// Returns the number of what is durable now.
        func write() async throws -> UInt64 {
            switch work {
            case .appends:
                let index = next
                next += 1
                try await store.commit(StateBatch(entries: [entry(index)], decisions: [decision(index)]))
                return index
            case .overwrites:
                let work = script.next()
                let generation = script.generation
                try await work.write(to: store)
                return generation
            }
        }
    }
}
