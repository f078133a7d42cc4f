package import ClusterModel
package import QoS

/// What became of one application of a trace.
package struct TraceResult: Sendable, Codable, Equatable {
    /// Its name in the trace.
    package var application: String
    /// Node of each iteration, from 0.
    package var nodes: [Int]
    /// Seconds after submission.
    package var deadline: Double
    /// Seconds after submission; infinite when the replay ran out of time first.
    package var ended: Double
    /// Seconds; positive when late.
    package var late: Double { ended - deadline }
    /// Whether it ended in time; the very moment of the deadline counts.
    package var isMet: Bool { ended <= deadline }
    /// Mean seconds of an iteration, without its start.
    package var meanIteration: Double
    /// What `late` was in the publication, in seconds; nil where the trace does not say.
    package var published: Double?
}

/// Replays a trace on equal nodes under one policy, with the real controller once a second on every node.
package struct IterativeTraceRun: Sendable {
    package var trace: IterativeTrace
    package var policy: JobSpecification.Policy
    /// Equal nodes; at least 1.
    package var nodes = 5
    /// vCPUs of each node.
    package var capacity = 2.0
    /// Seconds that each start takes, during which the application uses no CPU.
    package var startOverhead = 45.0
    /// Whether an allocation is also a ceiling, as a container quota is; otherwise idle cycles stay usable.
    package var isCapped = false
    /// Whether each iteration starts on the node that has promised the least then, as Chronos and Mesos do it; otherwise an application
    /// stays where it was placed first.
    package var placesEachIteration = true
    /// Fraction of its plan that an application may be ahead before that counts as overprogress.
    package var maxOverprogress = 0.2
    package var configuration = QoSConfiguration()

    /// A replay as published: five nodes of two vCPUs, 45 s for each start.
    package init(trace: IterativeTrace, policy: JobSpecification.Policy) {
        self.trace = trace
        self.policy = policy
    }

    /// One node of the replay: its policy, its jobs, and what each of them needs of it.
    fileprivate struct Site {
        var controller: QoSController
        var node: NodeSimulator
        /// vCPUs promised to each application: what its deadline requires, or its share under `paper`.
        var promised: [JobID: Double] = [:]

        func load(without job: JobID) -> Double {
            node.residents.reduce(0) { sum, resident in
                let id = resident.job.declared.id
                return resident.ended == nil && id != job ? sum + (promised[id] ?? 1) : sum
            }
        }
    }

    /// Results in the order of the trace, and every decision in the order of time.
    package func run() -> (results: [TraceResult], decisions: [Decision]) {
        var sites = (0..<nodes).map { _ in
            Site(controller: QoSController(configuration: configuration), node: NodeSimulator(capacity: capacity))
        }
        var visited: [JobID: [Int]] = [:]
        var decisions: [Decision] = []
        for job in trace.applications.map(job) {
            let site = least(sites, for: job.declared.id, now: nil)
            sites[site].node.add(job, allocation: policy == .paper ? configuration.paperStart : 0)
            sites[site].promised[job.declared.id] =
                policy == .paper
                ? configuration.paperStart : job.declared.declaredCPUSeconds / (job.declared.deadline?.seconds ?? 1)
            visited[job.declared.id] = [site]
        }
        var (time, step) = (0.0, Double?.none)
        while time < limit, sites.contains(where: { $0.node.residents.contains { $0.ended == nil } }) {
            place(&sites, &visited)
            for index in sites.indices { decisions += sites[index].decide(step: step, isCapped: isCapped) }
            for index in sites.indices { sites[index].node.advance(1) }
            (time, step) = (time + 1, 1)
        }
        let residents = sites.flatMap(\.node.residents)
        let results = trace.applications.compactMap { application -> TraceResult? in
            guard let resident = residents.first(where: { $0.job.declared.id.rawValue == application.name }) else {
                return nil
            }
            let durations = resident.iterations.map(\.duration.inSeconds)
            return TraceResult(
                application: application.name,
                nodes: visited[resident.job.declared.id] ?? [],
                deadline: application.deadline,
                ended: resident.ended ?? .infinity,
                meanIteration: durations.reduce(0, +) / Double(max(1, durations.count)),
                published: application.published
            )
        }
        return (results, decisions)
    }

    /// Moves the applications that are about to start another iteration.
    private func place(_ sites: inout [Site], _ visited: inout [JobID: [Int]]) {
        for from in sites.indices {
            var index = 0
            while index < sites[from].node.residents.count {
                let resident = sites[from].node.residents[index]
                let id = resident.job.declared.id
                let isStarting = resident.ended == nil && resident.iterations.count >= visited[id, default: []].count
                guard isStarting else {
                    index += 1
                    continue
                }
                let target = placesEachIteration ? least(sites, for: id, now: from) : from
                visited[id, default: []].append(target)
                guard target != from else {
                    index += 1
                    continue
                }
                sites[target].node.insert(sites[from].node.remove(index))
                sites[target].promised[id] = sites[from].promised[id]
            }
        }
    }

    /// The node that has promised the least to others; the present one, then the first, when several have.
    private func least(_ sites: [Site], for job: JobID, now: Int?) -> Int {
        sites.indices.min { left, right in
            let (a, b) = (sites[left].load(without: job), sites[right].load(without: job))
            return abs(a - b) > 1e-9 ? a < b : (left == now ? -1 : left) < (right == now ? -1 : right)
        } ?? 0
    }

    /// The longest a replay may take, in seconds of virtual time: enough for every iteration at a tenth of one vCPU, one after the other.
    private var limit: Double {
        trace.applications.reduce(0) { $0 + Double($1.iterations) * (10 * $1.secondsAtOne + startOverhead) } + 1
    }

    private func job(_ application: IterativeTrace.Application) -> SimulatedJob {
        var view = JobView(id: JobID(rawValue: application.name), submitted: .epoch)
        view.policy = policy
        view.parallelism = 2
        view.maxOverprogress = maxOverprogress
        view.objective = .iterations(
            count: application.iterations,
            expected: .seconds(application.declared),
            startOverhead: .seconds(startOverhead),
            deadline: .seconds(application.deadline)
        )
        let segments = (0..<application.iterations).flatMap { _ in
            [
                SimulatedJob.Segment.wait(seconds: startOverhead),
                .iterationBegins,
                .compute(cpuSeconds: application.fixed, width: 1),
                .compute(cpuSeconds: application.divisible, width: 2),
                .iterationEnds,
            ]
        }
        return SimulatedJob(declared: view, segments: segments)
    }
}

extension IterativeTraceRun.Site {
    /// One second's decisions, carried out.
    fileprivate mutating func decide(step: Double?, isCapped: Bool) -> [Decision] {
        let active = node.residents.indices.filter { node.residents[$0].ended == nil }
        let allocations = controller.decide(
            jobs: active.map { node.view($0, step: step, tellsPressure: true) },
            capacity: VCPUCount(node.capacity),
            now: Timestamp(seconds: node.time)
        )
        for (index, allocation) in zip(active, allocations) {
            node.set(allocation: allocation.allocation.rawValue, of: index, isCeiling: isCapped)
            let isPaper = node.residents[index].job.declared.policy == .paper
            let need = isPaper ? allocation.allocation : (allocation.required ?? allocation.allocation)
            promised[allocation.job] = need.rawValue
        }
        return allocations.flatMap(\.decisions)
    }
}
