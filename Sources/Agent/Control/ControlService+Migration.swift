import ClusterModel
import ClusterState
import ControlMessages
import Placement
import SwiftProtobuf
import Transport

// Moving jobs between nodes, and telling how far those are that leave one.
extension ControlService {
    func migrate(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobMigrateRequest.self)
        let record = try await ownJob(request.job, call)
        let name = record.specification.name
        let order = try await beginMove(of: record.id, to: request.to, by: user(call))
        var reply = WireJobMigrateReply()
        (reply.from, reply.to, reply.message) = (order.from.rawValue, order.to.rawValue, order.reason)
        guard !request.noWait else { return call.reply(reply) }
        _ = try await wait(for: record.id) { $0.migration?.number != order.number }
        let numbered = try await replica.decisions(of: record.id, after: order.lastDecision, limit: 100)
        let decisions = numbered.map(\.decision)
        let told = decisions.filter { $0.kind == .migrated }
        guard let first = told.first else {
            let why = decisions.last { $0.kind != .placed }?.sentence ?? "it ended meanwhile"
            throw RPCFailure(.conflict, "'\(name)' was not moved. \(why)")
        }
        if !told.contains(where: { $0.numbers.contains { $0.name == "totalSeconds" } }),
            let end = decisions.last(where: { $0.kind == .restarted || $0.kind == .failed })
        {
            // It ran there, and what it still lacked could not be had.
            throw RPCFailure(.unavailable, "The move of '\(name)' did not succeed. \(end.sentence)")
        }
        func figure(_ name: String) -> Double? { told.lazy.flatMap(\.numbers).first { $0.name == name }?.value }
        reply.message = first.sentence
        reply.downtimeSeconds = figure("downtimeSeconds") ?? 0
        reply.totalSeconds = figure("totalSeconds") ?? 0
        reply.rawBytes = UInt64(max(0, figure("rawBytes") ?? 0))
        reply.sentBytes = UInt64(max(0, figure("sentBytes") ?? 0))
        call.reply(reply)
    }

    /// A move that was begun.
    private struct BegunMove {
        var number: UInt64
        var from: NodeID
        var to: NodeID
        /// Why there: a sentence.
        var reason: String
        /// The last decision before it.
        var lastDecision: UInt64
    }

    /// Checkpoints that may begin between the look at a job and the proposal of its move; each is waited for.
    private static let checkpointLimit = 5

    /// Chooses where a job goes, and has its move begun.
    ///
    /// Checkpoints come by themselves and take a moment; who wants the job moved need not find one in between.
    private func beginMove(of job: JobID, to wish: String, by user: UserID) async throws -> BegunMove {
        var checkpointCount = 0
        while true {
            let record = try await wait(for: job) { $0.state != .checkpointing }
            let (command, move) = try await plan(record, to: wish, by: user)
            do {
                _ = try await propose(command)
                return move
            } catch let refusal as Refusal {
                checkpointCount += 1
                guard checkpointCount <= Self.checkpointLimit, let known = await replica.state.job(job),
                    known.lastGeneration > record.lastGeneration
                else { throw refusal }
            }
        }
    }

    private func plan(_ record: JobRecord, to wish: String, by user: UserID) async throws -> (Command, BegunMove) {
        let name = record.specification.name
        let state = await replica.state
        guard let from = record.node, state.nodes.count(where: { $0.state != .left }) > 1 else {
            throw RPCFailure(
                .conflict,
                "'\(name)' was not moved: there is no other node; `godwit node list` shows them"
            )
        }
        let plan = MigrationPlan()
        let choice = plan.choose(
            record,
            to: wish,
            among: NodeView.all(of: state, suspects: [], now: now()),
            now: now()
        )
        guard let to = choice.to else { throw RPCFailure(.conflict, "'\(name)' was not moved. \(choice.reason)") }
        for node in [from, to] where plan.isBusy(node, state) {
            throw RPCFailure(
                .exhausted,
                "'\(name)' was not moved: node \(node) takes part in \(plan.limitForNode) moves already; try again when one has ended"
            )
        }
        let reason = "\(user) asked for it. \(choice.reason)"
        let order = MigrationOrder(job: record.id, to: to, by: user, reason: reason, time: now())
        let number = (record.lastMigration ?? 0) + 1
        return (
            .beginMigration(order),
            BegunMove(number: number, from: from, to: to, reason: choice.reason, lastDecision: state.lastDecision)
        )
    }

    /// What becomes of each job that is left on a node that is being drained; nothing of other nodes.
    func departures(from record: NodeRecord, _ state: ClusterState) -> [WireJobDeparture] {
        guard record.isDraining else { return [] }
        let plan = MigrationPlan()
        let nodes = NodeView.all(of: state, suspects: [], now: now())
        return state.jobsLeft(on: record.node).map { job in
            let departure = plan.departure(of: job, among: nodes, now: now())
            return .with { wire in
                wire.name = job.specification.name
                wire.to = departure.to?.rawValue ?? ""
                wire.message = departure.message
            }
        }
    }
}

extension Migration {
    /// The move as it travels.
    var wire: WireJobMigration {
        .with { wire in
            (wire.from, wire.to, wire.phase) = (source.rawValue, destination.rawValue, phase.rawValue)
            wire.beganUnixSeconds = began.seconds
            wire.by = by?.rawValue ?? ""
        }
    }
}

extension NodePlatform {
    /// What containers depend on, as it travels.
    var wire: WireProcessor {
        .with { wire in
            wire.architecture = architecture
            wire.features = features.names(architecture: architecture)
            wire.stateBytes = UInt32(clamping: stateSize)
            wire.criu = criu.map { "\($0)" } ?? ""
        }
    }
}
