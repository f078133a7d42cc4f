import ClusterModel
import ControlMessages
import Foundation
import NIO
import SwiftProtobuf
import Synchronization
import TLS
import Testing
import Transport
import WireFormat

/// Calls between a real client and a real server on the loopback interface.
@Suite(.timeLimit(.minutes(5)))
struct RPCTests {
    private static let longWait = Duration.seconds(30)

    @Test func `A call is answered, and both sides know each other`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            let request = try call.decode(WireJobShowRequest.self)
            #expect(call.method == .jobShow)
            #expect("\(call.peer)" == "user ada (submit)")
            call.reply(WireJobShowReply.with { $0.exit = request.job.nameOrID })
        } body: { _, port in
            let client = try await connect(cluster.user(.submit), port)
            #expect(client.peer == cluster.node.identity)
            #expect(client.agentSoftware == "godwitd test")
            #expect(client.version.rawValue == 1)
            let request = WireJobShowRequest.with { $0.job.nameOrID = "linpack" }
            let reply: WireJobShowReply = try await client.call(.jobShow, request, timeout: Self.longWait)
            #expect(reply.exit == "linpack")
            await client.close()
        }
    }

    @Test func `Echo and cheap calls are answered without a task`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { _ in
            Issue.record("the handler was called")
        } atOnce: { request in
            request.method == .status ? ByteBuffer(bytes: [0xf8, 0x07, 1]) : nil
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            let payload = Data([1, 2, 3])
            let reply: WireEchoReply = try await client.call(
                .echo,
                WireEchoRequest.with { $0.payload = payload },
                timeout: Self.longWait
            )
            #expect(reply.payload == payload)
            let status: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: nil)
            #expect(status.unknownFields.data == Data([0xf8, 0x07, 1]))
            await client.close()
        }
    }

    @Test func `Answers that may wait are answered nevertheless, with others or alone`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { _ in
            Issue.record("the handler was called")
        } atOnce: { request in
            ByteBuffer(buffer: request.payload)
        } patiently: { request in
            request.method == .nodeShow
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            for count in [1, 3, 8, 30] {
                try await withThrowingTaskGroup { group in
                    for number in 0..<count {
                        group.addTask {
                            // The bytes of the one are read as the other's: both have a text, or a message, as field 1.
                            let request = WireNodeShowRequest.with { $0.node = "\(number)" }
                            let payload = ByteBuffer(bytes: try request.serializedBytes() as [UInt8])
                            let bytes = try await client.call(.nodeShow, payload: payload, timeout: Self.longWait)
                            #expect(bytes == payload)
                        }
                    }
                    try await group.waitForAll()
                }
            }
            await client.close()
        }
    }

    @Test func `Sixty-four calls in flight each get their own answer, in any order`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            let request = try call.decode(WireNodeShowRequest.self)
            for _ in 0..<Int.random(in: 0...20) { await Task.yield() }
            call.reply(WireNodeShowReply.with { $0.node.name = "re:\(request.node)" })
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            try await withThrowingTaskGroup { group in
                for worker in 0..<64 {
                    group.addTask {
                        for round in 0..<20 {
                            let name = "\(worker)-\(round)"
                            let reply: WireNodeShowReply = try await client.call(
                                .nodeShow,
                                WireNodeShowRequest.with { $0.node = name },
                                timeout: Self.longWait
                            )
                            #expect(reply.node.name == "re:\(name)")
                        }
                    }
                }
                try await group.waitForAll()
            }
            await client.close()
        }
    }

    @Test func `A large request and a large answer pass; larger ones are refused in words`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            let request = try call.decode(WireJobSubmitRequest.self)
            let count = request.document.content.count
            if count > 0 {
                call.reply(WireJobSubmitReply.with { $0.id = String(repeating: "x", count: 2 * count) })
            } else {
                call.reply(WireJobSubmitReply.with { $0.id = String(repeating: "x", count: 5 << 20) })
            }
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            func submit(_ count: Int) async throws -> Int {
                let request = WireJobSubmitRequest.with { $0.document.content = Data(repeating: 1, count: count) }
                let reply: WireJobSubmitReply = try await client.call(.jobSubmit, request, timeout: Self.longWait)
                return reply.id.utf8.count
            }
            #expect(try await submit(1 << 20) == 2 << 20)
            let tooLong = await failure { _ = try await submit(2 << 20) }
            #expect(tooLong?.code == .exhausted)
            #expect(tooLong?.message.contains("more than the 1064960 that the agent takes") == true)
            let answerTooLong = await failure { _ = try await submit(0) }
            #expect(answerTooLong?.code == .exhausted)
            #expect(answerTooLong?.message.contains("more than the 4194304 that the client accepts") == true)
            // The connection is as good as before.
            #expect(try await submit(10) == 20)
            await client.close()
        }
    }

    @Test func `What a handler throws reaches the caller as it is`() async throws {
        struct Unexpected: Error {}
        let cluster = try TestCluster()
        let thrown = RPCFailure(
            .invalid,
            "the document has 1 problem",
            problems: [
                DocumentProblem(place: DocumentPlace(line: 3, column: 5), path: "resources.cpu", message: "use 1 to 64")
            ]
        )
        try await withServer(cluster) { call in
            switch call.method {
            case .jobPlan: throw thrown
            case .jobList: throw Unexpected()
            case .jobCancel: try call.require(.admin)
            default: break
            }
        } body: { _, port in
            let client = try await connect(cluster.user(.submit), port)
            func call(_ method: WireMethod) async -> RPCFailure? {
                await failure {
                    let _: WireJobPlanReply = try await client.call(
                        method,
                        WireJobPlanRequest(),
                        timeout: Self.longWait
                    )
                }
            }
            #expect(await call(.jobPlan) == thrown)
            #expect(await call(.jobList)?.code == .internal)
            let forbidden = await call(.jobCancel)
            #expect(forbidden?.code == .forbidden)
            #expect(forbidden?.message.contains("it takes the right admin; ask the cluster's administrator") == true)
            #expect(await call(.jobShow)?.message.contains("without an answer") == true)
            let unknown = await failure {
                let _: WireEchoReply = try await client.call(
                    .UNRECOGNIZED(999),
                    WireEchoRequest(),
                    timeout: Self.longWait
                )
            }
            #expect(unknown?.code == .unimplemented)
            #expect(unknown?.message.contains("does not know method 999: upgrade the agent") == true)
            await client.close()
        }
    }

    @Test func `Cancelling the task cancels the handler`() async throws {
        let cluster = try TestCluster()
        let (started, cancelled) = (Signal<Void>(), Signal<Void>())
        try await withServer(cluster) { _ in
            started.give(())
            await untilCancelled()
            cancelled.give(())
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            let call = Task {
                await failure {
                    let _: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: nil)
                }
            }
            try await started.wait()
            call.cancel()
            #expect(await call.value?.code == .cancelled)
            try await cancelled.wait()
            await client.close()
        }
    }

    @Test func `A call that takes too long ends on both sides`() async throws {
        let cluster = try TestCluster()
        let cancelled = Signal<Bool>()
        try await withServer(cluster) { call in
            await untilCancelled()
            cancelled.give(call.deadline.map { $0 <= .now + .milliseconds(50) } ?? false)
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            let failure = await failure {
                let _: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: .milliseconds(50))
            }
            #expect(failure?.code == .deadlineExceeded)
            #expect(try await cancelled.wait())
            await client.close()
        }
    }

    @Test func `A connection that ends cancels its handlers and fails its calls`() async throws {
        let cluster = try TestCluster()
        let (started, cancelled) = (Signal<Void>(), Signal<Void>())
        try await withServer(cluster) { _ in
            started.give(())
            await untilCancelled()
            cancelled.give(())
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            let call = Task {
                await failure {
                    let _: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: nil)
                }
            }
            try await started.wait()
            await client.close()
            #expect(await call.value?.code == .unavailable)
            try await cancelled.wait()
            let after = await failure {
                let _: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: nil)
            }
            #expect(after?.code == .unavailable)
        }
    }

    @Test func `More calls than a connection may have are refused, and may come later`() async throws {
        let cluster = try TestCluster()
        var limits = RPCLimits.agent
        limits.maximumStreamsPerConnection = 4
        let gate = Signal<Void>()
        let started = AsyncStream.makeStream(of: Void.self)
        try await withServer(cluster, configuration: RPCServerConfiguration(software: "x", limits: limits)) { call in
            started.continuation.yield()
            try await gate.wait()
            call.reply(WireStatusReply())
        } body: { _, port in
            let client = try await connect(cluster.user(), port)
            @Sendable func call() async throws {
                let _: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: nil)
            }
            let calls = (0..<4).map { _ in Task { try await call() } }
            var iterator = started.stream.makeAsyncIterator()
            for _ in 0..<4 { await iterator.next() }
            #expect(await failure { try await call() }?.code == .exhausted)
            gate.give(())
            for call in calls { try await call.value }
            try await call()
            await client.close()
        }
    }

    @Test func `Shutting down lets open calls finish and takes no new ones`() async throws {
        let cluster = try TestCluster()
        let (started, gate) = (Signal<Void>(), Signal<Void>())
        try await withServer(cluster) { call in
            started.give(())
            try await gate.wait()
            call.reply(WireStatusReply.with { $0.cluster = "flock" })
        } body: { server, port in
            let client = try await connect(cluster.user(), port)
            let call = Task {
                try await client.call(.status, WireStatusRequest(), timeout: nil, reply: WireStatusReply.self)
            }
            try await started.wait()
            let shutdown = Task { await server.shutdown(grace: .seconds(30)) }
            // The goodbye has arrived once a new call is refused here or there.
            var refused: RPCFailure?
            while refused == nil, !Task.isCancelled {
                refused = await failure {
                    let _: WireEchoReply = try await client.call(.echo, WireEchoRequest(), timeout: nil)
                }
            }
            #expect(refused?.code == .unavailable)
            #expect(refused?.message.contains("is stopping") == true)
            gate.give(())
            #expect(try await call.value.cluster == "flock")
            await shutdown.value
            #expect(server.statistics.connectionCount == 0)
            let refusal = await failure { _ = try await connect(cluster.user(), port) }
            #expect(refusal?.message.contains("connection refused: is godwitd running there?") == true)
        }
    }

    @Test func `When the grace is over, calls are cancelled and told so`() async throws {
        let cluster = try TestCluster()
        let (started, cancelled) = (Signal<Void>(), Signal<Void>())
        try await withServer(cluster) { _ in
            started.give(())
            await untilCancelled()
            cancelled.give(())
        } body: { server, port in
            let client = try await connect(cluster.user(), port)
            let call = Task {
                await failure {
                    let _: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: nil)
                }
            }
            try await started.wait()
            await server.shutdown(grace: .milliseconds(20))
            try await cancelled.wait()
            #expect(await call.value?.message.contains("this agent is stopping") == true)
        }
    }
}
