import ClusterModel
import ControlAPI
import ControlMessages
import Foundation
import NIO
import SwiftProtobuf
import TLS
import Testing
import Transport

@Suite(.timeLimit(.minutes(5)))
struct ControlClientTests {
    @Test func `Every method reaches the agent under its own number`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            switch call.method {
            case .status: call.reply(WireStatusReply.with { $0.cluster = "flock" })
            case .nodeList: call.reply(WireNodeListReply.with { $0.nodes = [WireNode()] })
            case .nodeShow: call.reply(WireNodeShowReply.with { $0.node.name = "knot" })
            case .nodeCordon: call.reply(WireNodeCordonReply.with { $0.node.state = "cordoned" })
            case .nodeDrain: call.reply(WireNodeDrainReply.with { $0.jobsLeaving = 2 })
            case .nodeUndrain: call.reply(WireNodeUndrainReply.with { $0.node.state = "alive" })
            case .clusterMembers: call.reply(WireClusterMembersReply.with { $0.answeredBy = "knot" })
            case .clusterVoters: call.reply(WireClusterVotersReply.with { $0.term = 7 })
            case .keyringList: call.reply(WireKeyringListReply.with { $0.nodeCount = 3 })
            case .keyringRotate: call.reply(WireKeyringRotateReply.with { $0.id = 9 })
            case .certificateRevoke: call.reply(WireCertificateRevokeReply.with { $0.revocation.serial = "ab" })
            case .revocationList: call.reply(WireRevocationListReply.with { $0.revocations = [WireRevocation()] })
            case .clusterEvents: try await call.send(WireClusterEventsReply.with { $0.events = [WireClusterEvent()] })
            case .jobSubmit: call.reply(WireJobSubmitReply.with { $0.id = "a" })
            case .jobPlan: call.reply(WireJobPlanReply.with { $0.node = "knot" })
            case .jobList: call.reply(WireJobListReply.with { $0.jobs = [WireJobSummary()] })
            case .jobShow: call.reply(WireJobShowReply.with { $0.exit = "0" })
            case .jobExplain: call.reply(WireJobExplainReply.with { $0.samples = [WireSample()] })
            case .jobCheckpoint: call.reply(WireJobCheckpointReply.with { $0.checkpoint.generation = 3 })
            case .jobRestore: call.reply(WireJobRestoreReply.with { $0.generation = 4 })
            case .jobResize: call.reply(WireJobResizeReply.with { $0.allocationVcpus = 1.5 })
            case .jobCancel: call.reply(WireJobCancelReply.with { $0.state = "cancelled" })
            case .jobWatch: try await call.send(WireJobWatchReply.with { $0.timeUnixSeconds = 5 })
            case .jobLogs: try await call.send(WireJobLogsReply.line(1))
            default: throw RPCFailure(.unimplemented, "unexpected")
            }
        } body: { _, port in
            let client = try await ControlClient.connect(
                Credentials(identity: cluster.user(), agents: [AgentAddress(host: "127.0.0.1", port: port)]),
                software: "godwit test"
            )
            #expect(try await client.status().cluster == "flock")
            #expect(try await client.nodeList().nodes.count == 1)
            #expect(try await client.nodeShow(WireNodeShowRequest()).node.name == "knot")
            #expect(try await client.nodeCordon(WireNodeCordonRequest()).node.state == "cordoned")
            #expect(try await client.nodeDrain(WireNodeDrainRequest()).jobsLeaving == 2)
            #expect(try await client.nodeUndrain(WireNodeUndrainRequest()).node.state == "alive")
            #expect(try await client.clusterMembers().answeredBy == "knot")
            #expect(try await client.clusterVoters().term == 7)
            #expect(try await client.keyringList().nodeCount == 3)
            #expect(try await client.keyringRotate().id == 9)
            #expect(try await client.certificateRevoke(WireCertificateRevokeRequest()).revocation.serial == "ab")
            #expect(try await client.revocationList().revocations.count == 1)
            #expect(try await client.jobSubmit(WireJobSubmitRequest()).id == "a")
            #expect(try await client.jobPlan(WireJobPlanRequest()).node == "knot")
            #expect(try await client.jobList(WireJobListRequest()).jobs.count == 1)
            #expect(try await client.jobShow(WireJobShowRequest()).exit == "0")
            #expect(try await client.jobExplain(WireJobExplainRequest()).samples.count == 1)
            #expect(try await client.jobCheckpoint(WireJobCheckpointRequest()).checkpoint.generation == 3)
            #expect(try await client.jobRestore(WireJobRestoreRequest()).generation == 4)
            #expect(try await client.jobResize(WireJobResizeRequest()).allocationVcpus == 1.5)
            #expect(try await client.jobCancel(WireJobCancelRequest()).state == "cancelled")
            #expect(try await client.echo(WireEchoRequest.with { $0.payload = Data([9]) }).payload == Data([9]))
            var counts = (0, 0)
            for try await reply in client.clusterEvents(WireClusterEventsRequest()) {
                #expect(reply.events.count == 1)
            }
            for try await _ in client.jobWatch(WireJobWatchRequest()) { counts.0 += 1 }
            for try await _ in client.jobLogs(WireJobLogsRequest()) { counts.1 += 1 }
            #expect(counts == (1, 1))
            await client.close()
        }
    }

    /// A port of the loopback interface on which nobody listens.
    private func closedPort() async throws -> Int {
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = channel.localAddress?.port ?? 1
        try await channel.close()
        return port
    }

    @Test func `Agents are tried in order until one answers`() async throws {
        let cluster = try TestCluster()
        let closed = try await closedPort()
        try await withServer(cluster) { _, port in
            let agents = [closed, port].map { AgentAddress(host: "127.0.0.1", port: $0) }
            let client = try await ControlClient.connect(
                Credentials(identity: cluster.user(), agents: agents),
                software: "godwit test"
            )
            _ = try await client.echo(WireEchoRequest())
            await client.close()
        }
    }

    @Test func `When none answers, each is named`() async throws {
        let cluster = try TestCluster()
        let ports = [try await closedPort(), try await closedPort()]
        let failure = await failure {
            _ = try await ControlClient.connect(
                Credentials(
                    identity: cluster.user(),
                    agents: ports.map { AgentAddress(host: "127.0.0.1", port: $0) }
                ),
                software: "godwit test"
            )
        }
        #expect(failure?.code == .unavailable)
        for port in ports { #expect(failure?.message.contains("127.0.0.1:\(port)") == true) }
    }

    @Test(arguments: [
        ("knot", "knot", 7420), ("knot:99", "knot", 99), ("10.0.0.1:7421", "10.0.0.1", 7421),
        ("[::1]:99", "::1", 99), ("[::1]", "::1", 7420), ("::1", "::1", 7420), ("fe80::1", "fe80::1", 7420),
    ])
    func `Addresses are read`(text: String, host: String, port: Int) throws {
        #expect(try AgentAddress(text, place: "test") == AgentAddress(host: host, port: port))
    }

    @Test(arguments: ["", ":7420", "knot:", "knot:0", "knot:65536", "knot:x", "[::1", "[::1]x", "a b:1"])
    func `What is no address is refused with an example`(text: String) {
        let failure = #expect(throws: RPCFailure.self) { try AgentAddress(text, place: "--agent") }
        #expect(failure?.code == .invalid)
        #expect(failure?.message.hasPrefix("--agent: ") == true)
        #expect(failure?.message.contains("127.0.0.1:7420") == true)
    }

    @Test func `Credentials come from the flag, the environment or the home folder, in this order`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "godwit-home-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: "\(folder)/.config/godwit", withIntermediateDirectories: true)
        let cluster = try TestCluster()
        try cluster.user(.read).save(to: "\(folder)/.config/godwit/identity.pem")
        try cluster.user(.submit).save(to: "\(folder)/environment.pem")
        try cluster.user(.admin).save(to: "\(folder)/flag.pem")
        var variables = ["HOME": folder]
        func load(_ path: String? = nil, _ agents: [String] = []) throws -> Credentials {
            let variables = variables
            return try Credentials.load(identityPath: path, agents: agents) { variables[$0] }
        }
        #expect(try load().identity.identity.right == .read)
        #expect(try load().agents == [AgentAddress(host: "127.0.0.1", port: 7420)])
        try Data("# two agents\nknot\n  dunlin:99 # the other\n".utf8).write(
            to: URL(filePath: "\(folder)/.config/godwit/agent")
        )
        #expect(try load().agents.map(\.description) == ["knot:7420", "dunlin:99"])
        variables["GODWIT_IDENTITY"] = "\(folder)/environment.pem"
        variables["GODWIT_AGENT"] = "gull, tern:5"
        #expect(try load().identity.identity.right == .submit)
        #expect(try load().agents.map(\.description) == ["gull:7420", "tern:5"])
        #expect(try load("\(folder)/flag.pem", ["ruff:1"]).identity.identity.right == .admin)
        #expect(try load("\(folder)/flag.pem", ["ruff:1"]).agents.map(\.description) == ["ruff:1"])
        variables = ["HOME": "\(folder)/nowhere"]
        let missing = #expect(throws: TLSError.self) { try load() }
        #expect(missing?.message.contains("nowhere/.config/godwit/identity.pem") == true)
        variables = [:]
        #expect(throws: RPCFailure.self) { try load() }
    }
}
