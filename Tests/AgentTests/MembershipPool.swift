import ClusterModel
import Logging
import NIO
import SWIM
import Synchronization
import Testing
import Transport

@testable import Agent

/// The network of one process: sealed datagrams and streams between shells, which can lose, double and be cut.
///
/// Both families of carriers are twins of the real ones: a shell sees no difference.
final class MembershipNetwork: GossipStreams {
    struct Conduct: Sendable {
        /// Every datagram arrives twice.
        var doubles = false
        /// Whether nothing gets from one endpoint to another.
        var isCut: @Sendable (MemberEndpoint, MemberEndpoint) -> Bool = { _, _ in false }
    }

    struct Unreachable: Error {}

    private struct State {
        var conduct = Conduct()
        var receivers: [MemberEndpoint: @Sendable ([UInt8], MemberEndpoint) -> Void] = [:]
        var shells: [MemberEndpoint: MembershipShell] = [:]
        var packets = 0
    }

    private let state = Mutex(State())

    var packets: Int { state.withLock { $0.packets } }

    func conduct(_ change: (inout Conduct) -> Void) { state.withLock { change(&$0.conduct) } }

    func listen(_ endpoint: MemberEndpoint, _ receive: (@Sendable ([UInt8], MemberEndpoint) -> Void)?) {
        state.withLock { $0.receivers[endpoint] = receive }
    }

    func answer(at endpoint: MemberEndpoint, by shell: MembershipShell?) {
        state.withLock { $0.shells[endpoint] = shell }
    }

    func carry(_ bytes: [UInt8], from source: MemberEndpoint, to destination: MemberEndpoint) {
        let (receive, isDoubled) = state.withLock { state in
            state.packets += 1
            let receive = state.conduct.isCut(source, destination) ? nil : state.receivers[destination]
            return (receive, state.conduct.doubles)
        }
        receive?(bytes, source)
        if isDoubled { receive?(bytes, source) }
    }

    private func shell(at endpoint: MemberEndpoint) throws -> MembershipShell {
        guard let shell = state.withLock({ $0.shells[endpoint] }) else { throw Unreachable() }
        return shell
    }

    @concurrent func probe(node: NodeID, endpoint: MemberEndpoint) async throws {
        guard await (try shell(at: endpoint)).own.node == node else { throw Unreachable() }
    }

    @concurrent func exchange(request: [UInt8], node: NodeID?, endpoint: MemberEndpoint) async throws -> [UInt8] {
        let shell = try shell(at: endpoint)
        if let node, await shell.own.node != node { throw Unreachable() }
        return try await shell.answerExchange(request)
    }
}

/// The twin of a UDP port: a millisecond from one end to the other.
final class MembershipLink: GossipLink {
    let endpoint: MemberEndpoint
    private let network: MembershipNetwork
    private let eventLoop: any EventLoop

    init(_ endpoint: MemberEndpoint, network: MembershipNetwork, eventLoop: any EventLoop) {
        (self.endpoint, self.network, self.eventLoop) = (endpoint, network, eventLoop)
    }

    func start(_ receive: @escaping @Sendable ([UInt8], MemberEndpoint) -> Void) {
        let eventLoop = eventLoop
        network.listen(endpoint) { bytes, source in
            _ = eventLoop.scheduleTask(in: .milliseconds(1)) { receive(bytes, source) }
        }
    }

    func send(_ bytes: [UInt8], to destination: MemberEndpoint) {
        network.carry(bytes, from: endpoint, to: destination)
    }

    func close() async { network.listen(endpoint, nil) }
}

/// Lines of a log, for tests that look at them.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }

    var logger: Logger {
        Logger(label: "test") { _ in Handler(lines: self) }
    }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            let node = event.metadata?["node"].map { " \($0)" } ?? ""
            lines.lines.withLock { $0.append("\(event.level) \(event.message)\(node)") }
        }
    }
}

/// Shells of one cluster on one event loop of virtual time.
final class MembershipPool: Sendable {
    static let cluster = ClusterID(rawValue: "flock")
    static let key = GossipKeyring(key: (0..<32).map { UInt8($0) })

    let loop: NIOAsyncTestingEventLoop
    let network = MembershipNetwork()
    let logs: [LogLines]
    let registries: [MetricsRegistry]
    let shells: [MembershipShell]

    static func name(_ index: Int) -> NodeID { NodeID(rawValue: "knot-\(index)") }
    static func endpoint(_ index: Int) -> MemberEndpoint {
        MemberEndpoint(ipv4: 0x0A00_0001 + UInt32(index), port: 7_420)
    }

    static func settings(_ index: Int, endpoint: MemberEndpoint? = nil) -> MembershipSettings {
        MembershipSettings(
            cluster: cluster,
            node: name(index),
            endpoint: endpoint ?? self.endpoint(index),
            incarnation: MemberIncarnation(rawValue: 100),
            keyring: key,
            life: .init(salt: UInt32(index), firstCounter: 1),
            seed: UInt64(index) + 1
        )
    }

    init(of count: Int, _ change: (inout MembershipSettings) -> Void = { _ in }) async throws {
        loop = NIOAsyncTestingEventLoop()
        logs = (0..<count).map { _ in LogLines() }
        registries = (0..<count).map { _ in MetricsRegistry() }
        var shells: [MembershipShell] = []
        for index in 0..<count {
            var settings = Self.settings(index)
            change(&settings)
            shells.append(
                try MembershipShell(
                    settings,
                    link: MembershipLink(settings.endpoint, network: network, eventLoop: loop),
                    streams: network,
                    eventLoop: loop,
                    registry: registries[index],
                    logger: logs[index].logger
                )
            )
        }
        self.shells = shells
        for (index, shell) in shells.enumerated() {
            network.answer(at: Self.endpoint(index), by: shell)
            await shell.start()
        }
    }

    /// Lets time pass until the condition holds.
    ///
    /// - Returns: how long it took; nil if it did not hold within the limit.
    @discardableResult
    func run(
        atMost limit: Duration,
        until condition: (MembershipPool) async -> Bool = { _ in false }
    ) async -> Duration? {
        let step: Duration = .milliseconds(20)
        var passed = Duration.zero
        while passed < limit {
            if await condition(self) { return passed }
            await loop.advanceTime(by: .milliseconds(20))
            // Streams take no virtual time, but run on other threads.
            for shell in shells { while await shell.openStreamCount > 0 { await Task.yield() } }
            passed += step
        }
        return await condition(self) ? passed : nil
    }

    /// All join through the first one.
    func joined() async throws -> Duration {
        let shells = shells
        let joining = Task(name: "join") {
            for shell in shells { try await shell.join(seeds: [Self.endpoint(0)]) }
        }
        let duration = await run(atMost: .seconds(60)) { await $0.seeEachOther(0..<shells.count) }
        try await joining.value
        return try #require(duration, "they do not see each other")
    }

    /// Whether these hold each other for alive, and nobody else.
    func seeEachOther(_ indices: some Collection<Int>) async -> Bool {
        let names = Set(indices.map { Self.name($0) })
        for index in indices {
            let live = await shells[index].members.filter { $0.status.isLive }
            guard Set(live.map(\.node)) == names, live.allSatisfy({ $0.status == .alive }) else { return false }
        }
        return true
    }

    /// What these think of a member.
    func statuses(of index: Int, by observers: some Collection<Int>) async -> Set<MemberStatus?> {
        var found: Set<MemberStatus?> = []
        for observer in observers { found.insert(await shells[observer].member(Self.name(index))?.status) }
        return found
    }

    /// Datagrams that were refused by anybody, by reason.
    func refused() async -> [String: UInt64] {
        var sum: [String: UInt64] = [:]
        for shell in shells { sum.merge(await shell.refusedCounts) { $0 + $1 } }
        return sum
    }

    func close() async {
        for shell in shells { await shell.close() }
        await loop.shutdownGracefully()
    }
}
