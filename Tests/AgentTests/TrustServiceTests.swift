import ClusterModel
import ClusterState
import ControlMessages
import Foundation
import NIO
import Storage
import TLS
import Testing
import Transport

@testable import Agent

/// What the cluster decides about authorities is in force on the next look: for new connections and for those that are open.
@Suite(.timeLimit(.minutes(5)))
struct TrustServiceTests {
    private static let now = Timestamp(seconds: Double(Int(Date().timeIntervalSince1970)))
    private static let user = UserID(rawValue: "ada")
    private static let (coast, tundra) = (SiteID(rawValue: "coast"), SiteID(rawValue: "tundra"))

    private struct Echo: RPCHandler {
        func handle(_ call: RPCCall) async throws { call.reply(WireStatusReply()) }
    }

    private struct Scene {
        let first: CertificateAuthority
        let second: CertificateAuthority
        let replica: Replica
        let service: TrustService
        let port: Int

        func client(_ identity: IdentityBundle) async throws -> RPCClient {
            try await RPCClient.connect(
                host: "127.0.0.1",
                port: port,
                tls: TLSContext(.client, identity.trusting([first.certificate])),
                configuration: RPCClientConfiguration(software: "test"),
                group: MultiThreadedEventLoopGroup.singleton
            )
        }
        func isLetIn(_ identity: IdentityBundle) async throws -> Bool {
            guard let client = try? await client(identity) else { return false }
            // TLS 1.3 tells a client that it was refused only after it thought to be in.
            let reply: WireStatusReply? = try? await client.call(.status, WireStatusRequest(), timeout: .seconds(60))
            await client.close()
            return reply != nil
        }
        func trusts(_ site: SiteID?) async throws -> TrustedAuthority {
            TrustedAuthority(
                site: site,
                fingerprint: second.certificate.fingerprintDigits,
                pem: try second.certificate.pem,
                by: user,
                time: now
            )
        }
    }

    private static func with(_ body: (Scene) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "godwit-trust-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let cluster = ClusterID(rawValue: "flock")
        let first = try CertificateAuthority.create(cluster: cluster, now: now)
        let second = try CertificateAuthority.create(cluster: cluster, now: now)
        try first.issueNode(NodeID(rawValue: "knot"), site: coast, role: .worker, now: now).save(
            to: "\(folder)/node.pem"
        )
        let tls = try ReloadableTLSContext(path: "\(folder)/node.pem")
        let log = Bench()
        let replica = try await Replica(
            store: InMemoryStateStore(),
            metrics: AgentMetrics(registry: MetricsRegistry()),
            logger: log.logger
        )
        let server = RPCServer(
            configuration: RPCServerConfiguration(software: "godwitd test"),
            tls: tls.server,
            group: MultiThreadedEventLoopGroup.singleton,
            handler: Echo()
        )
        let port = try await server.start(host: "127.0.0.1", port: 0).port ?? 0
        let service = TrustService(
            replica: replica,
            tls: tls,
            server: server,
            peers: nil,
            logger: log.logger,
            now: { now }
        )
        do {
            try await body(Scene(first: first, second: second, replica: replica, service: service, port: port))
        } catch {
            await server.shutdown(grace: .zero)
            throw error
        }
        await server.shutdown(grace: .zero)
        await replica.close()
    }

    @Test func `An authority is trusted without a restart, and its open connections end with the trust`() async throws {
        try await Self.with { scene in
            let visitor = try scene.second.issueNode(
                NodeID(rawValue: "plover"),
                site: Self.tundra,
                role: .worker,
                now: Self.now
            )
            let resident = try scene.first.issueUser(Self.user, right: .read, now: Self.now)
            var known = TrustService.Known()
            await scene.service.look(&known)
            #expect(try await !scene.isLetIn(visitor))
            _ = try await scene.replica.propose(.trust(scene.trusts(nil)))
            await scene.service.look(&known)
            #expect(try await scene.isLetIn(visitor))
            let (open, other) = (try await scene.client(visitor), try await scene.client(resident))
            let _: WireStatusReply = try await open.call(.status, WireStatusRequest(), timeout: .seconds(60))
            let _: WireStatusReply = try await other.call(.status, WireStatusRequest(), timeout: .seconds(60))
            let digits = scene.second.certificate.fingerprintDigits
            _ = try await scene.replica.propose(.distrust(fingerprint: digits, by: Self.user, time: Self.now))
            await scene.service.look(&known)
            let ended = await failure {
                let _: WireStatusReply = try await open.call(.status, WireStatusRequest(), timeout: .seconds(60))
            }
            #expect(ended != nil)
            #expect(try await !scene.isLetIn(visitor))
            let _: WireStatusReply = try await other.call(.status, WireStatusRequest(), timeout: .seconds(60))
            await other.close()
            await open.close()
        }
    }

    @Test func `Bound to a site it lets in that site's nodes and nobody else`() async throws {
        try await Self.with { scene in
            _ = try await scene.replica.propose(.trust(scene.trusts(Self.tundra)))
            var known = TrustService.Known()
            await scene.service.look(&known)
            for (site, isIn) in [(Self.tundra, true), (Self.coast, false)] {
                let node = try scene.second.issueNode(
                    NodeID(rawValue: "plover"),
                    site: site,
                    role: .worker,
                    now: Self.now
                )
                #expect(try await scene.isLetIn(node) == isIn)
            }
            #expect(try await !scene.isLetIn(scene.second.issueUser(Self.user, right: .admin, now: Self.now)))
        }
    }

    @Test func `The authority that the leader lives on stays, and others go only when nobody needs them`() {
        let nodes = [NodeID(rawValue: "plover"), NodeID(rawValue: "stint")]
        func objection(_ fingerprint: String, _ nodes: [NodeID], isForced: Bool = false) -> String? {
            TrustView.objection(toRemoving: fingerprint, own: "aa", nodes: nodes, isForced: isForced)
        }
        #expect(objection("aa", [], isForced: true)?.contains("lives on this authority") == true)
        #expect(objection("bb", nodes)?.contains("plover, stint") == true)
        #expect(objection("bb", nodes, isForced: true) == nil && objection("bb", []) == nil)
    }

    @Test func `A node that was shut out while it had the key of gossip asks for another key, once`() {
        let made = Timestamp(seconds: 1_790_000_000)
        func isKnownOutside(_ subject: ClusterState::Revocation.Subject, revoked: Double, step: Double) -> Bool {
            LeaderService.isKnownOutside(
                StoredKeyring(version: 1, secret: SecretBytes([1]), time: made + .seconds(step)),
                [ClusterState::Revocation(subject, by: UserID(rawValue: "ada"), time: made + .seconds(revoked))],
                pause: .seconds(10)
            )
        }
        let ruff = ClusterState::Revocation.Subject.identity("spiffe://flock/site/coast/node/ruff")
        #expect(isKnownOutside(ruff, revoked: 3600, step: 0))
        // While the key was on its way to all.
        #expect(isKnownOutside(ruff, revoked: 5, step: 21))
        // The key was made because of it, or later.
        #expect(!isKnownOutside(ruff, revoked: -0.5, step: 20))
        #expect(!isKnownOutside(ruff, revoked: -3600, step: 20))
        #expect(!isKnownOutside(.identity("spiffe://flock/user/ada"), revoked: 3600, step: 0))
        #expect(!isKnownOutside(.certificate(serial: "17", issuer: ""), revoked: 3600, step: 0))
    }
}
