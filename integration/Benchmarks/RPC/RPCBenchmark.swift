import ClusterModel
import ControlMessages
import Glibc
import NIO
import SwiftProtobuf
import TLS
import Transport

/// Round trips over mutual TLS beside swift-nio-ssl: the same frames, certificates, machine and run.
///
/// Both ends share one event loop, so the figures are round trips per second of one core, client and server together. The two
/// sides take turns.
struct RPCBenchmark: Benchmark {
    static let name = "rpc"
    static let summary = "round trips per second over mutual TLS, one at a time and 64 in flight; peer: swift-nio-ssl"

    private static let time = Duration.seconds(1)

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        let now = Timestamp(rawValue: Int64(Glibc.time(nil)) * 1_000_000_000)
        let authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: "flock"), now: now)
        let node = try authority.issueNode(
            NodeID(rawValue: "knot"),
            site: SiteID(rawValue: "coast"),
            role: .worker,
            now: now
        )
        let user = try authority.issueUser(UserID(rawValue: "ada"), right: .read, now: now)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        // An EchoRequest with 62 bytes: 64 bytes of payload in all.
        let payload = ByteBuffer(bytes: [0x0a, 62] + Array(repeating: 7, count: 62))
        var rows: [BenchmarkRow] = []
        for (inFlight, name, goal) in [
            (1, "one at a time", BenchmarkGoal.ratioAtLeast(1)), (64, "64 in flight", .ratioAtLeast(2)),
        ] {
            var (own, peer): ([Double], [Double]) = ([], [])
            for _ in 0..<context.rounds {
                own.append(try await Self.measure(node, user, payload, inFlight, group))
                peer.append(
                    try await NIOSSLPeer.measure(
                        server: node,
                        client: user,
                        payload: payload,
                        inFlight: inFlight,
                        serverGroup: group,
                        clientGroup: group,
                        time: Self.time
                    )
                )
            }
            rows.append(
                BenchmarkRow(
                    "RPC over mutual TLS, 64 B, \(name), one core; peer: swift-nio-ssl",
                    unit: "round trips/s",
                    ours: own.median,
                    peer: peer.median,
                    goal: goal
                )
            )
        }
        for (tasks, name) in [(1, "one task"), (64, "64 tasks")] {
            var own: [Double] = []
            for _ in 0..<context.rounds { own.append(try await Self.measureTasks(node, user, tasks, group)) }
            rows.append(
                BenchmarkRow(
                    "RPC over mutual TLS, 64 B, async calls with encoding, \(name), both cores",
                    unit: "round trips/s",
                    ours: own.median
                )
            )
        }
        try await group.shutdownGracefully()
        return rows
    }

    private struct NoMethods: RPCHandler {
        func handle(_ call: RPCCall) async throws { throw RPCFailure(.unimplemented, "only echo is served here") }
    }

    private static func withClient(
        _ node: IdentityBundle,
        _ user: IdentityBundle,
        _ group: any EventLoopGroup,
        _ body: (RPCClient) async throws -> Double
    ) async throws -> Double {
        let server = RPCServer(
            configuration: RPCServerConfiguration(software: "benchmark"),
            tls: try TLSContext(.server, node),
            group: group,
            handler: NoMethods()
        )
        let port = try await server.start(host: "127.0.0.1", port: 0).port ?? 0
        let client = try await RPCClient.connect(
            host: "127.0.0.1",
            port: port,
            tls: TLSContext(.client, user),
            configuration: RPCClientConfiguration(software: "benchmark"),
            group: group
        )
        let rate = try await body(client)
        await client.close()
        await server.shutdown()
        return rate
    }

    /// Calls on the loop: each answer starts the next call.
    private static func measure(
        _ node: IdentityBundle,
        _ user: IdentityBundle,
        _ payload: ByteBuffer,
        _ inFlight: Int,
        _ group: any EventLoopGroup
    ) async throws -> Double {
        try await withClient(node, user, group) { client in
            let load = Load(client, payload)
            try await client.eventLoop.submit { for _ in 0..<inFlight { load.value.call() } }.get()
            let rate = try await rate(time) { try await client.eventLoop.submit { load.value.answerCount }.get() }
            try await client.eventLoop.submit { load.value.isStopped = true }.get()
            return rate
        }
    }

    private final class LoadState {
        var answerCount = 0
        var isStopped = false
        private let client: RPCClient
        private let payload: ByteBuffer
        fileprivate var box: NIOLoopBoundBox<LoadState>?

        init(_ client: RPCClient, _ payload: ByteBuffer) { (self.client, self.payload) = (client, payload) }

        func call() {
            guard let box else { return }
            client.callOnLoop(.echo, payload: payload, timeout: .seconds(30)) { result in
                box.value.answer(result)
            }
        }

        private func answer(_ result: Result<ByteBuffer, RPCFailure>) {
            if isStopped {
                box = nil
                return
            }
            guard case .success(let answer) = result, answer.readableBytes == payload.readableBytes else {
                preconditionFailure("an echo failed: \(result)")
            }
            answerCount += 1
            call()
        }
    }

    private struct Load: Sendable {
        private let box: NIOLoopBoundBox<LoadState?>
        private let client: RPCClient
        private let payload: ByteBuffer

        init(_ client: RPCClient, _ payload: ByteBuffer) {
            (self.client, self.payload) = (client, payload)
            box = .makeEmptyBox(valueType: LoadState.self, eventLoop: client.eventLoop)
        }

        /// On the loop only.
        var value: LoadState {
            if let state = box.value { return state }
            let state = LoadState(client, payload)
            state.box = NIOLoopBoundBox(state, eventLoop: client.eventLoop)
            box.value = state
            return state
        }
    }

    /// Calls from tasks, with messages encoded and decoded: what programs do.
    private static func measureTasks(
        _ node: IdentityBundle,
        _ user: IdentityBundle,
        _ tasks: Int,
        _ group: any EventLoopGroup
    ) async throws -> Double {
        try await withClient(node, user, group) { client in
            let request = try WireEchoRequest(serializedBytes: [0x0a, 62] + [UInt8](repeating: 7, count: 62))
            let end = ContinuousClock.now + time
            let start = ContinuousClock.now
            let count = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<tasks {
                    group.addTask {
                        var count = 0
                        while ContinuousClock.now < end {
                            let _: WireEchoReply = try await client.call(.echo, request, timeout: .seconds(30))
                            count += 1
                        }
                        return count
                    }
                }
                return try await group.reduce(0, +)
            }
            return Double(count) / (ContinuousClock.now - start).inSeconds
        }
    }
}
