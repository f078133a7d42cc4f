import ClusterModel
import Glibc
import LinuxSystem

/// What one round with one side brought.
struct GossipFigures {
    /// Until every agent had seen every other; the limit when that did not come to be.
    var join = 0.0
    /// Of each kill and each observer, in seconds.
    var known: [Double] = []
    /// Of each kill, until the last observer knew.
    var allKnown: [Double] = []
    /// Per agent and second at rest.
    var datagrams = 0.0
    var datagramBytes = 0.0
    var allBytes = 0.0
    /// Of a core, per agent at rest.
    var share = 0.0
    /// Resident bytes of an agent, mean of all.
    var memory = 0.0
    /// About agents that lived, while nothing disturbed them.
    var falseVerdicts = 0
    /// Without CPU; nil when this round did not try.
    var starved: Starvation?
}

/// What agents said of each other while the processors were taken from them.
struct Starvation {
    /// About agents with as much claim on a processor as everybody.
    var falseVerdicts = 0
    /// About those few that hardly ran: indeed not there, for seconds at a time.
    var starvedVerdicts = 0
    var suspicions = 0
}

/// One life of a group of agents of one side: started together, watched at rest, killed one by one, starved, ended.
final class GossipRound {
    /// How it is done.
    struct Plan {
        var count: Int
        var kills: Int
        var rest: Duration
        /// For how long the processors are taken away; nil leaves that out.
        var starvation: Duration?
    }

    private let side: any GossipSide
    private let plan: Plan
    private let context: BenchmarkContext
    private let room: NetworkRoom
    private let processes = ProcessSet()
    private let tail = LogTail()
    private var seen: [Set<Int>]
    private var ready: Set<Int> = []
    private var verdicts: [(time: ContinuousClock.Instant, observer: Int, subject: Int)] = []
    private var suspicions: [Int] = []
    private var dead: Set<Int> = []

    static let joinLimit = Duration.seconds(120)
    private static let killLimit = Duration.seconds(60)
    /// Processes that do nothing but use a processor, for each processor.
    private static let loopsPerProcessor = 8

    private init(_ side: any GossipSide, _ plan: Plan, _ context: BenchmarkContext) throws {
        (self.side, self.plan, self.context) = (side, plan, context)
        seen = Array(repeating: [], count: plan.count)
        room = try NetworkRoom(context.label)
    }

    /// Lives it; what it started ends with it, whatever happens.
    static func run(_ side: any GossipSide, _ plan: Plan, _ context: BenchmarkContext) async throws -> GossipFigures {
        let round = try GossipRound(side, plan, context)
        defer {
            round.processes.endAll()
            round.room.remove()
            side.remove()
        }
        return try await round.live()
    }

    private func live() async throws -> GossipFigures {
        var figures = GossipFigures()
        figures.join = try await join()
        // What follows a join is not rest: both sides exchange whole views then.
        try await watch(for: .seconds(5)) { false }
        try await rest(&figures)
        for _ in 0..<plan.kills { try await killOne(&figures) }
        figures.falseVerdicts = falseVerdicts
        if let time = plan.starvation { figures.starved = try await starve(for: time) }
        return figures
    }

    private var falseVerdicts: Int { verdicts.count { !dead.contains($0.subject) } }

    // MARK: Listening

    /// Listens until something is so or the time is over; says whether it came to be.
    @discardableResult
    private func watch(for limit: Duration, until isDone: () -> Bool) async throws -> Bool {
        let end = ContinuousClock.now + limit
        while true {
            let moment = ContinuousClock.now
            for (observer, line) in tail.newLines() {
                switch side.sighting(in: line) {
                case .joined(let number): seen[observer].insert(number)
                case .suspected(let number): suspicions.append(number)
                case .died(let number): verdicts.append((moment, observer, number))
                case .ready: ready.insert(observer)
                case nil: break
                }
            }
            if isDone() { return true }
            guard moment < end else { return false }
            try processes.requireAll(logs: side.logPath(of:))
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    // MARK: What happens

    private func start(_ number: Int) throws {
        try processes.start(number, room.inside(side.command(number)), log: side.logPath(of: number))
        try tail.add(number, side.logPath(of: number))
    }

    /// Starts the first, and when it is up all others at once; gives the time from then until all views are complete.
    private func join() async throws -> Double {
        try start(0)
        guard try await watch(for: .seconds(30), until: { ready.contains(0) }) else {
            throw BenchmarkFailure("\(side.logPath(of: 0)): the first agent is not up after 30 s")
        }
        let began = ContinuousClock.now
        for number in 1..<plan.count { try start(number) }
        let isComplete = try await watch(for: Self.joinLimit) {
            seen.indices.allSatisfy { seen[$0].subtracting([$0]).count == plan.count - 1 }
        }
        guard isComplete else {
            let missing = seen.indices.reduce(0) { $0 + plan.count - 1 - seen[$1].subtracting([$1]).count }
            say("  after \(Self.joinLimit.text) \(missing) of \(plan.count * (plan.count - 1)) sightings are missing\n")
            return Self.joinLimit.inSeconds
        }
        return began.duration(to: .now).inSeconds
    }

    private func rest(_ figures: inout GossipFigures) async throws {
        let pids = processes.pids.values
        func cpuTime() throws -> Double { try pids.reduce(0) { $0 + (try ProcessUse.cpuTime(of: $1).inSeconds) } }
        let (before, used, began) = (try room.traffic(), try cpuTime(), ContinuousClock.now)
        try await watch(for: plan.rest) { false }
        let traffic = try room.traffic() - before
        let share = began.duration(to: .now).inSeconds * Double(plan.count)
        figures.datagrams = traffic.datagrams / share
        // Without the headers of IP and UDP, as serf itself counts.
        figures.datagramBytes = (traffic.datagramBytes - 28 * traffic.datagrams) / share
        figures.allBytes = (traffic.datagramBytes + traffic.streamBytes) / share
        figures.share = (try cpuTime() - used) / share
        let resident = try pids.map { Double(try ProcessUse.residentBytes(of: $0).rawValue) }
        figures.memory = resident.reduce(0, +) / Double(plan.count)
    }

    private func killOne(_ figures: inout GossipFigures) async throws {
        let living = (0..<plan.count).filter { !dead.contains($0) }
        // Not the first one: serf's agents were all started through it.
        guard let victim = living.dropFirst().randomElement() else { return }
        dead.insert(victim)
        let killed = ContinuousClock.now
        processes.signal(victim, SIGKILL)
        try await processes.wait(victim)
        func knowing() -> [Int: ContinuousClock.Instant] {
            var first: [Int: ContinuousClock.Instant] = [:]
            for verdict in verdicts where verdict.subject == victim && !dead.contains(verdict.observer) {
                first[verdict.observer] = min(first[verdict.observer] ?? verdict.time, verdict.time)
            }
            return first
        }
        let observers = living.count - 1
        let isKnown = try await watch(for: Self.killLimit) { knowing().count == observers }
        let times = knowing().values.map { killed.duration(to: $0).inSeconds }
        if !isKnown { say("  after \(Self.killLimit.text) only \(times.count) of \(observers) know of a kill\n") }
        let unheard = Array(repeating: Self.killLimit.inSeconds, count: observers - times.count)
        figures.known += times + unheard
        figures.allKnown.append((times + unheard).max() ?? 0)
        try await watch(for: .seconds(1)) { false }
    }

    /// Takes the processors away: endless loops on all of them, and one agent in six has the least claim on what is left.
    private func starve(for time: Duration) async throws -> Starvation {
        let (heard, judged) = (suspicions.count, verdicts.count)
        let living = processes.pids.keys.sorted().dropFirst()
        let starved = Set(living.shuffled().prefix(max(1, plan.count / 6)))
        for number in starved {
            if let pid = processes.pids[number] { Self.humble(pid) }
        }
        let loops = ProcessSet()
        defer { loops.endAll() }
        for number in 0..<(Self.loopsPerProcessor * Machine.processorCount) {
            // The label is for the clean-up.
            let loop = ProgramCommand("sh", ["-c", "while :; do :; done", context.label], startsSession: true)
            try loops.start(number, loop, log: "/dev/null")
        }
        try await watch(for: time) { false }
        loops.endAll()
        // A verdict of that time may take a while to be heard of.
        try await watch(for: .seconds(10)) { false }
        let subjects = verdicts.dropFirst(judged).map(\.subject).filter { !dead.contains($0) }
        return Starvation(
            falseVerdicts: subjects.count { !starved.contains($0) },
            starvedVerdicts: subjects.count { starved.contains($0) },
            suspicions: suspicions.count - heard
        )
    }

    /// Gives all threads of a process, and its session where the kernel groups by them, the lowest priority.
    private static func humble(_ pid: Int32) {
        for name in (try? FileSystem.list("/proc/\(pid)/task")) ?? [] {
            if let thread = UInt32(name) { _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), thread, 19) }
        }
        try? FileSystem.writeValue("19", to: "/proc/\(pid)/autogroup")
    }
}
