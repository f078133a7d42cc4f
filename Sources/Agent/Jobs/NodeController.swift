import Checkpointing
import ClusterModel
import ClusterState
import CoreMetrics
import ImageStore
import Logging
import Metrics
import QoS
import ResourceSamples
import Storage

/// What the node can give to containers, and how often it looks.
struct NodeControllerSettings: Sendable {
    /// vCPUs that containers share.
    var capacity: VCPUCount
    /// Memory that the limits of all containers together may promise.
    var memory: ByteCount
    /// Indexes of the GPU devices of this node.
    var devices: [Int]
    /// What containers with an address of their own get here; nil means that none can run.
    var network: NodeNetwork?
    /// Between two readings of the counters.
    var period: Duration = .seconds(1)
    /// Between two passes of the policy; events in between decide at once.
    var controlPeriod: Duration = .seconds(1)
    /// Between two points of a job's history.
    var recordPeriod: Duration = .seconds(1)
    /// Between two writes of history and ledgers.
    var historyPeriod: Duration = .seconds(5)
    /// Whether this node starts containers.
    var startsContainers = true
    /// Why there is no room on the disk for another container; nil when there is.
    ///
    /// ``StateDisk`` knows.
    var diskProblem: @Sendable () -> String? = { nil }
    /// Jobs that may have a container at once.
    var containerLimit = 1000
    /// Checkpoints that may be taken at once.
    var checkpointLimit = 2
    /// Whether jobs that give no interval get one by what checkpoints cost.
    var intervalByCost = false
    var checkpointLimits = CheckpointLimits()
    var restoreLimits = RestoreLimits()
    /// Waits before a failed write is tried again: at first, and doubled up to the second.
    var writeRetry: (first: Duration, maximum: Duration) = (.milliseconds(200), .seconds(10))
    /// Waits before a restore that lacked something is tried again, as `writeRetry`.
    var restoreRetry: (first: Duration, maximum: Duration) = (.seconds(1), .seconds(60))
    /// Wait before a container that could not be stopped is stopped again.
    var stopRetry: Duration = .seconds(2)
    /// How long an agent that stops waits for the checkpoints that it has called off.
    var checkpointPatience: Duration = .seconds(15)
    /// How long an agent that stops waits for the memory of restored containers, which end with it otherwise.
    var arrivalPatience: Duration = .seconds(20)

    init(capacity: VCPUCount, memory: ByteCount, devices: [Int] = []) {
        self.capacity = capacity
        self.memory = memory
        self.devices = devices
    }
}

/// Holds what should run on this node against what runs, and carries out the difference.
///
/// What should run is in the replicated state: `JobRecord.task` says what is to be done for a job. The controller does one thing
/// for a job at a time, reports what came of it as a command, and looks again; an agent that was killed in between does the same
/// from the records. Samples and predictions are all that it keeps for itself.
actor NodeController {
    let node: NodeID
    let replica: Replica
    let host: any ContainerHost
    let images: any CheckpointStore
    /// Where checkpoints come from that are on other nodes.
    let copies: any CopySource
    /// Where jobs come from that move here.
    let link: any MigrationLink
    /// Gives what is here of jobs that leave.
    let desk: MigrationDesk
    /// From the beginning: what changes between `open` and `run` concerns what `open` has begun.
    private let subscription: ChangeHub.Subscription
    /// Says that there may be retired checkpoints to be deleted: large files take their time, and nothing else waits for that.
    private let collecting = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let metrics: AgentMetrics
    let logger: Logger
    let settings: NodeControllerSettings
    /// Whether this node may run containers now.
    let fence: any Fence
    /// The wall clock, which people and records go by; it can be set back.
    let now: @Sendable () -> Timestamp
    /// The clock that periods are counted by; it never goes back.
    let steady: @Sendable () -> ContinuousClock.Instant
    /// Turns of submissions that ask for a share of the node, from the question whether they fit to the durable answer.
    nonisolated let submissions = TurnQueue()

    var qos: QoSController
    /// Containers that exist here; at most one for each job.
    var containers: [JobID: ContainerStatus] = [:]
    /// What is being done for a job.
    var operations: [JobID: Operation] = [:]
    /// What the last pass of the policy said.
    var standings: [JobID: JobStanding] = [:]
    /// What jobs hold of the node: each that was given a start, until it no longer may have a container.
    var claims: [JobID: Claim] = [:]
    /// Jobs whose checkpoint waits for others to end.
    var waitingCheckpoints: Set<JobID> = []
    /// Containers that run and whose memory has not arrived in full.
    var arrivals: [ContainerKey: Arrival] = [:]
    /// What went across of jobs whose move is about to be concluded.
    var arrivedBytes: [JobID: ByteCount] = [:]
    /// Jobs whose restore found that only this node's copy of the checkpoint is bad.
    var damagedHere: Set<JobID> = []
    /// Samples that are not written yet.
    var unwrittenSamples: [JobSample] = []
    var lastHistoryWrite: ContinuousClock.Instant?
    var lastHistoryPoint: ContinuousClock.Instant?
    var lastControlPass: ContinuousClock.Instant?
    /// What the policy was told last about the time, and when.
    var policyTime: (moment: Timestamp, at: ContinuousClock.Instant)?
    /// Jobs whose objective was seen to be granted.
    var grantsReported: Set<JobID> = []
    /// Set when a change could not be made durable; nil again after one could.
    private var writeProblem: String?
    /// Files that could not be deleted, of which people were told.
    private var removalsFailed: Set<JobGeneration> = []
    var isStopping = false

    /// A container, its last counters, and the limits that are written to its cgroup.
    struct ContainerStatus {
        var key: ContainerKey
        /// Newest last; the ones of the last five seconds.
        var recent: [CgroupSample] = []
        var allocation: VCPUCount
        var cpuLimit: VCPUCount?
        var memoryLimit: ByteCount?
        /// vCPU seconds that it could have used since its start: what the speed-up model relates its time to.
        var availableSeconds = 0.0
        var watchedSeconds = 0.0
        var isFrozen = false
        /// Whether it is being ended because this node may run nothing any more.
        var isFenced = false
        /// Why the last allocation, or a limit, is not in its cgroup; nil when all is.
        var allocationProblem: String?
        var limitsProblem: String?
        var exit: ContainerExit?
        var watch: Task<Void, Never>?
    }

    /// Memory and devices that are promised to a job.
    struct Claim: Equatable {
        var memory: ByteCount
        var devices: [Int]
    }

    /// Something that takes time, done for one job.
    struct Operation {
        /// What it is; the word goes into logs.
        enum Kind: String { case start, restore, stop, checkpoint, migrate, report }
        var kind: Kind
        /// Hears that the container ended, while a checkpoint is being taken.
        var containerEnded: (@Sendable () -> Void)?
        /// Ends it early, with the reason, where that is possible.
        var giveUp: (@Sendable (String) -> Void)?
        /// Hears of each change of the job's record.
        var recordChanged: (@Sendable (JobRecord?) -> Void)?
        /// Whether a container would stand still with nobody to thaw it if the agent ended now.
        var isUnsafeToLeave: (@Sendable () async -> Bool)?
    }

    /// Makes a controller that has not looked at anything yet; `open` does that, `run` keeps on.
    init(
        node: NodeID,
        replica: Replica,
        host: any ContainerHost,
        images: any CheckpointStore,
        qos: QoSConfiguration,
        hub: ChangeHub,
        metrics: AgentMetrics,
        settings: NodeControllerSettings,
        copies: any CopySource = NoCopies(),
        link: any MigrationLink = NoMigrations(),
        desk: MigrationDesk = MigrationDesk(bytesPerSecond: 0, facts: { _ in MigrationFacts() }),
        fence: any Fence = NoFence(),
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp,
        steady: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.node = node
        self.replica = replica
        self.host = host
        self.images = images
        self.copies = copies
        (self.link, self.desk) = (link, desk)
        self.qos = QoSController(configuration: qos)
        subscription = hub.subscribe()
        self.metrics = metrics
        self.settings = settings
        self.fence = fence
        self.logger = logger
        self.now = now
        self.steady = steady
    }

    /// Carries out what the records say and samples what runs, until the task is cancelled.
    func run() async {
        defer { subscription.end() }
        await withTaskGroup(of: Void.self) { group in
            group.addTask(name: "node.changes") {
                for await _ in self.subscription.changes { await self.reconcile(self.subscription.take()) }
            }
            group.addTask(name: "node.tick") { await self.tickUntilCancelled() }
            group.addTask(name: "node.fence") { await self.fenceUntilCancelled() }
            group.addTask(name: "node.retired") {
                for await _ in self.collecting.stream { await self.collectRetired(await self.replica.state) }
            }
            group.addTask(name: "node.retired.tick") { await self.collectUntilCancelled() }
            await group.waitForAll()
        }
        isStopping = true
        // A task of its own: this one is cancelled, and nothing could be waited for in it.
        await Task(name: "node.checkpoints.end") {
            async let checkpoints: Void = endCheckpoints()
            async let arrivals: Void = endArrivals()
            async let migrations: Void = endMigrations()
            _ = await (checkpoints, arrivals, migrations)
        }.value
        // Containers go on without this agent; what becomes of them is for the next one to see.
        for status in containers.values { status.watch?.cancel() }
        await writeHistory(at: now())
    }

    private func tickUntilCancelled() async {
        var next = ContinuousClock.now
        while !Task.isCancelled {
            await tick()
            next = max(next + settings.period, .now)
            try? await Task.sleep(until: next, clock: .continuous)
        }
    }

    /// Ends what this node has no right to run any more.
    ///
    /// Not with the samples: those wait for a leader to take them, and without one they wait for long.
    private func fenceUntilCancelled() async {
        while !Task.isCancelled {
            if fence.mustEnd { endFenced(await replica.state) }
            try? await Task.sleep(for: min(settings.period, .milliseconds(500)))
        }
    }

    /// Tries again to delete what could not be deleted: nothing else may change here for long.
    private func collectUntilCancelled() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: settings.period)
            collecting.continuation.yield()
        }
    }

    /// Looks at jobs and does what is to be done for each, unless something is being done for it already.
    func reconcile(_ jobs: [JobID]) async {
        let state = await replica.state
        for job in jobs {
            guard !isStopping else { return }
            let record = state.job(job)
            // Before all else: the destination asks as soon as it knows.
            desk.learn(record?.migration.flatMap { $0.source == node ? $0 : nil }, of: job)
            if let operation = operations[job] {
                operation.recordChanged?(record)
                // Whoever wants the job ended does not wait for its images.
                if record?.state == .stopping { operation.giveUp?("the job is being stopped") }
                continue
            }
            guard let record else {
                // Forgotten: nothing of it may stay.
                claims[job] = nil
                if let status = containers[job] { end(status.key, grace: .zero) }
                continue
            }
            if containers[job] == nil, !record.state.mayHaveContainer { claims[job] = nil }
            carryOut(record, state)
        }
        collecting.continuation.yield()
    }

    /// Whether what is to be done for a job is to be done here.
    func isHere(_ record: JobRecord) -> Bool {
        switch record.task {
        case .none: containers[record.id] != nil || record.node == node || record.node == nil
        case .wait: record.assignedNode == nil || record.assignedNode == node
        case .start, .restore, .receive, .run, .checkpoint, .stop: record.node == node
        }
    }

    private func carryOut(_ record: JobRecord, _ state: ClusterState) {
        let status = containers[record.id]
        if let migration = record.migration, let task = record.migrationTask(on: node),
            carryOut(task, record, migration)
        {
            return
        }
        guard isHere(record) else {
            // Another node's now: what is left of it here has no right to run.
            if let status {
                if status.exit == nil { end(status.key, grace: .zero) }
            } else {
                claims[record.id] = nil
            }
            standings[record.id] = nil
            return
        }
        switch record.task {
        case .none:
            if let status, status.exit == nil { end(status.key, grace: .zero) }
            if record.state.isFinal { forgetStanding(record) }
        case .wait:
            if let status {
                if status.exit == nil { end(status.key, grace: .zero) }
            } else {
                beginIfRoom(record, state)
            }
        case .start(let incarnation):
            if let status {
                // An older incarnation must be gone before the next one starts.
                if status.exit == nil { end(status.key, grace: .zero) }
            } else if fence.mayRun {
                start(record, ContainerKey(job: record.id, incarnation: incarnation))
            }
        case .restore(let incarnation, let generation):
            if let status {
                if status.exit == nil { end(status.key, grace: .zero) }
            } else if fence.mayRun {
                restore(record, ContainerKey(job: record.id, incarnation: incarnation), from: generation)
            }
        case .receive: break
        case .run(let incarnation):
            guard let status, status.key.incarnation == incarnation else {
                return reportLost(ContainerKey(job: record.id, incarnation: incarnation))
            }
            applyLimits(record)
        case .checkpoint(let incarnation, _):
            guard let status, status.key.incarnation == incarnation else {
                return reportLost(ContainerKey(job: record.id, incarnation: incarnation))
            }
            if status.exit == nil { checkpoint(record, status.key) }
        case .stop(let incarnation, let grace):
            guard let status, status.key.incarnation == incarnation else {
                return reportLost(ContainerKey(job: record.id, incarnation: incarnation))
            }
            if status.exit == nil { end(status.key, grace: grace) }
        }
    }

    /// Runs the body as the one operation of a job, then looks at the job again.
    func operate(_ kind: Operation.Kind, on job: JobID, _ body: @escaping @Sendable () async -> Void) {
        operations[job] = Operation(kind: kind)
        Task(name: "job.\(kind.rawValue)") {
            await body()
            operations[job] = nil
            var next = [job]
            if kind == .checkpoint {
                next += waitingCheckpoints.sorted()
                waitingCheckpoints = []
            }
            await reconcile(next)
        }
    }

    /// Proposes until it is durable: for what has happened and cannot be taken back.
    ///
    /// A disk that is full or broken keeps this waiting; what happened is also on record in the container's folder, so that an
    /// agent that is restarted finds it.
    @discardableResult
    func report(_ commands: [Command]) async -> [Outcome] {
        var wait = settings.writeRetry.first
        while true {
            do {
                let outcomes = try await replica.propose(commands)
                writeProblem = nil
                return outcomes
            } catch {
                writeProblem = "State cannot be written: \(error)"
                logger.error("state.write.failed", metadata: ["error": "\(error)", "retry": "\(wait.text)"])
            }
            do { try await Task.sleep(for: wait) } catch { return [] }
            wait = min(wait * 2, settings.writeRetry.maximum)
        }
    }

    func noteStorageProblem(_ problem: String?) { writeProblem = problem }

    /// What is wrong with the disk: that a change could not be made durable, or that no container has room.
    var storageProblem: String? { writeProblem ?? settings.diskProblem() }

    private func forgetStanding(_ record: JobRecord) {
        guard standings.removeValue(forKey: record.id) != nil else { return }
        grantsReported.remove(record.id)
        metrics.removeJob(name: record.specification.name)
        switch record.state {
        case .completed: metrics.jobsCompleted.increment()
        case .failed: metrics.jobsFailed.increment()
        default: break
        }
        switch Self.metDeadline(record) {
        case true?: metrics.deadlinesMet.increment()
        case false?: metrics.deadlinesMissed.increment()
        case nil: break
        }
    }

    /// Whether a job that has ended kept its deadline; nil when it has none, or was cancelled before that was settled.
    private static func metDeadline(_ record: JobRecord) -> Bool? {
        // An objective of CPU time can be granted long before the job ends, however it ends.
        if let known = record.metDeadline { return known }
        guard let deadline = record.deadline, let ended = record.ended, record.state != .cancelled else { return nil }
        return record.state == .completed && ended <= deadline
    }

    /// Deletes the files of checkpoints that nobody wants any more; what cannot be deleted now is tried again with the next change, and after each period.
    func collectRetired(_ state: ClusterState) async {
        guard !isStopping else { return }
        let retiring = state.retiringCheckpoints
        removalsFailed.formIntersection(retiring.map(JobGeneration.init))
        for (job, generation) in retiring where operations[job]?.kind != .restore {
            guard let entry = state.job(job)?.checkpoint(generation), entry.holders.contains(node) else { continue }
            let metadata: Logger.Metadata = ["job": "\(job)", "generation": "\(generation)"]
            do {
                try await images.remove(job: job, generation: generation)
                try await replica.propose(
                    entry.copies == nil
                        ? .checkpointRetired(job: job, generation: generation)
                        : .copyGone(job: job, generation: generation, node: node, time: now())
                )
            } catch let error as ImageStoreError where error.code == .busy {
                // Another node or a check reads it to the end: that happens every day.
                logger.debug("checkpoint.remove.postponed", metadata: metadata)
            } catch {
                // Once is enough for people: it may stay so for days.
                guard removalsFailed.insert(JobGeneration(job: job, generation: generation)).inserted else { continue }
                logger.warning(
                    "checkpoint.remove.failed",
                    metadata: metadata.merging(["error": "\(error)"]) { $1 }
                )
            }
        }
    }
}
