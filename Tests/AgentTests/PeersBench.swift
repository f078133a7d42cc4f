import AgentConfiguration
import ClusterModel
import ControlMessages
import Foundation
import Glibc
import LinuxSystem
import NIO
import Raft
import SwiftProtobuf
import Synchronization
import TLS
import Testing
import Transport

@testable import Agent

/// Agents that talk to each other over TLS on the loopback: the real connections and servers around a recording inside.
final class PeersBench: Sendable {
    let authority: CertificateAuthority
    static let now = Timestamp(seconds: Double(Int(Date().timeIntervalSince1970)))
    private let agents = Mutex<[PeersAgent]>([])

    private init() throws {
        authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: "flock"), now: Self.now)
    }

    /// Runs agents with these names for the length of a test; each knows the address of all others.
    static func with(
        _ names: [String],
        settings: PeerSettings = .patient,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
        leaderPatience: Duration = .seconds(20),
        _ body: (PeersBench, [PeersAgent]) async throws -> Void
    ) async throws {
        let bench = try PeersBench()
        var agents: [PeersAgent] = []
        for (number, name) in names.enumerated() {
            agents.append(
                try PeersAgent(
                    NodeID(rawValue: name),
                    RaftMemberID(rawValue: UInt64(number + 1)),
                    bench,
                    settings: settings,
                    now: now,
                    leaderPatience: leaderPatience
                )
            )
        }
        for agent in agents { try await agent.start() }
        bench.agents.withLock { [agents] in $0 = agents }
        for agent in agents {
            agent.directory.replace(with: agents.map(\.asMember), from: .replicated)
        }
        do {
            try await body(bench, agents)
        } catch {
            await bench.end()
            throw error
        }
        await bench.end()
    }

    private func end() async {
        for agent in agents.withLock({ $0 }) {
            await agent.link.shutdown()
            await agent.stop()
        }
    }

    func identity(of node: NodeID) throws -> IdentityBundle {
        try authority.issueNode(node, site: SiteID(rawValue: "coast"), role: .worker, now: Self.now)
    }

    /// Connects as a user.
    func user(_ name: String = "ada", _ right: UserRight = .submit, at agent: PeersAgent) async throws -> RPCClient {
        try await client(authority.issueUser(UserID(rawValue: name), right: right, now: Self.now), at: agent)
    }

    /// Connects with any identity.
    func client(_ identity: IdentityBundle, at agent: PeersAgent) async throws -> RPCClient {
        try await RPCClient.connect(
            host: "127.0.0.1",
            port: agent.port,
            tls: TLSContext(.client, identity),
            configuration: RPCClientConfiguration(software: "godwit test"),
            group: MultiThreadedEventLoopGroup.singleton
        )
    }
}

extension PeerSettings {
    /// Takes a machine that is busy with other tests for no dead one.
    static var patient: PeerSettings {
        var settings = PeerSettings()
        settings.lifeCheckInterval = .seconds(60)
        settings.connectTimeout = .seconds(30)
        return settings
    }
}

/// One agent of a bench.
final class PeersAgent: Sendable {
    let node: NodeID
    let member: RaftMemberID
    let directory = PeerDirectory()
    let delegate: RecordingDelegate
    let local = RecordingService()
    let routing = FixedRouting()
    let link: PeerConnections
    let events: AsyncStream<PeerEvent>
    private let handler: RoutingHandler
    private let identity: IdentityBundle
    private let server = Mutex<RPCServer?>(nil)
    private let kept: KeptPort

    fileprivate init(
        _ node: NodeID,
        _ member: RaftMemberID,
        _ bench: PeersBench,
        settings: PeerSettings,
        now: @escaping @Sendable () -> ContinuousClock.Instant,
        leaderPatience: Duration
    ) throws {
        (self.node, self.member) = (node, member)
        kept = try KeptPort()
        delegate = RecordingDelegate(member)
        let identity = try bench.identity(of: node)
        self.identity = identity
        let (events, continuation) = AsyncStream.makeStream(of: PeerEvent.self)
        self.events = events
        let link = PeerConnections(
            node: node,
            member: member,
            address: nil,
            directory: directory,
            software: "godwitd test",
            group: MultiThreadedEventLoopGroup.singleton,
            settings: settings,
            generator: SeededGenerator(seed: member.rawValue),
            now: now,
            tls: { try TLSContext(.client, identity) },
            observe: { continuation.yield($0) }
        )
        self.link = link
        handler = RoutingHandler(
            node: node,
            local: local,
            peers: PeerService(delegate: delegate, directory: directory) { link.heard(from: $0) },
            link: link,
            routing: routing,
            leaderPatience: leaderPatience
        )
    }

    var port: Int { kept.number }
    // swift-format-ignore: NeverUseForceTry
    var address: PeerAddress { try! PeerAddress("127.0.0.1:\(port)") }
    var asMember: PeerMember { PeerMember(node: node, member: member, address: address, isVoter: true) }

    /// Listens, always on the same port.
    func start(refusing revocations: RevocationList = RevocationList()) async throws {
        let server = RPCServer(
            configuration: RPCServerConfiguration(software: "godwitd test"),
            tls: try TLSContext(.server, identity, revocations: revocations),
            group: MultiThreadedEventLoopGroup.singleton,
            handler: handler
        )
        _ = try await server.start(host: "127.0.0.1", port: port)
        self.server.withLock { $0 = server }
    }

    /// Stops listening and closes what others have connected.
    func stop() async {
        let server = server.withLock { server in
            defer { server = nil }
            return server
        }
        await server?.shutdown(grace: .zero)
    }

    /// The handler itself, without a network.
    func atOnce(_ request: RPCRequest) -> ByteBuffer? { handler.answerAtOnce(request) }
}

/// A port of the loopback that nobody else gets while its agent does not listen.
private final class KeptPort: Sendable {
    let number: Int
    /// Bound, so that the kernel gives the port to no other socket, and never listening, so that it refuses whoever connects.
    private let socket: OwnedDescriptor

    init() throws {
        let number = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        socket = OwnedDescriptor(owning: number)
        var (isShared, address, length) = (Int32(1), sockaddr_in(), socklen_t(MemoryLayout<sockaddr_in>.size))
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        // The server says so as well, or it could not have the port.
        let size = socklen_t(MemoryLayout<Int32>.size)
        var isBound = unsafe setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &isShared, size) == 0
        unsafe withUnsafeMutablePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { place in
                isBound = unsafe isBound && bind(number, place, length) == 0
                isBound = unsafe isBound && getsockname(number, place, &length) == 0
            }
        }
        try #require(isBound)
        self.number = Int(UInt16(bigEndian: address.sin_port))
    }
}

/// Writes down what other agents ask, and answers in a way that can be told apart.
final class RecordingDelegate: PeerDelegate {
    let member: RaftMemberID
    private let received: AsyncStream<(messages: [[UInt8]], from: RaftMemberID)>
    private let continuation: AsyncStream<(messages: [[UInt8]], from: RaftMemberID)>.Continuation
    private let joined = Mutex<[(JoinRequest, PeerIdentity)]>([])
    let objections = Mutex<[NodeID: String]>([:])
    /// Signs next certificates as a test says.
    let issuer = Mutex<CertificateIssuer?>(nil)
    let departed = Mutex<[NodeID: RaftMemberID]>([:])

    init(_ member: RaftMemberID) {
        self.member = member
        (received, continuation) = AsyncStream.makeStream()
    }

    var joins: [(JoinRequest, PeerIdentity)] { joined.withLock { $0 } }

    /// Takes deliveries out until so many messages have come.
    func messages(_ count: Int) async -> [(bytes: [UInt8], from: RaftMemberID)] {
        var all: [(bytes: [UInt8], from: RaftMemberID)] = []
        var iterator = received.makeAsyncIterator()
        while all.count < count, let next = await iterator.next() {
            all += next.messages.map { ($0, next.from) }
        }
        return all
    }

    func receive(_ messages: [[UInt8]], from member: RaftMemberID) { continuation.yield((messages, member)) }

    func propose(_ commands: [[UInt8]], for node: NodeID) async throws -> ProposeAnswer {
        if commands == [[0]] {
            return .notLeader(leader: NodeID(rawValue: "elsewhere"), address: try PeerAddress("10.0.0.9:7420"))
        }
        return .done(outcomes: commands.map { $0 + Array(node.rawValue.utf8) }, index: 42)
    }

    func join(_ request: JoinRequest, from identity: PeerIdentity) async throws -> JoinAnswer {
        joined.withLock { $0.append((request, identity)) }
        let member = PeerMember(
            node: NodeID(rawValue: identity.commonName),
            member: request.member,
            address: request.address,
            isVoter: false
        )
        return JoinAnswer(members: [member], leader: NodeID(rawValue: "a"), keyring: [1, 2, 3], index: 7)
    }

    func exchange(_ gossip: [UInt8], with node: NodeID) async throws -> [UInt8] { Array(gossip.reversed()) }

    func standing() -> PeerStanding {
        PeerStanding(
            member: member,
            term: 3,
            leads: true,
            leader: nil,
            applied: 9,
            version: "1.0.0",
            time: Timestamp(seconds: 1)
        )
    }

    func renew(
        _ request: [UInt8],
        from identity: PeerIdentity,
        _ certificate: CertificateSummary?
    ) async throws -> [UInt8] {
        guard let issuer = issuer.withLock({ $0 }) else { throw RPCFailure(.unavailable, "no issuer at the moment") }
        return try await issuer.answer(request, from: identity, certificate)
    }

    func hasLeft(_ node: NodeID, member: RaftMemberID) -> Bool { departed.withLock { $0[node] == member } }

    func objection(to node: NodeID) -> String? { objections.withLock { $0[node] } }
}

/// Answers calls of users as a test says, and writes down who asked.
final class RecordingService: RPCHandler {
    typealias Body = @Sendable (RPCCall) async throws -> Void
    private let state = Mutex<(body: Body, calls: [(method: WireMethod, peer: PeerIdentity)])>(({ _ in }, []))

    var calls: [(method: WireMethod, peer: PeerIdentity)] { state.withLock { $0.calls } }
    func answer(_ body: @escaping Body) { state.withLock { $0.body = body } }

    func handle(_ call: RPCCall) async throws {
        let body = state.withLock { state in
            state.calls.append((call.method, call.peer))
            return state.body
        }
        try await body(call)
    }

    func answerAtOnce(_ request: RPCRequest) -> ByteBuffer? { ByteBuffer(string: "at once") }
}

/// Who leads and who holds what, as a test says.
final class FixedRouting: CallRouting {
    private struct State {
        var leader = LeaderView.unknown(votersAnswering: 1, voterCount: 3)
        var holders: [String: JobHolder] = [:]
        var questionCount = 0
        var isDeposed = false
    }
    private let state = Mutex(State())

    /// How often it was asked who leads.
    var questionCount: Int { state.withLock { $0.questionCount } }
    func lead(_ leader: LeaderView) { state.withLock { $0.leader = leader } }
    func hold(_ job: String, _ holder: JobHolder) { state.withLock { $0.holders[job] = holder } }

    func isUpToDate() async -> Bool { state.withLock { $0.leader == .here && !$0.isDeposed } }
    /// Says that it leads and is wrong.
    func depose() { state.withLock { $0.isDeposed = true } }

    func holder(ofCheckpoint generation: UInt32, of reference: String) async -> JobHolder {
        state.withLock { $0.holders["\(reference)/\(generation)"] ?? .unknown }
    }

    func leader() async -> LeaderView {
        state.withLock { state in
            state.questionCount += 1
            return state.leader
        }
    }
    func holder(ofJob reference: String) async -> JobHolder { state.withLock { $0.holders[reference] ?? .unknown } }
}

/// A clock that stands until it is moved.
final class StandingClock: Sendable {
    private let state = Mutex(ContinuousClock.now)
    var now: ContinuousClock.Instant { state.withLock { $0 } }
    func advance(_ duration: Duration) { state.withLock { $0 += duration } }
}

/// A value that other tasks give once.
///
/// One that never comes is ended by the suite's time limit, which cancels the wait.
final class Promised<Value: Sendable>: Sendable {
    private let values: AsyncStream<Value>
    private let continuation: AsyncStream<Value>.Continuation

    init() { (values, continuation) = AsyncStream.makeStream() }

    func give(_ value: Value) { continuation.yield(value) }

    func value() async throws -> Value {
        for await value in values { return value }
        throw CancellationError()
    }
}

/// Waits until the calling task is cancelled.
func untilCancelled() async {
    let (events, continuation) = AsyncStream.makeStream(of: Void.self)
    for await _ in events {}
    withExtendedLifetime(continuation) {}
}

/// Waits for figures that change on event loops and tell nobody.
func eventually(_ what: String, _ isTrue: () -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while !isTrue() {
        guard ContinuousClock.now < deadline else { throw RPCFailure(.deadlineExceeded, "never came true: \(what)") }
        try await Task.sleep(for: .milliseconds(1))  // polls: figures that sockets change on event loops
    }
}

/// The failure of a call that must fail.
func failure(of body: () async throws -> Void) async -> RPCFailure? {
    do {
        try await body()
        return nil
    } catch {
        return error as? RPCFailure
    }
}
