import ClusterModel
import ClusterState
import ControlAPI
import ControlMessages
import Storage
import SwiftProtobuf
import TLS
import Testing
import Transport

@testable import Agent

/// What users may ask of an agent, and what they are told.
@Suite(.timeLimit(.minutes(5)))
struct ControlServiceTests {
    // MARK: Rights

    @Test func whoMayOnlyReadChangesNothing() async throws {
        try await ControlBench.with { control in
            let id = try await control.running()
            let solver = WireJobReference.named("solver")
            let failures = [
                await control.failure("eve", .read) {
                    _ = try await $0.jobSubmit(.document(ControlBench.job("other")))
                },
                await control.failure("eve", .read) { _ = try await $0.jobCancel(.with { $0.job = solver }) },
                await control.failure("eve", .read) { _ = try await $0.jobCheckpoint(.with { $0.job = solver }) },
                await control.failure("eve", .read) { _ = try await $0.jobRestore(.with { $0.job = solver }) },
                await control.failure("eve", .read) {
                    _ = try await $0.jobResize(
                        .with {
                            $0.job = solver
                            $0.vcpus = 1
                        }
                    )
                },
            ]
            #expect(failures.map { $0?.code } == [.forbidden, .forbidden, .forbidden, .forbidden, .forbidden])
            #expect(failures[0]?.message.contains("--right submit") == true)
            let record = try await control.bench.job(id)
            #expect(record.state == .running && record.request == nil && record.pinnedAllocation == nil)
            #expect(await control.bench.replica.state.jobCount == 1)
            #expect(control.bench.registry.render().contains("godwit_requests_refused_total 5.0\n"))
        }
    }

    @Test func whoMayOnlyReadSeesEverything() async throws {
        try await ControlBench.with { control in
            try await control.running()
            let solver = WireJobReference.named("solver")
            try await control.ask("eve", .read) { client in
                #expect(try await client.status().jobsRunning == 1)
                #expect(try await client.nodeList().nodes.map(\.name) == ["knot"])
                #expect(try await client.jobList(.init()).jobs.map(\.name) == ["solver"])
                #expect(try await client.jobShow(.with { $0.job = solver }).job.state == "running")
                #expect(try await client.jobExplain(.with { $0.job = solver }).decisions.isEmpty == false)
                let plan = try await client.jobPlan(.with { $0.document = .text(ControlBench.job("plan")) })
                #expect(plan.admission.verdict == .bestEffort)
                #expect(try await client.echo(.with { $0.payload = .init([1, 2]) }).payload.count == 2)
            }
        }
    }

    @Test func aUserActsOnOwnJobsAndAnAdministratorOnAll() async throws {
        try await ControlBench.with { control in
            try await control.running(user: "ada")
            let cancel = WireJobCancelRequest.with { $0.job = .named("solver") }
            let failure = await control.failure("bob", .submit) { _ = try await $0.jobCancel(cancel) }
            #expect(failure?.code == .forbidden)
            #expect(failure?.message == "job 'solver' belongs to ada; ask its owner or an administrator")
            let own = try await control.ask("ada", .submit) { try await $0.jobCancel(cancel) }
            #expect(own.state == "cancelled")
            try await control.running(ControlBench.job("second"), user: "ada")
            let other = try await control.ask("root", .admin) {
                try await $0.jobCancel(.with { $0.job = .named("second") })
            }
            #expect(other.state == "cancelled")
        }
    }

    // MARK: Submitting

    @Test func aSubmissionIsAcknowledgedWhenItIsDurableAndTheJobStarts() async throws {
        try await ControlBench.with { control in
            let id = try await control.running(ControlBench.job("solver", "resources: {memory: 1GiB}\n"))
            let record = try await control.bench.job(id)
            #expect(record.submitter == UserID(rawValue: "ada"))
            #expect(record.memoryLimit == .gibibytes(1))
            #expect(try await control.bench.store.load().entries.count >= 2)
            // The record names the same start that the submission was written with.
            #expect(record.incarnation.rawValue == 1)
        }
    }

    @Test func aRepeatedSubmissionFindsItsJobAndHoldsNoRoom() async throws {
        try await ControlBench.with { control in
            let request = WireJobSubmitRequest.document(
                ControlBench.job("solver", "resources: {memory: 3GiB}\n"),
                key: "once"
            )
            let first = try await control.ask { try await $0.jobSubmit(request) }
            try await control.bench.until(JobID(rawValue: first.id), "it runs") { $0.state == .running }
            let second = try await control.ask { try await $0.jobSubmit(request) }
            #expect(first.id == second.id)
            #expect(await control.bench.controller.claims.keys.map(\.rawValue) == [first.id])
            #expect(control.bench.registry.render().contains("godwit_jobs_submitted_total 1.0\n"))
        }
    }

    @Test func everyProblemOfADocumentComesWithItsPlace() async throws {
        try await ControlBench.with { control in
            let text = "name: Solver!\nimage: {rootfs: /r}\nresources: {memoy: 1GiB}\n"
            let failure = await control.failure { _ = try await $0.jobSubmit(.document(text)) }
            #expect(failure?.code == .invalid)
            #expect(failure?.message == "job.yaml has 2 problems")
            #expect(failure?.problems.map(\.place.line) == [1, 3])
            #expect(failure?.problems.last?.message.contains("'memory'") == true)
            let plan = await control.failure { _ = try await $0.jobPlan(.with { $0.document = .text(text) }) }
            #expect(plan?.problems.count == 2)
        }
    }

    @Test func aDeadlineThatCannotBeKeptIsRefusedUnlessItIsWanted() async throws {
        try await ControlBench.with { control in
            _ = try await control.bench.running(
                NodeControllerSamplingTests.deadline("first", cpuTime: 170, within: 100)
            )
            let text = ControlBench.job("late", "objective: {cpuTime: 100s, frame: 100s}\nresources: {cpus: 2}\n")
            let failure = await control.failure { _ = try await $0.jobSubmit(.document(text)) }
            #expect(failure?.code == .conflict)
            #expect(failure?.message.hasPrefix("the deadline of 'late' cannot be kept: ") == true)
            #expect(failure?.message.contains("--allow-infeasible") == true)
            #expect(await control.bench.replica.state.jobCount == 1)
            let plan = try await control.ask { try await $0.jobPlan(.with { $0.document = .text(text) }) }
            #expect(plan.admission.verdict == .infeasible)
            #expect(plan.node == "knot")
            #expect(await control.bench.replica.state.jobCount == 1, "a plan submits nothing")
            let reply = try await control.ask { try await $0.jobSubmit(.document(text, allowInfeasible: true)) }
            #expect(reply.admission.verdict == .infeasible)
        }
    }

    @Test func ofTwoSubmissionsAtOnceOnlyOneIsPromisedWhatIsLeft() async throws {
        try await ControlBench.with { control in
            // Each asks for 60 % of the node's two vCPUs.
            let more = "objective: {cpuTime: 120s, frame: 100s}\nresources: {cpus: 2}\n"
            let gate = control.bench.disk.hold()
            async let first = control.failure { _ = try await $0.jobSubmit(.document(ControlBench.job("a", more))) }
            await gate.reached()
            // The first one is not durable yet when the second one is asked about.
            async let second = control.failure { _ = try await $0.jobSubmit(.document(ControlBench.job("b", more))) }
            while control.bench.controller.submissions.waitingCount == 0 {
                try Task.checkCancellation()
                await Task.yield()
            }
            gate.open()
            let failures = await [first, second]
            #expect(failures[0] == nil)
            #expect(failures[1]?.code == .conflict)
            #expect(failures[1]?.message.hasPrefix("the deadline of 'b' cannot be kept: ") == true)
            #expect(await control.bench.replica.state.jobCount == 1)
        }
    }

    @Test func whatCanNeverRunHereIsRefused() async throws {
        try await ControlBench.with { control in
            let text = ControlBench.job("wide", "resources: {memory: 8GiB}\n")
            let failure = await control.failure { _ = try await $0.jobSubmit(.document(text)) }
            #expect(failure?.code == .invalid)
            #expect(failure?.message.contains("asks for 8 GiB of memory, and the node has 4 GiB") == true)
            let plan = try await control.ask { try await $0.jobPlan(.with { $0.document = .text(text) }) }
            #expect(plan.admission.verdict == .infeasible)
        }
    }

    @Test func aPlanSaysThatTheJobWouldWait() async throws {
        try await ControlBench.with { control in
            try await control.running(ControlBench.job("first", "resources: {memory: 3GiB}\n"))
            let plan = try await control.ask {
                try await $0.jobPlan(
                    .with { $0.document = .text(ControlBench.job("second", "resources: {memory: 2GiB}\n")) }
                )
            }
            #expect(plan.admission.reason.contains("Waits for memory"))
        }
    }

    @Test func aDiskThatIsFullIsToldAndNothingIsAcknowledged() async throws {
        try await ControlBench.with { control in
            control.bench.store.fail(with: [StorageError(.full, "no space left on the disk")])
            let failure = await control.failure { _ = try await $0.jobSubmit(.document(ControlBench.job())) }
            #expect(failure?.code == .exhausted)
            #expect(
                failure?.message == "the change was not made, nothing is lost: no space left on the disk"
            )
            #expect(await control.bench.replica.state.jobCount == 0)
            try await control.bench.unclaimed()
            // The next one is as if nothing had been.
            try await control.running()
        }
    }

    @Test func aNameIsTakenUntilItsJobHasEnded() async throws {
        try await ControlBench.with { control in
            try await control.running()
            let failure = await control.failure { _ = try await $0.jobSubmit(.document(ControlBench.job())) }
            #expect(failure?.code == .conflict)
            #expect(failure?.message.contains("The name 'solver' belongs to job") == true)
            #expect(await control.bench.controller.claims.count == 1)
        }
    }

    // MARK: Acting

    @Test func aCheckpointIsAnsweredWhenItIsThereAndARestoreWhenItRuns() async throws {
        try await ControlBench.with { control in
            try await control.running()
            await control.bench.advance(10)
            let stop = WireJobCheckpointRequest.with {
                $0.job = .named("solver")
                $0.stop = true
            }
            let taken = try await control.ask { try await $0.jobCheckpoint(stop) }
            #expect(taken.checkpoint.generation == 1)
            #expect(taken.checkpoint.cpuSeconds == 10)
            #expect(taken.checkpoint.state == "complete")
            let back = try await control.ask { try await $0.jobRestore(.with { $0.job = .named("solver") }) }
            #expect(back.generation == 1)
            #expect(back.message.hasPrefix("Restored from checkpoint 1"))
            let shown = try await control.ask { try await $0.jobShow(.with { $0.job = .named("solver") }) }
            #expect(shown.job.state == "running" && shown.job.incarnation == 2)
            #expect(shown.checkpoints.map(\.generation) == [1])
        }
    }

    @Test func aCheckpointThatFailsIsAnsweredWithItsReason() async throws {
        try await ControlBench.with { control in
            try await control.running()
            control.bench.host.fail(.prepareCheckpoint, "the job uses io_uring, which CRIU cannot dump")
            let failure = await control.failure {
                _ = try await $0.jobCheckpoint(.with { $0.job = .named("solver") })
            }
            #expect(failure?.code == .conflict)
            #expect(
                failure?.message == "no checkpoint was taken of 'solver': Checkpoint 1 failed: "
                    + "the job uses io_uring, which CRIU cannot dump"
            )
            let none = await control.failure { _ = try await $0.jobRestore(.with { $0.job = .named("solver") }) }
            #expect(none?.code == .conflict)
            #expect(none?.message.contains("it has no complete checkpoint") == true)
        }
    }

    @Test func aResizeIsAnsweredWhenTheCgroupIsWritten() async throws {
        try await ControlBench.with { control in
            let id = try await control.running()
            let reply = try await control.ask {
                try await $0.jobResize(
                    .with {
                        $0.job = .named("solver")
                        $0.vcpus = 0.5
                        $0.cpuLimitVcpus = 0.75
                        $0.memoryBytes = 64 << 20
                    }
                )
            }
            #expect(reply.allocationVcpus == 0.5)
            #expect(reply.message.hasPrefix("Resized by ada: "))
            let container = try #require(control.bench.host.container(control.bench.key(id)))
            #expect(container.weight == 0.5)
            #expect(container.quota == 0.75)
            #expect(container.memoryLimit == .mebibytes(64))
            let nothing = await control.failure { _ = try await $0.jobResize(.with { $0.job = .named("solver") }) }
            #expect(nothing?.code == .invalid)
        }
    }

    @Test(arguments: [SimulatedContainerHost.Step.setAllocation, .setCPULimit, .setMemoryLimit])
    func aResizeThatTheKernelRefusesIsAnsweredWithItsReason(step: SimulatedContainerHost.Step) async throws {
        try await ControlBench.with { control in
            let id = try await control.running(ControlBench.job("solver", "resources: {memory: 1GiB}\n"))
            let resize = WireJobResizeRequest.with {
                $0.job = .named("solver")
                $0.vcpus = 0.5
                $0.cpuLimitVcpus = 0.75
                $0.memoryBytes = 64 << 20
            }
            control.bench.host.failAlways(step, "device or resource busy")
            let failure = await control.failure { _ = try await $0.jobResize(resize) }
            #expect(failure?.code == .conflict)
            #expect(
                failure?.message.hasPrefix("'solver' was not resized: device or resource busy. ") == true
            )
            let claim = await control.bench.controller.claims[id]?.memory
            #expect(claim == (step == .setMemoryLimit ? .gibibytes(1) : .mebibytes(64)))
            // A warning for each refusal, not for each try.
            await control.bench.advance(3)
            let warnings = try await control.bench.sentences(id, .warned)
            #expect(warnings.count <= 1)
            control.bench.host.heal(step)
            _ = try await control.ask { try await $0.jobResize(resize) }
            let container = try #require(control.bench.host.container(control.bench.key(id)))
            #expect(container.weight == 0.5)
            #expect(container.quota == 0.75)
            #expect(container.memoryLimit == .mebibytes(64))
            #expect(await control.bench.controller.claims[id]?.memory == .mebibytes(64))
        }
    }

    @Test func aResizeToMoreMemoryThanTheNodeHasIsRefused() async throws {
        try await ControlBench.with { control in
            let id = try await control.running(ControlBench.job("solver", "resources: {memory: 1GiB}\n"))
            let failure = await control.failure {
                _ = try await $0.jobResize(
                    .with {
                        $0.job = .named("solver")
                        $0.memoryBytes = 5 << 30
                    }
                )
            }
            #expect(failure?.code == .invalid)
            #expect(
                failure?.message
                    == "'solver' cannot have 5 GiB of memory: the node has 4 GiB for jobs; ask for less"
            )
            #expect(try await control.bench.job(id).memoryLimit == .gibibytes(1))
            #expect(control.bench.host.container(control.bench.key(id))?.memoryLimit == .gibibytes(1))
        }
    }

    // MARK: Looking

    @Test func aJobThatIsNotThereIsNamedWithTheClosestOne() async throws {
        try await ControlBench.with { control in
            try await control.running()
            let failure = await control.failure { _ = try await $0.jobShow(.with { $0.job = .named("sovler") }) }
            #expect(failure?.code == .notFound)
            #expect(failure?.message.contains("Did you mean 'solver'?") == true)
            let state = await control.failure { _ = try await $0.jobList(.with { $0.states = ["sleeping"] }) }
            #expect(state?.code == .invalid)
            #expect(state?.message.contains("queued, starting") == true)
            let node = await control.failure { _ = try await $0.nodeShow(.with { $0.node = "dunlin" }) }
            #expect(node?.code == .notFound)
        }
    }

    @Test func listsShowWhatIsAskedFor() async throws {
        try await ControlBench.with { control in
            let ended = try await control.running(ControlBench.job("ended"))
            control.bench.host.end(control.bench.key(ended), .exited(code: 0))
            try await control.bench.until(ended, "it completed") { $0.state == .completed }
            control.bench.time.advance(.seconds(1))
            try await control.running(ControlBench.job("alive"))
            let (alive, all, completed) = try await control.ask { client in
                (
                    try await client.jobList(.init()), try await client.jobList(.with { $0.includeEnded = true }),
                    try await client.jobList(.with { $0.states = ["completed"] })
                )
            }
            #expect(alive.jobs.map(\.name) == ["alive"])
            #expect(all.jobs.map(\.name) == ["ended", "alive"])
            #expect(completed.jobs.map(\.name) == ["ended"])
        }
    }

    @Test func aWatchEndsWithItsJobAndTellsItsLastState() async throws {
        try await ControlBench.with { control in
            let id = try await control.running()
            try await control.ask { client in
                var states: [String] = []
                let watch = client.jobWatch(
                    .with {
                        $0.job = .named("solver")
                        $0.intervalMilliseconds = 100
                    }
                )
                for try await message in watch {
                    states += message.jobs.map(\.state)
                    if states.count == 1 {
                        #expect(message.decisions.isEmpty == false, "the first message tells what has led here")
                        control.bench.host.end(control.bench.key(id), .exited(code: 0))
                    }
                }
                #expect(states.first == "running")
                #expect(states.last == "completed")
            }
        }
    }

    @Test func outputIsReadAsAskedAndFollowedUntilTheJobHasEnded() async throws {
        try await ControlBench.with { control in
            let id = try await control.running()
            control.logs.write("one", "two")
            try await control.ask { client in
                var lines: [String] = []
                let stream = client.jobLogs(
                    .with {
                        $0.job = .named("solver")
                        $0.follow = true
                        $0.tailLines = 5
                        $0.noStderr = true
                    }
                )
                for try await message in stream {
                    lines += message.lines.map { String(decoding: $0.text, as: UTF8.self) }
                    control.bench.host.end(control.bench.key(id), .exited(code: 0))
                }
                #expect(lines == ["one", "two"])
            }
            let query = try #require(control.logs.queries.first)
            #expect(query.job == id && query.follows && query.tailLineCount == 5)
            #expect(query.includesOutput && !query.includesErrors)
        }
    }

    @Test func explanationsHoldTheDecisionsAndThePoints() async throws {
        try await ControlBench.with { control in
            try await control.running()
            await control.bench.advance(12)
            let story = try await control.ask { try await $0.jobExplain(.with { $0.job = .named("solver") }) }
            #expect(story.decisions.first?.kind == "admitted")
            #expect(story.decisions.contains { $0.kind == "started" })
            #expect(story.decisions.allSatisfy { $0.sentence.hasSuffix(".") && $0.jobName == "solver" })
            #expect(story.samples.count >= 5)
            #expect(
                zip(story.samples, story.samples.dropFirst()).allSatisfy { $0.timeUnixSeconds < $1.timeUnixSeconds }
            )
        }
    }

    @Test func theStatusNamesWhatIsWrongAndTheRemedy() async throws {
        let missing = CapabilityReport.absent(
            "runc",
            "not found",
            cost: "Containers cannot run.",
            remedy: "Install it with apt-get install runc.",
            isRequired: true
        )
        let optional = CapabilityReport.absent("tun", "not there", cost: "No overlay.", remedy: "Load tun.")
        try await ControlBench.with(capabilities: [missing, optional]) { control in
            try await control.running()
            control.bench.store.fail(with: [StorageError(.full, "no space left")])
            await control.bench.advance(5)
            let status = try await control.ask { try await $0.status() }
            #expect(
                status.problems == [
                    "State cannot be written: no space left",
                    "Containers cannot run. Install it with apt-get install runc.",
                ]
            )
            #expect(status.cluster == "flock" && status.leader == "knot" && status.capacityVcpus == 2)
            await control.bench.advance(5)
            #expect(await control.service.problems().count == 1)
        }
    }

    @Test func aNodeShowsItsFactsAndItsJobs() async throws {
        let criu = CapabilityReport.present("criu", "4.2")
        try await ControlBench.with(capabilities: [criu]) { control in
            try await control.running()
            await control.bench.advance(2)
            let shown = try await control.ask { try await $0.nodeShow(.init()) }
            #expect(shown.node.name == "knot" && shown.node.site == "coast" && shown.node.role == "worker")
            #expect(shown.node.kernel == "6.1.0" && shown.node.state == "alive")
            #expect(shown.node.usedVcpus == 1)
            #expect(shown.node.capabilities.map(\.name) == ["criu"])
            #expect(shown.node.memoryBytes > 0)
            #expect(shown.jobs.map(\.name) == ["solver"])
        }
    }

    @Test func aCheckpointThatBeginsWhileAMoveIsAskedForIsWaitedFor() async throws {
        try await ControlBench.with { control in
            let (bench, far) = (control.bench, NodeID(rawValue: "far"))
            let now = bench.time.now
            // Before there are several: with those, a leader would have to place it.
            let id = try await control.running()
            for (number, node) in [Bench.node, far].enumerated() {
                let registration = NodeRegistration(
                    node: node,
                    member: UInt64(number + 1),
                    site: SiteID(rawValue: "coast"),
                    address: "\(node):7420",
                    vcpus: 2,
                    memory: .gibibytes(4),
                    time: now
                )
                try await bench.propose(.registerNode(registration))
            }
            let record = try await bench.job(id)
            let gate = bench.disk.hold()
            let before = await bench.replica.lastIndex
            func logged(_ count: UInt64) async {
                while await bench.replica.lastIndex < before + count { await Task.yield() }
            }
            await bench.controller.checkpoint(record, bench.key(id))
            await logged(1)
            async let reply = control.ask {
                try await $0.jobMigrate(
                    .with {
                        $0.job = .named("solver")
                        $0.noWait = true
                    }
                )
            }
            await logged(2)
            // In the log the move comes after the checkpoint, which nobody could see who asked for it.
            gate.open()
            #expect(try await reply.to == "far")
            let after = try await bench.job(id)
            #expect(after.migration?.destination == far)
            #expect(after.newestGoodCheckpoint != nil)
        }
    }
}
