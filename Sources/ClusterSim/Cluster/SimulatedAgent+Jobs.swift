import ClusterModel
import ClusterState
import Raft

/// A container and its supervisor, which outlive the agent's process.
struct SimulatedContainer {
    enum Phase: Equatable {
        case creating, running, stopping
        case gone(ContainerExit)
    }

    let job: JobID
    let incarnation: Incarnation
    /// Never used again.
    let number: UInt64
    var phase = Phase.creating
    /// When the supervisor ends the container unless it hears otherwise; nil: it never does.
    var fence: ContinuousClock.Instant?
    /// Whether its supervisor has ended it, or is about to.
    var isFenced = false
    /// Whether a restarted agent has overlooked it.
    var isForgotten = false

    var isGone: Bool { if case .gone = phase { true } else { false } }
    var exit: ContainerExit? { if case .gone(let exit) = phase { exit } else { nil } }
}

/// What happens to a container.
enum ContainerStep {
    case created, done, fenced, killed
}

// MARK: The node's part

extension SimulatedAgent {
    /// What the agent does at short intervals.
    func beat() {
        if world.now % (4 * world.beatInterval) < world.beatInterval || authority.deadline == nil { askForAuthority() }
        register()
        control()
        lead()
        world.shutOut(at: self)
        drain()
        world.schedule(.beat(number, life: life), after: world.beatInterval)
    }

    /// Proposes a command unless the same was proposed a moment ago.
    func propose(_ command: Command, as what: String, every pause: Duration = .milliseconds(700)) {
        if let until = cooldowns[what], now < until { return }
        cooldowns[what] = now + pause
        let bytes = world.values.proposal(of: command, padding: 0)
        propose(bytes, for: .nobody)
    }

    var wall: Timestamp { clock.wall(at: world.now) }

    private func register() {
        if let record = machine.state.node(node), record.state == .active { return }
        let registration = NodeRegistration(
            node: node,
            member: member.rawValue,
            site: SiteID(rawValue: "site"),
            address: "\(node):7420",
            vcpus: 4,
            memory: .gibibytes(8),
            time: wall
        )
        propose(.registerNode(registration), as: "register")
    }

    /// Brings the containers to what the applied state says.
    func control() {
        for job in machine.state.liveJobs where job.node == node || job.assignedNode == node { carryOut(job) }
        for container in containers where !container.isForgotten {
            let record = machine.state.job(container.job)
            let isWanted =
                record.map {
                    $0.node == node && $0.incarnation == container.incarnation && $0.state.mayHaveContainer
                } ?? false
            if isWanted { continue }
            if container.isGone {
                containers.removeAll { $0.number == container.number }
            } else {
                kill(container.number)
            }
        }
        if bugs.contains(.fencesInAgentOnly), authority.deadline != nil, !authority.mayRun(at: now) {
            for container in containers { kill(container.number) }
        }
    }

    private func carryOut(_ job: JobRecord) {
        let own = containers.last { $0.job == job.id && $0.incarnation == job.incarnation && !$0.isForgotten }
        let what = "\(job.id) \(job.incarnation) "
        switch job.task {
        // These agents move nothing: `MigrationSimulation` is about that.
        case .none, .receive: break
        case .wait(let until):
            // Its last container may still be ending here.
            guard job.assignedNode == node, mayRun, until.map({ $0 <= wall }) ?? true,
                !containers.contains(where: { $0.job == job.id && !$0.isGone && !$0.isForgotten })
            else { return }
            propose(.begin(job: job.id, node: node, time: wall), as: what + "begin")
        case .start, .restore:
            guard job.node == node else { return }
            if let own {
                if own.phase == .running {
                    propose(.started(job: job.id, incarnation: job.incarnation, time: wall), as: what + "started")
                } else if let exit = own.exit {
                    report(exit, of: job)
                }
            } else if mayRun {
                let older = containers.last { $0.job == job.id && !$0.isForgotten }
                if let older, !older.isGone { return kill(older.number) }
                create(job)
            }
        case .run, .checkpoint:
            guard job.node == node else { return }
            if let own {
                if let exit = own.exit { report(exit, of: job) }
            } else {
                report(.lost, of: job)
            }
        case .stop:
            guard job.node == node else { return }
            if let own, !own.isGone { kill(own.number) } else { report(own?.exit ?? .lost, of: job) }
        }
    }

    private func report(_ exit: ContainerExit, of job: JobRecord) {
        propose(
            .exited(job: job.id, incarnation: job.incarnation, exit: exit, consumed: .milliseconds(10), time: wall),
            as: "\(job.id) \(job.incarnation) exited"
        )
    }

    // MARK: Containers

    private var deadlineForSupervisors: ContinuousClock.Instant? {
        bugs.contains(.ignoresFence) || bugs.contains(.fencesInAgentOnly) ? nil : authority.deadline
    }

    private func create(_ job: JobRecord) {
        world.lastContainer += 1
        var container = SimulatedContainer(job: job.id, incarnation: job.incarnation, number: world.lastContainer)
        container.fence = deadlineForSupervisors
        containers.append(container)
        scheduleFence(container)
        world.statistics.containers += 1
        world.noteCreated(on: number)
        let time = Int64.random(in: 5_000_000...150_000_000, using: &world.generator)
        world.schedule(.container(number, container.number, .created), after: time)
    }

    /// Tells the supervisors how long the authority lasts now.
    func renewFences() {
        guard let deadline = deadlineForSupervisors else { return }
        for index in containers.indices where !containers[index].isForgotten {
            guard let fence = containers[index].fence, fence < deadline else { continue }
            containers[index].fence = deadline
        }
    }

    private func scheduleFence(_ container: SimulatedContainer) {
        guard let fence = container.fence else { return }
        world.queue.push(.container(number, container.number, .fenced), at: max(world.now, clock.global(fence)))
    }

    private func kill(_ container: UInt64) {
        guard let index = containers.firstIndex(where: { $0.number == container }), !containers[index].isGone,
            containers[index].phase != .stopping
        else { return }
        containers[index].phase = .stopping
        // Frozen or dead within the time that fencing allows, on this machine's own clock.
        let longest = Int64(Double(world.fencing.stopTime.nanoseconds) * 0.9 / clock.rate)
        world.schedule(
            .container(number, container, .killed),
            after: Int64.random(in: 1_000_000...longest, using: &world.generator)
        )
    }

    /// What the machine does, whether or not the agent runs.
    func step(_ step: ContainerStep, of container: UInt64) {
        guard let index = containers.firstIndex(where: { $0.number == container }) else { return }
        let job = containers[index].job
        switch step {
        case .created:
            guard containers[index].phase == .creating else { return }
            if let fence = containers[index].fence, now >= fence { return containers[index].phase = .gone(.fenced) }
            containers[index].phase = .running
            world.checkers.noteRunning(
                job,
                containers[index].incarnation,
                on: number,
                container: container,
                at: world.now
            )
            world.mix(container)
            world.schedule(.container(number, container, .done), after: world.runTime())
        case .done:
            guard containers[index].phase == .running else { return }
            end(index, world.exit())
        case .fenced:
            guard let fence = containers[index].fence, !containers[index].isGone else { return }
            if now < fence { return scheduleFence(containers[index]) }
            world.statistics.fenced += 1
            containers[index].isFenced = true
            kill(container)
        case .killed:
            guard containers[index].phase == .stopping else { return }
            end(index, containers[index].isFenced ? .fenced : .lost)
        }
    }

    private func end(_ index: Int, _ exit: ContainerExit) {
        containers[index].phase = .gone(exit)
        world.checkers.noteStopped(containers[index].job, container: containers[index].number)
        world.mix(containers[index].number << 1)
    }

    /// The machine lost its power: what ran is gone without a trace, what had ended was written down.
    func loseContainers() {
        for container in containers where !container.isGone {
            world.checkers.noteStopped(container.job, container: container.number)
        }
        containers.removeAll { !$0.isGone }
    }
}
