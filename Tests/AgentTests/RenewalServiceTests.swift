import ClusterModel
import ClusterState
import ControlMessages
import Foundation
import NIO
import Raft
import Storage
import Synchronization
import TLS
import Testing
import Transport

@testable import Agent

/// A node gets its next certificate from an issuer of the cluster over TLS on the loopback, and nobody gets another's.
@Suite(.timeLimit(.minutes(5)))
struct RenewalServiceTests {
    private static let now = Timestamp(seconds: Double(Int(Date().timeIntervalSince1970)))
    private static let asking = NodeID(rawValue: "ruff")
    private static let coast = SiteID(rawValue: "coast")

    /// A node whose certificate is past its half, and an agent with an issuer.
    private struct Scene {
        let folder: String
        let bench: PeersBench
        let issuing: PeersAgent
        let tls: ReloadableTLSContext
        let link: PeerConnections
        let replica: Replica
        let metrics = MetricsRegistry()
        let service: RenewalService

        func file() throws -> IdentityBundle { try IdentityBundle.load("\(folder)/node.pem") }
    }

    private static func replica(_ log: Bench) async throws -> Replica {
        let replica = try await Replica(
            store: InMemoryStateStore(),
            metrics: AgentMetrics(registry: MetricsRegistry()),
            logger: log.logger
        )
        for (number, name) in ["issuer", "ruff"].enumerated() {
            let registration = NodeRegistration(
                node: NodeID(rawValue: name),
                member: UInt64(number + 1),
                site: coast,
                address: "127.0.0.1:\(7420 + number)",
                vcpus: 2,
                memory: .gibibytes(1),
                labels: number == 0 ? [NodeOffer.issues] : [],
                time: now
            )
            try #require(try await replica.propose(.registerNode(registration)).acceptance != nil)
        }
        return replica
    }

    private static func with(age: Duration = .seconds(5 * 3600), _ body: (Scene) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "godwit-renewal-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let log = Bench()
        try await PeersBench.with(["issuer"]) { bench, agents in
            try bench.authority.delegate(site: coast, now: now).save(to: "\(folder)/issuer")
            try bench.authority.issueNode(
                asking,
                site: coast,
                role: .worker,
                now: now - age,
                lifetime: .seconds(8 * 3600)
            ).save(to: "\(folder)/node.pem")
            let replica = try await replica(log)
            agents[0].delegate.issuer.withLock { issuer in
                issuer = CertificateIssuer(
                    node: agents[0].node,
                    folder: "\(folder)/issuer",
                    replica: replica,
                    revocations: RevocationList(),
                    logger: log.logger,
                    now: { now }
                )
            }
            let tls = try ReloadableTLSContext(path: "\(folder)/node.pem")
            let directory = PeerDirectory()
            directory.learn(agents[0].node, member: agents[0].member, address: agents[0].address, from: .replicated)
            let link = PeerConnections(
                node: asking,
                member: RaftMemberID(rawValue: 2),
                address: nil,
                directory: directory,
                software: "godwitd test",
                group: MultiThreadedEventLoopGroup.singleton,
                settings: .patient,
                generator: SeededGenerator(seed: 1),
                tls: { tls.client }
            )
            let metrics = MetricsRegistry()
            let service = RenewalService(
                node: asking,
                replica: replica,
                tls: tls,
                peers: link,
                issuer: nil,
                metrics: AgentMetrics(registry: metrics),
                logger: log.logger,
                now: { now },
                chance: { 0.5 }
            )
            let scene = Scene(
                folder: folder,
                bench: bench,
                issuing: agents[0],
                tls: tls,
                link: link,
                replica: replica,
                service: service
            )
            do {
                try await body(scene)
            } catch {
                await link.shutdown()
                throw error
            }
            await link.shutdown()
            await replica.close()
        }
    }

    @Test func `Past its half a certificate is replaced, in the file and for new connections, and the open ones stay`()
        async throws
    {
        try await Self.with { scene in
            let before = scene.tls.certificate
            let open = try await scene.link.client(of: scene.issuing.node, .cluster, within: .seconds(60))
            await scene.service.look()
            let after = scene.tls.certificate
            #expect(after.notAfter == Self.now + .seconds(8 * 3600))
            #expect(after.identity == before.identity && after.serial != before.serial)
            let file = try scene.file()
            #expect(try file.certificate.summary == after && file.chain.count == 1)
            let mode = try FileManager.default.attributesOfItem(atPath: "\(scene.folder)/node.pem")[.posixPermissions]
            #expect(mode as? Int == 0o600)
            // The connection from before carries on; a new one shows the new certificate and is let in.
            #expect(try await scene.link.ping(scene.issuing.node, timeout: .seconds(60)).leads)
            #expect(try await scene.link.client(of: scene.issuing.node, .cluster, within: .seconds(60)) === open)
            _ = try await scene.link.client(of: scene.issuing.node, .users, within: .seconds(60))
            let audit = await scene.replica.state.audit.last
            #expect(
                audit?.by == "node:issuer" && audit?.what.contains(after.serial) == true,
                "\(String(describing: audit))"
            )
            #expect(scene.service.problem == nil)
            // It is done: the next look asks nobody.
            await scene.service.look()
            #expect(scene.tls.certificate == after)
        }
    }

    @Test func `Before its half nothing is asked, and whoever asks is refused`() async throws {
        try await Self.with(age: .seconds(3 * 3600)) { scene in
            let before = scene.tls.certificate
            await scene.service.look()
            #expect(scene.tls.certificate == before)
            let request = try PendingRenewal(of: scene.tls.bundle).request
            let refusal = await failure {
                _ = try await scene.link.renew(request, from: scene.issuing.node, timeout: .seconds(60))
            }
            #expect(
                refusal?.code == .forbidden && refusal?.message.contains("half-way") == true,
                "\(String(describing: refusal))"
            )
        }
    }

    @Test func `A request for another identity is refused, and so is a user's`() async throws {
        try await Self.with { scene in
            let other = try scene.bench.identity(of: NodeID(rawValue: "issuer"))
            let request = try PendingRenewal(of: other).request
            let refusal = await failure {
                _ = try await scene.link.renew(request, from: scene.issuing.node, timeout: .seconds(60))
            }
            #expect(
                refusal?.code == .forbidden && refusal?.message.contains("its own only") == true,
                "\(String(describing: refusal))"
            )
            let user = try await scene.bench.user("ada", .admin, at: scene.issuing)
            let denied = await failure {
                let payload = ByteBuffer()
                _ = try await user.call(.renew, payload: payload, timeout: .seconds(60))
            }
            #expect(denied?.code == .forbidden)
            await user.close()
        }
    }

    @Test func `A node that is lost, or whose certificate was revoked, gets none`() async throws {
        try await Self.with { scene in
            _ = try await scene.replica.propose(.nodeLost(node: Self.asking, reason: "test", time: Self.now))
            let before = scene.tls.certificate
            await scene.service.look()
            #expect(scene.tls.certificate == before)
        }
        let identity = PeerIdentity.node(
            cluster: ClusterID(rawValue: "flock"),
            site: Self.coast,
            node: Self.asking,
            role: .worker
        )
        let certificate = CertificateSummary(
            identity: identity,
            serial: "1",
            issued: Self.now - .seconds(100),
            notAfter: Self.now + .seconds(50)
        )
        let record = await (try Self.replica(Bench())).state.node(Self.asking)
        func objection(_ identity: PeerIdentity, isRevoked: Bool = false, record: NodeRecord?) -> String? {
            CertificateIssuer.objection(
                to: identity,
                certificate,
                record,
                isSelf: false,
                isRevoked: isRevoked,
                now: Self.now
            )
        }
        #expect(objection(identity, record: record) == nil)
        #expect(objection(identity, isRevoked: true, record: record)?.contains("revoked") == true)
        #expect(objection(identity, record: nil)?.contains("not of this cluster") == true)
        let gateway = PeerIdentity.node(cluster: identity.cluster, site: Self.coast, node: Self.asking, role: .gateway)
        #expect(objection(gateway, record: record) != nil)
    }

    @Test func `While the issuer is away people are told only when time runs out, and nothing is lost`() async throws {
        try await Self.with(age: .seconds(7 * 3600)) { scene in
            let issuer = scene.issuing.delegate.issuer.withLock { issuer in
                defer { issuer = nil }
                return issuer
            }
            let before = scene.tls.certificate
            await scene.service.look()
            #expect(scene.tls.certificate == before)
            #expect(
                scene.service.problem?.contains("no issuer at the moment") == true,
                "\(scene.service.problem ?? "none")"
            )
            // The pause holds even when the issuer is back at once.
            scene.issuing.delegate.issuer.withLock { $0 = issuer }
            await scene.service.look()
            #expect(scene.tls.certificate == before)
        }
    }
}
