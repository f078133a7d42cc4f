import ClusterModel

/// Agents that find each other and notice that one is gone, beside serf with its own defaults.
///
/// Each round is one life of each side: see ``GossipRound``.
struct GossipBenchmark: Benchmark {
    static let name = "gossip"
    static let summary =
        "n agents: joining at once, noticing kill -9, bytes at rest, false verdicts without CPU; peer: serf"

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        _ = try context.peer("serf", package: "serf")
        var rows: [BenchmarkRow] = []
        for count in context.agents {
            var (ours, peer): ([GossipFigures], [GossipFigures]) = ([], [])
            var left = 2 * context.rounds
            while min(ours.count, peer.count) < context.rounds {
                left -= 1
                guard left >= 0 else {
                    throw BenchmarkFailure(
                        "other work kept the machine busy: \(ours.count) of \(context.rounds) rounds could be had"
                    )
                }
                guard try await context.isQuietEnough(for: "\(count) agents, round \(ours.count + 1)") else { continue }
                let plan = GossipRound.Plan(
                    count: count,
                    kills: Swift.min(4, count / 4),
                    rest: .seconds(20),
                    starvation: ours.count + 1 == context.rounds ? context.watch : nil
                )
                ours.append(try await GossipRound.run(try GodwitSide(context, count: count), plan, context))
                peer.append(try await GossipRound.run(try SerfSide(context, count: count), plan, context))
                say("  \(count) agents, round \(ours.count): \(Self.text(ours)); serf: \(Self.text(peer))\n")
            }
            rows += Self.rows(count, ours, peer, context)
        }
        return rows
    }

    /// The last round in one line, so that a long run can be followed.
    private static func text(_ rounds: [GossipFigures]) -> String {
        guard let last = rounds.last else { return "" }
        let kills = last.allKnown.map(figure).joined(separator: ", ")
        return "joined in \(figure(last.join)) s, kills known to all after \(kills) s"
    }

    private static func rows(
        _ count: Int,
        _ ours: [GossipFigures],
        _ peer: [GossipFigures],
        _ context: BenchmarkContext
    ) -> [BenchmarkRow] {
        func row(
            _ name: String,
            _ unit: String,
            goal: BenchmarkGoal? = nil,
            _ value: ([GossipFigures]) -> Double
        ) -> BenchmarkRow {
            BenchmarkRow("\(count) agents: \(name)", unit: unit, ours: value(ours), peer: value(peer), goal: goal)
        }
        func starved(_ rounds: [GossipFigures], _ count: (Starvation) -> Int) -> Double {
            Double(rounds.compactMap(\.starved).reduce(0) { $0 + count($1) })
        }
        let kills = ours.reduce(0) { $0 + $1.allKnown.count }
        return [
            row("started at once, until all views are complete; peer: serf", "s", goal: .atMost(5)) {
                $0.map(\.join).median
            },
            row("the same, slowest of \(ours.count)", "s", goal: .atMost(5)) { $0.map(\.join).max() ?? .nan },
            row("kill -9 until another knows, p50 of \(kills) kills", "s") { $0.flatMap(\.known).median },
            row("the same, p99", "s", goal: .atMost(4)) { $0.flatMap(\.known).percentile(0.99) },
            row("kill -9 until all know", "s") { $0.flatMap(\.allKnown).median },
            row("at rest, datagrams sent per agent", "/s") { $0.map(\.datagrams).median },
            row("at rest, bytes in datagrams per agent, sealed", "B/s", goal: .atMost(350)) {
                $0.map(\.datagramBytes).median
            },
            row("at rest, with TCP and all headers (ours: TLS, with Raft and leases)", "B/s") {
                $0.map(\.allBytes).median
            },
            row("at rest, CPU per agent (ours: the whole agent)", "% of a core") { $0.map(\.share).median * 100 },
            row("at rest, resident memory per agent", "MB") { $0.map(\.memory).median / 1e6 },
            row("agents that live held for dead, undisturbed", "verdicts", goal: .atMost(0)) {
                Double($0.reduce(0) { $0 + $1.falseVerdicts })
            },
            row("the same, \(context.watch.text) with no CPU left", "verdicts", goal: .atMost(0)) {
                starved($0, \.falseVerdicts)
            },
            row("meanwhile, about one in six that hardly ran", "verdicts") { starved($0, \.starvedVerdicts) },
            row("and suspected (serf tells its own probes only, ours all it hears)", "lines") {
                starved($0, \.suspicions)
            },
        ]
    }
}
