import Glibc

/// Three agents that agree, beside a three-member etcd with its defaults, on the same disk and asked by the same number of clients.
///
/// Both clusters stand at the same time and take turns. Every part begins with new ones, because what is written stays.
struct ConsensusBenchmark: Benchmark {
    static let name = "consensus"
    static let summary =
        "three members: leader's kill -9 and orderly end, durable writes per second, recovery; peer: etcd"

    private static let failovers = 20
    /// Agents keep at most 10,000 revocations: what is written here in five rounds.
    private static let roundsPerCluster = 5
    /// Both clusters stand while they wait for their turn.
    private static let restingShare = 0.1
    private static let loads = [(clients: 1, writesEach: 200), (clients: 64, writesEach: 20)]

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        _ = try context.peer("etcd", package: "etcd-server")
        var rows: [BenchmarkRow] = []
        var (found, lost): ((Int, Int), (Int, Int)) = ((0, 0), (0, 0))
        func part(_ body: (ConsensusTrials, ConsensusTrials) async throws -> Void) async throws {
            let ours = ConsensusTrials(try GodwitStore(context), context)
            defer { ours.end() }
            let peer = ConsensusTrials(try EtcdStore(context), context)
            defer { peer.end() }
            try await ours.found()
            try await peer.found()
            try await body(ours, peer)
            found = (found.0 + ours.found, found.1 + peer.found)
            lost = (lost.0 + ours.lost, lost.1 + peer.lost)
        }

        let trials = max(Self.failovers, context.rounds)
        for ending in Self.endings {
            try await part { ours, peer in
                rows += try await Self.measure(ending, ours, peer, trials, context)
            }
        }
        var (own, other) = (Rates(), Rates())
        for first in stride(from: 0, to: context.rounds, by: Self.roundsPerCluster) {
            try await part { ours, peer in
                for _ in first..<min(first + Self.roundsPerCluster, context.rounds) {
                    try await Self.measureRates(ours, peer, &own, &other, context)
                }
            }
        }
        rows += Self.rows(own, other)
        rows.append(
            BenchmarkRow(
                "acknowledged writes that were gone, ours of \(found.0), etcd's of \(found.1)",
                unit: "writes",
                ours: Double(lost.0),
                peer: Double(lost.1),
                goal: .atMost(0)
            )
        )
        return rows
    }

    /// How a leader is ended, and what is measured then.
    private struct Ending: Sendable {
        var name: String
        var signal: Int32
        /// Between two writes, and how long they go on after the leader was told.
        var spacing: Duration
        var after: Duration
        var figure: any KeyPath<ConsensusTrials.Outage, Double> & Sendable
        var row: String
        var medianGoal: BenchmarkGoal
        var highGoal: BenchmarkGoal?
    }

    private static let endings = [
        Ending(
            name: "leader's kill -9",
            signal: SIGKILL,
            spacing: .milliseconds(10),
            after: .milliseconds(100),
            figure: \.firstWrite,
            row: "leader's kill -9 to first acknowledged write",
            medianGoal: .atMost(400),
            highGoal: .atMost(800)
        ),
        Ending(
            name: "leader's SIGTERM",
            signal: SIGTERM,
            spacing: .milliseconds(4),
            after: .milliseconds(700),
            figure: \.longestGap,
            row: "leader's SIGTERM: longest time without an acknowledgement, a write every 4 ms",
            medianGoal: .atMost(20)
        ),
    ]

    private static func measure(
        _ ending: Ending,
        _ ours: ConsensusTrials,
        _ peer: ConsensusTrials,
        _ trials: Int,
        _ context: BenchmarkContext
    ) async throws -> [BenchmarkRow] {
        var (own, other): ([Double], [Double]) = ([], [])
        for number in 1...trials {
            while try await !context.isQuietEnough(for: "\(ending.name), trial \(number)", own: Self.restingShare) {}
            for (side, isOwn) in [(ours, true), (peer, false)] {
                let outage = try await side.endLeader(ending.signal, spacing: ending.spacing, after: ending.after)
                if isOwn {
                    own.append(outage[keyPath: ending.figure])
                } else {
                    other.append(outage[keyPath: ending.figure])
                }
            }
        }
        say("  \(ending.name): ours \(own.map(figure)), etcd \(other.map(figure))\n")
        return [
            BenchmarkRow(
                "\(ending.row), p50 of \(trials); peer: etcd",
                seconds: own,
                peer: other,
                goal: ending.medianGoal
            ),
            BenchmarkRow(
                "the same, p99",
                unit: "ms",
                ours: own.percentile(0.99) * 1000,
                peer: other.percentile(0.99) * 1000,
                goal: ending.highGoal
            ),
        ]
    }

    /// Of one side: writes per second by number of clients, and seconds to recover.
    private struct Rates {
        var writes: [Int: [Double]] = [:]
        var recovery: [Double] = []
    }

    private static func measureRates(
        _ ours: ConsensusTrials,
        _ peer: ConsensusTrials,
        _ own: inout Rates,
        _ other: inout Rates,
        _ context: BenchmarkContext
    ) async throws {
        while try await !context.isQuietEnough(
            for: "writes per second, round \(own.recovery.count + 1)",
            own: Self.restingShare
        ) {}
        for load in loads {
            own.writes[load.clients, default: []].append(
                try await ours.throughput(clients: load.clients, writesEach: load.writesEach)
            )
            other.writes[load.clients, default: []].append(
                try await peer.throughput(clients: load.clients, writesEach: load.writesEach)
            )
        }
        own.recovery.append(try await ours.recover())
        other.recovery.append(try await peer.recover())
    }

    private static func rows(_ own: Rates, _ other: Rates) -> [BenchmarkRow] {
        var rows = loads.map { load in
            BenchmarkRow(
                "durable writes, \(load.clients) client\(load.clients == 1 ? "" : "s"); ours over mutual TLS, etcd's without",
                unit: "/s",
                ours: (own.writes[load.clients] ?? []).median,
                peer: (other.writes[load.clients] ?? []).median,
                goal: .ratioAtLeast(1)
            )
        }
        rows.append(
            BenchmarkRow(
                "all three killed and started, until the first acknowledged write",
                seconds: own.recovery,
                peer: other.recovery
            )
        )
        return rows
    }
}
