import ClusterModel
import ClusterState

/// One job that is moved about among three machines while agents, machines, leaders and lines fail, drawn from a seed.
///
/// Real are the replicated state and both sides' cores; simulated are the log (what is proposed is applied, lost, or applied long after its
/// proposer has stopped waiting for it), the freezer, CRIU, the disk's marks, the fence, and the shells between all of these. After each step no
/// two of the job's containers may run; in the end, when all faults are over, exactly one does.
package struct MigrationSimulation {
    /// Mistakes that a shell could make; the simulation must find each.
    package enum Mistake: String, Sendable, CaseIterable {
        /// The source thaws when the answer to its hand-over is lost.
        case thawsWithoutAsking
        /// An agent that starts thaws whatever it finds.
        case thawsWhatItFinds
        /// An agent that starts believes its own, older state instead of asking through the log.
        case trustsItsMemory
        /// The destination restores when all has come, handed over or not.
        case restoresEarly
        /// The destination says that it failed while something of the attempt still runs.
        case forgetsToCleanUp
        /// The leader declares nodes lost that may still run containers.
        case declaresLostEarly
        /// The destination says that nothing is missing as soon as its container runs.
        case concludesEarly
        /// The destination says that it failed, and not that its container had run for a moment.
        case saysThatItNeverRan
        /// An agent that starts lets frames reach whatever it finds.
        case opensWhatItFinds
        /// A source that keeps its container does not give it what was held for it.
        case thawsLocked

        /// How the violation begins that it leads to, after the step.
        package var symptom: String {
            switch self {
            case .thawsWithoutAsking, .thawsWhatItFinds, .trustsItsMemory, .restoresEarly, .forgetsToCleanUp,
                .declaresLostEarly:
                "run at once"
            case .concludesEarly: "lacks its memory"
            case .saysThatItNeverRan: "although"
            case .opensWhatItFinds: "after its dump"
            case .thawsLocked: "it never settled"
            }
        }
    }

    /// What a run came to.
    package struct Report: Sendable, Equatable {
        /// What was violated, with the step; nil when nothing was.
        package var violation: String?
        /// Moves that ended at their destination.
        package var moved = 0
        /// Containers that ran before their memory was there, and got all of it.
        package var filled = 0
        /// Containers that ran before their memory was there, and were ended because it could not be had.
        package var emptied = 0
        /// Moves that were given up or failed, and the job ran on where it was.
        package var keptRunning = 0
        /// Starts from a checkpoint or from the beginning.
        package var restarts = 0
        /// Kills, cuts and losses.
        package var faults = 0
        /// Frames that were sent to the job's address since it ran for the first time.
        package var frames = 0
        /// Frames that the last container has got, in the order in which it got them.
        package var received: [Int] = []
        /// The last steps.
        package var trace: [String] = []
    }

    static let job = JobID(rawValue: "job1aaaaaaaa")
    static let start = Timestamp(seconds: 1_700_000_000)
    /// Seconds for which a node may run containers after the leader answered it.
    static let leaseTime = 10
    /// Seconds after which a leader declares a silent node lost.
    static let lossTime = 13

    var generator: SeededGenerator
    let mistake: Mistake?
    let origin: ContinuousClock.Instant
    /// Seconds since the beginning.
    var clock = 0
    /// What the replicated log holds, and what follows from it.
    var log: [Command] = []
    var truth = ClusterState()
    var machines: [SimulatedMachine]
    /// Proposals under way.
    var proposals: [SimulatedProposal] = []
    /// Containers that ran for a moment in a restore that failed: who was dumped for them must not go on.
    var ranInVain: Set<Incarnation> = []
    /// Proposals that nobody waits for any more and that may be applied all the same.
    var ghosts: [Command] = []
    /// When the leader heard each machine last.
    var contacts: [Int] = [0, 0, 0]
    /// What of the job's traffic a dump has, by its move.
    var dumped: [UInt64: [Int]] = [:]
    /// The machine to which frames for the job's address go first.
    var way = 0
    let hasFaults: Bool
    let hasAddress: Bool
    var isCalm = false
    var report = Report()

    /// Prepares a run; `origin` is any moment.
    ///
    /// `hasAddress`: the job has one of its own, to which frames are sent all the time.
    package init(
        seed: UInt64,
        mistake: Mistake? = nil,
        hasAddress: Bool = true,
        hasFaults: Bool = true,
        origin: ContinuousClock.Instant
    ) {
        (self.hasAddress, self.hasFaults) = (hasAddress, hasFaults)
        generator = SeededGenerator(seed: seed)
        self.mistake = mistake
        self.origin = origin
        machines = (0..<3).map { SimulatedMachine(number: $0) }
    }

    /// Runs to the end.
    package mutating func run(steps: Int = 600) -> Report {
        found()
        for step in 0..<steps where report.violation == nil { take(step) }
        calmDown()
        report.received = machines.flatMap(\.containers).last?.received ?? []
        return report
    }

    var now: Timestamp { Self.start + .seconds(clock) }
    var instant: ContinuousClock.Instant { origin + .seconds(clock) }
    var record: JobRecord? { truth.job(Self.job) }

    mutating func below(_ bound: Int) -> Int { Int(generator.next() % UInt64(max(1, bound))) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    mutating func tell(_ what: String) {
        report.trace.append("\(clock): \(what)")
        if report.trace.count > 60 { report.trace.removeFirst() }
    }

    // MARK: The cluster

    private mutating func found() {
        for machine in machines.indices { commit(registration(machine)) }
        let specification = JobSpecification(name: "job", kind: .batch, image: .rootFolder(path: "/r"))
        let user = UserID(rawValue: "ada")
        commit(.submit(Submission(id: Self.job, specification: specification, submitter: user, time: now)))
        for machine in machines.indices {
            machines[machine].lease = Self.leaseTime
            startAgent(machine)
        }
    }

    func registration(_ machine: Int) -> Command {
        .registerNode(
            NodeRegistration(
                node: machines[machine].node,
                member: machines[machine].member,
                site: SiteID(rawValue: "s"),
                address: "10.0.0.\(machine):7420",
                vcpus: 4,
                memory: .gibibytes(4),
                time: now
            )
        )
    }

    /// Puts a command into the log.
    @discardableResult
    mutating func commit(_ command: Command) -> Outcome {
        let before = record?.migration
        log.append(command)
        let outcome = truth.apply(command)
        if outcome.acceptance != nil { checkMove(command, before) }
        for numbered in outcome.acceptance?.decisions ?? [] {
            switch numbered.decision.kind {
            case .migrated where numbered.decision.sentence.hasPrefix("Moved"): report.moved += 1
            case .warned where numbered.decision.sentence.hasPrefix("The move"): report.keptRunning += 1
            case .restarted: report.restarts += 1
            default: break
            }
        }
        return outcome
    }

    private mutating func take(_ step: Int) {
        if chance(12) { clock += 1 }
        beat()
        if hasAddress, chance(30) { sendFrame() }
        switch below(100) {
        case 0..<40: answerSomething()
        case 40..<66: deliverProposal()
        case 66..<84: catchUp()
        case 84..<93: lead()
        case 93..<95: deliverGhost()
        default:
            // Most where it hurts most.
            let isBetween = record?.migration.map { $0.phase != .preparing } ?? false
            if hasFaults, !isCalm, chance(isBetween ? 60 : 15) { fail() }
        }
        check(step)
    }

    /// What goes on by itself: leases, shims, timers.
    mutating func beat() {
        for machine in machines.indices {
            if machines[machine].isReached, machines[machine].agent != nil {
                contacts[machine] = clock
                // An agent's right counts from when it has seen what was decided about it.
                if !hasFaults || machines[machine].agent?.applied == log.count,
                    truth.node(machines[machine].node)?.state == .active
                {
                    machines[machine].lease = clock + Self.leaseTime
                    machines[machine].agent?.hasAuthority = true
                }
            }
            if clock >= machines[machine].lease { machines[machine].killAll() }
            tick(machine)
        }
    }

    /// The leader's own work.
    private mutating func lead() {
        let lossTime = mistake == .declaresLostEarly ? 4 : Self.lossTime
        for machine in machines.indices {
            let record = truth.node(machines[machine].node)
            if record?.state == .active, clock - contacts[machine] > lossTime {
                tell("node \(machines[machine].node) is declared lost")
                commit(.nodeLost(node: machines[machine].node, reason: "silent", time: now))
            } else if record?.state == .lost, machines[machine].isReached, machines[machine].agent != nil,
                clock >= machines[machine].lease
            {
                commit(registration(machine))
            }
        }
        guard let record else { return }
        if record.state == .queued, record.notBefore.map({ $0 <= now }) ?? true {
            let node = machines[below(3)].node
            if record.assignedNode.map({ truth.node($0)?.state != .active }) ?? true {
                commit(.assign(job: Self.job, node: node, reason: "It fits.", time: now))
            }
        }
        if record.state == .running, record.migration == nil, !isCalm, chance(60) {
            let order = MigrationOrder(
                job: Self.job,
                to: machines[below(3)].node,
                by: nil,
                reason: "Somebody asked.",
                time: now
            )
            if commit(.beginMigration(order)).acceptance != nil { tell("moves to \(order.to)") }
        }
        if let migration = record.migration, !migration.isHandedOver, chance(isCalm || !hasFaults ? 0 : 8) {
            tell("the leader gives the move up")
            commit(
                .abortMigration(
                    job: Self.job,
                    number: migration.number,
                    reason: "It took too long.",
                    declinedBy: nil,
                    time: now
                )
            )
        }
    }

    private mutating func fail() {
        let machine = below(3)
        report.faults += 1
        switch below(18) {
        case 0...2:
            if machines[machine].agent != nil {
                tell("agent \(machine) is killed")
                stopAgent(machine)
            }
        case 3...5, 12...14:
            for machine in machines.indices where machines[machine].agent == nil && machines[machine].isUp {
                startAgent(machine)
            }
        case 6:
            tell("machine \(machine) crashes")
            machines[machine].crash()
            stopAgent(machine)
        case 7, 15:
            for machine in machines.indices where !machines[machine].isUp {
                machines[machine].isUp = true
                startAgent(machine)
            }
        case 8:
            tell("line of \(machine) is cut")
            machines[machine].isLinked = false
        case 9...10, 16...17: for machine in machines.indices { machines[machine].isLinked = true }
        default:
            tell("the leader crashes")
            contacts = contacts.map { _ in clock }
            // What was under way is unknown to whoever proposed it: applied, lost, or still on its way.
            for proposal in proposals where chance(50) { ghosts.append(proposal.command) }
            let lost = proposals
            proposals = []
            for proposal in lost { answerUnknown(proposal) }
        }
    }

    private mutating func deliverGhost() {
        guard !ghosts.isEmpty else { return }
        let ghost = ghosts.remove(at: below(ghosts.count))
        if commit(ghost).acceptance != nil { tell("a late proposal is applied: \(ghost.shortName)") }
    }

    private mutating func deliverProposal() {
        guard !proposals.isEmpty else { return }
        let proposal = proposals.remove(at: below(proposals.count))
        guard machines[proposal.machine].life == proposal.life else {
            // Its agent is gone; the proposal may be on its way all the same.
            if chance(50) { ghosts.append(proposal.command) }
            return
        }
        guard machines[proposal.machine].isReached else {
            if chance(20) { ghosts.append(proposal.command) }
            return answerUnknown(proposal)
        }
        switch isCalm || !hasFaults ? 0 : below(10) {
        case 0..<8:
            let outcome = commit(proposal.command)
            catchUp(proposal.machine, to: log.count)
            answer(proposal, outcome)
        case 8:
            // Applied, and the answer is lost.
            commit(proposal.command)
            answerUnknown(proposal)
        default:
            ghosts.append(proposal.command)
            answerUnknown(proposal)
        }
    }

    private mutating func catchUp() {
        let machine = below(3)
        guard machines[machine].isReached, let agent = machines[machine].agent, agent.applied < log.count else {
            return
        }
        catchUp(machine, to: agent.applied + 1 + below(log.count - agent.applied))
    }

    // MARK: What must hold

    /// Looks at what was just said of a move.
    private mutating func checkMove(_ command: Command, _ migration: Migration?) {
        guard let migration, let next = migration.next else { return }
        switch command {
        // Of that mistake it is the lesser evil.
        case .migrationFailed where ranInVain.contains(next) && mistake != .forgetsToCleanUp:
            report.violation =
                "the job goes back to \(migration.source) although \(next) has run on \(migration.destination)"
        case .migrationDrained:
            let isMissing = machines.contains { machine in
                machine.containers.contains { $0.incarnation == next && $0.lacksMemoryOf != nil }
            }
            if isMissing { report.violation = "\(migration.source) is let go while \(next) lacks its memory" }
        default: break
        }
    }

    private mutating func check(_ step: Int) {
        checkFrames(step)
        let running = machines.flatMap { machine in
            machine.containers.filter { !$0.isFrozen }.map { "\($0.incarnation) on \(machine.node)" }
        }
        guard running.count > 1 else { return }
        report.violation = "step \(step): \(running.sorted().joined(separator: " and ")) run at once"
    }

    /// Ends all faults and waits until the job runs.
    private mutating func calmDown() {
        guard report.violation == nil else { return }
        isCalm = true
        for machine in machines.indices {
            machines[machine].isUp = true
            machines[machine].isLinked = true
            if machines[machine].agent == nil { startAgent(machine) }
        }
        for step in 0..<6000 where report.violation == nil {
            take(1_000_000 + step)
            if isSettled { return }
        }
        guard report.violation == nil else { return }
        report.violation =
            "it never settled: \(record?.state.rawValue ?? "no job"), incarnation \(record?.incarnation.rawValue ?? 0) on "
            + "\(record?.node?.rawValue ?? "none"), move \(record?.migration.map { "\($0.number) \($0.phase)" } ?? "none"), containers "
            + machines.map { machine in
                "\(machine.node): \(machine.containers.map { "\($0.incarnation)\($0.isFrozen ? " frozen" : "")" }) \(machine.agent?.doing ?? "down")"
            }.joined(separator: "; ")
    }

    private var isSettled: Bool {
        guard let record, record.state == .running, record.migration == nil, ghosts.isEmpty, proposals.isEmpty else {
            return false
        }
        let all = machines.flatMap { machine in machine.containers.map { (machine.node, $0) } }
        return all.count == 1 && all[0].0 == record.node && all[0].1.incarnation == record.incarnation
            && !all[0].1.isFrozen && all[0].1.isOpen && all[0].1.hold == nil
            && machines.allSatisfy { $0.agent?.isIdle == true && $0.mark == nil }
    }
}

extension Command {
    /// The name of its case, for a trace.
    fileprivate var shortName: String { String("\(self)".prefix { $0 != "(" }) }
}
