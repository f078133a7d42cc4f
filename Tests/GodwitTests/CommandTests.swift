import ControlMessages
import FoundationEssentials
import SwiftProtobuf
import Synchronization
import Testing

@testable import godwit

/// Commands from their arguments to their exit status.
struct CommandTests {
    private func failure(_ code: WireFailure.Code, _ message: String) -> CommandFailure {
        CommandFailure(.with { ($0.code, $0.message) = (code, message) })
    }

    @Test func everyFailureOfAnAgentHasItsStatus() async {
        let expected: [(WireFailure.Code, godwit.ExitStatus)] = [
            (.invalid, .failure), (.notFound, .notFound), (.conflict, .failure), (.forbidden, .forbidden),
            (.unavailable, .unreachable), (.deadlineExceeded, .timedOut), (.cancelled, .failure),
            (.exhausted, .failure),
            (.unimplemented, .failure), (.internal, .failure),
        ]
        for (code, status) in expected {
            let run = await execute("job", "show", "x", agent: ScriptedAgent().fail(failure(code, "no\nway.")))
            #expect(run.status == status, "\(code)")
            #expect(run.diagnostics == "godwit: no way.\n" && run.output.isEmpty)
        }
    }

    @Test func wrongUsageEndsWithTwoAndOneLine() async {
        let wrong: [([String], String)] = [
            (["job", "show"], "godwit: missing expected argument '<job>'; see 'godwit job show --help'\n"),
            (["job", "lst"], "godwit: unexpected argument 'lst'; see 'godwit job --help'\n"),
            (
                ["job", "show", "x", "--wach"],
                "godwit: unknown option '--wach'. Did you mean '--watch'?; see 'godwit job show --help'\n"
            ),
            (
                ["job", "resize", "x", "--cpus", "1", "--auto"],
                "godwit: --cpus pins the allocation and --auto frees it; give one of them; see 'godwit job resize --help'\n"
            ),
            (
                ["job", "cancel", "x", "--grace", "10"],
                "godwit: the value '10' is invalid for '--grace <duration>': write a number and a unit: 250ms, 10s, 5min, 2h, 1d, "
                    + "or a sum like 1h30min; see 'godwit job cancel --help'\n"
            ),
        ]
        for (arguments, message) in wrong {
            let run = await execute(arguments)
            #expect(run.status == .usage && run.output.isEmpty)
            #expect(run.diagnostics == message)
        }
    }

    @Test func noAgentEndsWithFive() async {
        let nobody = CommandFailure(.unreachable, "no agent answers at 127.0.0.1:7420: connection refused")
        let run = await execute("status", unreachable: nobody)
        #expect(run.status == .unreachable)
        #expect(run.diagnostics == "godwit: no agent answers at 127.0.0.1:7420: connection refused\n")
    }

    @Test func globalOptionsReachTheConnection() async {
        let agent = ScriptedAgent().answer(Scene.status)
        let run = await execute(
            "--agent",
            "a:1",
            "--timeout",
            "5s",
            "status",
            "--agent",
            "b",
            "--identity",
            "/x.pem",
            "-o",
            "json",
            agent: agent
        )
        #expect(run.status == .success && run.output.hasPrefix(#"{"cluster":"lab""#))
        let connections = agent.state.withLock { $0.connections }
        #expect(connections.count == 1)
        #expect(Set(connections.first?.agents ?? []) == ["a:1", "b"])
        #expect(connections.first?.identity == "/x.pem" && connections.first?.timeout == .seconds(5))
        #expect(agent.state.withLock { $0.closedCount } == 1)
    }

    @Test func aConnectionIsClosedAlsoAfterAFailure() async {
        let agent = ScriptedAgent().fail(failure(.notFound, "no"))
        _ = await execute("node", "show", "x", agent: agent)
        #expect(agent.state.withLock { $0.closedCount } == 1)
    }

    @Test func submittingSendsTheDocumentAsItIs() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("job.yaml", "name: linpack\n")
        let admission = WireAdmission.with { ($0.verdict, $0.reason) = (.feasible, "It fits.") }
        let agent = ScriptedAgent().answer(
            WireJobSubmitReply.with { ($0.id, $0.name, $0.admission) = ("k3vq", "linpack", admission) }
        )
        let run = await execute("job", "submit", path, agent: agent)
        #expect(run.status == .success && run.output == "linpack submitted as k3vq · feasible: It fits.\n")
        let request = try #require(agent.requests(WireJobSubmitRequest.self).first)
        #expect(request.document.content == Data("name: linpack\n".utf8))
        #expect(request.document.name == path && request.document.workingDirectory == folder.path)
        #expect((1...64).contains(request.idempotencyKey.utf8.count) && !request.allowInfeasible)
    }

    @Test func standardInputIsADocumentToo() async throws {
        let agent = ScriptedAgent().answer(WireJobPlanReply.with { $0.admission.verdict = .bestEffort })
        let run = await execute("job", "plan", "-", agent: agent, input: "name: x\n")
        #expect(run.status == .success)
        let document = try #require(agent.requests(WireJobPlanRequest.self).first?.document)
        #expect(document.content == Data("name: x\n".utf8) && document.name == "<stdin>")
        #expect(document.workingDirectory.hasPrefix("/"))
    }

    @Test func anInfeasibleJobEndsWithFour() async {
        let plan = WireJobPlanReply.with {
            ($0.name, $0.admission.verdict, $0.admission.reason) = (
                "late", .infeasible, "It needs 3.00 vCPUs, 2.00 are free."
            )
        }
        let planned = await execute("job", "plan", "-", agent: ScriptedAgent().answer(plan), input: "name: late")
        #expect(planned.status == .refused && planned.output.contains("It needs 3.00 vCPUs"))

        let refusing = ScriptedAgent().answer(plan).fail(failure(.conflict, "the deadline of 'late' cannot be kept"))
        let refused = await execute("job", "submit", "-", agent: refusing, input: "name: late")
        #expect(refused.status == .refused)
        #expect(refused.diagnostics == "godwit: the deadline of 'late' cannot be kept\n")

        let feasible = ScriptedAgent().answer(WireJobPlanReply.with { $0.admission.verdict = .feasible })
            .fail(failure(.conflict, "there is a job 'late' already"))
        #expect(await execute("job", "submit", "-", agent: feasible, input: "name: late").status == .failure)
    }

    @Test func aSubmissionIsRepeatedOnceWithTheSameKey() async {
        let agent = ScriptedAgent().answer(WireJobSubmitReply.with { ($0.id, $0.name) = ("k", "x") })
            .fail(failure(.unavailable, "the connection was closed"))
        let run = await execute("job", "submit", "-", agent: agent, input: "name: x")
        let keys = agent.requests(WireJobSubmitRequest.self).map(\.idempotencyKey)
        #expect(run.status == .success && keys.count == 2 && keys[0] == keys[1])
    }

    @Test func problemsOfADocumentAreShownInTheirPlaces() async throws {
        var refusal = WireFailure.with { ($0.code, $0.message) = (.invalid, "<stdin> has 1 problem") }
        refusal.problems = [
            .with { ($0.line, $0.column, $0.path, $0.message) = (2, 1, "cpsu", "unknown key; did you mean cpus?") }
        ]
        let run = await execute(
            "job",
            "submit",
            "-",
            agent: ScriptedAgent().fail(CommandFailure(refusal)),
            input: "name: x\ncpsu: 2\n"
        )
        #expect(run.status == .failure)
        #expect(
            run.diagnostics == """
                <stdin>:2:1: cpsu: unknown key; did you mean cpus?
                    2 | cpsu: 2
                      | ^
                godwit: <stdin> has 1 problem; nothing was submitted

                """
        )
    }

    @Test func waitingEndsWithTheJobsFate() async {
        func agent(_ state: String, _ message: String) -> ScriptedAgent {
            let agent = ScriptedAgent().answer(
                WireJobSubmitReply.with { ($0.id, $0.name) = (Scene.linpack.id, "linpack") }
            )
            .answer(
                WireJobShowReply.with {
                    $0.job = Scene.linpack
                    ($0.job.state, $0.job.message, $0.job.endedUnixSeconds) = (state, message, noon + 49)
                }
            )
            agent.state.withLock {
                // The agent restarts in the middle: the watch goes on.
                $0.watch = [
                    [Scene.watch(1) { $0.state = "running" }], [],
                    [
                        Scene.watch(49) {
                            $0.state = state
                            $0.endedUnixSeconds = noon + 49
                        }
                    ],
                ]
            }
            return agent
        }
        let completed = await execute(
            "job",
            "submit",
            "-",
            "--wait",
            agent: agent("completed", ""),
            input: "name: linpack"
        )
        #expect(completed.status == .success)
        #expect(completed.output.hasSuffix("It completed at 12:00:49 (1 s ago), 41 s before its deadline.\n"))
        #expect(completed.diagnostics == "godwit: the agent closed the connection; looking for it again\n")
        let failed = await execute(
            "job",
            "submit",
            "-",
            "--wait",
            agent: agent("failed", "It ended with exit code 3."),
            input: "x"
        )
        #expect(failed.status == .failure)
        #expect(
            failed.diagnostics.hasSuffix(
                "godwit: job linpack failed: It ended with exit code 3; see 'godwit job explain k3vq7m2xw5ab'\n"
            )
        )
    }

    @Test func aWatchThatNeverBeganIsNotRepeated() async {
        let agent = ScriptedAgent()
        let run = await execute("job", "watch", "x", agent: agent)
        #expect(run.status == .unreachable && agent.requests(WireJobWatchRequest.self).count == 1)
    }

    @Test func resizingTellsApartWhatToLeave() async throws {
        func request(_ arguments: String...) async throws -> WireJobResizeRequest {
            let agent = ScriptedAgent()
            #expect(await execute(["job", "resize", "x"] + arguments, agent: agent).status == .success)
            return try #require(agent.requests(WireJobResizeRequest.self).first)
        }
        let pinned = try await request("--cpus", "1.5", "--memory", "1GiB")
        #expect(pinned.vcpus == 1.5 && pinned.cpuLimitVcpus == 0 && pinned.memoryBytes == 1 << 30)
        let freed = try await request("--auto", "--cpu-limit", "none")
        #expect(freed.hasVcpus && freed.vcpus == 0 && freed.cpuLimitVcpus == -1 && freed.memoryBytes == 0)
        let untouched = try await request("--cpu-limit", "2")
        #expect(!untouched.hasVcpus && untouched.cpuLimitVcpus == 2)
    }

    @Test func logsGoWhereTheJobWroteThem() async {
        let agent = ScriptedAgent()
        func line(_ text: String, error: Bool = false, partial: Bool = false) -> WireLogLine {
            .with {
                ($0.text, $0.isStderr, $0.isPartial) = (Data(text.utf8), error, partial)
                $0.timeUnixSeconds = noon
            }
        }
        agent.state.withLock {
            $0.logs = [
                .with { $0.lines = [line("one"), line("oh", error: true), line("tw", partial: true)] },
                .with { $0.lines = [line("o"), line("dear", error: true)] },
            ]
        }
        let plain = await execute("job", "logs", "x", "--tail", "5", agent: agent)
        #expect(plain.output == "one\ntwo\n" && plain.diagnostics == "oh\ndear\n")
        let timed = await execute("job", "logs", "x", "-t", "--stdout", agent: agent)
        #expect(timed.output == "12:00:00 one\n12:00:00 two\n")
        let requests = agent.requests(WireJobLogsRequest.self)
        #expect(requests.map(\.tailLines) == [5, 0] && requests.map(\.noStderr) == [false, true])
    }

    @Test func explainingDrawsAFigure() async throws {
        let folder = try TemporaryFolder()
        let agent = ScriptedAgent().answer(Scene.finished)
        let run = await execute("job", "explain", "linpack", "--figure", "\(folder.path)/story.svg", agent: agent)
        #expect(run.status == .success && run.diagnostics == "wrote \(folder.path)/story.svg\n")
        #expect(try folder.read("story.svg").contains("frozen for a checkpoint"))
        let lost = await execute(["job", "explain", "x", "--figure", "/nowhere/at/all.svg"], agent: agent)
        #expect(lost.status == .failure && lost.diagnostics.hasPrefix("godwit: cannot create /nowhere/at/all.svg"))
    }

    @Test func watchingAListPrintsOnlyChanges() async {
        let agent = ScriptedAgent().answer(WireJobListReply.with { $0.jobs = [Scene.linpack] })
            .fail(nil, nil, nil, failure(.unavailable, "gone"))
        let run = await execute("job", "list", "--watch", agent: agent)
        #expect(run.status == .unreachable)
        #expect(run.output.split(separator: "\n").count == 2)
        #expect(agent.requests(WireJobListRequest.self).count == 4)
    }

    @Test func namesOfJobsCompleteWithoutDuplicates() async {
        let agent = ScriptedAgent().answer(
            WireJobListReply.with { $0.jobs = [Scene.render, Scene.linpack, Scene.linpack] }
        )
        let run = await execute("completions", "jobs", agent: agent)
        #expect(run.output == "linpack\nrender-frames-of-the-long-film\n")
    }

    @Test func certificatesAreMadeAndShown() async throws {
        let folder = try TemporaryFolder()
        let place = ["--folder", folder.path]
        #expect(await execute(["ca", "init", "--cluster", "lab"] + place).status == .success)
        let file = "\(folder.path)/alice.pem"
        let issued = await execute(["ca", "issue", "--user", "alice", "--right", "submit", "--out", file] + place)
        #expect(issued.status == .success && issued.diagnostics.isEmpty)
        let shown = await execute(["ca", "show", file, "-o", "json"])
        let first = try #require(shown.output.split(separator: "\n").first)
        #expect(first.contains(#""kind":"user","cluster":"lab","user":"alice","right":"submit""#))
        #expect(shown.output.contains(#""kind":"authority""#) && !shown.output.contains("PRIVATE KEY"))
        let again = await execute(["ca", "init", "--cluster", "lab"] + place)
        #expect(again.status == .failure && again.diagnostics.contains("there is an authority already"))
        let node = await execute(["ca", "issue", "--node", "n1"] + place)
        #expect(node.status == .usage && node.diagnostics.contains("a node needs --site"))
    }
}
