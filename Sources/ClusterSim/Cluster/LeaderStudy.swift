import ClusterModel
import ClusterState
import Raft

/// How long a cluster with the shipped times is without a leader, and how often for no reason.
///
/// Each run is one cluster in virtual time, whose clients write ten times a second. All promises are checked as in ``ClusterSimulation``.
package struct LeaderStudy: Sendable, Encodable {
    /// What is done to the leader.
    package enum Measure: String, Sendable, CaseIterable, Encodable {
        /// Its process ends without a word: seconds until a write is committed again.
        case kill
        /// Its disk finishes nothing for 5 s: seconds until somebody else leads.
        case diskStall
        /// It hands over: seconds until the next leader has committed its first entry.
        case handOver
        /// Its process ends: seconds from the next leader's election until that has answered every node, and so knows of all of them and
        /// has renewed the right of each to run containers.
        case rebuild
        /// Nothing is done: elections in an hour while a twentieth of all messages is lost and a twentieth of all syncs takes 200 ms.
        case spurious
        /// The same on streams, on which loss is delay.
        case spuriousOnStreams
    }

    package let measure: Measure
    /// Members of the cluster.
    package let agents: Int
    /// How many of them vote.
    package let voters: Int
    /// One a run, in the order of the seeds: seconds, or elections.
    package private(set) var values: [Double] = []
    /// Runs that came to no end within a minute.
    package private(set) var unfinished = 0
    /// Broken promises, each with its seed.
    package private(set) var violations: [String] = []

    /// Measures one thing, once a seed.
    ///
    /// - Parameters:
    ///   - measure: what.
    ///   - seeds: one run each.
    ///   - agents: members of the cluster, 3...1024.
    ///   - voters: how many of them vote, 3...5.
    ///   - minutes: how long a run without an event is watched.
    ///   - origin: what stands for the start of the clocks; it changes nothing.
    package init(
        _ measure: Measure,
        seeds: ClosedRange<UInt64>,
        agents: Int,
        voters: Int,
        minutes: Int = 60,
        origin: ContinuousClock.Instant
    ) {
        (self.measure, self.agents, self.voters) = (measure, agents, voters)
        for seed in seeds { run(seed, minutes, origin) }
    }

    private mutating func run(_ seed: UInt64, _ minutes: Int, _ origin: ContinuousClock.Instant) {
        var profile = ClusterProfile(quiet: agents, voters: voters)
        if measure == .spurious || measure == .spuriousOnStreams {
            (profile.lossPermille, profile.stallPermille, profile.stallTime) = (50, 50, 200_000_000...200_000_000)
            profile.hasStreams = measure == .spuriousOnStreams
        }
        var options = ClusterSimulation.Options()
        options.faultTime = .seconds(86_400)
        let world = ClusterSimulation(seed, options, profile, .shipped, SeededGenerator(seed: seed), origin: origin)
        let value = world.measure(measure, minutes: minutes)
        if let value { values.append(value) } else { unfinished += 1 }
        violations += world.checkers.violations.map { "seed \(seed): \($0)" }
    }
}

extension ClusterSimulation {
    private var second: Int64 { 1_000_000_000 }

    fileprivate func measure(_ measure: LeaderStudy.Measure, minutes: Int) -> Double? {
        for agent in agents { agent.start() }
        // Time enough for a leader, and for each node to be registered; at a moment that has nothing to do with anybody's period.
        let settled = 5 * second + Int64(draw(0..<1000)) * 1_000_000
        _ = write(until: settled) { false }
        guard let leader = agents.first(where: { $0.raft?.isLeader == true }), let term = leader.raft?.term else {
            return nil
        }
        let (start, limit) = (now, now + 60 * second)
        switch measure {
        case .kill:
            leader.crash(losesPower: false)
            return time(since: start, write(until: limit) { self.hasCommitted(after: term) })
        case .diskStall:
            leader.diskStalledUntil = now + 5 * second
            let took = time(since: start, write(until: limit) { self.leads(after: term) })
            // The old leader comes back to its disk, and what it does then is checked as well.
            _ = write(until: start + 8 * second) { false }
            return took
        case .handOver:
            try? leader.raft?.transferLeadership(now: leader.now)
            leader.drain()
            return time(
                since: start,
                advance(to: limit) { self.checkers.committed.last.map { $0.term > term } ?? false }
            )
        case .rebuild:
            leader.crash(losesPower: false)
            guard write(until: limit, { self.leads(after: term) }) else { return nil }
            let elected = now
            return time(
                since: elected,
                write(until: limit) { self.everyNodeIsAnswered(except: leader, since: elected) }
            )
        case .spurious, .spuriousOnStreams:
            let reigns = statistics.reigns
            _ = write(until: start + Int64(minutes) * 60 * second) { false }
            let terms = agents.compactMap { $0.raft?.term.rawValue }.max() ?? 0
            return Double(max(statistics.reigns - reigns, Int(terms - term.rawValue)))
        }
    }

    private func time(since start: Int64, _ hasEnded: Bool) -> Double? {
        hasEnded ? Double(now - start) / 1e9 : nil
    }

    /// Lets time pass, with a write every 100 ms at each agent that leads.
    private func write(until end: Int64, _ condition: () -> Bool) -> Bool {
        while now < end {
            for agent in agents where agent.raft?.isLeader == true {
                agent.propose(values.proposal(of: .note([]), padding: 100), for: .nobody)
                agent.drain()
            }
            // A client whose write failed tries again soon.
            let pause = agents.contains { $0.raft?.isLeader == true } ? 100_000_000 : 5_000_000 as Int64
            if advance(to: min(end, now + pause), until: condition) { return true }
            if !checkers.violations.isEmpty { return false }
        }
        return false
    }

    private func leads(after term: Term) -> Bool {
        agents.contains { agent in agent.raft.map { $0.isLeader && $0.term > term } ?? false }
    }

    /// Whether a client's write is committed under a later leader.
    private func hasCommitted(after term: Term) -> Bool {
        guard let last = checkers.committed.last, last.term > term, case .proposal = last.payload else { return false }
        return true
    }

    /// Whether each node has asked after this moment and has been answered, and has applied what the answer names.
    private func everyNodeIsAnswered(except gone: SimulatedAgent, since moment: Int64) -> Bool {
        agents.allSatisfy { agent in
            guard agent.number != gone.number else { return true }
            return agent.authority.deadline.map { $0 >= agent.clock.local(at: moment) + fencing.partitionTimeout }
                ?? false
        }
    }
}
