import ClusterModel
import ClusterState
import ControlMessages
import Placement
import Raft
import Storage
import SwiftProtobuf
import Testing
import Transport

@testable import Agent

/// What Cluster.md promises, of agents that are whole but for containers, disks and sockets.
@Suite(.timeLimit(.minutes(5)))
struct ClusterPromisesTests {
    private static func cut(
        _ bench: ClusterBench,
        _ agent: ClusterAgent,
        from others: [ClusterAgent],
        _ isCut: Bool = true
    ) {
        for other in others where other.node != agent.node {
            bench.network.cut(from: agent.node, to: other.node, isCut)
            bench.network.cut(from: other.node, to: agent.node, isCut)
        }
    }

    private static func isRunning(_ job: JobID, on agent: ClusterAgent) -> Bool {
        agent.host.running.contains { $0.job == job }
    }

    // MARK: The right to run

    @Test func aNodeIsDeclaredLostOnlyAfterItsContainersHaveEndedAndItsJobsRunOnceElsewhere() async throws {
        try await ClusterBench.with(["a", "b", "c"], fencing: ClusterBench.shortFencing) { bench, agents in
            var jobs: [JobID] = []
            for number in 0..<6 { jobs.append(try await agents[0].submit("job-\(number)")) }
            try await ClusterBench.until {
                jobs.allSatisfy { job in agents.contains { Self.isRunning(job, on: $0) } }
            }
            let leader = try await bench.leader(among: agents)
            let away = try #require(agents.last { $0.node != leader.node && !$0.host.running.isEmpty })
            let moving = away.host.running.map(\.job)
            // Whoever's start is not reported yet is ended by its shim, and there is none here.
            try await ClusterBench.until { await away.controller.operations.isEmpty }
            let rest = agents.filter { $0.node != away.node }
            Self.cut(bench, away, from: agents)
            let began = ContinuousClock.now
            // Watches until the jobs run elsewhere: never is one in two places.
            while !moving.allSatisfy({ job in rest.contains { Self.isRunning(job, on: $0) } }) {
                for job in moving {
                    // Read in this order, so that one that ends in between is not counted twice.
                    let elsewhere = rest.contains { Self.isRunning(job, on: $0) }
                    #expect(!(elsewhere && Self.isRunning(job, on: away)), "job \(job) runs twice")
                }
                if await rest[0].replica.state.node(away.node)?.state == .lost {
                    #expect(!away.fence.mayRun)
                    #expect(away.host.running.isEmpty, "what runs at \(away.node) has ended before it is declared lost")
                }
                try Task.checkCancellation()
                try await Task.sleep(for: .milliseconds(5))  // polls: leases take real time
            }
            #expect(began.duration(to: .now) >= bench.fencing.partitionTimeout)
            #expect(away.host.running.isEmpty)
            #expect(!away.fence.mayRun)
            for job in moving {
                #expect(try #require(await rest[0].replica.state.job(job)).incarnation > Incarnation(rawValue: 1))
            }
            // Back again it takes part, and begins nothing that is another's now.
            Self.cut(bench, away, from: agents, false)
            try await ClusterBench.until {
                let leader = try await bench.leader(among: agents)
                return await leader.replica.state.node(away.node)?.state == .active && away.fence.mayRun
            }
            for job in moving { #expect(!Self.isRunning(job, on: away)) }
        }
    }

    @Test func theShimsReadHowLongTheRightLasts() async throws {
        try await ClusterBench.with(["a", "b"], fencing: ClusterBench.shortFencing) { _, agents in
            for agent in agents {
                // The founder's ends from before the first other member is one.
                if agent.node == agents[0].node { #expect(try agent.lease.read() != .unlimited) }
                try await ClusterBench.until {
                    guard agent.fence.mayRun, case .until? = try? agent.lease.read() else { return false }
                    return true
                }
            }
        }
        try await ClusterBench.with(["a"]) { _, agents in
            let written = try agents[0].lease.read()
            #expect(written == .unlimited)
            #expect(agents[0].fence.mayRun)
        }
    }

    // MARK: Who leads

    @Test func aLeaderWhoseDiskStandsStillIsReplaced() async throws {
        let disk = HeldStateStore(InMemoryStateStore())
        try await ClusterBench.with(
            ["a", "b", "c"],
            store: { $0 == "a" ? disk as any StateStoring : InMemoryStateStore() }
        ) {
            bench,
            agents in
            // The founder leads unless the machine was slow.
            try await ClusterBench.until {
                for agent in agents.dropFirst() where await agent.replica.status.isLeader {
                    await agent.replica.handOver()
                }
                return await agents[0].replica.isUpToDate()
            }
            let gate = disk.hold()
            // Refused while no new leader is known; the same submission again makes no second job.
            try await ClusterBench.until { (try? await agents[1].submit("while-it-stands")) != nil }
            #expect(await !agents[0].replica.isUpToDate())
            let next = try await bench.leader(among: Array(agents.dropFirst()))
            #expect(await next.replica.state.liveJobs.map(\.specification.name) == ["while-it-stands"])
            gate.open()
        }
    }

    @Test func whoIsShutOutLosesItsVoteFirstAndKeepsOneThatIsNeeded() async throws {
        let bench = ClusterBench(voterPlan: VoterPlan(settle: .milliseconds(300)))
        do {
            var agents = [try await bench.agent("a")]
            for name in ["b", "c", "d"] { agents.append(try await bench.agent(name, seeds: ["a"])) }
            try await ClusterBench.until { await agents[0].replica.status.membership.voters.count == 3 }
            let leader = try await bench.leader(among: agents)
            func voters() async -> [ClusterAgent] {
                let membership = await leader.replica.status.membership
                return agents.filter { $0.node != leader.node && membership.isVoter($0.replica.member) }
            }
            func revoke(_ agent: ClusterAgent, isForced: Bool) async throws -> WireRevocation {
                let request = WireCertificateRevokeRequest.with { request in
                    request.identity = "spiffe://flock/site/coast/node/\(agent.node)"
                    request.reason = "stolen"
                    request.force = isForced
                }
                return try await leader.ask(.certificateRevoke, request, WireCertificateRevokeReply.self).revocation
            }
            let first = try #require(await voters().first)
            #expect(try await revoke(first, isForced: false).reason == "stolen")
            #expect(await !leader.replica.status.membership.isVoter(first.replica.member))
            // Another one gets its place; then one dies, and the leader needs the other.
            try await ClusterBench.until { await voters().count == 2 }
            let rest = await voters()
            await rest[0].kill()
            try await ClusterBench.until {
                let status = await leader.replica.status
                let peer = status.peers.first { $0.id == rest[0].replica.member }
                return peer.map { $0.contact.duration(to: .now) > .seconds(3) } ?? false
            }
            let refusal = await failure { _ = try await revoke(rest[1], isForced: false) }
            #expect(refusal?.code == .conflict && refusal?.message.contains("--force") == true)
            #expect(await leader.replica.status.membership.isVoter(rest[1].replica.member))
            _ = try await revoke(rest[1], isForced: true)
        } catch {
            await bench.end()
            throw error
        }
        await bench.end()
    }

    @Test func membersAreGivenAVoteByThePlan() async throws {
        let bench = ClusterBench(voterPlan: VoterPlan(settle: .milliseconds(300)))
        do {
            var agents = [try await bench.agent("a")]
            for name in ["b", "c", "d"] { agents.append(try await bench.agent(name, seeds: ["a"])) }
            // An odd number votes.
            try await ClusterBench.until { await agents[0].replica.status.membership.voters.count == 3 }
            let membership = await agents[0].replica.status.membership
            #expect(membership.learners.count == 1)
        } catch {
            await bench.end()
            throw error
        }
        await bench.end()
    }

    // MARK: Looking

    private static func list(_ agent: ClusterAgent) async throws -> WireJobListReply {
        try await ClusterBench.oncePossible { try await agent.ask(.jobList, WireJobListRequest()) }
    }

    @Test func aLeaderThatWasReplacedDoesNotPassOffWhatItHasAsTheLatest() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { bench, agents in
            try await agents[1].submit("before")
            let old = try await bench.leader(among: agents)
            let rest = agents.filter { $0.node != old.node }
            Self.cut(bench, old, from: agents)
            try await ClusterBench.until { (try? await rest[0].submit("after")) != nil }
            let stale = try await Self.list(old)
            #expect(stale.jobs.map(\.name) == ["before"])
            #expect(stale.ageSeconds > 0)
            for agent in rest {
                // One that says its age while it knows no leader is right as well; the latest has both.
                try await ClusterBench.until {
                    let answer = try await Self.list(agent)
                    if answer.ageSeconds == 0 { #expect(answer.jobs.map(\.name) == ["before", "after"]) }
                    return answer.ageSeconds == 0
                }
            }
            Self.cut(bench, old, from: agents, false)
            try await ClusterBench.until { try await Self.list(old).jobs.count == 2 }
        }
    }

    @Test func whoeverIsAskedNothingIsWrittenToAnyDisk() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { bench, agents in
            let leader = try await bench.leader(among: agents)
            let follower = try #require(agents.first { $0.node != leader.node })
            // Agents have things of their own to write now and then; an answer that writes would be seen every time.
            try await ClusterBench.until {
                let index = await leader.replica.lastIndex
                let writes = try await leader.store.statistics().batchCount
                for _ in 0..<100 {
                    _ = try await Self.list(leader)
                    _ = try await Self.list(follower)
                    let status = try await follower.ask(.status, WireStatusRequest(), WireStatusReply.self)
                    #expect(status.health.voterCount == 3)
                }
                let written = try await leader.store.statistics().batchCount - writes
                return await leader.replica.lastIndex == index && written == 0
            }
        }
    }

    @Test func membersAreAsTheAgentSeesThemThatIsAsked() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { bench, agents in
            for agent in agents {
                try await ClusterBench.until {
                    let reply = try await agent.ask(
                        .clusterMembers,
                        WireClusterMembersRequest(),
                        WireClusterMembersReply.self
                    )
                    // Nobody but the leader hears from all; the others hear from it.
                    let leads = await agent.replica.status.isLeader
                    return reply.answeredBy == agent.node.rawValue && reply.members.count == 3
                        && reply.members.count { $0.lastHeardSeconds >= 0 } == (leads ? 3 : 2)
                }
            }
        }
    }
}
