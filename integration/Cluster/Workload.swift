import ClusterModel
import ControlAPI
import ControlMessages
import LinuxSystem
import Transport

/// Many small jobs, submitted through all agents whatever happens to them, each again and again until it is acknowledged.
///
/// A job's program is `workloads/witness.c`, so that what is left of it on the disk tells when it lived, whatever the agents believe.
actor Workload {
    /// A job whose submission was acknowledged.
    struct Acknowledged: Sendable {
        var id: String
        var name: String
        /// Whether it completes by itself; else it has to be cancelled.
        var ends: Bool
        /// Whether it goes on where no leader is heard, so that two copies of it may run for a while.
        var continues: Bool
        var seconds: Double
        var time: ContinuousClock.Instant
        var took: Duration
        var attempts: Int
        /// Who acknowledged it.
        var agent: String
    }

    nonisolated let run: ScenarioRun
    nonisolated let cluster: AgentCluster
    private nonisolated let root: String
    private var generator: SeededGenerator
    private var number = 0
    private(set) var acknowledged: [Acknowledged] = []
    /// Names of jobs whose submission failed so that nobody knows whether it was carried out.
    private var doubtful: Set<String> = []
    private var submitters: [Task<Void, any Error>] = []
    private var isOver = false
    private var pause: Duration = .milliseconds(400)

    init(_ run: ScenarioRun, _ cluster: AgentCluster) async throws {
        (self.run, self.cluster, generator) = (run, cluster, run.generator())
        root = try await run.makeRoot()
    }

    // MARK: Submitting

    /// Begins to submit, three at a time at most; every eighth job takes long enough to be hit by something.
    func begin(jobsPerSecond: Double) {
        (isOver, pause) = (false, .seconds(3 / jobsPerSecond))
        submitters = (0..<3).map { _ in
            Task {
                while !isOver {
                    let began = ContinuousClock.now
                    number += 1
                    let seconds = number % 8 == 0 ? Double.random(in: 10...20, using: &generator) : 0.5
                    try await submit("load-\(number)", seconds: seconds)
                    let rest = pause - began.duration(to: .now)
                    if rest > .zero { try await Task.sleep(for: rest) }
                }
            }
        }
    }

    /// Ends when every submission that was begun is acknowledged.
    func finish() async throws {
        isOver = true
        for submitter in submitters { try await submitter.value }
        submitters = []
    }

    /// Submits until it is acknowledged, through one of some agents after the other; all attempts have the same key.
    @discardableResult
    func submit(
        _ name: String,
        seconds: Double,
        ends: Bool = true,
        continues: Bool = false,
        through agents: [AgentProcess]? = nil,
        within limit: Duration = .seconds(90)
    ) async throws -> Acknowledged {
        let agents = (agents ?? cluster.agents).shuffled(using: &generator)
        let document = try document(name, seconds: seconds, continues: continues)
        let began = ContinuousClock.now
        var attempts = 0
        let (id, agent) = try await run.eventually("an acknowledgement of \(name)", within: limit) {
            let agent = agents[attempts % agents.count]
            attempts += 1
            do {
                let id = try await agent.ask(connectingWithin: .seconds(2)) {
                    try await $0.submit(document, folder: "/", key: "key-\(name)", timeout: .seconds(4))
                }
                return (id, agent.name)
            } catch { throw Broken("\(agent.name): \(error)") }
        }
        let job = Acknowledged(
            id: id,
            name: name,
            ends: ends,
            continues: continues,
            seconds: seconds,
            time: .now,
            took: began.duration(to: .now),
            attempts: attempts,
            agent: agent
        )
        acknowledged.append(job)
        return job
    }

    /// What is submitted under a name; also makes the folder that its witness writes to.
    nonisolated func document(_ name: String, seconds: Double, continues: Bool = false) throws -> String {
        let folder = run.folder + "/jobs/" + name
        try FileSystem.createFolder(folder)
        return """
            name: \(name)
            image: {rootfs: \(root)}
            command: [/witness, /given/lives, "\(seconds)"]
            mounts: [{source: \(folder), target: /given}]
            resources: {cpus: 0.2, memory: 32MiB}
            \(continues ? "onPartition: continue" : "")
            """
    }

    /// Takes note that nobody knows whether a job was accepted.
    func mayExist(_ name: String) { doubtful.insert(name) }

    /// Acknowledged since a moment.
    func acknowledged(since moment: ContinuousClock.Instant) -> [Acknowledged] {
        acknowledged.filter { $0.time >= moment }
    }

    /// How often acknowledged jobs began, by what their processes left behind.
    nonisolated func record(of name: String) throws -> WitnessRecord {
        try WitnessRecord(file: "\(run.folder)/jobs/\(name)/lives")
    }

    // MARK: The end

    /// Cancels what does not end by itself and waits for the end of every job; then holds all that was acknowledged against what is there.
    ///
    /// An agent that was shut out for good has nobody to tell that its containers ended, so it keeps what is left of them, without a process.
    func settle(within limit: Duration = .seconds(120), without shutOut: AgentProcess? = nil) async throws {
        let began = ContinuousClock.now
        for job in acknowledged where !job.ends {
            try await run.eventually("the cancellation of \(job.name)") {
                try await anyAgent().ask { try await $0.cancel(job.id) }
            }
        }
        let ended = try await run.eventually("the end of all jobs", within: limit, every: .milliseconds(500)) {
            let all = try await anyAgent().ask { try await $0.allJobs() }
            let open = all.filter { $0.endedUnixSeconds == 0 }
            guard let one = open.first else { return all }
            throw Broken("\(open.count) have not ended; \(one.name) is \(one.state) on '\(one.node)': \(one.message)")
        }
        let known = Dictionary(uniqueKeysWithValues: ended.map { ($0.id, $0) })
        for job in acknowledged {
            guard let found = known[job.id] else {
                throw Broken("\(job.name), which \(job.agent) acknowledged as \(job.id), is gone")
            }
            let wanted = job.ends ? "completed" : "cancelled"
            try expect(
                found.state == wanted,
                "\(job.name) (\(job.id), last on \(found.node)) is \(found.state), not \(wanted): \(found.message)"
            )
        }
        let strangers = Set(known.values.filter { !doubtful.contains($0.name) }.map(\.id))
            .subtracting(acknowledged.map(\.id))
        try expect(
            strangers.isEmpty,
            "nobody was given these jobs: \(strangers.sorted().map { "\($0) (\(known[$0]?.name ?? ""))" })"
        )
        for agent in cluster.agents {
            _ = try await run.eventually("the end of all containers of \(agent.name)", within: .seconds(60)) {
                let names = try agent.containerNames()
                let isOver =
                    try agent === shutOut ? names.allSatisfy { try agent.processes(in: $0).isEmpty } : names.isEmpty
                if isOver { return true }
                throw Broken("there are \(names.sorted())")
            }
        }
        run.note(
            "all \(acknowledged.count) acknowledged jobs have ended as they should, \(began.duration(to: .now).text) after the last submission"
        )
    }

    private func anyAgent() -> AgentProcess {
        cluster.agents[Int.random(in: 0..<cluster.agents.count, using: &generator)]
    }

    /// Looks at what the jobs' own processes wrote: never two of one job at once, and none that completed without having lived.
    ///
    /// - Returns: how many jobs began more than once.
    @discardableResult
    func expectNoneRanTwiceAtOnce() throws -> Int {
        var (lives, again, unseen) = (0, 0, 0)
        var shortest: Duration?
        for job in acknowledged {
            let record = try record(of: job.name)
            lives += record.lives.count
            again += record.lives.count > 1 ? 1 : 0
            try expect(!job.ends || !record.lives.isEmpty, "\(job.name) completed and never lived")
            // Its node was away when it ended, so nobody could know.
            let complete = record.lives.count { Double($0.last - $0.first) / 1e9 > job.seconds - 0.15 }
            unseen += job.ends && complete > 1 ? 1 : 0
            guard !job.continues else { continue }
            for (gap, life) in zip(record.gaps, record.lives.dropFirst()) {
                try expect(
                    gap > .zero,
                    "\(job.name) (\(job.id)) ran twice at once: life \(life.id) began \(gap.text) after another's end"
                )
                shortest = min(shortest ?? gap, gap)
            }
        }
        run.note(
            "\(lives) lives of \(acknowledged.count) jobs, never two of one job at once; \(again) jobs began anew"
                + (shortest.map { ", after a pause of \($0.text) at least" } ?? "")
                + (unseen > 0 ? "; the end of \(unseen) was lost with their nodes" : "")
        )
        return again
    }

    /// One line about the acknowledgements since a moment.
    func summary(since moment: ContinuousClock.Instant) -> String {
        let jobs = acknowledged(since: moment)
        let took = jobs.map(\.took).sorted()
        guard let longest = took.last else { return "nothing acknowledged" }
        return
            "\(jobs.count) jobs acknowledged, half of them within \(took[took.count / 2].text), the slowest after \(longest.text)"
    }
}
