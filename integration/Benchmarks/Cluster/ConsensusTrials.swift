import ClusterModel
import Glibc
import LinuxSystem
import Synchronization

/// Three members of one side, what is done to them, and what is written meanwhile.
final class ConsensusTrials {
    let side: any ConsensusSide
    private let context: BenchmarkContext
    private let processes = ProcessSet()
    /// Acknowledged and not read back yet.
    private var acknowledged: Set<String> = []
    private var trial = 0
    /// Acknowledged writes that were read back, and that were not there.
    private(set) var found = 0
    private(set) var lost = 0

    private static let memberCount = 3
    /// Agents vote when they have answered for a minute; etcd's members do at once.
    private static let foundingLimit = Duration.seconds(240)

    init(_ side: any ConsensusSide, _ context: BenchmarkContext) { (self.side, self.context) = (side, context) }

    /// Starts the members and returns when all three vote.
    func found() async throws {
        for member in 0..<Self.memberCount {
            try start(member)
            if side.founderComesFirst, member == 0 {
                _ = try await context.eventually("an answer of \(side.name)") { () async throws -> Bool? in
                    guard let writer = try? await side.connect(0) else { return nil }
                    await writer.close()
                    return true
                }
            }
        }
        _ = try await leader(within: Self.foundingLimit)
    }

    /// Never fails, so that it can be the last thing done.
    func end() {
        processes.endAll()
        side.remove()
    }

    private func start(_ member: Int) throws {
        try processes.start(member, side.command(member), log: side.logPath(of: member))
    }

    /// Waits until all three members vote, answer and are level; gives who leads.
    private func leader(within limit: Duration = .seconds(60)) async throws -> Int {
        try await context.eventually(
            "agreement of all three members of \(side.name)",
            within: limit,
            every: .milliseconds(50)
        ) {
            try processes.requireAll(logs: side.logPath(of:))
            return try? await side.leaderOfAll()
        }
    }

    // MARK: A leader ends

    /// One write of an open loop: when it was sent, and when it was acknowledged.
    private struct Attempt: Sendable {
        var key: String
        var sent: ContinuousClock.Instant
        var acknowledged: ContinuousClock.Instant?
    }

    /// All of them, shared by the tasks that wait for their answers.
    private final class Attempts: Sendable {
        private let list = Mutex<[Attempt]>([])

        var all: [Attempt] { list.withLock { $0 } }
        func begin(_ key: String) -> Int {
            list.withLock { list in
                list.append(Attempt(key: key, sent: .now))
                return list.count - 1
            }
        }
        func acknowledge(_ index: Int) {
            let moment = ContinuousClock.now
            list.withLock { $0[index].acknowledged = moment }
        }
    }

    /// What clients of the other two members notice of the leader's end.
    struct Outage {
        /// From the signal to the first acknowledgement of a write that was sent after it, in seconds.
        var firstWrite: Double
        /// The longest time without an acknowledgement, in seconds.
        var longestGap: Double
    }

    /// Ends the leader while writes are sent to the other two without waiting for each other; starts it again and reads everything back.
    ///
    /// - Parameters:
    ///   - signal: SIGKILL, or SIGTERM for an orderly end.
    ///   - spacing: between two writes; what is measured is not finer.
    ///   - after: how long to go on after the first acknowledgement.
    /// - Returns: what was noticed.
    /// - Throws: ``BenchmarkFailure`` when no write is acknowledged within 30 s, or the members do not agree again.
    func endLeader(_ signal: Int32, spacing: Duration, after: Duration) async throws -> Outage {
        let leader = try await leader()
        let others = (0..<Self.memberCount).filter { $0 != leader }
        var writers: [any DurableWriter] = []
        for other in others { writers.append(try await side.connect(other)) }
        trial += 1
        let label = "t\(trial)"
        let attempts = Attempts()
        let began = ContinuousClock.now
        var ended: ContinuousClock.Instant?
        try await withThrowingTaskGroup(of: Void.self) { group in
            var number = 0
            var stop: ContinuousClock.Instant?
            while stop.map({ ContinuousClock.now < $0 }) ?? true {
                let now = ContinuousClock.now
                if ended == nil, began.duration(to: now) >= .milliseconds(300) {
                    processes.signal(leader, signal)
                    ended = .now
                }
                if let ended {
                    guard ended.duration(to: now) < .seconds(30) else {
                        throw BenchmarkFailure("\(side.name) took no write for 30 s after the end of its leader")
                    }
                    let isTaken = attempts.all.contains { $0.sent > ended && $0.acknowledged != nil }
                    if isTaken, stop == nil { stop = now + after }
                }
                let (key, writer) = ("\(label)-\(number)", writers[number % writers.count])
                let index = attempts.begin(key)
                group.addTask {
                    // Who gets no answer has no promise; it may be written or not.
                    if (try? await writer.write(key, timeout: .seconds(5))) != nil { attempts.acknowledge(index) }
                }
                number += 1
                try await Task.sleep(until: began + spacing * number, tolerance: .zero)
            }
            try await group.waitForAll()
        }
        for writer in writers { await writer.close() }
        try await processes.wait(leader)
        try start(leader)
        guard let ended else { throw BenchmarkFailure("the leader was not ended") }
        let all = attempts.all
        acknowledged.formUnion(all.filter { $0.acknowledged != nil }.map(\.key))
        try await readBack()
        let first = all.filter { $0.sent > ended }.compactMap(\.acknowledged).min() ?? ended
        // From a little before the signal on, so that the time until the first acknowledgement counts too.
        let times = all.compactMap(\.acknowledged).filter { ended - .milliseconds(50) < $0 }.sorted()
        let gap = zip(times, times.dropFirst()).map { $0.duration(to: $1) }.max() ?? .zero
        return Outage(firstWrite: ended.duration(to: first).inSeconds, longestGap: gap.inSeconds)
    }

    // MARK: All end

    /// Kills all three at once and starts them; gives the seconds until the first write is acknowledged by any of them.
    func recover() async throws -> Double {
        _ = try await leader()
        for member in 0..<Self.memberCount { processes.signal(member, SIGKILL) }
        for member in 0..<Self.memberCount { try await processes.wait(member) }
        trial += 1
        let key = "r\(trial)"
        let began = ContinuousClock.now
        for member in 0..<Self.memberCount { try start(member) }
        let first = try await withThrowingTaskGroup(of: ContinuousClock.Instant?.self) { group in
            for member in 0..<Self.memberCount {
                group.addTask { [side] in
                    while !Task.isCancelled, began.duration(to: .now) < .seconds(60) {
                        if let writer = try? await side.connect(member) {
                            let isWritten = (try? await writer.write("\(key)-\(member)", timeout: .seconds(5))) != nil
                            let moment = ContinuousClock.now
                            await writer.close()
                            if isWritten { return moment }
                        }
                        try? await Task.sleep(for: .milliseconds(5))
                    }
                    return nil
                }
            }
            var first: ContinuousClock.Instant?
            while first == nil, let moment = try await group.next() { first = moment }
            group.cancelAll()
            return first
        }
        guard let first else { throw BenchmarkFailure("\(side.name) took no write within 60 s of its start") }
        try await readBack()
        return began.duration(to: first).inSeconds
    }

    // MARK: Writes per second

    /// Writes by clients that each wait for their last write, on connections spread over the members; one client asks the leader.
    func throughput(clients: Int, writesEach: Int) async throws -> Double {
        let leader = try await leader()
        trial += 1
        let label = "w\(trial)"
        var writers: [any DurableWriter] = []
        for client in 0..<clients { writers.append(try await side.connect((leader + client) % Self.memberCount)) }
        // The first write on a connection pays for what is made on demand.
        try await write("\(label)-warm", writers, count: 1)
        let began = ContinuousClock.now
        try await write(label, writers, count: writesEach)
        let elapsed = began.duration(to: .now).inSeconds
        for writer in writers { await writer.close() }
        try await readBack()
        return Double(clients * writesEach) / elapsed
    }

    private func write(_ label: String, _ writers: [any DurableWriter], count: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (client, writer) in writers.enumerated() {
                group.addTask {
                    for number in 0..<count {
                        try await writer.write("\(label)-\(client)-\(number)", timeout: .seconds(30))
                    }
                }
            }
            try await group.waitForAll()
        }
        for client in writers.indices {
            for number in 0..<count { acknowledged.insert("\(label)-\(client)-\(number)") }
        }
    }

    /// Reads back what was acknowledged since the last time.
    private func readBack() async throws {
        _ = try await leader()
        let keys = try await side.keys()
        let missing = acknowledged.subtracting(keys)
        found += acknowledged.count - missing.count
        lost += missing.count
        if let example = missing.min() {
            say("  \(side.name) has LOST \(missing.count) acknowledged writes, among them \(example)\n")
        }
        acknowledged = []
    }
}
