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

/// The network in memory keeps the promises of the one over TLS, as far as tests and simulations lean on them.
@Suite(.timeLimit(.minutes(5)))
struct PeersInMemoryNetworkTests {
    private struct Agent {
        let node: NodeID
        let member: RaftMemberID
        let link: any PeerLink
        let delegate: RecordingDelegate
        let local = RecordingService()
        let routing = FixedRouting()
    }

    private static func agents(_ network: PeersInMemoryNetwork, _ names: String...) throws -> [Agent] {
        let members = try names.enumerated().map { number, name in
            PeerMember(
                node: NodeID(rawValue: name),
                member: RaftMemberID(rawValue: UInt64(number + 1)),
                address: try PeerAddress(name),
                isVoter: true
            )
        }
        return members.map { member in
            let directory = PeerDirectory()
            directory.replace(with: members, from: .replicated)
            let agent = Agent(
                node: member.node,
                member: member.member,
                link: network.link(of: member.node, member: member.member, directory: directory),
                delegate: RecordingDelegate(member.member)
            )
            let handler = RoutingHandler(
                node: agent.node,
                local: agent.local,
                peers: PeerService(delegate: agent.delegate, directory: directory),
                link: agent.link,
                routing: agent.routing
            )
            network.attach(handler, as: agent.node, member: agent.member)
            return agent
        }
    }

    @Test func `Messages arrive in order, and not over a way that is cut`() async throws {
        let network = PeersInMemoryNetwork()
        let agents = try Self.agents(network, "a", "b")
        agents[0].link.send([[1], [2]], to: agents[1].member)
        network.cut(from: agents[0].node, to: agents[1].node)
        agents[0].link.send([[3]], to: agents[1].member)
        // The other direction works.
        agents[1].link.send([[9]], to: agents[0].member)
        let refused = await failure { _ = try await agents[0].link.ping(agents[1].node, timeout: .seconds(60)) }
        #expect(refused?.wasNotBegun == true)
        network.cut(from: agents[0].node, to: agents[1].node, false)
        agents[0].link.send([[4]], to: agents[1].member)
        #expect(await agents[1].delegate.messages(3).map(\.bytes) == [[1], [2], [4]])
        #expect(await agents[0].delegate.messages(1).map(\.from) == [agents[1].member])
        #expect(try await agents[0].link.ping(agents[1].node, timeout: .seconds(60)).member == agents[1].member)
    }

    @Test func `Requests and calls are answered as over TLS`() async throws {
        let network = PeersInMemoryNetwork()
        let agents = try Self.agents(network, "a", "b")
        agents[1].routing.lead(.here)
        let link = agents[0].link
        #expect(
            try await link.propose([[1]], to: agents[1].node, timeout: .seconds(60))
                == .done(outcomes: [[1, 97]], index: 42)
        )
        #expect(try await link.exchange([1, 2], with: agents[1].node, timeout: .seconds(60)) == [2, 1])
        agents[1].local.answer { call in
            call.reply(WireJobSubmitReply.with { $0.name = "\(call.peer)" })
        }
        let user = PeerIdentity.user(
            cluster: ClusterID(rawValue: "flock"),
            user: UserID(rawValue: "ada"),
            right: .submit
        )
        let answer = Collected()
        try await link.forward(
            ForwardedCall(
                request: RPCRequest(method: .jobSubmit, payload: ByteBuffer(), peer: user),
                target: .leader,
                deadline: nil
            ),
            to: agents[1].node,
            answering: answer
        )
        let bytes = try #require(answer.bytes.first)
        let reply = try WireJobSubmitReply(serializedBytes: bytes.readableBytesSpan)
        #expect(reply.name == "user ada (submit)")
    }

    private final class Collected: RPCSink {
        private let state = Mutex<[ByteBuffer]>([])
        var bytes: [ByteBuffer] { state.withLock { $0 } }
        func reply(_ bytes: ByteBuffer) { state.withLock { $0.append(bytes) } }
        func send(_ bytes: ByteBuffer) async throws { reply(bytes) }
    }
}
