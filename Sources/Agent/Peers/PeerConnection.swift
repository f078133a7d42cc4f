import AgentConfiguration
import ClusterModel
import ControlMessages
import FoundationEssentials
import NIO
import Raft
import SwiftProtobuf
import Synchronization
import TLS
import Transport

/// What a connection between two agents carries.
///
/// Several connections, because a follower that reads a long log for a user must not make Raft wait, and a checkpoint neither of them.
enum PeerLane: Sendable, Hashable, CaseIterable {
    /// What agents ask for themselves.
    case cluster
    /// What they pass on for users.
    case users
    /// Copies of checkpoints.
    case copies
    /// Jobs that stand still until they have moved.
    case migrations
}

/// The bounds of what agents send each other.
struct PeerSettings: Sendable {
    /// Raft messages that wait for one peer.
    var queueLimits = (count: 1024, byteCount: 8 << 20)
    /// Messages of one delivery, in bytes; a larger message goes alone.
    var deliveryByteLimit = 512 << 10
    /// Deliveries to one peer that are not acknowledged yet; so many round trips overlap.
    ///
    /// Twice what an agent acknowledges together.
    var deliveriesInFlight = 16
    /// Larger deliveries are acknowledged at once.
    static let patientByteLimit = 16 << 10
    /// Bytes of them.
    var bytesInFlight = 4 << 20
    /// The pause after the first failure to connect; it doubles with each further one, and half of it is drawn at random.
    var firstRetryDelay = Duration.milliseconds(50)
    /// The longest pause.
    var longestRetryDelay = Duration.seconds(2)
    /// Time for the TCP connection, and again for the handshake.
    var connectTimeout = TimeAmount.seconds(2)
    /// A peer that owes answers and is silent for twice as long is given up.
    var lifeCheckInterval = TimeAmount.seconds(2)

    init() {}
}

/// What all connections of an agent share.
struct PeerSurroundings: Sendable {
    let directory: PeerDirectory
    /// Our Raft log.
    let member: RaftMemberID
    /// Where the others reach us; empty when nobody can.
    let address: String
    let tls: @Sendable () throws -> TLSContext
    let software: String
    let group: any EventLoopGroup
    let settings: PeerSettings
    let counters: PeerCounters
    let now: @Sendable () -> ContinuousClock.Instant
    /// A number in 0..<1.
    let chance: @Sendable () -> Double
    let observe: @Sendable (PeerEvent) -> Void
}

/// The one connection to a node on a lane: made when it is needed, kept, made again.
final class PeerConnection: Sendable {
    let node: NodeID
    private let lane: PeerLane
    private let surroundings: PeerSurroundings

    private enum Phase {
        case idle
        case connecting(Task<Void, Never>)
        case open(RPCClient, since: ContinuousClock.Instant)
        case backingOff(until: ContinuousClock.Instant, RPCFailure)
        /// For good: the node has left, or the agent stops.
        case ended
    }

    private struct State {
        var phase = Phase.idle
        /// Counts attempts to connect; what an earlier connection tells late changes nothing.
        var attempt: UInt64 = 0
        /// Attempts that failed since the last connection that was of use.
        var failureCount = 0
        var queue: PeerMessageQueue
        var inFlight = (count: 0, byteCount: 0)
        var hasReportedRefusal = false
        var waiters: [UInt64: CheckedContinuation<RPCClient, any Error>] = [:]
        var nextWaiter: UInt64 = 0
    }
    private let state: Mutex<State>

    init(_ node: NodeID, lane: PeerLane, _ surroundings: PeerSurroundings) {
        (self.node, self.lane, self.surroundings) = (node, lane, surroundings)
        state = Mutex(State(queue: PeerMessageQueue(limits: surroundings.settings.queueLimits)))
    }

    // MARK: Raft messages

    /// Sends messages in order, or drops them when the node cannot be reached; never waits.
    func send(_ messages: [[UInt8]]) {
        guard !messages.isEmpty else { return }
        state.withLock { state in
            switch state.phase {
            case .open, .connecting: break
            case .idle: connect(&state)
            case .backingOff(let end, _):
                guard end <= surroundings.now() else {
                    surroundings.counters.unreachable.add(messages.count)
                    return
                }
                connect(&state)
            case .ended:
                surroundings.counters.unreachable.add(messages.count)
                return
            }
            surroundings.counters.dropped.add(state.queue.append(messages))
            deliver(&state)
        }
    }

    /// Sends what waits, as far as the acknowledgements allow.
    ///
    /// The lock is held while a delivery is handed to the connection, so that deliveries keep their order.
    private func deliver(_ state: inout State) {
        guard case .open(let client, _) = state.phase else { return }
        let settings = surroundings.settings
        while !state.queue.isEmpty, state.inFlight.count < settings.deliveriesInFlight,
            state.inFlight.byteCount < settings.bytesInFlight
        {
            let batch = state.queue.takeBatch(byteLimit: settings.deliveryByteLimit)
            let delivery = WireRaftDelivery.with { delivery in
                delivery.messages = batch.map { Data($0) }
                delivery.fromMember = surroundings.member.rawValue
                delivery.fromAddress = surroundings.address
                delivery.lineage = surroundings.directory.lineage ?? 0
            }
            guard let bytes: [UInt8] = try? delivery.serializedBytes() else {
                surroundings.counters.lost.add(batch.count)
                continue
            }
            let (attempt, count) = (state.attempt, batch.count)
            state.inFlight.count += 1
            state.inFlight.byteCount += bytes.count
            surroundings.counters.deliveries.add(1)
            client.call(.raft, payload: ByteBuffer(bytes: bytes), timeout: nil) { result in
                self.acknowledge(attempt, messageCount: count, byteCount: bytes.count, result)
            }
        }
    }

    private func acknowledge(
        _ attempt: UInt64,
        messageCount: Int,
        byteCount: Int,
        _ result: Result<ByteBuffer, RPCFailure>
    ) {
        var refusal: RPCFailure?
        switch result {
        case .success: surroundings.counters.sent.add(messageCount)
        case .failure: surroundings.counters.lost.add(messageCount)
        }
        state.withLock { state in
            guard state.attempt == attempt else { return }
            state.inFlight.count -= 1
            state.inFlight.byteCount -= byteCount
            if case .failure(let failure) = result, failure.code != .unavailable, !state.hasReportedRefusal {
                state.hasReportedRefusal = true
                refusal = failure
            }
            deliver(&state)
        }
        if let refusal { surroundings.observe(.refused(node, refusal)) }
    }

    // MARK: Calls

    /// The connection, if there is one.
    var openClient: RPCClient? {
        state.withLock { if case .open(let client, _) = $0.phase { client } else { nil } }
    }

    /// Connects unless there is a connection, or none is to be had at the moment.
    func prepare() {
        state.withLock { state in
            switch state.phase {
            case .idle: connect(&state)
            case .backingOff(let end, _) where end <= surroundings.now(): connect(&state)
            case .backingOff, .connecting, .open, .ended: break
            }
        }
    }

    /// The connection, made if need be; throws `RPCFailure`, always as not begun.
    func client(within timeout: Duration?) async throws -> RPCClient {
        let (client, waiter) = state.withLock { state -> (RPCClient?, UInt64) in
            if case .open(let client, _) = state.phase { return (client, 0) }
            state.nextWaiter += 1
            return (nil, state.nextWaiter)
        }
        if let client { return client }
        let timer = timeout.map { timeout in
            surroundings.group.next().scheduleTask(in: TimeAmount(timeout)) { [self] in
                resume(waiter, with: RPCFailure(.deadlineExceeded, "node \(node) could not be reached in time"))
            }
        }
        defer { timer?.cancel() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let result = state.withLock { state -> Result<RPCClient, RPCFailure>? in
                    if Task.isCancelled { return .failure(RPCFailure(.cancelled, "the call was cancelled")) }
                    switch state.phase {
                    case .open(let client, _): return .success(client)
                    case .backingOff(let end, let failure) where surroundings.now() < end: return .failure(failure)
                    case .idle, .backingOff: connect(&state)
                    case .connecting: break
                    case .ended: return .failure(Self.ended(node))
                    }
                    state.waiters[waiter] = continuation
                    return nil
                }
                if let result { continuation.resume(with: result.mapError { $0.notBegun }) }
            }
        } onCancel: {
            resume(waiter, with: RPCFailure(.cancelled, "the call was cancelled"))
        }
    }

    private func resume(_ waiter: UInt64, with failure: RPCFailure) {
        state.withLock { $0.waiters.removeValue(forKey: waiter) }?.resume(throwing: failure.notBegun)
    }

    private static func ended(_ node: NodeID) -> RPCFailure {
        RPCFailure(.unavailable, "node \(node) has left the cluster, or this agent is stopping")
    }

    // MARK: Connecting

    private func connect(_ state: inout State) {
        state.attempt += 1
        let (attempt, failureCount) = (state.attempt, state.failureCount)
        state.inFlight = (0, 0)
        state.hasReportedRefusal = false
        state.phase = .connecting(
            Task(name: "connect to \(node)") {
                do throws(RPCFailure) {
                    opened(try await connected(failureCount), attempt)
                } catch {
                    failed(error, attempt)
                }
            }
        )
    }

    /// Makes a connection and makes sure whom it leads to.
    @concurrent
    private func connected(_ failureCount: Int) async throws(RPCFailure) -> RPCClient {
        let addresses = surroundings.directory.addresses(of: node)
        guard !addresses.isEmpty else {
            throw RPCFailure(.unavailable, "node \(node) cannot be reached: nobody has told its address yet")
        }
        // Each failure tries the next address that is told of the node.
        let address = addresses[failureCount % addresses.count]
        do {
            let client = try await surroundings.connect(to: address)
            guard case .node(_, _, node, _) = client.peer else {
                await client.close()
                throw RPCFailure(
                    .unavailable,
                    "what answers at \(address.text()) is \(client.peer), not node \(node): correct `listen.advertise` of node \(node), or "
                        + "look who else uses its address"
                )
            }
            return client
        } catch let failure as RPCFailure {
            if failure.code == .forbidden, failureCount < 2 {
                surroundings.observe(.certificateRefused(node, failure))
            }
            throw RPCFailure(.unavailable, "node \(node) cannot be reached: \(failure.message)")
        } catch {
            throw RPCFailure(.unavailable, "node \(node) cannot be reached: \(error)")
        }
    }

    private func opened(_ client: RPCClient, _ attempt: UInt64) {
        let waiters = state.withLock { state -> [CheckedContinuation<RPCClient, any Error>]? in
            guard state.attempt == attempt, case .connecting = state.phase else { return nil }
            state.phase = .open(client, since: surroundings.now())
            deliver(&state)
            defer { state.waiters = [:] }
            return state.waiters.sorted { $0.key < $1.key }.map(\.value)
        }
        // Ended meanwhile: the client closes when it is let go.
        guard let waiters else { return }
        surroundings.counters.connected.add(1)
        surroundings.observe(.connected(node))
        for waiter in waiters { waiter.resume(returning: client) }
        client.whenClosed { [weak self] in self?.closed(attempt) }
    }

    private func failed(_ failure: RPCFailure, _ attempt: UInt64) {
        let failure = failure.notBegun
        var isNews = false
        let waiters = state.withLock { state -> [UInt64: CheckedContinuation<RPCClient, any Error>] in
            guard state.attempt == attempt, case .connecting = state.phase else { return [:] }
            isNews = state.failureCount == 0
            backOff(&state, failure)
            surroundings.counters.unreachable.add(state.queue.removeAll())
            defer { state.waiters = [:] }
            return state.waiters
        }
        surroundings.counters.failed.add(1)
        if isNews { surroundings.observe(.unreachable(node, failure)) }
        for (_, waiter) in waiters.sorted(by: { $0.key < $1.key }) { waiter.resume(throwing: failure) }
    }

    private func closed(_ attempt: UInt64) {
        // The client is let go outside of the lock: its end may answer calls.
        let client = state.withLock { state -> RPCClient? in
            guard state.attempt == attempt, case .open(let client, let since) = state.phase else { return nil }
            // A connection that lasted was of use; one that is closed again and again is treated like one that fails.
            if since.duration(to: surroundings.now()) >= surroundings.settings.longestRetryDelay {
                state.failureCount = 0
                state.phase = .idle
            } else {
                backOff(&state, RPCFailure(.unavailable, "node \(node) closed the connection").notBegun)
            }
            surroundings.counters.unreachable.add(state.queue.removeAll())
            return client
        }
        withExtendedLifetime(client) {}
    }

    private func backOff(_ state: inout State, _ failure: RPCFailure) {
        let settings = surroundings.settings
        let delay = min(settings.firstRetryDelay * (1 << min(state.failureCount, 16)), settings.longestRetryDelay)
        state.failureCount += 1
        state.phase = .backingOff(until: surroundings.now() + delay * (0.5 + surroundings.chance() / 2), failure)
    }

    /// Ends the pause soon: the node was heard, so it may be reached as well.
    func heard() {
        state.withLock { state in
            guard case .backingOff(let end, let failure) = state.phase else { return }
            state.phase = .backingOff(
                until: min(end, surroundings.now() + surroundings.settings.firstRetryDelay),
                failure
            )
        }
    }

    /// Closes the connection for good.
    func end() async {
        let (phase, waiters) = state.withLock { state in
            defer { (state.phase, state.waiters) = (.ended, [:]) }
            surroundings.counters.unreachable.add(state.queue.removeAll())
            return (state.phase, state.waiters)
        }
        for (_, waiter) in waiters.sorted(by: { $0.key < $1.key }) {
            waiter.resume(throwing: Self.ended(node).notBegun)
        }
        switch phase {
        case .open(let client, _): await client.close()
        // It may take seconds, and what comes of it is thrown away.
        case .connecting(let task): task.cancel()
        case .idle, .backingOff, .ended: break
        }
    }
}

extension PeerSurroundings {
    /// Makes a connection to whatever agent of this cluster answers there.
    func connect(to address: PeerAddress) async throws -> RPCClient {
        try await RPCClient.connect(
            host: address.host,
            port: address.port ?? PeerAddress.standardPort,
            tls: tls(),
            configuration: clientConfiguration,
            group: group
        )
    }

    /// How clients of agents behave towards each other.
    private var clientConfiguration: RPCClientConfiguration {
        var limits = RPCLimits.client
        limits.handshakeTimeout = settings.connectTimeout
        return RPCClientConfiguration(
            software: software,
            limits: limits,
            connectTimeout: settings.connectTimeout,
            lifeCheckInterval: settings.lifeCheckInterval
        )
    }
}

extension RPCFailure {
    /// The failure of a call that was not begun.
    var notBegun: RPCFailure {
        var failure = self
        failure.wasNotBegun = true
        return failure
    }
}
