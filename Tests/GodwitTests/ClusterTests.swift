import ControlMessages
import SwiftProtobuf
import Synchronization
import Testing

@testable import godwit

/// The cluster itself: what is told of it, and what is done to it.
struct ClusterTests {
    private func text(_ lines: [String]) -> String { lines.joined(separator: "\n") + "\n" }
    private func failure(_ code: WireFailure.Code, _ message: String) -> CommandFailure {
        CommandFailure(.with { ($0.code, $0.message) = (code, message) })
    }

    // MARK: Health

    @Test func statusSaysInOneScreenHowTheClusterIs() throws {
        try expectGolden(text(Presentation.reader().status(Scene.status { _ in })), "status-healthy.txt")
        try expectGolden(text(Presentation.reader(width: 100).status(Scene.withoutQuorum)), "status-no-quorum.txt")
        try expectGolden(text(Presentation.reader(width: 100).status(Scene.degraded)), "status-degraded.txt")
        for reply in [Scene.withoutQuorum, Scene.degraded] {
            #expect(Presentation.reader(width: 80).status(reply).count <= 24)
        }
    }

    @Test func aQuorumIsMoreThanHalf() {
        func verdict(_ answering: UInt32, of count: UInt32) -> String {
            let reply = Scene.status {
                ($0.health.voterCount, $0.health.votersAnswering) = (count, answering)
                $0.health.silentVoters = (answering..<count).map { "n\($0)" }
            }
            return ClusterVerdict(reply, .reader()).summary
        }
        #expect(verdict(1, of: 1) == "healthy")
        #expect(verdict(1, of: 2) == "no quorum")
        #expect(verdict(2, of: 3) == "degraded")
        #expect(verdict(1, of: 3) == "no quorum")
        #expect(verdict(2, of: 4) == "no quorum")
        #expect(verdict(3, of: 5) == "degraded")
    }

    @Test func whoIsCutOffSaysSo() throws {
        let reply = Scene.status { $0.health.leaderlessSeconds = 12 }
        let verdict = ClusterVerdict(reply, .reader())
        #expect(verdict.summary == "no leader")
        #expect(verdict.problems.count == 1 && verdict.problems[0].contains("in 18 s it stops its jobs"))
        let late = Scene.status { $0.health.leaderlessSeconds = 40 }
        #expect(ClusterVerdict(late, .reader()).problems[0].contains("it has stopped its jobs"))
        let electing = Scene.status { $0.leader = "" }
        #expect(ClusterVerdict(electing, .reader()).problems[0].contains("an election is under way"))
    }

    @Test func everyProblemSaysWhatToDo() {
        let remedies = ["Start the agent", "Look at", "look at", "Ask another", "renew it", "mend"]
        let cut = Scene.status { $0.health.leaderlessSeconds = 12 }
        for reply in [Scene.withoutQuorum, Scene.degraded, cut, Scene.status { $0.leader = "" }] {
            for problem in ClusterVerdict(reply, .reader()).problems {
                #expect(remedies.contains { problem.contains($0) }, "\(problem)")
                #expect(problem.hasSuffix("."))
            }
        }
    }

    @Test func whoIsShutOutIsNotWaitedFor() {
        let reply = Scene.status {
            ($0.health.lostNodes, $0.health.suspectNodes) = (["knot", "ruff"], ["stint"])
            $0.health.revokedNodes = ["ruff", "stint"]
        }
        let problems = ClusterVerdict(reply, .reader()).problems
        #expect(problems.count == 2 && problems[1].hasPrefix("knot is lost"), "\(problems)")
        #expect(problems[0].hasPrefix("ruff and stint are shut out, because their certificates were revoked"))
        #expect(problems[0].contains("'godwit node remove'") && problems[0].contains("'godwit ca issue'"))
        #expect(ClusterVerdict(reply, .reader()).summary == "degraded")
    }

    @Test func manyNamesAreCounted() {
        let reply = Scene.status { $0.health.lostNodes = (1...9).map { "n\($0)" } }
        let problems = ClusterVerdict(reply, .reader()).problems
        #expect(problems[0].hasPrefix("n1, n2, n3, n4, n5 and 4 others are lost"))
    }

    @Test func clusterStatusIsStatus() async throws {
        for arguments in [["status"], ["status", "-o", "json"]] {
            let agent = ScriptedAgent().answer(Scene.degraded)
            let short = await execute(arguments, agent: agent)
            let long = await execute(["cluster"] + arguments, agent: agent)
            #expect(short.output == long.output && long.status == .success && !long.output.isEmpty)
        }
    }

    // MARK: Members, voters, events, keys

    @Test func membersAsThreeSeeThem() async throws {
        try expectGolden(text(Presentation.reader().memberTable(Scene.members)), "cluster-members.txt")
        try expectGolden(jsonText(Scene.members, isIndented: true), "cluster-members.json")
        let run = await execute("cluster", "members", agent: ScriptedAgent().answer(Scene.members))
        #expect(run.output == text(Presentation.reader().memberTable(Scene.members)))
    }

    @Test func consensusWithItsLeader() async throws {
        try expectGolden(text(Presentation.reader().consensus(Scene.voters)), "cluster-voters.txt")
        try expectGolden(jsonText(Scene.voters, isIndented: true), "cluster-voters.json")
        var headless = Scene.voters
        (headless.leader, headless.answeredBy) = ("", "dunlin")
        let lines = Presentation.reader().consensus(headless)
        #expect(lines[0].hasSuffix("none") && lines.contains { $0.contains("dunlin, which does not lead") })
    }

    @Test func eventsAreToldInLines() async throws {
        func agent() -> ScriptedAgent {
            let agent = ScriptedAgent()
            agent.state.withLock { $0.events = [[.with { $0.events = Scene.events }]] }
            return agent
        }
        let asked = agent()
        let run = await execute("cluster", "events", "--limit", "5", "--node", "ruff", agent: asked)
        try expectGolden(run.output, "cluster-events.txt")
        let request = try #require(asked.requests(WireClusterEventsRequest.self).first)
        #expect(request.limit == 5 && !request.follow && request.node == "ruff")
        let json = await execute("cluster", "events", "-o", "json", agent: agent()).output
        #expect(json.split(separator: "\n").count == Scene.events.count)
        try expectGolden(json, "cluster-events.json")
    }

    @Test func watchedEventsOutliveTheirAgentAndAreToldOnce() async throws {
        let agent = ScriptedAgent()
        agent.state.withLock {
            // The agent restarts twice, and tells what it told before.
            $0.events = [
                [.with { $0.events = Array(Scene.events.prefix(3)) }], [],
                [.with { $0.events = Scene.events }], [.with { $0.events = Scene.events }],
            ]
        }
        _ = agent.fail(nil, nil, nil, nil, failure(.forbidden, "enough"))
        let run = await execute("cluster", "events", "--watch", agent: agent)
        #expect(run.status == .forbidden)
        #expect(run.output.split(separator: "\n").count == Scene.events.count)
        #expect(run.diagnostics.split(separator: "\n").count { $0.contains("looking for it again") } >= 1)
    }

    @Test func keysAreListedAndRotated() async throws {
        try expectGolden(text(Presentation.reader().keyTable(Scene.keyring)), "keyring-list.txt")
        let made = WireKeyringRotateReply.with { ($0.id, $0.message) = (9, "All nodes have it within a minute.") }
        let run = await execute("cluster", "keyring", "rotate", agent: ScriptedAgent().answer(made))
        #expect(run.output == "made key 9: All nodes have it within a minute.\n")
        let none = await execute("cluster", "keyring", "list")
        #expect(none.status == .success && none.output.contains("does not gossip"))
    }

    @Test(arguments: [40, 60, 80, 100, 140])
    func noLineIsWiderThanTheTerminal(width: Int) {
        let style = Presentation.reader(width: width)
        let all = [
            style.status(Scene.withoutQuorum), style.status(Scene.degraded), style.memberTable(Scene.members),
            style.consensus(Scene.voters), style.keyTable(Scene.keyring),
            style.top([Scene.linpack, Scene.waiting], nodes: Scene.nodes), style.nodeTable(Scene.nodes),
        ]
        for line in all.joined() where width >= 60 { #expect(columns(of: line) <= width, "\(line)") }
        for line in all.joined() { #expect(!line.hasSuffix(" "), "\(line)") }
    }

    // MARK: Nodes

    @Test func nodesAreTakenOutOfServiceAndBack() async throws {
        let agent = ScriptedAgent()
            .answer(WireNodeCordonReply.with { $0.node.runningJobs = 1 })
            .answer(WireNodeDrainReply.with { $0.jobsLeaving = 2 })
        let cordoned = await execute("node", "cordon", "stint", agent: agent)
        #expect(cordoned.output == "stint takes no new jobs; 1 job on it runs on\n")
        let drained = await execute("node", "drain", "stint", "--now", agent: agent)
        #expect(drained.output.hasPrefix("stint takes no new jobs, and 2 jobs will leave it; follow with"))
        let back = await execute("node", "undrain", "stint", agent: agent)
        #expect(back.output == "stint takes jobs again\n")
        #expect(agent.requests(WireNodeCordonRequest.self).map(\.node) == ["stint"])
        #expect(agent.requests(WireNodeDrainRequest.self).map(\.now) == [true])
        #expect(agent.requests(WireNodeUndrainRequest.self).map(\.node) == ["stint"])
        let empty = await execute("node", "drain", "stint")
        #expect(empty.output == "stint takes no new jobs and has none\n")
        #expect(await execute("node", "drain", "").status == .usage)
    }

    @Test func theBusiestStandFirst() async throws {
        let jobs = WireJobListReply.with { $0.jobs = [Scene.waiting, Scene.linpack, Scene.render] }
        let agent = ScriptedAgent().answer(jobs).answer(WireNodeListReply.with { $0.nodes = Scene.nodes })
        let run = await execute("top", agent: agent)
        try expectGolden(run.output, "top.txt")
        let json = await execute("top", "-o", "json", "--limit", "2", agent: agent).output
        let reply = try WireJobListReply(jsonString: json)
        #expect(reply.jobs.count == 2 && reply.jobs[0].usageVcpus >= reply.jobs[1].usageVcpus)
        let idle = await execute(
            "top",
            agent: ScriptedAgent().answer(WireNodeListReply.with { $0.nodes = Scene.nodes })
        )
        #expect(idle.output.hasSuffix("\nno jobs\n"))
    }

    @Test func namesOfNodesComplete() async {
        let agent = ScriptedAgent().answer(WireNodeListReply.with { $0.nodes = Scene.nodes })
        #expect(await execute("completions", "nodes", agent: agent).output == "node-1\nruff\nstint\n")
    }

    // MARK: Certificates

    @Test func identitiesAreRevokedByTheirFullName() async throws {
        func request(_ subject: String) async throws -> WireCertificateRevokeRequest {
            let agent = ScriptedAgent().answer(Scene.status).answer(Scene.members)
            let run = await execute("ca", "revoke", subject, "--reason", "lost laptop", agent: agent)
            #expect(run.status == .success, "\(run.diagnostics)")
            return try #require(agent.requests(WireCertificateRevokeRequest.self).first)
        }
        #expect(try await request("user/bob").identity == "spiffe://lab/user/bob")
        #expect(try await request("node/plover").identity == "spiffe://lab/site/tundra/node/plover")
        #expect(try await request("spiffe://lab/user/bob").identity == "spiffe://lab/user/bob")
        let bySerial = try await request("4F:00:11:22:33:44:55:66:77:88:99:00:AA:BB:CC:DD")
        #expect(bySerial.serial == "4f0011223344556677889900aabbccdd" && bySerial.identity.isEmpty)
        #expect(bySerial.reason == "lost laptop")
    }

    @Test func whatIsNoSubjectIsNotRevoked() async {
        for wrong in ["ada", "bob", "user/", "deadbeef", "users/bob", "4f00112233445566778899zz"] {
            let agent = ScriptedAgent()
            let run = await execute("ca", "revoke", wrong, agent: agent)
            #expect(run.status == .usage && run.diagnostics.contains("write user/NAME"), "\(wrong)")
            #expect(agent.requests(WireCertificateRevokeRequest.self).isEmpty)
        }
        let gone = await execute("ca", "revoke", "node/curlew", agent: ScriptedAgent().answer(Scene.members))
        #expect(gone.status == .notFound && gone.diagnostics.contains("there is no node 'curlew'"))
    }

    @Test func revocationsAreToldBack() async throws {
        let list = await execute("ca", "revocations", agent: ScriptedAgent().answer(Scene.revocations))
        try expectGolden(list.output, "ca-revocations.txt")
        #expect(await execute("ca", "revocations").output == "nothing is revoked\n")
        let reply = WireCertificateRevokeReply.with { $0.revocation = Scene.revocations.revocations[1] }
        let run = await execute("ca", "revoke", "spiffe://lab/user/bob", agent: ScriptedAgent().answer(reply))
        #expect(run.output == "spiffe://lab/user/bob: what was issued until 12:00:00 is refused from now on\n")
    }

    @Test func certificatesAreRenewedInTheirPlace() async throws {
        let folder = try TemporaryFolder()
        let place = ["--folder", folder.path]
        let file = "\(folder.path)/alice.pem"
        _ = await execute(["ca", "init", "--cluster", "lab"] + place)
        _ = await execute(
            ["ca", "issue", "--user", "alice", "--right", "submit", "--lifetime", "2d", "--out", file] + place
        )
        let before = try folder.read("alice.pem")
        func shown(_ file: String) async -> Substring? {
            await execute("ca", "show", file, "-o", "json").output.split(separator: "\n").first
        }
        let old = await shown(file)
        let renewed = await execute(["ca", "renew", file] + place)
        #expect(renewed.status == .success && renewed.diagnostics.isEmpty, "\(renewed.diagnostics)")
        let after = try folder.read("alice.pem")
        let endOfKey = "-----END PRIVATE KEY-----"
        #expect(after != before)
        #expect(after.split(separator: endOfKey).first == before.split(separator: endOfKey).first)
        let new = await shown(file)
        #expect(new != old && new?.contains(#""user":"alice","right":"submit""#) == true)

        let elsewhere = "\(folder.path)/new.pem"
        let rekeyed = await execute(["ca", "renew", file, "--new-key", "--out", elsewhere] + place)
        #expect(rekeyed.status == .success)
        #expect(try folder.read("alice.pem") == after)
        #expect(try folder.read("new.pem").split(separator: endOfKey).first != after.split(separator: endOfKey).first)
        let again = await execute(["ca", "renew", file, "--out", elsewhere] + place)
        #expect(again.status == .failure)
        let authority = await execute(["ca", "renew", "\(folder.path)/ca.crt"] + place)
        #expect(authority.status == .failure && authority.diagnostics.contains("ca.crt"))
    }
}
