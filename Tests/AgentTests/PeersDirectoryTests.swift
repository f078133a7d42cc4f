import AgentConfiguration
import ClusterModel
import Raft
import Testing

@testable import Agent

/// The directory believes the better source, and is bounded.
struct PeersDirectoryTests {
    private let a = NodeID(rawValue: "a")
    private let b = NodeID(rawValue: "b")
    private let one = RaftMemberID(rawValue: 1)
    private let two = RaftMemberID(rawValue: 2)

    private func address(_ text: String) throws -> PeerAddress { try PeerAddress(text) }

    @Test func `The most reliable source comes first, the others follow`() throws {
        let directory = PeerDirectory()
        directory.learn(a, address: try address("10.0.0.3"), from: .gossip)
        directory.learn(a, member: one, address: try address("10.0.0.1"), from: .replicated)
        directory.learn(a, address: try address("10.0.0.3"), from: .contact)
        directory.learn(a, address: try address("10.0.0.2"), from: .joined)
        #expect(directory.addresses(of: a).map { $0.text() } == ["10.0.0.1:7420", "10.0.0.2:7420", "10.0.0.3:7420"])
        #expect(directory.node(of: one) == a)
        #expect(directory.member(of: a) == one)
        #expect(directory.addresses(of: b) == [])
    }

    @Test func `What a source says anew replaces what it said`() throws {
        let directory = PeerDirectory()
        directory.learn(a, member: one, address: try address("10.0.0.1"), from: .contact)
        directory.learn(a, member: two, from: .contact)
        #expect(directory.node(of: one) == nil)
        #expect(directory.node(of: two) == a)
        #expect(directory.addresses(of: a).map(\.host) == ["10.0.0.1"])
    }

    @Test func `A member is not given away by a lesser source`() throws {
        let directory = PeerDirectory()
        #expect(directory.learn(a, member: one, from: .joined))
        #expect(!directory.learn(b, member: one, from: .contact))
        #expect(!directory.learn(b, member: one, from: .joined))
        #expect(directory.node(of: one) == a)
        #expect(directory.learn(b, member: one, from: .replicated))
        #expect(directory.node(of: one) == b)
    }

    @Test func `All that a source says replaces all that it said, and others stay`() throws {
        let directory = PeerDirectory()
        func entry(_ node: NodeID, _ member: RaftMemberID, _ host: String) throws -> PeerMember {
            PeerMember(node: node, member: member, address: try address(host), isVoter: true)
        }
        directory.replace(with: [try entry(a, one, "10.0.0.1"), try entry(b, two, "10.0.0.2")], from: .replicated)
        directory.learn(b, address: try address("10.0.0.9"), from: .gossip)
        directory.replace(with: [try entry(a, one, "10.0.0.7")], from: .replicated)
        #expect(directory.addresses(of: a).map(\.host) == ["10.0.0.7"])
        #expect(directory.addresses(of: b).map(\.host) == ["10.0.0.9"])
        #expect(directory.node(of: two) == nil)
        directory.forget(b)
        #expect(directory.nodes == [a])
    }

    @Test func `It is bounded`() throws {
        let directory = PeerDirectory(nodeLimit: 2)
        #expect(directory.learn(a, from: .gossip))
        #expect(directory.learn(b, from: .gossip))
        #expect(!directory.learn(NodeID(rawValue: "c"), from: .gossip))
        #expect(directory.learn(a, member: one, from: .gossip))
        let more = PeerMember(
            node: NodeID(rawValue: "d"),
            member: two,
            address: try address("10.0.0.1"),
            isVoter: false
        )
        directory.replace(with: [more], from: .replicated)
        #expect(directory.nodes == [a, b])
    }
}
