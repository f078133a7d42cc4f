package import ClusterModel
package import ClusterState
import QoS

/// What the leader does when a node cannot keep its deadlines, or a job with a deadline finds no room: the cheapest way that helps.
///
/// Within a node its agent moves vCPUs between jobs all the time, so what is left here costs more: a job goes to another node, with a pause
/// and the transfer of its memory, or a job without a deadline ends with a checkpoint and waits until there is room again. Ways are
/// compared by kind, then by the pause. What the plan remembers is only since when there is trouble; a new leader waits that long anew.
package struct RescuePlan: Sendable {
    /// One thing to be done.
    package struct Step: Sendable, Equatable {
        /// What becomes of the job.
        package enum Way: Sendable, Equatable {
            /// It goes on at this node.
            case move(to: NodeID)
            /// It ends with a checkpoint and waits; another job gets its place.
            case preempt(for: JobID)
        }

        package var job: JobID
        package var way: Way
        /// One sentence: what is the trouble, what is done, and what it costs.
        package var reason: String

        /// Takes the values as they are.
        package init(job: JobID, way: Way, reason: String) { (self.job, self.way, self.reason) = (job, way, reason) }
    }

    /// How long there must be trouble before something is done; default 5 s, since a forecast may be wrong for a moment.
    package var patience: Duration
    /// How long a job has run at least before it is disturbed; default 60 s, so that none is sent to and fro.
    package var stay: Duration
    /// The part of a move's pause that does not depend on size, as long as no move was measured; default 1 s.
    package var pause: Duration
    /// What dump, transfer and restore of a job manage together, as long as no move was measured; default 100 MiB/s.
    package var bytesPerSecond: Int64
    /// What a job is taken to have in memory that has neither a checkpoint nor a limit; default 1 GiB.
    package var assumedSize: ByteCount

    /// Waiting jobs that are looked at in one go, the earliest deadlines first: each is held against every node.
    private static let waitingLimit = 16

    private let migrations = MigrationPlan()
    private var troubleSince: [Trouble: Timestamp] = [:]
    /// Of the present call, when something is to be done.
    private var forecast: PauseForecast?

    private enum Trouble: Hashable {
        case node(NodeID)
        case job(JobID)
    }

    /// A node with what can be done about its jobs.
    private struct Scene {
        var view: NodeView
        var jobs: [(record: JobRecord, candidate: PlacementCandidate)] = []
        /// Whether a job is about to leave it already.
        var isBeingHelped = false
    }

    /// What one call looks at.
    private struct Situation {
        let state: ClusterState
        let now: Timestamp
        var scenes: [Scene]
    }

    /// A way with what decides about it, smaller is better.
    private struct Option {
        var steps: [Step]
        /// CPU seconds that still have no room afterwards, 0 when all deadlines are kept.
        var excess: Double
        var preemptions: Int
        var pause: Duration

        func isBetter(than other: Option) -> Bool {
            (excess, preemptions, pause, steps.count, steps.first?.job.rawValue ?? "")
                < (
                    other.excess, other.preemptions, other.pause, other.steps.count,
                    other.steps.first?.job.rawValue ?? ""
                )
        }
    }

    /// Takes the values as they are.
    package init(
        patience: Duration = .seconds(5),
        stay: Duration = .seconds(60),
        pause: Duration = .seconds(1),
        bytesPerSecond: Int64 = 100 << 20,
        assumedSize: ByteCount = .gibibytes(1)
    ) {
        (self.patience, self.stay, self.pause) = (patience, stay, pause)
        (self.bytesPerSecond, self.assumedSize) = (max(1, bytesPerSecond), assumedSize)
    }

    /// What to do now.
    ///
    /// - Parameters:
    ///   - state: as of the last applied command.
    ///   - suspects: nodes to which nothing goes now, and from which nothing is asked.
    ///   - now: the present moment.
    /// - Returns: at most one way for each node or waiting job in trouble; nothing while an earlier one is being carried out there.
    package mutating func steps(_ state: ClusterState, suspects: Set<NodeID> = [], now: Timestamp) -> [Step] {
        forecast = nil
        var situation = Situation(
            state: state,
            now: now,
            scenes: Self.scenes(of: state, suspects: suspects, now: now)
        )
        var steps: [Step] = []
        var inTrouble: Set<Trouble> = []
        for index in situation.scenes.indices {
            let excess = Self.excess(situation.scenes[index].jobs.map(\.candidate), on: situation.scenes[index].view)
            guard excess > 0 else { continue }
            let trouble = Trouble.node(situation.scenes[index].view.record.node)
            inTrouble.insert(trouble)
            guard isDue(trouble, at: now), !situation.scenes[index].isBeingHelped else { continue }
            learn(from: state)
            if let option = relief(of: index, excess: excess, situation) { take(option, &steps, &situation.scenes) }
        }
        let waiting = state.liveJobs.filter { record in
            record.state == .queued && record.assignment == nil && record.deadline.map { $0 > now } == true
                && record.notBefore.map { $0 <= now } ?? true
        }.sorted { ($0.deadline ?? now, $0.id) < ($1.deadline ?? now, $1.id) }
        for record in waiting.prefix(Self.waitingLimit) {
            let job = PlacementCandidate(record, now: now)
            guard job.demand != nil else { continue }
            guard !situation.scenes.contains(where: { Obstacle.first(to: job, on: $0.view) == nil }) else { continue }
            let trouble = Trouble.job(record.id)
            inTrouble.insert(trouble)
            guard isDue(trouble, at: now) else { continue }
            learn(from: state)
            if let option = room(for: record, job, situation) { take(option, &steps, &situation.scenes) }
        }
        troubleSince = troubleSince.filter { inTrouble.contains($0.key) }
        return steps
    }

    private static func scenes(of state: ClusterState, suspects: Set<NodeID>, now: Timestamp) -> [Scene] {
        var scenes = NodeView.all(of: state, suspects: suspects, now: now).map { Scene(view: $0) }
        let places = Dictionary(scenes.enumerated().map { ($1.view.record.node, $0) }) { first, _ in first }
        for record in state.liveJobs {
            guard let node = record.state.mayHaveContainer ? record.node : record.assignedNode, let index = places[node]
            else { continue }
            let candidate = PlacementCandidate(record, now: now)
            let origin = scenes[index].view.record
            scenes[index].jobs.append((record, record.state.mayHaveContainer ? candidate.leaving(origin) : candidate))
            let isLeaving = record.migration != nil || record.request?.isMovingAway == true || record.state == .stopping
            if isLeaving { scenes[index].isBeingHelped = true }
        }
        return scenes
    }

    private mutating func isDue(_ trouble: Trouble, at now: Timestamp) -> Bool {
        let since = min(troubleSince[trouble] ?? now, now)
        troubleSince[trouble] = since
        return now - since >= patience
    }

    private func take(_ option: Option, _ steps: inout [Step], _ scenes: inout [Scene]) {
        steps += option.steps
        for step in option.steps {
            for index in scenes.indices where scenes[index].jobs.contains(where: { $0.record.id == step.job }) {
                scenes[index].isBeingHelped = true
                // Another node's trouble must not count on the same room.
                if case .move(let node) = step.way,
                    let candidate = scenes[index].jobs.first(where: { $0.record.id == step.job })?.candidate,
                    let target = scenes.firstIndex(where: { $0.view.record.node == node })
                {
                    scenes[target].view.add(candidate)
                }
            }
        }
    }

    /// CPU seconds of deadlines for which a node has no room; what is out of reach even alone counts for nothing, since no move of others helps it.
    private static func excess(_ jobs: [PlacementCandidate], on view: NodeView) -> Double {
        let capacity = view.record.vcpus.rawValue
        let free = capacity - jobs.reduce(0) { $0 + ($1.pinned?.rawValue ?? 0) }
        var demands = jobs.compactMap(\.demand).map { demand in
            FluidDemand(work: demand.work, deadline: demand.deadline, limit: min(demand.limit, capacity))
        }
        demands.removeAll { $0.work > $0.limit * $0.deadline }
        guard !demands.isEmpty, capacity > 0 else { return 0 }
        demands.sort { $0.deadline < $1.deadline }
        return FluidSchedule.latest(demands, capacity: max(free, 0.05 * capacity)).excess
    }

    // MARK: A node with too many deadlines

    /// The best move of one of its jobs to a node that keeps its deadline, pause included; nil when none makes it better.
    private func relief(of index: Int, excess: Double, _ situation: Situation) -> Option? {
        let scene = situation.scenes[index]
        var best: Option?
        for (place, job) in scene.jobs.enumerated()
        where job.candidate.demand != nil && mayMove(job.record, situation.now) {
            var others = scene.jobs.map(\.candidate)
            others.remove(at: place)
            let left = Self.excess(others, on: scene.view)
            let pause = pause(of: job.record)
            guard left < excess, let delayed = job.candidate.paused(for: pause.duration) else { continue }
            guard let target = target(for: delayed, of: job.record, from: index, situation) else { continue }
            let size = size(of: job.record)
            let option = Option(
                steps: [
                    Step(
                        job: job.record.id,
                        way: .move(to: target),
                        reason: "Node \(scene.view.record.node) cannot keep all its deadlines, "
                            + "\(excess.text(decimals: 0)) CPU s have no room there whatever the allocations are. This job "
                            + "moves to node \(target), which keeps its deadline: the cheapest way, with a pause of about "
                            + "\(pause.duration.text)\(pause.source) for \(size)."
                    )
                ],
                excess: left,
                preemptions: 0,
                pause: pause.duration
            )
            if best.map({ option.isBetter(than: $0) }) ?? true { best = option }
        }
        return best
    }

    /// The node that would be chosen for a job if it were not where it is, provided that its deadline and those there are kept.
    ///
    /// None that has declined the job, or takes part in as many moves as it may.
    private func target(
        for job: PlacementCandidate,
        of record: JobRecord,
        from index: Int,
        _ situation: Situation
    ) -> NodeID? {
        var views = situation.scenes.map(\.view)
        views.remove(at: index)
        if let declined = record.failedMigrations?.nodes { views.removeAll { declined.contains($0.record.node) } }
        var budget = Placement.exactLimit
        guard let selection = Placement.select(job, among: views, exactBudget: &budget), selection.keepsDeadline else {
            return nil
        }
        let node = views[selection.index].record.node
        return migrations.isBusy(node, situation.state) ? nil : node
    }

    // MARK: A job with a deadline that waits

    /// The cheapest way to make room for a job on one node where only memory or devices are missing.
    private func room(for record: JobRecord, _ job: PlacementCandidate, _ situation: Situation) -> Option? {
        let scenes = situation.scenes
        var best: Option?
        for index in scenes.indices {
            switch Obstacle.first(to: job, on: scenes[index].view) {
            case .memory, .devices: break
            default: continue
            }
            // Somebody is leaving: perhaps for this job.
            if scenes[index].isBeingHelped { return nil }
            guard let option = room(for: record, job, on: index, situation) else { continue }
            if best.map({ option.isBetter(than: $0) }) ?? true { best = option }
        }
        return best
    }

    private func room(
        for record: JobRecord,
        _ job: PlacementCandidate,
        on index: Int,
        _ situation: Situation
    ) -> Option? {
        let (scene, now) = (situation.scenes[index], situation.now)
        let node = scene.view.record
        var missing = (
            memory: job.memory.rawValue - (node.memory.rawValue - scene.view.memory.rawValue),
            devices: job.devices - (node.deviceCount - scene.view.deviceCount)
        )
        // The least weight first, then who frees most, so that few are disturbed.
        let candidates = scene.jobs.filter {
            $0.candidate.isBestEffort && $0.record.specification.weight <= record.specification.weight
                && (mayMove($0.record, now) || mayYield($0.record, now))
        }.sorted { left, right in
            let (first, second) = (left.record.specification.weight, right.record.specification.weight)
            if first != second { return first < second }
            if left.candidate.memory != right.candidate.memory { return left.candidate.memory > right.candidate.memory }
            return left.record.id < right.record.id
        }
        func helps(_ victim: PlacementCandidate) -> Bool {
            (missing.memory > 0 && victim.memory > .zero) || (missing.devices > 0 && victim.devices > 0)
        }
        var option = Option(steps: [], excess: 0, preemptions: 0, pause: .zero)
        var left = scene.jobs.map(\.candidate)
        for victim in candidates where missing.memory > 0 || missing.devices > 0 {
            guard helps(victim.candidate) else { continue }
            let target =
                mayMove(victim.record, now)
                ? target(for: victim.candidate, of: victim.record, from: index, situation) : nil
            guard target != nil || mayYield(victim.record, now) else { continue }
            missing.memory -= victim.candidate.memory.rawValue
            missing.devices -= victim.candidate.devices
            left.removeAll { $0.id == victim.record.id }
            let pause = pause(of: victim.record)
            option.steps.append(
                Step(
                    job: victim.record.id,
                    way: target.map { .move(to: $0) } ?? .preempt(for: record.id),
                    reason: "\(record.specification.name) (\(record.id)) waits with a deadline and needs the room that "
                        + "this job has on node \(node.node) without one. "
                        + (target.map { "It moves to node \($0), with a pause of about \(pause.duration.text)." }
                            ?? "It ends with a checkpoint and goes on from that when there is room again.")
                )
            )
            if target == nil { option.preemptions += 1 }
            option.pause = max(option.pause, pause.duration)
        }
        guard missing.memory <= 0, missing.devices <= 0, !option.steps.isEmpty else { return nil }
        // What is freed must be worth it.
        guard let delayed = job.paused(for: option.pause) else { return nil }
        guard let demand = delayed.demand, demand.work <= min(demand.limit, node.vcpus.rawValue) * demand.deadline
        else {
            return nil
        }
        guard Self.excess(left + [delayed], on: scene.view) <= Self.excess(left, on: scene.view) else { return nil }
        return option
    }

    // MARK: What it costs

    /// The commands that carry steps out: `beginMigration` and `preempt`, in the order of the steps.
    package static func commands(_ steps: [Step], now: Timestamp) -> [Command] {
        steps.map { step in
            switch step.way {
            case .move(let node):
                .beginMigration(MigrationOrder(job: step.job, to: node, by: nil, reason: step.reason, time: now))
            case .preempt(let other):
                .preempt(job: step.job, yieldsTo: other, reason: step.reason, time: now)
            }
        }
    }

    private func mayMove(_ record: JobRecord, _ now: Timestamp) -> Bool {
        hasStayed(record, now) && MigrationPlan.obstacle(to: record) == nil && record.mayMigrate(at: now)
    }

    private func mayYield(_ record: JobRecord, _ now: Timestamp) -> Bool {
        hasStayed(record, now) && record.migration == nil && record.mayMoveAway(at: now)
    }

    private func hasStayed(_ record: JobRecord, _ now: Timestamp) -> Bool {
        record.incarnationStarted.map { now - $0 >= stay } ?? false
    }

    private func size(of record: JobRecord) -> ByteCount {
        let moved = record.lastMove.flatMap { $0.isLazy ? nil : $0.bytes }
        return record.newestGoodCheckpoint?.raw ?? moved ?? record.memoryLimit ?? assumedSize
    }

    private mutating func learn(from state: ClusterState) {
        guard forecast == nil else { return }
        forecast = PauseForecast(state.jobs, base: pause, bytesPerSecond: bytesPerSecond)
    }

    /// How long the job stands still, about.
    private func pause(of record: JobRecord) -> PauseForecast.Pause {
        let forecast = forecast ?? PauseForecast([], base: pause, bytesPerSecond: bytesPerSecond)
        return forecast.pause(of: record, size: size(of: record))
    }
}
