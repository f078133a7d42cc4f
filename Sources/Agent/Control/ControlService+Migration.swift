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
        var record = try await ownJob(request.job, call)
        let name = record.specification.name
        // Checkpoints come by themselves and take a moment; who wants the job moved need not find one in between.
        if record.state == .checkpointing { record = try await wait(for: record.id) { $0.state != .checkpointing } }
        let state = await replica.state
        guard let from = record.node, state.nodes.count(where: { $0.state != .left }) > 1 else {
            throw RPCFailure(
                .conflict,
                "'\(name)' was not moved: there is no other node; `godwit node list` shows them"
            )
        }
        let plan = MigrationPlan()
        let nodes = NodeView.all(of: state, suspects: [], now: now())
        let choice = plan.choose(record, to: request.to, among: nodes, now: now())
        guard let to = choice.to else { throw RPCFailure(.conflict, "'\(name)' was not moved. \(choice.reason)") }
        for node in [from, to] where plan.isBusy(node, state) {
            throw RPCFailure(
                .exhausted,
                "'\(name)' was not moved: node \(node) takes part in \(plan.limitForNode) moves already; try again when one has ended"
            )
        }
        let lastDecision = state.lastDecision
        let user = user(call)
        let reason = "\(user) asked for it. \(choice.reason)"
        _ = try await propose(
            .beginMigration(MigrationOrder(job: record.id, to: to, by: user, reason: reason, time: now()))
        )
        var reply = WireJobMigrateReply()
        (reply.from, reply.to, reply.message) = (from.rawValue, to.rawValue, choice.reason)
        guard !request.noWait else { return call.reply(reply) }
        let number = (record.lastMigration ?? 0) + 1
        _ = try await wait(for: record.id) { $0.migration?.number != number }
        let decisions = try await replica.decisions(of: record.id, after: lastDecision, limit: 100).map(\.decision)
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
