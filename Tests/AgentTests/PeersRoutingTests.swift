import ClusterModel
import ControlMessages
import Foundation
import NIO
import SwiftProtobuf
import Synchronization
import TLS
import Testing
import Transport

@testable import Agent

/// A user may ask any agent: the call reaches the one that can answer it, as if it had been asked itself.
@Suite(.timeLimit(.minutes(5)))
struct PeersRoutingTests {
    private static let wait = Duration.seconds(30)

    private static func line(_ number: Int, _ byteCount: Int = 10) -> WireJobLogsReply {
        .with { reply in
            reply.lines = [
                .with {
                    $0.text = Data(repeating: 120, count: byteCount)
                    $0.timeUnixSeconds = Double(number)
                }
            ]
        }
    }

    private static func submission(_ name: String) -> WireJobSubmitRequest { .with { $0.idempotencyKey = name } }

    private static func logs(of job: String) -> WireJobLogsRequest { .with { $0.job.nameOrID = job } }

    /// Three agents, of which `a` leads.
    private static func withLeader(_ body: (PeersBench, [PeersAgent]) async throws -> Void) async throws {
        try await PeersBench.with(["a", "b", "c"]) { bench, agents in
            agents[0].routing.lead(.here)
            agents[1].routing.lead(.at(agents[0].node))
            agents[2].routing.lead(.at(agents[0].node))
            try await body(bench, agents)
        }
    }

    private static func submit(_ client: RPCClient, _ name: String) async throws -> WireJobSubmitReply {
        try await client.call(.jobSubmit, submission(name), timeout: wait)
    }

    // MARK: The leader

    @Test func `A change reaches the leader with the user's identity`() async throws {
        try await Self.withLeader { bench, agents in
            agents[0].local.answer { call in
                let request = try call.decode(WireJobSubmitRequest.self)
                call.reply(WireJobSubmitReply.with { $0.name = request.idempotencyKey + " of \(call.peer)" })
            }
            let user = try await bench.user("ada", .submit, at: agents[1])
            #expect(try await Self.submit(user, "x").name == "x of user ada (submit)")
            #expect(agents[0].local.calls.map(\.peer.uri) == ["spiffe://flock/user/ada"])
            #expect(agents[1].local.calls.isEmpty)
            let leaders = try await bench.user("bob", .admin, at: agents[0])
            #expect(try await Self.submit(leaders, "y").name == "y of user bob (admin)")
            await user.close()
            await leaders.close()
        }
    }

    @Test func `What the leader refuses is told as it is`() async throws {
        try await Self.withLeader { bench, agents in
            let refusal = RPCFailure(
                .invalid,
                "the document has 1 problem",
                problems: [
                    DocumentProblem(place: DocumentPlace(line: 3, column: 5), path: "resources.cpu", message: "no")
                ]
            )
            agents[0].local.answer { call in
                if call.method == .jobCancel { try call.require(.admin) }
                throw refusal
            }
            let user = try await bench.user("ada", .submit, at: agents[1])
            #expect(await failure { _ = try await Self.submit(user, "x") } == refusal)
            let forbidden = await failure {
                let _: WireJobCancelReply = try await user.call(
                    .jobCancel,
                    WireJobCancelRequest(),
                    timeout: Self.wait
                )
            }
            #expect(forbidden?.code == .forbidden)
            #expect(forbidden?.message.hasPrefix("user ada (submit) may not do this") == true)
            await user.close()
        }
    }

    @Test func `Views come from the leader, and from here without one`() async throws {
        try await Self.withLeader { bench, agents in
            for agent in agents {
                agent.local.answer { call in
                    call.reply(WireJobListReply.with { $0.jobs = [.with { $0.name = "seen by \(agent.node)" }] })
                }
            }
            let user = try await bench.user(at: agents[1])
            func list() async throws -> String {
                let reply: WireJobListReply = try await user.call(.jobList, WireJobListRequest(), timeout: Self.wait)
                return reply.jobs[0].name
            }
            #expect(try await list() == "seen by a")
            agents[1].routing.lead(.unknown(votersAnswering: 1, voterCount: 3))
            #expect(try await list() == "seen by b")
            // The one that is believed to lead is not there any more.
            agents[1].routing.lead(.at(agents[0].node))
            await agents[0].stop()
            #expect(try await list() == "seen by b")
            await user.close()
        }
    }

    @Test func `A view that the leader had begun when it went away is answered from here`() async throws {
        try await Self.withLeader { bench, agents in
            let began = Promised<Void>()
            agents[0].local.answer { _ in
                began.give(())
                await untilCancelled()
            }
            agents[1].local.answer { $0.reply(WireJobListReply.with { $0.jobs = [.with { $0.name = "here" }] }) }
            let user = try await bench.user(at: agents[1])
            async let list: WireJobListReply = user.call(.jobList, WireJobListRequest(), timeout: Self.wait)
            try await began.value()
            await agents[0].stop()
            #expect(try await list.jobs[0].name == "here")
            await user.close()
        }
    }

    // MARK: A leader that hangs

    @Test func `A submission to a leader that hangs is made at the next one, once`() async throws {
        try await Self.withLeader { bench, agents in
            let began = Promised<String>()
            agents[0].local.answer { call in
                began.give(try call.decode(WireJobSubmitRequest.self).idempotencyKey)
                await untilCancelled()
            }
            agents[2].local.answer { call in
                let key = try call.decode(WireJobSubmitRequest.self).idempotencyKey
                call.reply(WireJobSubmitReply.with { $0.name = key })
            }
            let user = try await bench.user(at: agents[1])
            async let reply = Self.submit(user, "")
            let key = try await began.value()
            #expect(!key.isEmpty, "by which the cluster knows it again")
            agents[1].routing.lead(.at(agents[2].node))
            agents[2].routing.lead(.here)
            #expect(try await reply.name == key)
            await user.close()
        }
    }

    @Test func `What must not be done twice is not asked again`() async throws {
        try await Self.withLeader { bench, agents in
            let (began, goOn) = (Promised<Void>(), Promised<Void>())
            agents[0].local.answer { call in
                began.give(())
                try await goOn.value()
                call.reply(WireJobCancelReply.with { $0.state = "cancelled" })
            }
            let user = try await bench.user("ada", .admin, at: agents[1])
            async let reply: WireJobCancelReply = user.call(
                .jobCancel,
                WireJobCancelRequest(),
                timeout: Self.wait
            )
            try await began.value()
            agents[1].routing.lead(.at(agents[2].node))
            agents[2].routing.lead(.here)
            // Longer than a call that may be repeated is left with an old leader.
            try await Task.sleep(for: .milliseconds(400))  // polls: that nothing happens
            goOn.give(())
            #expect(try await reply.state == "cancelled")
            #expect(agents[2].local.calls.isEmpty)
            await user.close()
        }
    }

    @Test func `A leader that is none any more sends a view on to the next one`() async throws {
        try await Self.withLeader { bench, agents in
            for agent in agents {
                agent.local.answer { call in
                    call.reply(WireJobListReply.with { $0.jobs = [.with { $0.name = "seen by \(agent.node)" }] })
                }
            }
            agents[0].routing.depose()
            let user = try await bench.user(at: agents[1])
            let reply: WireJobListReply = try await user.call(.jobList, WireJobListRequest(), timeout: Self.wait)
            #expect(reply.jobs[0].name == "seen by b", "not by a, which cannot be sure that it leads")
            await user.close()
        }
    }

    @Test func `Without a leader a change waits for one, and then says so`() async throws {
        try await PeersBench.with(["a", "b"], leaderPatience: .seconds(1)) { bench, agents in
            let user = try await bench.user(at: agents[1])
            let failure = await failure { _ = try await Self.submit(user, "x") }
            #expect(failure?.code == .unavailable)
            #expect(failure?.wasNotBegun == true)
            #expect(
                failure?.message
                    == "node b knows no leader at the moment (1 of 3 voters answer); ask an agent that reaches a majority, or see what "
                    + "`godwit status` says of this one"
            )
            #expect(agents[1].routing.questionCount > 1)
            await user.close()
        }
    }

    @Test func `A change that waits is carried out by the leader that is elected`() async throws {
        try await PeersBench.with(["a", "b"]) { bench, agents in
            agents[0].local.answer { $0.reply(WireJobSubmitReply.with { $0.name = "done" }) }
            let user = try await bench.user(at: agents[1])
            async let reply = Self.submit(user, "x")
            try await eventually("the call waits") { agents[1].routing.questionCount > 0 }
            agents[0].routing.lead(.here)
            agents[1].routing.lead(.at(agents[0].node))
            #expect(try await reply.name == "done")
            await user.close()
        }
    }

    @Test func `One that leads no more refuses without having begun, and the next leader is asked`() async throws {
        try await Self.withLeader { bench, agents in
            for agent in agents[...1] {
                agent.local.answer { $0.reply(WireJobSubmitReply.with { $0.name = "\(agent.node)" }) }
            }
            // Node c still believes in a, which believes in b.
            agents[0].routing.lead(.at(agents[1].node))
            agents[1].routing.lead(.here)
            let user = try await bench.user(at: agents[2])
            async let reply = Self.submit(user, "x")
            try await eventually("node a was asked") { agents[0].routing.questionCount > 0 }
            agents[2].routing.lead(.at(agents[1].node))
            #expect(try await reply.name == "b")
            #expect(agents[0].local.calls.isEmpty)
            await user.close()
        }
    }

    @Test func `A leader that dies meanwhile is not asked twice for the same change`() async throws {
        try await Self.withLeader { bench, agents in
            let began = Promised<Void>()
            agents[0].local.answer { _ in
                began.give(())
                await untilCancelled()
            }
            let user = try await bench.user(at: agents[1])
            async let refused = failure { _ = try await Self.submit(user, "x") }
            try await began.value()
            await agents[0].stop()
            let refusal = await refused
            #expect(refusal?.code == .unavailable)
            #expect(refusal?.wasNotBegun == false)
            #expect(agents[0].local.calls.count == 1)
            await user.close()
        }
    }

    @Test func `The time limit passes on`() async throws {
        try await Self.withLeader { bench, agents in
            let cancelled = Promised<Void>()
            let limit = Promised<Duration?>()
            agents[0].local.answer { call in
                limit.give(call.deadline.map { ContinuousClock.now.duration(to: $0) })
                await untilCancelled()
                cancelled.give(())
            }
            let user = try await bench.user(at: agents[1])
            // The way is made before, so that the limit is not over on it.
            _ = try await agents[1].link.client(of: agents[0].node, .users, within: Self.wait)
            let failure = await failure {
                let _: WireJobSubmitReply = try await user.call(
                    .jobSubmit,
                    Self.submission("x"),
                    timeout: .seconds(5)
                )
            }
            #expect(failure?.code == .deadlineExceeded)
            let told = try #require(try await limit.value())
            #expect(told > .zero && told <= .milliseconds(5001))
            try await cancelled.value()
            await user.close()
        }
    }

    // MARK: Streams

    @Test func `A stream is passed on message by message`() async throws {
        try await Self.withLeader { bench, agents in
            agents[1].routing.hold("gull", .at(agents[2].node))
            agents[2].local.answer { call in
                for number in 0..<2000 { try await call.send(Self.line(number)) }
                throw RPCFailure(.notFound, "the rest is gone")
            }
            let user = try await bench.user(at: agents[1])
            var numbers: [Int] = []
            let failure = await failure {
                for try await reply in user.stream(.jobLogs, Self.logs(of: "gull"), reply: WireJobLogsReply.self) {
                    numbers.append(Int(reply.lines[0].timeUnixSeconds))
                }
            }
            #expect(numbers == Array(0..<2000))
            #expect(failure == RPCFailure(.notFound, "the rest is gone"))
            #expect(agents[0].local.calls.isEmpty)
            await user.close()
        }
    }

    @Test func `Leaving a stream cancels it where it is made`() async throws {
        try await Self.withLeader { bench, agents in
            agents[1].routing.hold("gull", .at(agents[2].node))
            let cancelled = Promised<Void>()
            agents[2].local.answer { call in
                try await call.send(Self.line(0))
                await untilCancelled()
                cancelled.give(())
            }
            let user = try await bench.user(at: agents[1])
            for try await _ in user.stream(.jobLogs, Self.logs(of: "gull"), reply: WireJobLogsReply.self) { break }
            try await cancelled.value()
            await user.close()
        }
    }

    @Test func `A user that goes away cancels what was passed on for him`() async throws {
        try await Self.withLeader { bench, agents in
            let (began, cancelled) = (Promised<Void>(), Promised<Void>())
            agents[0].local.answer { _ in
                began.give(())
                await untilCancelled()
                cancelled.give(())
            }
            let user = try await bench.user(at: agents[1])
            async let refused = failure { _ = try await Self.submit(user, "x") }
            try await began.value()
            await user.close()
            try await cancelled.value()
            #expect(await refused?.code == .unavailable)
        }
    }

    @Test func `A reader that stops stops the sender two agents away`() async throws {
        try await Self.withLeader { bench, agents in
            agents[1].routing.hold("gull", .at(agents[2].node))
            let sent = Mutex(0)
            agents[2].local.answer { call in
                for number in 0..<2000 {
                    try await call.send(Self.line(number, 8 << 10))
                    sent.withLock { $0 += 1 }
                }
            }
            let user = try await bench.user(at: agents[1])
            let stream = user.stream(.jobLogs, Self.logs(of: "gull"), reply: WireJobLogsReply.self)
            var iterator = stream.makeAsyncIterator()
            #expect(try await iterator.next() != nil)
            // Two windows of 256 KiB, and what is between them.
            let bound = 2 * (256 / 8) + 8
            try await eventually("the windows are full") { sent.withLock { $0 } >= 256 / 8 }
            for _ in 0..<200 {
                let _: WireEchoReply = try await user.call(.echo, WireEchoRequest(), timeout: Self.wait)
            }
            #expect(sent.withLock { $0 } <= bound)
            var count = 1
            while try await iterator.next() != nil { count += 1 }
            #expect(count == 2000)
            await user.close()
        }
    }

    // MARK: The node that has it

    @Test func `A job that this agent does not know yet is found through the leader`() async throws {
        try await Self.withLeader { bench, agents in
            agents[0].routing.hold("gull", .at(agents[2].node))
            agents[2].local.answer { call in
                try await call.send(Self.line(1))
            }
            let user = try await bench.user("ada", .read, at: agents[1])
            var count = 0
            for try await _ in user.stream(.jobLogs, Self.logs(of: "gull"), reply: WireJobLogsReply.self) {
                count += 1
            }
            #expect(count == 1)
            // Two agents have passed it on, and it is still ada who asks.
            #expect(agents[2].local.calls.map(\.peer.uri) == ["spiffe://flock/user/ada"])
            await user.close()
        }
    }

    @Test func `A call that reached a job's node stays there`() async throws {
        try await Self.withLeader { bench, agents in
            // Each believes that the other has it.
            agents[1].routing.hold("gull", .at(agents[2].node))
            agents[2].routing.hold("gull", .at(agents[1].node))
            agents[2].local.answer { _ in throw RPCFailure(.notFound, "not here") }
            let user = try await bench.user(at: agents[1])
            let failure = await failure {
                for try await _ in user.stream(.jobLogs, Self.logs(of: "gull"), reply: WireJobLogsReply.self) {}
            }
            #expect(failure == RPCFailure(.notFound, "not here"))
            #expect(agents[1].local.calls.isEmpty)
            await user.close()
        }
    }

    @Test func `When a job's node is away its record is shown from here, and its output is not`() async throws {
        try await Self.withLeader { bench, agents in
            agents[1].routing.hold("gull", .at(agents[2].node))
            agents[1].local.answer { $0.reply(WireJobShowReply.with { $0.exit = "from here" }) }
            await agents[2].stop()
            let user = try await bench.user(at: agents[1])
            let show: WireJobShowReply = try await user.call(
                .jobShow,
                WireJobShowRequest.with { $0.job.nameOrID = "gull" },
                timeout: Self.wait
            )
            #expect(show.exit == "from here")
            let failure = await failure {
                for try await _ in user.stream(.jobLogs, Self.logs(of: "gull"), reply: WireJobLogsReply.self) {}
            }
            #expect(failure?.code == .unavailable)
            #expect(failure?.message.hasPrefix("node c cannot be reached: ") == true)
            await user.close()
        }
    }

    @Test func `A node is shown by itself`() async throws {
        try await Self.withLeader { bench, agents in
            for agent in agents {
                agent.local.answer { call in
                    call.reply(WireNodeShowReply.with { $0.node.name = "\(agent.node)" })
                }
            }
            let user = try await bench.user(at: agents[1])
            for (asked, answers) in [("", "b"), ("b", "b"), ("c", "c"), ("nobody", "b")] {
                let reply: WireNodeShowReply = try await user.call(
                    .nodeShow,
                    WireNodeShowRequest.with { $0.node = asked },
                    timeout: Self.wait
                )
                #expect(reply.node.name == answers, "asked for '\(asked)'")
            }
            await user.close()
        }
    }

    // MARK: Who may pass on what

    @Test func `Only what may be passed on is, and only for this cluster`() async throws {
        try await Self.withLeader { bench, agents in
            let node = try await bench.client(try bench.identity(of: agents[1].node), at: agents[0])
            func forward(_ change: (inout WireForwardRequest) -> Void) async -> RPCFailure? {
                var request = WireForwardRequest()
                request.method = UInt32(WireMethod.jobSubmit.rawValue)
                request.identity = "spiffe://flock/user/ada"
                request.organizationalUnit = "submit"
                change(&request)
                let payload = ByteBuffer(bytes: (try? request.serializedBytes() as [UInt8]) ?? [])
                return await failure { _ = try await node.call(.forward, payload: payload, timeout: Self.wait) }
            }
            agents[0].local.answer { $0.reply(WireJobSubmitReply()) }
            #expect(await forward { _ in } == nil)
            let unknown = await forward { $0.method = 77 }
            #expect(unknown?.code == .unimplemented)
            #expect(unknown?.wasNotBegun == true)
            for method in [WireMethod.raft, .propose, .forward, .peerPing] {
                #expect(await forward { $0.method = UInt32(method.rawValue) }?.code == .invalid)
            }
            #expect(await forward { $0.identity = "spiffe://pond/user/ada" }?.code == .forbidden)
            #expect(await forward { $0.organizationalUnit = "king" }?.code == .invalid)
            #expect(await forward { $0.identity = "ada" }?.code == .invalid)
            // A join that a user smuggles into a call of a node.
            #expect(await forward { $0.method = UInt32(WireMethod.join.rawValue) }?.code == .forbidden)
            #expect(agents[0].local.calls.count == 1)
            await node.close()
        }
    }

    @Test func `More calls are passed on at once than one user may have open`() async throws {
        try await Self.withLeader { bench, agents in
            let (count, users) = (120, 3)
            let began = Mutex(0)
            agents[0].local.answer { _ in
                began.withLock { $0 += 1 }
                await untilCancelled()
            }
            var clients: [RPCClient] = []
            for number in 0..<users { clients.append(try await bench.user("user\(number)", at: agents[1])) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for client in clients {
                    for _ in 0..<count {
                        group.addTask { _ = try await Self.submit(client, "x") }
                    }
                }
                try await eventually("all have reached the leader") { began.withLock { $0 } == count * users }
                // Raft does not wait for them.
                agents[1].link.send([[1]], to: agents[0].member)
                #expect(await agents[0].delegate.messages(1).count == 1)
                group.cancelAll()
            }
            for client in clients { await client.close() }
        }
    }

    @Test func `What is answered at once still is`() async throws {
        try await PeersBench.with(["a"]) { bench, agents in
            let user = try bench.authority.issueUser(
                UserID(rawValue: "ada"),
                right: .read,
                now: Timestamp(seconds: Double(Int(Date().timeIntervalSince1970)))
            )
            func atOnce(_ method: WireMethod) -> ByteBuffer? {
                agents[0].atOnce(RPCRequest(method: method, payload: ByteBuffer(), peer: user.identity))
            }
            #expect(atOnce(.status) == ByteBuffer(string: "at once"))
            // Perhaps another agent's to answer.
            #expect(atOnce(.jobSubmit) == nil)
            #expect(atOnce(.jobShow) == nil)
            #expect(atOnce(.raft) == nil)
        }
    }

    @Test func `Every method has its place`() {
        let streamed: [WireMethod] = [
            .jobWatch, .jobLogs, .clusterEvents, .checkpointVerify, .checkpointExport, .copyFetch, .copyCheck,
            .migrationFetch, .migrationFrames,
        ]
        #expect(WireMethod.allCases.filter(\.isStreamed) == streamed)
        #expect(WireMethod.allCases.filter { $0.place == .leader && !$0.isBetweenPeers }.count == 15)
        #expect(WireMethod.allCases.filter { $0.place == .jobsNode(elseHere: false) } == [.jobLogs, .jobResize])
    }
}
