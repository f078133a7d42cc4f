import AgentConfiguration
import ClusterModel
import ControlMessages
import NIO
import Raft
import SwiftProtobuf
import Synchronization
import TLS
import Testing
import Transport

@testable import Agent

/// Agents reach exactly the agent they want, and Raft's messages keep their order and their bounds.
@Suite(.timeLimit(.minutes(5)))
struct PeersConnectionTests {
    private static let wait = Duration.seconds(30)

    /// A message with a number in it.
    private static func message(_ number: Int, _ byteCount: Int = 8) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        for place in 0..<8 { bytes[place] = UInt8(truncatingIfNeeded: number >> (8 * place)) }
        return bytes
    }

    @Test func `Messages arrive in order, from the member that sent them`() async throws {
        var settings = PeerSettings.patient
        settings.queueLimits.count = 100_000
        try await PeersBench.with(["a", "b"], settings: settings) { _, agents in
            for number in 0..<5000 { agents[0].link.send([Self.message(number)], to: agents[1].member) }
            let received = await agents[1].delegate.messages(5000)
            #expect(received.map(\.bytes) == (0..<5000).map { Self.message($0) })
            #expect(received.allSatisfy { $0.from == agents[0].member })
            try await eventually("all are acknowledged") { agents[0].link.statistics.messagesSent == 5000 }
            let statistics = agents[0].link.statistics
            #expect(statistics.connections == 1)
            #expect(statistics.messagesDropped + statistics.messagesLost + statistics.messagesUnreachable == 0)
            // What waited for the connection went together.
            #expect(statistics.deliveries < 5000)
        }
    }

    @Test func `Large messages keep their order and fit the frames`() async throws {
        try await PeersBench.with(["a", "b"]) { _, agents in
            let largest = Message.byteLimit
            let sizes = [256 << 10, 8, largest, 300_000, 300_000, 8, 256 << 10]
            agents[0].link.send(
                sizes.enumerated().map { Self.message($0.offset, $0.element) },
                to: agents[1].member
            )
            let received = await agents[1].delegate.messages(sizes.count)
            #expect(received.map(\.bytes.count) == sizes)
            #expect(received.map { Int($0.bytes[0]) } == Array(0..<sizes.count))
        }
    }

    @Test func `Agents ask each other and are answered`() async throws {
        try await PeersBench.with(["a", "b"]) { _, agents in
            let (link, other) = (agents[0].link, agents[1].node)
            #expect(
                try await link.propose([[1], [2, 3]], to: other, timeout: Self.wait)
                    == .done(outcomes: [[1, 97], [2, 3, 97]], index: 42)
            )
            let elsewhere = try PeerAddress("10.0.0.9:7420")
            #expect(
                try await link.propose([[0]], to: other, timeout: Self.wait)
                    == .notLeader(leader: NodeID(rawValue: "elsewhere"), address: elsewhere)
            )
            #expect(try await link.exchange([1, 2, 3], with: other, timeout: Self.wait) == [3, 2, 1])
            #expect(try await link.ping(other, timeout: Self.wait) == agents[1].delegate.standing())
            #expect(link.statistics.connections == 1)
        }
    }

    @Test func `Another node than the wanted one gets nothing`() async throws {
        try await PeersBench.with(["a", "b", "c"]) { _, agents in
            let wanted = PeerMember(
                node: agents[1].node,
                member: agents[1].member,
                address: agents[2].address,
                isVoter: true
            )
            agents[0].directory.replace(with: [wanted], from: .replicated)
            agents[0].link.send([[1, 2, 3]], to: agents[1].member)
            let failure = await failure { _ = try await agents[0].link.ping(agents[1].node, timeout: Self.wait) }
            #expect(failure?.code == .unavailable)
            #expect(failure?.wasNotBegun == true)
            #expect(failure?.message.contains("is node c of site coast (worker), not node b") == true)
            #expect(agents[0].link.statistics.messagesUnreachable == 1)
            #expect(agents[0].link.statistics.messagesSent == 0)
            for await event in agents[0].events {
                guard case .unreachable(let node, _) = event else { continue }
                #expect(node == agents[1].node)
                break
            }
        }
    }

    @Test func `A wrong address from one source is made good by another's`() async throws {
        let clock = StandingClock()
        try await PeersBench.with(["a", "b", "c"], now: { clock.now }) { _, agents in
            agents[0].directory.learn(agents[1].node, address: agents[2].address, from: .replicated)
            agents[0].directory.learn(agents[1].node, address: agents[1].address, from: .gossip)
            let first = await failure { _ = try await agents[0].link.ping(agents[1].node, timeout: Self.wait) }
            #expect(first?.wasNotBegun == true)
            clock.advance(.seconds(3))
            let standing = try await agents[0].link.ping(agents[1].node, timeout: Self.wait)
            #expect(standing.member == agents[1].member)
        }
    }

    @Test func `An agent that comes back is reached again`() async throws {
        let clock = StandingClock()
        try await PeersBench.with(["a", "b"], now: { clock.now }) { _, agents in
            let (link, other) = (agents[0].link, agents[1].node)
            _ = try await link.ping(other, timeout: Self.wait)
            clock.advance(.seconds(60))
            await agents[1].stop()
            try await eventually("the loss is noticed") {
                link.send([[1]], to: agents[1].member)
                return link.statistics.failedConnections == 1
            }
            // Within the pause nothing is tried, and everybody is told at once.
            let refused = await failure { _ = try await link.ping(other, timeout: Self.wait) }
            #expect(refused?.wasNotBegun == true)
            #expect(refused?.message.hasPrefix("node b cannot be reached: no agent answers at 127.0.0.1:") == true)
            link.send([[1]], to: agents[1].member)
            #expect(link.statistics.failedConnections == 1)
            try await agents[1].start()
            clock.advance(.seconds(1))
            link.send([[5, 5]], to: agents[1].member)
            #expect(await agents[1].delegate.messages(1).map(\.bytes) == [[5, 5]])
            #expect(link.statistics.connections == 2)
        }
    }

    @Test func `Hearing a node shortens the pause before it is tried again`() async throws {
        let clock = StandingClock()
        try await PeersBench.with(["a", "b"], now: { clock.now }) { _, agents in
            let (link, other) = (agents[0].link, agents[1].node)
            await agents[1].stop()
            for attempt in 1...8 {
                _ = await failure { _ = try await link.ping(other, timeout: Self.wait) }
                #expect(link.statistics.failedConnections == UInt64(attempt))
                clock.advance(.seconds(2))
            }
            _ = await failure { _ = try await link.ping(other, timeout: Self.wait) }
            try await agents[1].start()
            // The pause is one to two seconds by now.
            clock.advance(.milliseconds(60))
            #expect(await failure { _ = try await link.ping(other, timeout: Self.wait) } != nil)
            // The other agent calls.
            agents[1].link.send([[1]], to: agents[0].member)
            #expect(await agents[0].delegate.messages(1).count == 1)
            clock.advance(.milliseconds(60))
            #expect(try await link.ping(other, timeout: Self.wait).member == agents[1].member)
        }
    }

    @Test func `Pauses grow, are bounded, and differ`() async throws {
        let clock = StandingClock()
        try await PeersBench.with(["a", "b"], now: { clock.now }) { _, agents in
            await agents[1].stop()
            var pauses: [Duration] = []
            for _ in 0..<10 {
                _ = await failure { _ = try await agents[0].link.ping(agents[1].node, timeout: Self.wait) }
                let failed = agents[0].link.statistics.failedConnections
                var pause = Duration.zero
                while pause < .seconds(4) {
                    clock.advance(.milliseconds(5))
                    pause += .milliseconds(5)
                    agents[0].link.prepare(agents[1].member)
                    // `prepare` connects once the pause is over, and then a call waits for that attempt.
                    _ = await failure { _ = try await agents[0].link.ping(agents[1].node, timeout: Self.wait) }
                    if agents[0].link.statistics.failedConnections > failed { break }
                }
                pauses.append(pause)
            }
            #expect(pauses[0] <= .milliseconds(105))
            #expect(pauses.allSatisfy { $0 <= .seconds(2) + .milliseconds(5) })
            #expect(pauses.suffix(3).allSatisfy { $0 >= .seconds(1) })
            #expect(Set(pauses.suffix(3)).count > 1)
        }
    }

    @Test func `Users may ask nothing that agents ask`() async throws {
        try await PeersBench.with(["a"]) { bench, agents in
            let user = try await bench.user("ada", .admin, at: agents[0])
            for method in WireMethod.allCases where method.isBetweenPeers {
                let failure = await failure {
                    _ = try await user.call(method, payload: ByteBuffer(), timeout: Self.wait)
                }
                #expect(failure?.code == .forbidden)
                #expect(failure?.message.hasPrefix("user ada (admin) may not use method \(method.rawValue)") == true)
            }
            await user.close()
        }
    }

    @Test func `A node that is not welcome is refused, and told so once`() async throws {
        try await PeersBench.with(["a", "b"]) { _, agents in
            agents[1].delegate.objections.withLock { $0[agents[0].node] = "the certificate of node a was revoked" }
            for _ in 0..<10 { agents[0].link.send([[1]], to: agents[1].member) }
            var refusals = 0
            for await event in agents[0].events {
                guard case .refused(let node, let failure) = event else { continue }
                #expect(node == agents[1].node)
                #expect(failure.message == "the certificate of node a was revoked")
                refusals += 1
                break
            }
            try await eventually("all are lost") { agents[0].link.statistics.messagesLost == 10 }
            #expect(refusals == 1)
            let failure = await failure { _ = try await agents[0].link.ping(agents[1].node, timeout: Self.wait) }
            #expect(failure == RPCFailure(.forbidden, "the certificate of node a was revoked"))
        }
    }

    @Test func `Whose certificate is revoked reads so, until it is let in again or the other has left`() async throws {
        try await PeersBench.with(["a", "b"]) { bench, agents in
            let revocations = RevocationList()
            let uri = try bench.identity(of: agents[0].node).identity.uri
            revocations.replace(with: [.identity(uri, issuedUntil: PeersBench.now + .seconds(1))])
            await agents[1].stop()
            try await agents[1].start(refusing: revocations)
            agents[0].link.send([[1]], to: agents[1].member)
            let refusals = PeerRefusals()
            for await event in agents[0].events {
                refusals.note(event)
                if case .certificateRefused = event { break }
            }
            let told = refusals.problems
            #expect(told.count == 1 && told[0].hasPrefix("Node b cannot be reached: "), "\(told)")
            #expect(told[0].contains("it was revoked") && told[0].contains("godwit ca issue"), "\(told)")
            refusals.note(.connected(agents[1].node))
            #expect(refusals.problems.isEmpty)
            refusals.note(.refused(agents[1].node, RPCFailure(.conflict, "it is of another history")))
            #expect(refusals.problems == ["Node b refuses this agent: it is of another history."])
            refusals.forget(agents[1].node)
            #expect(refusals.problems.isEmpty)
        }
    }

    @Test func `Nobody speaks for another's member`() async throws {
        try await PeersBench.with(["a", "b", "c"]) { bench, agents in
            let client = try await bench.client(try bench.identity(of: agents[2].node), at: agents[1])
            var delivery = WireRaftDelivery()
            delivery.messages = []
            delivery.fromMember = agents[0].member.rawValue
            let stolen = await failure {
                let _: WireRaftReceipt = try await client.call(.raft, delivery, timeout: Self.wait)
            }
            #expect(stolen?.code == .forbidden)
            #expect(stolen?.message.contains("node c speaks for Raft member 1, which is node a") == true)
            delivery.fromMember = 0
            let nameless = await failure {
                let _: WireRaftReceipt = try await client.call(.raft, delivery, timeout: Self.wait)
            }
            #expect(nameless?.code == .invalid)
            // One that nobody knows is learnt with its address.
            delivery.fromMember = 99
            delivery.fromAddress = "10.1.2.3:7420"
            let _: WireRaftReceipt = try await client.call(.raft, delivery, timeout: Self.wait)
            #expect(agents[1].directory.node(of: RaftMemberID(rawValue: 99)) == agents[2].node)
            #expect(agents[1].directory.addresses(of: agents[2].node).last?.text() == "10.1.2.3:7420")
            await client.close()
        }
    }

    @Test func `Messages for strangers and for ourselves are counted and gone`() async throws {
        try await PeersBench.with(["a"]) { _, agents in
            agents[0].link.send([[1], [2]], to: RaftMemberID(rawValue: 77))
            agents[0].link.send([[1]], to: agents[0].member)
            #expect(agents[0].link.statistics.messagesUnreachable == 3)
            let failure = await failure { _ = try await agents[0].link.ping(agents[0].node, timeout: Self.wait) }
            #expect(failure?.message == "node a is this agent itself")
        }
    }

    @Test func `A node without an address fails at once, with words`() async throws {
        try await PeersBench.with(["a"]) { _, agents in
            let failure = await failure {
                _ = try await agents[0].link.ping(NodeID(rawValue: "z"), timeout: Self.wait)
            }
            #expect(failure?.message == "node \"z\" cannot be reached: nobody has told its address")
            #expect(failure?.wasNotBegun == true)
        }
    }

    @Test func `After the end nothing is sent, and callers are told`() async throws {
        try await PeersBench.with(["a", "b"]) { _, agents in
            let (link, other) = (agents[0].link, agents[1])
            _ = try await link.ping(other.node, timeout: Self.wait)
            await link.forget(other.node)
            // Forgotten is not forbidden.
            _ = try await link.ping(other.node, timeout: Self.wait)
            #expect(link.statistics.connections == 2)
            await link.shutdown()
            link.send([[1]], to: other.member)
            #expect(link.statistics.messagesUnreachable == 1)
            let failure = await failure { _ = try await link.ping(other.node, timeout: Self.wait) }
            #expect(failure?.message == "this agent is stopping: ask another agent")
        }
    }

    @Test func `A call that is cancelled while it waits for the connection ends at once`() async throws {
        // Listens and never says a word.
        let silent = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        try await PeersBench.with(["a"]) { _, agents in
            let node = NodeID(rawValue: "z")
            let port = silent.localAddress?.port ?? 0
            agents[0].directory.learn(node, address: try PeerAddress("127.0.0.1:\(port)"), from: .gossip)
            let link = agents[0].link
            let call = Task { await failure { _ = try await link.ping(node, timeout: Self.wait) } }
            call.cancel()
            let cancelled = await call.value
            #expect(cancelled?.code == .cancelled)
            #expect(cancelled?.wasNotBegun == true)
            let late = await failure { _ = try await link.ping(node, timeout: .milliseconds(20)) }
            #expect(late?.code == .deadlineExceeded)
            #expect(late?.message == "node z could not be reached in time")
        }
        try await silent.close()
    }

    @Test func `Joining asks whoever answers, and never itself`() async throws {
        try await PeersBench.with(["a", "b", "c"]) { _, agents in
            agents[0].routing.lead(.here)
            agents[1].routing.lead(.at(agents[0].node))
            let request = JoinRequest(
                address: agents[2].address,
                member: RaftMemberID(rawValue: 55),
                capacity: 3.5,
                memory: ByteCount(rawValue: 1 << 30),
                deviceCount: 2,
                version: "1.0.0",
                labels: ["rack": "r1"]
            )
            // Node b does not lead and passes it on.
            let answer = try await agents[2].link.join(request, at: agents[1].address, timeout: Self.wait)
            let member = PeerMember(
                node: agents[2].node,
                member: request.member,
                address: agents[2].address,
                isVoter: false
            )
            #expect(
                answer == JoinAnswer(members: [member], leader: agents[0].node, keyring: [1, 2, 3], index: 7)
            )
            let join = try #require(agents[0].delegate.joins.first)
            #expect(join.0 == request)
            #expect(join.1.description == "node c of site coast (worker)")
            #expect(agents[1].delegate.joins.isEmpty)
            let itself = await failure {
                _ = try await agents[2].link.join(request, at: agents[2].address, timeout: Self.wait)
            }
            #expect(itself?.message.contains("is this agent itself: name another agent") == true)
        }
    }
}
