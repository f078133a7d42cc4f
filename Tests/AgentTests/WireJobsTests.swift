import ClusterModel
import ClusterState
import ControlMessages
import SwiftProtobuf
import Testing

@testable import Agent

/// Records as they travel: what people and programs read in lists, watches and explanations.
struct WireJobsTests {
    private static let start = Timestamp(seconds: 1_700_000_000)

    /// The record of one job after commands.
    private static func record(_ specification: JobSpecification, _ commands: [Command] = []) throws -> JobRecord {
        var state = ClusterState()
        let id = JobID(rawValue: "job1aaaaaaaa")
        let submission = Submission(id: id, specification: specification, submitter: Bench.user, time: start)
        for command in [.submit(submission)] + commands {
            if let refusal = state.apply(command).refusal { throw refusal }
        }
        return try #require(state.job(id))
    }

    private static let id = JobID(rawValue: "job1aaaaaaaa")
    private static let first = Incarnation(rawValue: 1)

    private static func run(until seconds: Int64, consumed: Duration, exit: ContainerExit?) -> [Command] {
        var commands: [Command] = [
            .begin(job: id, node: Bench.node, time: start + .seconds(1)),
            .started(job: id, incarnation: first, time: start + .seconds(2)),
        ]
        if let exit {
            commands.append(
                .exited(
                    job: id,
                    incarnation: first,
                    exit: exit,
                    consumed: consumed,
                    time: start + .seconds(seconds)
                )
            )
        }
        return commands
    }

    private static let urgent = Bench.specification("solver") {
        $0.objective = .cpuTime(amount: .seconds(40), frame: .seconds(100))
    }

    @Test func aJobShowsTheAddressOfItsOwnUntilItEnds() throws {
        let network = NodeNetwork(
            subnet: try #require(IPv4Prefix("10.42.0.0/16")),
            range: try #require(IPv4Range("10.42.0.7-10.42.0.9"))
        )
        let wanting = Bench.specification("own") { $0.network = .init() }
        #expect(try Self.record(wanting).wireSummary(standing: nil, now: Self.start).address.isEmpty)
        let begun = [
            Command.begin(job: Self.id, node: Bench.node, time: Self.start + .seconds(1), network: network)
        ]
        let running = try Self.record(wanting, begun)
        #expect(running.wireSummary(standing: nil, now: Self.start).address == "10.42.0.7/16")
        let ended = Command.exited(
            job: Self.id,
            incarnation: Self.first,
            exit: .exited(code: 0),
            consumed: nil,
            time: Self.start + .seconds(3)
        )
        let over = try Self.record(wanting, begun + [ended])
        #expect(over.wireSummary(standing: nil, now: Self.start).address.isEmpty)
    }

    @Test func aQueuedJobShowsWhoSubmittedItAndNothingThatIsNot() throws {
        let summary = try Self.record(Bench.specification("solver")).wireSummary(standing: nil, now: Self.start)
        #expect(summary.id == "job1aaaaaaaa")
        #expect(summary.name == "solver")
        #expect(summary.kind == "batch")
        #expect(summary.state == "queued")
        #expect(summary.user == "ada")
        #expect(summary.submittedUnixSeconds == 1_700_000_000)
        #expect(summary.startedUnixSeconds == 0)
        #expect(summary.deadlineUnixSeconds == 0)
        #expect(summary.condition == "")
        #expect(summary.progress == -1, "the work of a best-effort job is unknown")
        #expect(summary.node == "")
    }

    @Test func aRunningJobShowsItsNewestReadingsAndTheWordOfThePolicy() throws {
        let record = try Self.record(Self.urgent, Self.run(until: 0, consumed: .zero, exit: nil))
        var standing = JobStanding()
        standing.condition = "underprogress"
        standing.allocation = 0.75
        standing.usage = 0.5
        standing.memory = .mebibytes(12)
        standing.consumed = .seconds(10)
        standing.desired = .seconds(20)
        standing.predictedEnd = Self.start + .seconds(90)
        let summary = record.wireSummary(standing: standing, now: Self.start + .seconds(50))
        #expect(summary.state == "running")
        #expect(summary.node == "knot")
        #expect(summary.condition == "underprogress")
        #expect(summary.allocationVcpus == 0.75)
        #expect(summary.usageVcpus == 0.5)
        #expect(summary.memoryBytes == 12 << 20)
        #expect(summary.consumedCpuSeconds == 10)
        #expect(summary.desiredCpuSeconds == 20)
        #expect(summary.progress == 0.25)
        #expect(summary.deadlineUnixSeconds == 1_700_000_100)
        #expect(summary.slackSeconds == 10)
        // The deadline has passed, whatever the policy said before.
        #expect(record.wireSummary(standing: standing, now: Self.start + .seconds(101)).condition == "missed")
    }

    @Test(arguments: [(90, "met"), (100, "met"), (101, "missed")])
    func aJobThatCompletedMetItsDeadlineOrMissedIt(seconds: Int64, condition: String) throws {
        let record = try Self.record(
            Self.urgent,
            Self.run(until: seconds, consumed: .seconds(30), exit: .exited(code: 0))
        )
        let summary = record.wireSummary(standing: nil, now: Self.start + .seconds(500))
        #expect(summary.state == "completed")
        #expect(summary.condition == condition)
        #expect(summary.progress == 1)
        #expect(summary.slackSeconds == Double(100 - seconds))
        #expect(summary.allocationVcpus == 0)
        #expect(summary.usageVcpus == 0)
        #expect(summary.consumedCpuSeconds == 30)
    }

    @Test func aJobThatFailedInTimeMissedItsDeadline() throws {
        let record = try Self.record(Self.urgent, Self.run(until: 50, consumed: .seconds(30), exit: .exited(code: 1)))
        let summary = record.wireSummary(standing: nil, now: Self.start + .seconds(60))
        #expect(summary.state == "failed")
        #expect(summary.condition == "missed")
        #expect(summary.message.contains("exit code 1"))
    }

    @Test func anIterativeJobCountsItsIterations() throws {
        let record = try Self.record(
            Bench.iterative(count: 4),
            Self.run(until: 12, consumed: .seconds(8), exit: .exited(code: 0))
        )
        let summary = record.wireSummary(standing: nil, now: Self.start + .seconds(13))
        #expect(summary.kind == "iterative")
        #expect(summary.completedIterations == 1)
        #expect(summary.totalIterations == 4)
        #expect(summary.progress == 0.25)
        #expect(summary.incarnation == 2)
    }

    @Test func verdictsKeepTheirMeaning() {
        for verdict in AdmissionSummary.Verdict.allCases {
            var admission = AdmissionSummary(verdict: verdict, reason: "It fits.", required: 1.5, available: 2)
            admission.deadline = Self.start
            let wire = admission.wire
            let expected: WireAdmission.Verdict =
                switch verdict {
                case .feasible: .feasible
                case .feasibleAfterScaling: .feasibleAfterScaling
                case .infeasible: .infeasible
                case .bestEffort: .bestEffort
                }
            #expect(wire.verdict == expected)
            #expect(wire.reason == "It fits.")
            #expect(wire.requiredVcpus == 1.5 && wire.availableVcpus == 2)
            #expect(wire.deadlineUnixSeconds == 1_700_000_000)
            #expect(wire.predictedEndUnixSeconds == 0)
        }
    }

    /// A message after its way through bytes.
    private static func again<M: Message>(_ message: M) throws -> M {
        let bytes: [UInt8] = try message.serializedBytes()
        return try M(serializedBytes: bytes)
    }

    @Test func checkpointsDecisionsAndPointsKeepTheirNumbersThroughTheirBytes() throws {
        let entry = CatalogEntry(
            generation: .init(rawValue: 3),
            taken: Self.start,
            node: Bench.node,
            incarnation: Self.first,
            frozen: .milliseconds(25),
            total: .milliseconds(900),
            raw: .mebibytes(64),
            stored: .mebibytes(20),
            consumed: .seconds(12),
            completedIterations: 0
        )
        let checkpoint = try Self.again(entry.wire)
        #expect(checkpoint.generation == 3)
        #expect(checkpoint.frozenSeconds == 0.025)
        #expect(checkpoint.totalSeconds == 0.9)
        #expect(checkpoint.rawBytes == 64 << 20 && checkpoint.storedBytes == 20 << 20)
        #expect(checkpoint.cpuSeconds == 12)
        #expect(checkpoint.state == "complete" && checkpoint.node == "knot")

        let decision = Decision(
            time: Self.start,
            job: Self.id,
            kind: .resized,
            sentence: "More.",
            numbers: [.init(name: "slackSeconds", value: -2.5)]
        )
        let numbered = NumberedDecision(sequence: 7, decision: decision).wire(jobName: "solver")
        let told = try Self.again(numbered)
        #expect(told.sequence == 7 && told.kind == "resized" && told.sentence == "More.")
        #expect(told.jobName == "solver" && told.jobID == "job1aaaaaaaa")
        #expect(told.numbers == ["slackSeconds": -2.5])

        let sample = JobSample(
            job: Self.id,
            time: Self.start,
            consumed: .seconds(1),
            desired: .seconds(2),
            allocation: 0.5,
            usage: 0.25,
            memory: .bytes(99)
        )
        let point = try Self.again(sample.wire)
        #expect(point.consumedCpuSeconds == 1 && point.desiredCpuSeconds == 2)
        #expect(point.allocationVcpus == 0.5 && point.usageVcpus == 0.25 && point.memoryBytes == 99)
    }

    @Test(arguments: [
        (ContainerExit.exited(code: 3), "exit code 3"),
        (.signalled(number: 15, isOutOfMemory: false), "ended by signal 15"),
        (.signalled(number: 9, isOutOfMemory: true), "ended by the kernel: over its memory limit"),
        (.notStarted(reason: "no image"), "not started: no image"), (.lost, "lost: nobody saw it end"),
        (.fenced, "ended by its node, which was out of touch with the cluster"),
    ])
    func anExitIsASentence(exit: ContainerExit, sentence: String) {
        #expect(exit.sentence == sentence)
    }
}
