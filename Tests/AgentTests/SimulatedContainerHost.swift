import Checkpointing
import ClusterModel
import LinuxSystem
import ResourceSamples
import Synchronization

@testable import Agent

/// The containers of a node without a kernel: they exist, stand still, use CPU by the test's clock and end when the test says so.
///
/// Every step can be made to fail, once or always, or be held until the test lets it go on; what was done is kept in order.
final class SimulatedContainerHost: ContainerHost {
    /// What can be done with a container.
    enum Step: String, Sendable, CaseIterable {
        case adopt, start, restore, stop, remove, forget, setAllocation, setCPULimit, setMemoryLimit
        case prepareCheckpoint, freeze, thaw, dump, captureLayer, makeRestoreFolders, removeFolders
    }

    /// A container of the twin.
    struct Container: Sendable {
        var plan: ContainerPlan
        var weight: VCPUCount
        var quota: VCPUCount?
        var memoryLimit: ByteCount?
        /// vCPUs that it uses while it does not stand still.
        var appetite: Double = 1
        var consumed: Duration = .zero
        var since: ContinuousClock.Instant
        var memory: ByteCount = .mebibytes(100)
        var isFrozen = false
        var exit: ContainerExit?
        /// The images that it was made from.
        var images: String?
    }

    private struct State {
        var containers: [ContainerKey: Container] = [:]
        var failures: [Step: [String]] = [:]
        var permanentFailures: [Step: String] = [:]
        var gates: [Step: Gate] = [:]
        var journal: [String] = []
        var waiters: [ContainerKey: [UInt64: CheckedContinuation<ContainerExit, Never>]] = [:]
        var lastWaiter: UInt64 = 0
        var arriving: [ContainerKey: [CheckedContinuation<MemoryArrival?, Never>]] = [:]
        var found: [ContainerKey: [Int]] = [:]
        /// Containers that are left of a restore which did not get as far as running anything.
        var unborn: Set<ContainerKey> = []
        var hasLayer = true
        var forgotten: [JobID] = []
        var held: [ContainerKey: CheckpointFolders] = [:]
        var archived: Set<JobID> = []
    }

    /// A step that failed because the test said so.
    struct PlantedFailure: Error, CustomStringConvertible {
        var description: String
    }

    private let state = Mutex(State())
    private let clock: VirtualTime

    init(clock: VirtualTime) { self.clock = clock }

    // MARK: What a test plants and reads

    /// Makes the next calls of a step fail, one for each reason.
    func fail(_ step: Step, _ reasons: String...) {
        state.withLock { $0.failures[step, default: []] += reasons }
    }

    /// Makes a step fail until it is healed.
    func failAlways(_ step: Step, _ reason: String) { state.withLock { $0.permanentFailures[step] = reason } }

    func heal(_ step: Step) { state.withLock { $0.permanentFailures[step] = nil } }

    /// Holds a step until the gate is opened.
    func hold(_ step: Step) -> Gate {
        let gate = Gate()
        state.withLock { $0.gates[step] = gate }
        return gate
    }

    /// Everything that was done, as `step container`, with the value of a limit behind it.
    var journal: [String] { state.withLock { $0.journal } }

    func forgetJournal() { state.withLock { $0.journal = [] } }

    func container(_ key: ContainerKey) -> Container? { state.withLock { $0.containers[key] } }

    /// Containers that have not ended.
    var running: [ContainerKey] {
        state.withLock { $0.containers.filter { $0.value.exit == nil }.keys.sorted() }
    }

    var forgottenJobs: [JobID] { state.withLock { $0.forgotten } }

    func change(_ key: ContainerKey, _ body: (inout Container) -> Void) {
        let moment = clock.steady
        state.withLock { state in
            guard var container = state.containers[key] else { return }
            container.settle(at: moment)
            body(&container)
            state.containers[key] = container
        }
    }

    /// The writable layers of containers are empty from now on.
    func leaveLayersEmpty() { state.withLock { $0.hasLayer = false } }

    /// Puts a container there that the agent under test did not start.
    func plant(_ plan: ContainerPlan, consumed: Duration = .zero, isFrozen: Bool = false, exit: ContainerExit? = nil) {
        var container = Container(
            plan: plan,
            weight: plan.allocation,
            quota: plan.cpuLimit,
            memoryLimit: plan.memoryLimit,
            since: clock.steady
        )
        (container.consumed, container.isFrozen, container.exit) = (consumed, isFrozen, exit)
        state.withLock { state in
            state.containers[plan.key] = container
            state.found[plan.key] = plan.devices
        }
    }

    /// Puts there what is left of a restore that was cut short; `mayHaveRun` when that was so late that its processes may have run.
    func plantCutShort(_ plan: ContainerPlan, mayHaveRun: Bool) {
        plant(plan, exit: .lost)
        if !mayHaveRun { state.withLock { _ = $0.unborn.insert(plan.key) } }
    }

    /// Ends a container's first process.
    func end(_ key: ContainerKey, _ exit: ContainerExit) {
        let moment = clock.steady
        let waiting = state.withLock { state in
            guard var container = state.containers[key], container.exit == nil else {
                return [CheckedContinuation<ContainerExit, Never>]()
            }
            container.settle(at: moment)
            container.exit = exit
            container.isFrozen = false
            state.containers[key] = container
            return Array((state.waiters.removeValue(forKey: key) ?? [:]).values)
        }
        for waiter in waiting { waiter.resume(returning: exit) }
    }

    /// Takes a container away with everything that is known of it, as the crash of a machine does.
    func lose(_ key: ContainerKey) {
        end(key, .lost)
        state.withLock { $0.containers[key] = nil }
    }

    // MARK: Steps

    private func perform(_ step: Step, _ key: ContainerKey? = nil, _ detail: String = "") async throws {
        try note(step, key, detail)
        if let gate = state.withLock({ $0.gates[step] }) { try await gate.pass() }
    }

    private func note(_ step: Step, _ key: ContainerKey?, _ detail: String) throws {
        let failure: String? = state.withLock { state in
            state.journal.append(
                [step.rawValue, key.map { "\($0)" } ?? "", detail].filter { !$0.isEmpty }.joined(separator: " ")
            )
            if let always = state.permanentFailures[step] { return always }
            guard let planned = state.failures[step], !planned.isEmpty else { return nil }
            state.failures[step]?.removeFirst()
            return planned[0]
        }
        if let failure { throw PlantedFailure(description: failure) }
    }

    func adopt() async throws -> [FoundContainer] {
        try await perform(.adopt)
        return state.withLock { state in
            state.containers.sorted { $0.key < $1.key }.map { key, container in
                FoundContainer(
                    key: key,
                    state: container.exit.map { .ended($0) } ?? .running,
                    devices: container.plan.devices,
                    mayHaveRun: !state.unborn.contains(key)
                )
            }
        }
    }

    func start(_ plan: ContainerPlan) async throws {
        try await perform(.start, plan.key)
        try make(plan, images: nil)
    }

    func restore(_ plan: ContainerPlan, images: String, layer: String?, pages: (any PageSource)?) async throws {
        try await perform(.restore, plan.key, layer == nil ? "" : "with layer")
        try make(plan, images: images)
        if pages != nil { state.withLock { $0.arriving[plan.key] = [] } }
    }

    var lazyRestoreObstacle: String? { nil }

    func memoryArrival(of key: ContainerKey) async -> MemoryArrival? {
        await withCheckedContinuation { continuation in
            let isAwaited = state.withLock { state in
                guard state.arriving[key] != nil else { return false }
                state.arriving[key]?.append(continuation)
                return true
            }
            if !isAwaited { continuation.resume(returning: nil) }
        }
    }

    /// Ends the arrival of a container's memory.
    func endArrival(of key: ContainerKey, _ end: MemoryArrival.End) {
        let waiters = state.withLock { $0.arriving.removeValue(forKey: key) ?? [] }
        for waiter in waiters {
            waiter.resume(returning: MemoryArrival(end: end, bytes: .gibibytes(1), duration: .seconds(2)))
        }
    }

    private func make(_ plan: ContainerPlan, images: String?) throws {
        let others = running.filter { $0.job == plan.key.job }
        guard others.isEmpty else {
            throw PlantedFailure(description: "two incarnations at once: \(plan.key) beside \(others)")
        }
        var container = Container(
            plan: plan,
            weight: plan.allocation,
            quota: plan.cpuLimit,
            memoryLimit: plan.memoryLimit,
            since: clock.steady
        )
        container.images = images
        state.withLock { $0.containers[plan.key] = container }
    }

    func exit(of key: ContainerKey) async -> ContainerExit {
        let number = state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let known: ContainerExit? = state.withLock { state in
                    guard let container = state.containers[key] else { return .lost }
                    if let exit = container.exit { return exit }
                    if Task.isCancelled { return .lost }
                    state.waiters[key, default: [:]][number] = continuation
                    return nil
                }
                if let known { continuation.resume(returning: known) }
            }
        } onCancel: {
            state.withLock { $0.waiters[key]?.removeValue(forKey: number) }?.resume(returning: .lost)
        }
    }

    func stop(_ key: ContainerKey, grace: Duration) async throws {
        try await perform(.stop, key, "\(grace.text)")
        end(key, .signalled(number: grace > .zero ? 15 : 9, isOutOfMemory: false))
    }

    func remove(_ key: ContainerKey) async throws {
        try await perform(.remove, key)
        end(key, .signalled(number: 9, isOutOfMemory: false))
        state.withLock { state in
            state.containers[key] = nil
            state.archived.insert(key.job)
        }
    }

    func forget(_ job: JobID) async throws {
        try await perform(.forget)
        state.withLock { state in
            state.forgotten.append(job)
            state.archived.remove(job)
        }
    }

    func archivedJobs() async throws -> [JobID] { state.withLock { $0.archived.sorted() } }

    /// Puts output there of a job, known or not.
    func plantOutput(of job: JobID) { state.withLock { _ = $0.archived.insert(job) } }

    func sample(_ key: ContainerKey) -> CgroupSample? {
        let (time, moment) = (clock.now, clock.steady)
        return state.withLock { state in
            state.containers[key]?.settle(at: moment)
            return state.containers[key].map {
                CgroupSample(time: time, cpuTime: $0.consumed, memory: $0.memory, memoryPeak: $0.memory)
            }
        }
    }

    func setAllocation(_ allocation: VCPUCount, of key: ContainerKey) throws {
        try note(.setAllocation, key, "\(allocation)")
        change(key) { $0.weight = allocation }
    }

    func setCPULimit(_ limit: VCPUCount?, of key: ContainerKey) throws {
        try note(.setCPULimit, key, limit.map { "\($0)" } ?? "none")
        change(key) { $0.quota = limit }
    }

    func setMemoryLimit(_ limit: ByteCount, of key: ContainerKey) throws {
        try note(.setMemoryLimit, key, "\(limit)")
        change(key) { $0.memoryLimit = limit }
    }

    // MARK: Checkpoints

    func prepareCheckpoint(_ key: ContainerKey, specification: JobSpecification) async throws -> CheckpointFolders {
        try await perform(.prepareCheckpoint, key)
        return CheckpointFolders(root: "/memory/\(key)-checkpoint")
    }

    func freeze(_ key: ContainerKey) async throws {
        try await perform(.freeze, key)
        try existing(key) { $0.isFrozen = true }
    }

    func thaw(_ key: ContainerKey) async throws {
        try await perform(.thaw, key)
        change(key) { $0.isFrozen = false }
    }

    func dump(_ key: ContainerKey, into folders: CheckpointFolders, specification: JobSpecification) async throws {
        try await perform(.dump, key)
        try existing(key) { _ in }
        guard container(key)?.isFrozen == true else {
            throw PlantedFailure(description: "CRIU would dump a container that moves")
        }
        guard container(key)?.quota == nil else {
            throw PlantedFailure(description: "CRIU would be throttled by the container's quota")
        }
    }

    func captureLayer(_ key: ContainerKey, into folders: CheckpointFolders) async throws -> Bool {
        try await perform(.captureLayer, key)
        guard container(key)?.isFrozen == true else {
            throw PlantedFailure(description: "the layer of a container that moves would be captured")
        }
        return state.withLock { $0.hasLayer }
    }

    func makeRestoreFolders(_ key: ContainerKey) async throws -> CheckpointFolders {
        try await perform(.makeRestoreFolders, key)
        return CheckpointFolders(root: "/memory/\(key)-restore")
    }

    func removeFolders(_ folders: CheckpointFolders) async {
        try? await perform(.removeFolders)
        state.withLock { state in state.held = state.held.filter { $0.value.root != folders.root } }
    }

    func heldFolders(_ key: ContainerKey) -> CheckpointFolders? { state.withLock { $0.held[key] } }

    /// Leaves the dump of a move there, as an agent that was killed.
    func leaveHeld(_ key: ContainerKey) {
        state.withLock { $0.held[key] = CheckpointFolders(root: "/memory/\(key)-migration") }
    }

    private func existing(_ key: ContainerKey, _ body: (inout Container) -> Void) throws {
        guard container(key)?.exit == nil, container(key) != nil else {
            throw PlantedFailure(description: "the container \(key) is gone")
        }
        change(key, body)
    }
}

extension SimulatedContainerHost.Container {
    /// Takes the CPU time in that was used until now.
    mutating func settle(at moment: ContinuousClock.Instant) {
        if !isFrozen, exit == nil {
            let vcpus = min(appetite, quota?.rawValue ?? .infinity)
            consumed += .nanoseconds(Int64(since.duration(to: moment).inSeconds * vcpus * 1e9))
        }
        since = moment
    }
}

/// The time of a test: it stands still until the test moves it.
final class VirtualTime: Sendable {
    private let state = Mutex((moment: Timestamp(seconds: 1_700_000_000), steady: ContinuousClock.now))

    /// The wall clock.
    var now: Timestamp { state.withLock { $0.moment } }

    /// The clock that nobody can set.
    var steady: ContinuousClock.Instant { state.withLock { $0.steady } }

    func advance(_ duration: Duration) {
        state.withLock { $0 = ($0.moment + duration, $0.steady + duration) }
    }

    /// Sets the wall clock, as somebody does whose clock was wrong.
    func set(by duration: Duration) { state.withLock { $0.moment = $0.moment + duration } }
}

/// A place where a step waits until the test has seen it there and lets it go.
final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var arrivals = 0
        var waiting: [Int: CheckedContinuation<Void, any Error>] = [:]
        var spectators: [Int: (count: Int, continuation: CheckedContinuation<Void, Never>)] = [:]
        var last = 0
    }

    private let state = Mutex(State())

    /// Waits until the gate is opened; a task that is cancelled goes no further.
    func pass() async throws {
        let number = state.withLock { state in
            state.last += 1
            return state.last
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let (isOpen, spectators) = state.withLock { state in
                    state.arrivals += 1
                    let seen = state.spectators.filter { $0.value.count <= state.arrivals }
                    for number in seen.keys { state.spectators[number] = nil }
                    if !state.isOpen { state.waiting[number] = continuation }
                    return (state.isOpen, seen)
                }
                for spectator in spectators.values { spectator.continuation.resume() }
                if isOpen { return continuation.resume() }
                if Task.isCancelled { cancel(number) }
            }
        } onCancel: {
            cancel(number)
        }
    }

    private func cancel(_ number: Int) {
        state.withLock { $0.waiting.removeValue(forKey: number) }?.resume(throwing: CancellationError())
    }

    /// Waits until that many steps have come here, now or before; a test that is out of time waits no longer.
    func reached(_ count: Int = 1) async {
        let number = state.withLock { state in
            state.last += 1
            return state.last
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isThere = state.withLock { state in
                    if state.arrivals >= count || Task.isCancelled { return true }
                    state.spectators[number] = (count, continuation)
                    return false
                }
                if isThere { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.spectators.removeValue(forKey: number) }?.continuation.resume()
        }
    }

    /// How many steps have come here.
    var arrivals: Int { state.withLock { $0.arrivals } }

    /// Lets go whoever waits and whoever comes.
    func open() {
        let waiting = state.withLock { state in
            state.isOpen = true
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        for one in waiting { one.resume() }
    }
}
