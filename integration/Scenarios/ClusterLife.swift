import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import TLS

/// What administrators do with a cluster over its life, all of it on one day and while everybody works.
struct ClusterLife: Scenario {
    static let name = "ClusterLife"
    static let promise =
        "certificates renew themselves, gossip's key changes, a site brings its own authority, nodes are lost, leave, are removed and come back, "
        + "a user and a node are shut out: each act does what it says or says why not, status says what is wrong, no job is lost or runs twice"

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 6)
        let (central, western) = (try authority(), try authority())
        try central.save(to: run.folder + "/ca")
        try western.save(to: run.folder + "/ca-west")
        let issuer = run.folder + "/issuer"
        let delegated = try await run.godwit("ca delegate --folder \(run.folder)/ca --out \(issuer)")
        try expect(delegated.status == 0, "no issuer was made: \(delegated.text)")
        var agents: [AgentProcess] = []
        for number in 1...6 {
            var membership = AgentMembership(
                authority: number == 6 ? western : central,
                seed: agents.first.map { "\($0.host):\($0.port)" },
                partitionTimeout: .seconds(6),
                place: network.place(number)
            )
            membership.site = [1, 3].contains(number) ? Administration.east : Administration.west
            membership.role = number <= 2 ? .gateway : .worker
            membership.users = central
            if number < 6 { membership.lifetime = Administration.certificateLife }
            if number == 1 { membership.issuer = issuer }
            agents.append(try AgentProcess(run, name: "n\(number)", membership: membership))
        }
        let cluster = AgentCluster(run, agents: agents, network: network)
        do {
            let work = try await Workload(run, cluster)
            try await Administration(run: run, cluster: cluster, work: work, central: central, western: western).tell()
        } catch {
            cluster.showLogs()
            throw error
        }
    }

    private func authority() throws -> CertificateAuthority {
        try CertificateAuthority.create(cluster: ClusterID(rawValue: "scenario"), now: WallClock.now())
    }
}

/// The chapters of ``ClusterLife``, in order.
///
/// East are n1, which founds the cluster, is the gateway and has the issuer, and n3; west are n2, the gateway, n4 and n5, and n6 with a
/// certificate of the west's own authority.
private struct Administration {
    static let east = SiteID(rawValue: "east")
    static let west = SiteID(rawValue: "west")
    /// Half-way through it a certificate is renewed.
    static let certificateLife = Duration.seconds(60)

    let run: ScenarioRun
    let cluster: AgentCluster
    let work: Workload
    let central: CertificateAuthority
    let western: CertificateAuthority
    let began = ContinuousClock.now

    /// What is promised to happen "within seconds".
    private let seconds = Duration.seconds(10)
    private let pause = Duration.milliseconds(250)

    private func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }

    /// The agent with this number.
    private func n(_ number: Int) -> AgentProcess { cluster.agents[number - 1] }

    func tell() async throws {
        try await cluster.start(first: 5)
        chapter("two sites of a gateway each, with one and two workers, are members")
        for number in 1...9 { try await work.submit("lasting-\(number)", seconds: 100_000, ends: false) }
        _ = try await run.eventually("jobs on all workers", every: pause) {
            let nodes = Set(try await cluster.running(asking: n(1)).map(\.node))
            return nodes.isSuperset(of: ["n3", "n4", "n5"]) ? true : nil
        }
        await work.begin(jobsPerSecond: 1.5)
        let lost = try await kill(n(5))
        async let keys: Void = changeKey()
        try await bringAuthority()
        try await shutOutUser()
        try await loseGateway()
        try await remove(n(5), lost)
        try await keys
        try await leave(n(4))
        let needed = try await keepNeededVote()
        try await shutOut(needed)

        try await work.settle(without: needed)
        try await work.expectNoneRanTwiceAtOnce()
        _ = try await run.eventually("the silence of \(needed.name), which is shut out, in gossip", every: pause) {
            try await member(needed.name, asking: n(2)).gossip == "dead" ? true : nil
        }
        chapter("all promises were kept; \(await work.summary(since: began))")
        try await cluster.stop()
    }

    // MARK: Secrets

    /// A new key for gossip; meanwhile nobody is taken for dead because of it.
    private func changeKey() async throws {
        let start = ContinuousClock.now
        try await cluster.done("cluster keyring rotate", asking: n(3))
        let made = try await n(1).ask { try await $0.keyringList() }.keys.map(\.id).max() ?? 0
        try await cluster.refused("cluster keyring rotate", asking: n(4), because: "a rotation is under way")
        _ = try await run.eventually("the end of the older key", within: .seconds(60), every: pause) {
            let keys = try await n(3).ask { try await $0.keyringList() }.keys
            return keys.count == 1 && keys[0].id == made && keys[0].isPrimary ? true : nil
        }
        chapter("gossip's key is changed, \(start.duration(to: .now).text) after it was asked for")
    }

    /// The west gets an authority of its own, which vouches for its nodes and for nobody else.
    private func bringAuthority() async throws {
        let now = WallClock.now()
        func node(_ site: SiteID) throws -> IdentityBundle {
            try self.western.issueNode(NodeID(rawValue: "stranger"), site: site, role: .worker, now: now)
                .trusting([central.certificate])
        }
        let (western, eastern) = (try node(Self.west), try node(Self.east))
        let user = try self.western.issueUser(UserID(rawValue: "stranger"), right: .admin, now: now)
            .trusting([central.certificate])
        try expect(await !isLetIn(western, by: n(2)), "a node of an authority that nobody trusts was let in")
        let start = ContinuousClock.now
        try await cluster.done("ca trust add \(run.folder)/ca-west/ca.crt --site west", asking: n(2))
        for agent in cluster.agents.prefix(4) {
            _ = try await run.eventually("trust of \(agent.name) in the west's authority", every: pause) {
                await isLetIn(western, by: agent) ? true : nil
            }
        }
        let trusted = start.duration(to: .now)
        try expect(trusted < seconds, "the authority was trusted everywhere only after \(trusted.text)")
        try expect(await !isLetIn(eastern, by: n(1)), "the west's authority vouched for a node of the east")
        try expect(await !isLetIn(user, by: n(1)), "the west's authority vouched for a user")
        try await n(6).start()
        _ = try await run.eventually("the joining of n6", every: pause) {
            try await member("n6", asking: n(3)).state == "active" ? true : nil
        }
        let digits = self.western.certificate.fingerprintDigits.prefix(16)
        // The agent that leads looks at who is connected to it.
        _ = try await run.eventually("sight of n6 among those of the west's authority", every: pause) {
            let authorities = try await n(1).ask { try await $0.authorityList() }.authorities
            return authorities.contains { $0.site == "west" && $0.nodes.contains("n6") } ? true : nil
        }
        try await cluster.refused("ca trust remove \(digits)", asking: n(2), because: "n6", "shut out", "--force")
        chapter("an authority of the west is trusted everywhere \(trusted.text) after it was added; n6 joined with it")
    }

    /// Whoever watches is shut out in the middle of it, until there is a new certificate.
    private func shutOutUser() async throws {
        func identity(_ file: String) throws -> String {
            let path = "\(run.folder)/\(file).pem"
            try central.issueUser(UserID(rawValue: "viewer"), right: .read, now: WallClock.now())
                .trusting([western.certificate]).save(to: path)
            return path
        }
        let old = try identity("viewer")
        let output = run.folder + "/viewer.out"
        let file = try OwnedDescriptor(opening: output, O_WRONLY | O_CREAT | O_APPEND)
        let watching = try ProcessRunner.spawn(
            ProgramCommand(
                run.programs + "/godwit",
                ["job", "list", "--watch"] + cluster.words(asking: n(4), identity: old)
            ),
            standardOutput: file.rawValue,
            standardError: file.rawValue
        )
        _ = try await run.eventually("a list of jobs for the viewer") {
            try FileSystem.readText(output, limit: 1 << 20).contains("lasting-1") ? true : nil
        }
        let start = ContinuousClock.now
        try await cluster.done("ca revoke user/viewer", asking: n(3))
        let status: Int32 = try await run.eventually("the end of what the viewer watched") {
            var status: Int32 = 0
            return unsafe waitpid(watching, &status, WNOHANG) == watching ? status : nil
        }
        let took = start.duration(to: .now)
        try expect(took < seconds, "the viewer watched on for \(took.text)")
        let last = try FileSystem.readText(output, limit: 1 << 20).split(separator: "\n").last ?? ""
        try expect(status >> 8 & 0xff != 0 && last.hasPrefix("godwit: "), "the viewer was not told why: \(last)")
        run.note("  the viewer read: \(last)")
        for agent in [n(1), n(3)] {
            let answer = try await cluster.godwit("job list", asking: agent, identity: old)
            try expect(answer.status != 0, "\(agent.name) answered a user that was revoked: \(answer.text)")
        }
        // Certificates are dated to the second.
        try await Task.sleep(for: .milliseconds(1100))
        let answer = try await cluster.godwit("job list", asking: n(3), identity: try identity("viewer-anew"))
        try expect(answer.status == 0, "the viewer's new certificate is not taken: \(answer.text)")
        chapter("a user was shut out \(took.text) after it was revoked, and let in again with a new certificate")
    }

    /// Whether an agent answers who shows this certificate.
    private func isLetIn(_ identity: IdentityBundle, by agent: AgentProcess) async -> Bool {
        let credentials = Credentials(
            identity: identity,
            agents: [AgentAddress(host: agent.host, port: agent.port)]
        )
        do {
            let client = try await ControlClient.connect(
                credentials,
                software: "integration",
                connectTimeout: .seconds(5),
                group: AgentProcess.group
            )
            let answer = try? await client.status()
            await client.close()
            return answer != nil
        } catch {
            return false
        }
    }

    // MARK: Nodes

    /// What an agent's jobs were when it was lost.
    private struct Loss {
        var jobs: [WireJobSummary]
        var time: ContinuousClock.Instant
    }

    private func member(_ node: String, asking agent: AgentProcess) async throws -> WireClusterMember {
        let members = try await agent.ask { try await $0.clusterMembers() }.members
        guard let found = members.first(where: { $0.node == node }) else {
            throw Broken("\(agent.name) knows no \(node), but \(members.map(\.node))")
        }
        return found
    }

    private func lasting(on agent: AgentProcess) async throws -> [WireJobSummary] {
        let jobs = try await cluster.running(asking: n(1))
        let found = jobs.filter { $0.node == agent.name && $0.name.hasPrefix("lasting-") }
        try expect(!found.isEmpty, "no lasting job runs on \(agent.name): nothing would be proved")
        return found
    }

    private func kill(_ agent: AgentProcess) async throws -> Loss {
        let jobs = try await lasting(on: agent)
        try await agent.end(SIGKILL)
        chapter("\(agent.name) is killed with \(jobs.count) lasting jobs")
        return Loss(jobs: jobs, time: .now)
    }

    /// Waits until jobs run elsewhere, and looks that nothing is left of them where they were.
    private func expectMoved(_ loss: Loss, from agent: AgentProcess) async throws -> Duration {
        _ = try await run.eventually(
            "the going on elsewhere of \(loss.jobs.count) jobs of \(agent.name)",
            within: .seconds(60),
            every: pause
        ) {
            let running = try await cluster.running(asking: n(1))
            let missing = loss.jobs.filter { job in !running.contains { $0.id == job.id && $0.node != agent.name } }
            if missing.isEmpty { return true }
            throw Broken("missing are \(missing.map(\.name))")
        }
        let moved = loss.time.duration(to: .now)
        let processes = try loss.jobs.flatMap { try agent.processes(of: $0.id) }
        try expect(processes.isEmpty, "containers of \(agent.name) live on: processes \(processes)")
        return moved
    }

    /// The west's gateway dies; the east, which sees the west through it alone, knows within seconds.
    private func loseGateway() async throws {
        let start = ContinuousClock.now
        try await n(2).end(SIGKILL)
        _ = try await run.eventually("knowledge in the east that n2 is dead", every: pause) {
            ["suspect", "dead"].contains(try await member("n2", asking: n(3)).gossip) ? true : nil
        }
        let known = start.duration(to: .now)
        try expect(known < seconds, "the east knew only after \(known.text) that the west's gateway is dead")
        try await cluster.expectStatus("n2", "answer gossip and get", "no new jobs", asking: n(3))
        try await n(2).start()
        _ = try await run.eventually("knowledge in the east that n2 is back", every: pause) {
            try await member("n2", asking: n(3)).gossip == "alive" ? true : nil
        }
        chapter("the west's gateway was killed, known in the east after \(known.text), and is back")
    }

    /// A machine that was lost is taken out, and comes back as a new member.
    private func remove(_ agent: AgentProcess, _ loss: Loss) async throws {
        let before = try await member(agent.name, asking: n(3)).member
        if loss.time.duration(to: .now) < .seconds(14) {
            try await cluster.refused("node remove \(agent.name)", asking: n(3), because: agent.name)
        }
        let moved = try await expectMoved(loss, from: agent)
        chapter("\(agent.name)'s lasting jobs run elsewhere after \(moved.text)")
        try await cluster.expectStatus("\(agent.name) is lost", "Start the agent again", asking: n(3))
        try await cluster.done("node remove \(agent.name)", asking: n(3))
        try await agent.launch()
        _ = try await agent.ending(within: .seconds(60))
        try await expectNoStart(agent)
        try FileSystem.removeAll(agent.stateFolder + "/left")
        let renewed = try await run.godwit("ca renew \(agent.folder)/node.pem --folder \(run.folder)/ca")
        try expect(renewed.status == 0, "\(agent.name)'s certificate was not renewed: \(renewed.text)")
        try await agent.start()
        let after = try await run.eventually("\(agent.name) as a new member", every: pause) {
            let found = try await member(agent.name, asking: n(3))
            return found.state == "active" ? found.member : nil
        }
        try expect(after != before, "\(agent.name) has the number \(before) again")
        chapter("\(agent.name) was removed as member \(before) and is a new one, \(after)")
    }

    /// An agent whose node is not of the cluster any more says so, and what to do, instead of starting.
    private func expectNoStart(_ agent: AgentProcess) async throws {
        try await agent.launch()
        let status = try await agent.ending(within: .seconds(30))
        let last = try agent.logLines().last ?? ""
        try expect(
            status == 78 && last.contains("has left the cluster") && last.contains("remove \(agent.stateFolder)/left"),
            "\(agent.name), which has left, ended with status \(status): \(last)"
        )
        run.note("  \(agent.name): \(last)")
    }

    /// A node is emptied and goes for good.
    private func leave(_ agent: AgentProcess) async throws {
        try await cluster.refused("node leave \(agent.name)", asking: n(1), because: "still has", "node drain")
        let jobs = try await lasting(on: agent)
        let start = ContinuousClock.now
        try await cluster.done("node drain \(agent.name) --now", asking: n(3))
        try await cluster.expectStatus("1 draining", asking: n(1))
        let moved = try await expectMoved(Loss(jobs: jobs, time: start), from: agent)
        _ = try await run.eventually("the leaving of \(agent.name)", every: pause) {
            try await cluster.done("node leave \(agent.name)", asking: n(2))
        }
        try expect(try await agent.ending(within: .seconds(40)) == 0, "\(agent.name) left and ended badly")
        try await expectNoStart(agent)
        chapter("\(agent.name)'s jobs ran elsewhere \(moved.text) after it was drained; it left, and its agent ended")
    }

    /// Who is needed for a majority is not shut out by mistake.
    ///
    /// - Returns: a voter beside the leader that nothing happened to.
    private func keepNeededVote() async throws -> AgentProcess {
        try await cluster.expectVoters(3, within: .seconds(120))
        for number in [1, 2, 3] {
            let count = try n(number).logLines().count { $0.contains(" identity.renewed") }
            try expect(count > 0, "the certificate of n\(number) was never renewed")
        }
        let (leader, _) = try await cluster.agreedLeader(of: [n(1), n(2), n(3), n(5), n(6)])
        let voters = try await leader.ask { try await $0.clusterVoters() }.members.filter { $0.role != "learner" }
        let others = voters.compactMap { cluster[$0.node] }.filter { $0 !== leader }
        let worker: AgentProcess? = [n(3), n(6), n(5)].first { agent in others.contains { $0 === agent } }
        guard let needed = worker else {
            throw Broken("no worker votes, but \(voters.map(\.node))")
        }
        chapter("\(voters.count) vote, \(leader.name) leads; certificates have renewed themselves")
        // Leader, the needed one and so many more are a majority; whoever votes beside them is killed.
        let dead = others.filter { $0 !== needed }.dropFirst(voters.count / 2 - 1)
        for agent in dead { try await agent.end(SIGKILL) }
        _ = try await run.eventually("a need of every vote that is left", every: pause) {
            let health = try await leader.ask { try await $0.status() }.health
            return health.votersAnswering == health.voterCount / 2 + 1 ? true : nil
        }
        try await cluster.refused("ca revoke node/\(needed.name)", asking: n(1), because: "votes", "--force")
        try await cluster.expectStatus("but do", "not answer", "one more and the cluster stops", asking: n(1))
        for agent in dead { try await agent.start() }
        _ = try await run.eventually("answers of all voters", every: pause) {
            try await leader.ask { try await $0.status() }.health.silentVoters.isEmpty ? true : nil
        }
        chapter("\(needed.name) was not shut out while \(dead.map(\.name)) did not answer")
        return needed
    }

    /// A node that is not trusted any more is out within seconds, whatever connections it has.
    private func shutOut(_ agent: AgentProcess) async throws {
        let identity = try IdentityBundle.load(agent.folder + "/node.pem")
        let loss = Loss(jobs: try await lasting(on: agent), time: .now)
        try await cluster.done("ca revoke node/\(agent.name) --reason stolen", asking: n(2))
        _ = try await run.eventually("the loneliness of \(agent.name)", every: pause) {
            let view = try await agent.ask { try await $0.status() }
            return view.leader.isEmpty ? true : nil
        }
        let alone = loss.time.duration(to: .now)
        try expect(alone < seconds, "\(agent.name) followed on for \(alone.text) after it was revoked")
        for other in [n(1), n(2), n(3), n(5), n(6)] where other !== agent {
            try expect(await !isLetIn(identity, by: other), "\(other.name) lets \(agent.name) in, which is revoked")
        }
        try await work.finish()
        let moved = try await expectMoved(loss, from: agent)
        try await cluster.expectStatus("\(agent.name) is shut out", "revoked", "node remove", asking: n(2))
        try await cluster.expectStatus("problems", "it was revoked", "ca issue", asking: agent)
        chapter(
            "\(agent.name) was shut out \(alone.text) after it was revoked, and its \(loss.jobs.count) lasting jobs ran elsewhere after \(moved.text)"
        )
    }
}
