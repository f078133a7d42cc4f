import ClusterModel
import ControlMessages
import NIO
import Synchronization
import TLS
import Transport

/// Who leads, as far as this agent knows.
enum LeaderView: Sendable, Equatable {
    case here
    case at(NodeID)
    /// Nobody, with how many of the voters answer.
    case unknown(votersAnswering: Int, voterCount: Int)
}

/// Which node holds a job.
enum JobHolder: Sendable, Equatable {
    case here
    case at(NodeID)
    /// The job is known, and no node holds it.
    case nobody
    /// This agent does not know the job, or not which one is meant.
    case unknown
}

/// What the routing of calls must know of the cluster.
protocol CallRouting: Sendable {
    /// Who leads now.
    func leader() async -> LeaderView

    /// Whether this agent leads for certain and sees everything that was acknowledged to anybody before this call.
    func isUpToDate() async -> Bool

    /// Which node holds the job with this name or identity.
    func holder(ofJob reference: String) async -> JobHolder

    /// Which node that is there has the files of a checkpoint; this one if it has them. 0: of the newest good one.
    func holder(ofCheckpoint generation: UInt32, of reference: String) async -> JobHolder
}

/// Brings every call to the agent that can answer it, so that a user may ask any.
///
/// A call that is passed on is never passed on to a leader again, and one that reached a job's node stays there, so no call goes
/// round in circles: at most from the agent that was asked to the leader and from there to a job's node.
struct RoutingHandler: RPCHandler {
    private let node: NodeID
    private let local: any RPCHandler
    private let peers: PeerService
    private let link: any PeerLink
    private let routing: any CallRouting
    private let leaderPatience: Duration

    /// Calls that this agent answers go to `local`, those of other agents to `peers`.
    ///
    /// `leaderPatience` is how long a call waits for a leader before it is refused.
    init(
        node: NodeID,
        local: any RPCHandler,
        peers: PeerService,
        link: any PeerLink,
        routing: any CallRouting,
        leaderPatience: Duration = .seconds(2)
    ) {
        (self.node, self.local, self.peers) = (node, local, peers)
        (self.link, self.routing, self.leaderPatience) = (link, routing, leaderPatience)
    }

    func answerAtOnce(_ request: RPCRequest) -> ByteBuffer? {
        if request.method.isBetweenPeers { return peers.answerAtOnce(request) }
        return request.method.place == .here ? local.answerAtOnce(request) : nil
    }

    /// Receipts of Raft messages: they only bound what is under way.
    ///
    /// For a large delivery the next one may be waiting.
    func mayWait(_ request: RPCRequest) -> Bool {
        request.method == .raft && request.payload.readableBytes <= PeerSettings.patientByteLimit
    }

    func handle(_ call: RPCCall) async throws {
        if call.method == .forward {
            try await answerForwarded(call)
        } else {
            // Before a stranger can make this agent ask another one.
            if call.method.isBetweenPeers { _ = try peers.caller(call.request) }
            try await route(call, .fromCaller)
        }
    }

    /// How a call came here.
    private enum Arrival: Equatable {
        case fromCaller
        case passedOn(ForwardedCall.Target)
    }

    private func route(_ call: RPCCall, _ arrival: Arrival) async throws {
        if arrival == .passedOn(.holder) { return try await answer(call) }
        switch call.method.place {
        case .here: try await answer(call)
        case .leader: try await askLeader(call, arrival, elseHere: false)
        case .leaderElseHere: try await askLeader(call, arrival, elseHere: true)
        case .namedNode(let elseHere):
            let name = call.request.subject
            if name.isEmpty || name == node.rawValue {
                try await answer(call)
            } else {
                try await askHolder(call, NodeID(rawValue: name), elseHere: elseHere)
            }
        case .checkpointHolder:
            switch await routing.holder(ofCheckpoint: call.request.generation, of: call.request.subject) {
            // What is wrong with the request is told by the handler.
            case .here, .nobody: try await answer(call)
            case .at(let holder): try await askHolder(call, holder, elseHere: false)
            case .unknown where arrival == .fromCaller: try await askLeader(call, arrival, elseHere: true)
            case .unknown: try await answer(call)
            }
        case .jobsNode(let elseHere):
            let reference = call.request.subject
            switch reference.isEmpty ? .nobody : await routing.holder(ofJob: reference) {
            case .here: try await answer(call)
            case .at(let holder): try await askHolder(call, holder, elseHere: elseHere)
            case .nobody, .unknown:
                // The leader knows of the latest jobs. If it is asked already, its answer is the last word.
                if arrival == .fromCaller {
                    try await askLeader(call, arrival, elseHere: true)
                } else {
                    try await answer(call)
                }
            }
        }
    }

    private func answer(_ call: RPCCall) async throws {
        try await (call.method.isBetweenPeers ? peers.handle(call) : local.handle(call))
    }

    private func askHolder(_ call: RPCCall, _ holder: NodeID, elseHere: Bool) async throws {
        do {
            try await link.forward(call.forwarded(to: .holder), to: holder, answering: call.sink)
        } catch let failure as RPCFailure where elseHere && call.mayBeAnsweredElsewhere(after: failure) {
            try await answer(call)
        }
    }

    private func askLeader(_ call: RPCCall, _ arrival: Arrival, elseHere: Bool) async throws {
        let patienceEnd = ContinuousClock.now + leaderPatience
        // The same request each time, so that a submission is known again.
        let repeatable = call.request.repeatable
        while true {
            let refusal: RPCFailure
            switch await routing.leader() {
            case .here where elseHere:
                // A leader that others have replaced must not answer with what it has as if it were the latest.
                if await routing.isUpToDate() { return try await answer(call) }
                refusal = RPCFailure(
                    .unavailable,
                    "node \(node) cannot be sure that it leads; try again",
                    wasNotBegun: true
                )
                if arrival != .fromCaller { throw refusal }
                if case .at = await routing.leader() { continue }
            case .here: return try await answer(call)
            case .at(let leader) where arrival == .fromCaller:
                do {
                    return try await pass(call, repeatable, to: leader)
                } catch let failure as RPCFailure
                    where failure.wasNotBegun || elseHere && call.mayBeAnsweredElsewhere(after: failure)
                {
                    refusal = failure
                }
            case .at(let leader):
                throw RPCFailure(
                    .unavailable,
                    "node \(node) does not lead any more, node \(leader) does; try again",
                    wasNotBegun: true
                )
            case .unknown(let answering, let voters):
                refusal = RPCFailure(
                    .unavailable,
                    "node \(node) knows no leader at the moment (\(answering) of \(voters) voters answer); "
                        + (answering > voters / 2
                            ? "try again"
                            : "ask an agent that reaches a majority, or see what `godwit status` says of this one"),
                    wasNotBegun: true
                )
                if arrival != .fromCaller { throw refusal }
            }
            if elseHere { return try await answer(call) }
            guard ContinuousClock.now < patienceEnd else { throw refusal }
            // An election takes tens of milliseconds, and this is the only place that waits for one.
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Passes a call on to the leader; one that may be repeated only for as long as that is the leader.
    ///
    /// A leader that hangs, or is cut off, would else keep its callers until the connection is given up, long after there is another. It may
    /// carry the call out all the same, later: that is why it must be repeatable.
    private func pass(_ call: RPCCall, _ repeatable: RPCRequest?, to leader: NodeID) async throws {
        guard let repeatable else {
            return try await link.forward(call.forwarded(to: .leader), to: leader, answering: call.sink)
        }
        let forwarded = ForwardedCall(request: repeatable, target: .leader, deadline: call.deadline)
        let held = HeldReply()
        do {
            try await withThrowingTaskGroup { group in
                group.addTask(name: "call.forward") { try await link.forward(forwarded, to: leader, answering: held) }
                group.addTask(name: "call.watch") {
                    var pause: Duration = .milliseconds(100)
                    repeat {
                        try await Task.sleep(for: pause)
                        pause = .milliseconds(50)
                    } while await routing.leader() == .at(leader)
                    throw RPCFailure(
                        .unavailable,
                        "node \(leader) does not lead any more; try again",
                        wasNotBegun: true
                    )
                }
                defer { group.cancelAll() }
                try await group.next()
            }
        } catch {
            // The answer may have come while it was given up.
            guard let bytes = held.bytes else { throw error }
            return call.sink.reply(bytes)
        }
        if let bytes = held.bytes { call.sink.reply(bytes) }
    }

    private func answerForwarded(_ call: RPCCall) async throws {
        let sender = try peers.caller(call.request)
        let forward = try call.decode(WireForwardRequest.self)
        guard let method = WireMethod(rawValue: Int(forward.method)), WireMethod.allCases.contains(method) else {
            throw RPCFailure(
                .unimplemented,
                "node \(node) does not know method \(forward.method), which node \(sender) passed on: upgrade node \(node)",
                wasNotBegun: true
            )
        }
        guard !method.isBetweenPeers || method == .join else {
            throw RPCFailure(.invalid, "node \(sender) passed on method \(method.rawValue), which is never passed on")
        }
        let identity: PeerIdentity
        do {
            identity = try PeerIdentity(uri: forward.identity, organizationalUnit: forward.organizationalUnit)
        } catch {
            throw RPCFailure(.invalid, "node \(sender) passed on a call whose caller cannot be told: \(error)")
        }
        guard identity.cluster == call.peer.cluster else {
            throw RPCFailure(
                .forbidden,
                "node \(sender) passed on a call of \(identity) of cluster \(identity.cluster)"
            )
        }
        let request = RPCRequest(method: method, payload: ByteBuffer(bytes: forward.payload), peer: identity)
        try await route(
            RPCCall(request: request, deadline: call.deadline, sink: call.sink),
            .passedOn(forward.target == .holder ? .holder : .leader)
        )
    }
}

/// Keeps the answer of a call that may still be asked elsewhere.
private final class HeldReply: RPCSink {
    private let reply = Mutex<ByteBuffer?>(nil)
    var bytes: ByteBuffer? { reply.withLock { $0 } }
    func reply(_ bytes: ByteBuffer) { reply.withLock { $0 = bytes } }
    func send(_ bytes: ByteBuffer) async throws { reply(bytes) }
}

extension RPCCall {
    /// Whether a view that failed there may be answered from here.
    ///
    /// Looking twice does no harm, so it need not be known whether the other agent had begun before it went away; but what was already
    /// handed out of a stream cannot be taken back.
    fileprivate func mayBeAnsweredElsewhere(after failure: RPCFailure) -> Bool {
        failure.wasNotBegun || (failure.code == .unavailable && !method.isStreamed)
    }

    /// The call as it is passed on.
    fileprivate func forwarded(to target: ForwardedCall.Target) -> ForwardedCall {
        ForwardedCall(request: request, target: target, deadline: deadline)
    }
}
