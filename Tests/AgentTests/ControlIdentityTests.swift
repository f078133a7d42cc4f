import ClusterModel
import ClusterState
import ControlAPI
import ControlMessages
import Foundation
import SwiftProtobuf
import TLS
import Testing
import Transport

@testable import Agent

/// What administrators do to nodes and authorities, asked over TLS.
@Suite(.timeLimit(.minutes(5)))
struct ControlIdentityTests {
    private static func register(_ name: String, _ member: UInt64, on bench: Bench) async throws {
        let registration = NodeRegistration(
            node: NodeID(rawValue: name),
            member: member,
            site: SiteID(rawValue: "coast"),
            address: "10.0.0.\(member):7420",
            vcpus: 2,
            memory: .gibibytes(1),
            time: bench.time.now
        )
        try #require(try await bench.replica.propose(.registerNode(registration)).acceptance != nil)
    }

    @Test func `A node that does not come back is removed, and its certificate only when asked`() async throws {
        try await ControlBench.with { control in
            let bench = control.bench
            for (number, name) in ["ruff", "stint"].enumerated() {
                try await Self.register(name, UInt64(number + 5), on: bench)
            }
            let reply = try await control.ask { try await $0.nodeRemove(.with { $0.node = "ruff" }) }
            #expect(reply.node.state == "left" && !reply.revoked)
            #expect(await bench.replica.state.revocations.isEmpty)
            #expect(await bench.replica.state.node(NodeID(rawValue: "ruff"))?.reason == "Removed by ada.")
            let other = try await control.ask {
                try await $0.nodeRemove(.with { ($0.node, $0.revoke) = ("stint", true) })
            }
            #expect(other.revoked)
            let subjects = await bench.replica.state.revocations.map(\.subject)
            #expect(subjects == [.identity("spiffe://flock/site/coast/node/stint")])
            #expect(
                await control.failure { _ = try await $0.nodeRemove(.with { $0.node = "ruff" }) }?.code == .conflict
            )
            #expect(
                await control.failure { _ = try await $0.nodeRemove(.with { $0.node = "crane" }) }?.code == .notFound
            )
            let denied = await control.failure("bob", .submit) {
                _ = try await $0.nodeRemove(.with { $0.node = "ruff" })
            }
            #expect(denied?.code == .forbidden)
        }
    }

    @Test func `The node that answers is not removed but told to leave`() async throws {
        try await ControlBench.with { control in
            try await Self.register(Bench.node.rawValue, 1, on: control.bench)
            let refusal = await control.failure { _ = try await $0.nodeRemove(.with { $0.node = Bench.node.rawValue }) }
            #expect(refusal?.code == .conflict && refusal?.message.contains("godwit node leave") == true)
        }
    }

    @Test func `Authorities of the cluster are added once, listed and removed by the beginning of their fingerprint`()
        async throws
    {
        try await ControlBench.with { control in
            let moment = control.bench.time.now
            let authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: "flock"), now: moment)
            let pem = try authority.certificate.pem
            let digits = authority.certificate.fingerprintDigits
            let added = try await control.ask {
                try await $0.authorityAdd(.with { ($0.pem, $0.site) = (pem, "tundra") })
            }
            #expect(added.authority.fingerprint == digits && added.authority.site == "tundra")
            let list = try await control.ask("bob", .read) { try await $0.authorityList() }
            #expect(list.authorities.map(\.fingerprint) == [digits] && list.authorities[0].by == "ada")
            #expect(
                await control.failure { _ = try await $0.authorityRemove(.with { $0.fingerprint = "ab" }) }?.code
                    == .invalid
            )
            let gone = try await control.ask {
                try await $0.authorityRemove(.with { $0.fingerprint = String(digits.prefix(12)).uppercased() })
            }
            #expect(gone.authority.fingerprint == digits)
            #expect(await control.bench.replica.state.authorities.isEmpty)
            #expect(await control.bench.replica.state.audit.count { $0.by == "ada" } == 2)
        }
    }

    @Test func `What is no authority of this cluster is not trusted`() async throws {
        try await ControlBench.with { control in
            let moment = control.bench.time.now
            let stranger = try CertificateAuthority.create(cluster: ClusterID(rawValue: "swarm"), now: moment)
            let own = try CertificateAuthority.create(cluster: ClusterID(rawValue: "flock"), now: moment)
            let expired = try CertificateAuthority.create(
                cluster: ClusterID(rawValue: "flock"),
                now: moment - .seconds(1000),
                lifetime: .seconds(500)
            )
            let user = try own.issueUser(UserID(rawValue: "ada"), right: .read, now: moment)
            for (pem, site) in [
                (try stranger.certificate.pem, ""), (try user.certificate.pem, ""), ("", ""),
                (try own.delegate(now: moment).certificate.pem, ""), (try expired.certificate.pem, ""),
                (try own.certificate.pem, "Not A Site"), (try own.certificate.pem + stranger.certificate.pem, ""),
            ] {
                let refusal = await control.failure { client in
                    _ = try await client.authorityAdd(.with { ($0.pem, $0.site) = (pem, site) })
                }
                #expect(refusal?.code == .invalid, "\(String(describing: refusal))")
            }
            #expect(await control.bench.replica.state.authorities.isEmpty)
        }
    }

    @Test func `A silent node counts as shut out only when it is silent since its certificate was revoked`() throws {
        let start = Timestamp(seconds: 1_790_000_000)
        let registration = NodeRegistration(
            node: NodeID(rawValue: "ruff"),
            member: 9,
            site: SiteID(rawValue: "coast"),
            address: "10.0.0.1:7420",
            vcpus: 2,
            memory: .gibibytes(1),
            time: start
        )
        let node = registration.node
        func isShutOut(_ revoked: Double?, at now: Double, after commands: Command...) throws -> Bool {
            var state = ClusterState()
            for command in [.registerNode(registration)] + commands {
                try #require(state.apply(command).acceptance != nil)
            }
            return ControlService.isShutOut(
                try #require(state.node(node)),
                since: revoked.map { start + .seconds($0) },
                lossDelay: .seconds(16),
                now: start + .seconds(now)
            )
        }
        #expect(try !isShutOut(nil, at: 5))
        #expect(try isShutOut(0, at: 5))
        // It was let in again with a new certificate, and is silent for another reason.
        #expect(try !isShutOut(0, at: 3600))
        func lost(_ seconds: Double) -> Command { .nodeLost(node: node, reason: "", time: start + .seconds(seconds)) }
        #expect(try isShutOut(0, at: 3600, after: lost(20)))
        #expect(try isShutOut(100, at: 3600, after: lost(20)))
        #expect(try !isShutOut(0, at: 3600, after: lost(2000)))
        let left = Command.nodeLeft(NodeDeparture(node: node, time: start + .seconds(2000)))
        #expect(try !isShutOut(2000, at: 2001, after: left))
    }
}
