import Checkpointing
import ClusterModel
import ClusterState
import Logging
import QoS
import Storage
import Synchronization
import Testing

@testable import Agent

/// One node under test: the real controller and replica between twins of disk, containers and checkpoints.
///
/// Nothing happens by itself but what follows from changes: time stands still until `advance`, and a pass over samples, the policy
/// and what is due runs when the test calls it.
final class Bench: Sendable {
    static let node = NodeID(rawValue: "knot")
    static let user = UserID(rawValue: "ada")

    let time = VirtualTime()
    let store: InMemoryStateStore
    /// The same store as the agent sees it: its writes can be held.
    let disk: HeldStateStore
    let host: SimulatedContainerHost
    let images = InMemoryCheckpointStore()
    let registry = MetricsRegistry()
    let metrics: AgentMetrics
    let settings: NodeControllerSettings
    private let agent = Mutex<RunningAgent?>(nil)
    private let lastJob = Mutex(0)

    /// An agent in between its start and its end.
    private struct RunningAgent {
        let replica: Replica
        let controller: NodeController
        let hub: ChangeHub
        let run: Task<Void, Never>
    }

    /// `change` sets what a node has or how it behaves.
    init(_ change: (inout NodeControllerSettings) -> Void = { _ in }) {
        var settings = NodeControllerSettings(capacity: 2, memory: .gibibytes(4))
        // The first tick comes with the start, every other one from the test.
        settings.period = .seconds(3600)
        settings.controlPeriod = .zero
        settings.recordPeriod = .zero
        settings.writeRetry = (.milliseconds(1), .milliseconds(1))
        settings.stopRetry = .milliseconds(1)
        settings.restoreRetry = (.milliseconds(1), .milliseconds(1))
        settings.checkpointLimits.thawBackoff = .milliseconds(1)
        change(&settings)
        self.settings = settings
        store = InMemoryStateStore()
        disk = HeldStateStore(store)
        host = SimulatedContainerHost(clock: time)
        metrics = AgentMetrics(registry: registry)
    }

    /// A bench whose agent runs.
    static func started(_ change: (inout NodeControllerSettings) -> Void = { _ in }) async throws -> Bench {
        let bench = Bench(change)
        try await bench.start()
        return bench
    }

    var replica: Replica { current.replica }
    var controller: NodeController { current.controller }
    var hub: ChangeHub { current.hub }

    private var current: RunningAgent {
        guard let agent = agent.withLock({ $0 }) else { preconditionFailure("no agent runs on this bench") }
        return agent
    }

    // MARK: The agent's life

    /// What the agent logged, one line for each message.
    let log = CapturedLog()

    var logger: Logger {
        let log = log
        return Logger(label: "test") { _ in log }
    }

    /// Starts an agent on what store and host hold, as a restart does; `meanwhile` is what others change before its controller runs.
    func start(meanwhile: [Command] = []) async throws {
        let replica = try await Replica(store: disk, metrics: metrics, logger: logger)
        let hub = ChangeHub()
        await replica.listen { jobs in hub.publish(jobs) }
        let time = time
        let controller = NodeController(
            node: Self.node,
            replica: replica,
            host: host,
            images: images,
            qos: QoSConfiguration(),
            hub: hub,
            metrics: metrics,
            settings: settings,
            logger: logger,
            now: { time.now },
            steady: { time.steady }
        )
        try await controller.open()
        if !meanwhile.isEmpty { try await replica.propose(meanwhile) }
        let run = Task(name: "bench.run") { await controller.run() }
        agent.withLock { $0 = RunningAgent(replica: replica, controller: controller, hub: hub, run: run) }
    }

    /// Ends the agent as a stop of the service does; containers go on.
    func stop() async {
        guard
            let ending = agent.withLock({ agent in
                defer { agent = nil }
                return agent
            })
        else { return }
        ending.run.cancel()
        await ending.run.value
    }

    func restart() async throws {
        await stop()
        try await start()
    }

    /// Writes history that an agent before left, while none runs.
    func write(_ commands: [Command]) async throws {
        let replica = try await Replica(store: store, metrics: metrics, logger: logger)
        for outcome in try await replica.propose(commands) {
            if let refusal = outcome.refusal { throw refusal }
        }
    }

    // MARK: Jobs

    static func specification(
        _ name: String = "job",
        _ change: (inout JobSpecification) -> Void = { _ in }
    ) -> JobSpecification {
        var specification = JobSpecification(name: name, kind: .batch, image: .rootFolder(path: "/r"))
        specification.command = ["work"]
        change(&specification)
        return specification
    }

    /// An iterative job of `count` iterations.
    static func iterative(_ name: String = "job", count: Int) -> JobSpecification {
        specification(name) { specification in
            specification.kind = .iterative
            specification.objective = .iterations(
                count: count,
                expected: .seconds(10),
                startOverhead: .seconds(1),
                deadline: .seconds(3600)
            )
        }
    }

    func newID() -> JobID {
        let number = lastJob.withLock { number in
            number += 1
            return number
        }
        return JobID(rawValue: "job\(number)aaaaaaaa")
    }

    /// Submits a job and returns its identity.
    @discardableResult
    func submit(_ specification: JobSpecification = specification()) async throws -> JobID {
        let id = newID()
        try await propose(submission(id, specification))
        return id
    }

    func submission(_ id: JobID, _ specification: JobSpecification = specification()) -> Command {
        .submit(Submission(id: id, specification: specification, submitter: Self.user, time: time.now))
    }

    /// Submits a job and waits until it runs.
    func running(_ specification: JobSpecification = specification()) async throws -> JobID {
        let id = try await submit(specification)
        try await until(id, "it runs") { $0.state == .running }
        return id
    }

    @discardableResult
    func propose(_ command: Command) async throws -> Acceptance {
        switch try await replica.propose(command) {
        case .accepted(let acceptance): return acceptance
        case .refused(let refusal): throw refusal
        }
    }

    /// The container of an incarnation.
    func key(_ job: JobID, _ incarnation: UInt32 = 1) -> ContainerKey {
        ContainerKey(job: job, incarnation: Incarnation(rawValue: incarnation))
    }

    func job(_ id: JobID) async throws -> JobRecord {
        try #require(await replica.state.job(id), "job \(id) is forgotten")
    }

    /// Waits until a job's record is as expected; the test's own time limit ends a wait in vain.
    @discardableResult
    func until(_ id: JobID, _ what: String, _ isTrue: (JobRecord) -> Bool) async throws -> JobRecord {
        let subscription = hub.subscribe()
        defer { subscription.end() }
        if let record = await replica.state.job(id), isTrue(record) { return record }
        for await _ in subscription.changes {
            if let record = await replica.state.job(id), isTrue(record) { return record }
        }
        throw SimulatedContainerHost.PlantedFailure(description: "never came true: \(what)")
    }

    /// Waits until nothing is being done any more.
    func quiet() async {
        while await !controller.operations.isEmpty, !Task.isCancelled { await Task.yield() }
    }

    /// Waits until a job's container is known to be gone and nothing is being done for it.
    func gone(_ id: JobID) async {
        while await controller.isBusy(with: id), !Task.isCancelled { await Task.yield() }
    }

    /// Waits until the room that was kept for a job is free again, which the next pass sees to at the latest.
    func released(_ id: JobID) async {
        while await controller.claims[id] != nil, !Task.isCancelled {
            await controller.tick()
            await Task.yield()
        }
    }

    /// Moves time second by second, with a pass after each.
    func advance(_ seconds: Int) async {
        for _ in 0..<seconds {
            time.advance(.seconds(1))
            await controller.tick()
        }
    }

    /// What was decided for a job, as the agent shows it, or as the disk has it while none runs.
    func decisions(of id: JobID) async throws -> [NumberedDecision] {
        if let running = agent.withLock({ $0 }) {
            return try await running.replica.decisions(of: id, limit: 1000)
        }
        return try await store.decisions(of: id, after: 0, limit: 1000)
    }

    /// The sentences of what was decided for a job.
    func sentences(_ id: JobID, _ kind: Decision.Kind? = nil) async throws -> [String] {
        try await decisions(of: id)
            .filter { kind == nil || $0.decision.kind == kind }.map(\.decision.sentence)
    }

    /// Waits until a decision of a kind was made for a job.
    func untilTold(_ id: JobID, _ kind: Decision.Kind) async throws {
        while try await sentences(id, kind).isEmpty {
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    /// Waits until no job holds anything of the node, which is a moment after its container has gone.
    func unclaimed() async throws {
        while await !controller.claims.isEmpty {
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    /// Takes a checkpoint that lets the job run on, and waits for it.
    func checkpoint(_ id: JobID, stops: Bool = false) async throws {
        let before = try await job(id).lastGeneration
        try await propose(.requestCheckpoint(job: id, stops: stops, by: Self.user, time: time.now))
        try await until(id, "a checkpoint is there") { record in
            record.catalog.contains { $0.generation > before && $0.state == .complete }
                && record.state == (stops ? .suspended : .running)
        }
        await quiet()
    }
}

/// Keeps every line that is logged, as the agent's own handler would write it.
final class CapturedLog: LogHandler {
    private let lines = Mutex<[String]>([])
    private let format = StructuredLogHandler(label: "test", level: .trace, format: .text) { "now" }

    var text: String { lines.withLock { $0.joined() } }

    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }
        let line = format.textLine(level: event.level, message: event.message.description, fields: fields)
        lines.withLock { $0.append(line) }
    }
}

extension NodeController {
    /// Whether a job has a container here, or something is being done for it.
    func isBusy(with job: JobID) -> Bool { containers[job] != nil || operations[job] != nil }
}
