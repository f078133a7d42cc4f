import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// A connection to a container outlives everything that is done to the container.
struct NetworkedContainers: Scenario {
    static let name = "NetworkedContainers"
    static let promise =
        "a container with an address of its own keeps it and its connections, byte for byte, over checkpoints, moves from node to node and killed "
        + "agents, and leaves no interface behind"

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 2)
        try await network.makeBridges()
        let subnet = network.subnet
        let cluster = try AgentCluster(
            run,
            count: 2,
            partitionTimeout: .seconds(6),
            network: network,
            settings: [
                "network.bridge=br0", "network.subnet=\(subnet).0/24", "network.range=\(subnet).100-\(subnet).101",
                "network.gateway=\(subnet).254",
            ]
        )
        do {
            try await NetworkStory(run: run, cluster: cluster, subnet: subnet, root: try await run.makeRoot()).tell()
        } catch {
            cluster.showLogs()
            throw error
        }
    }
}

/// The chapters of ``NetworkedContainers``, in order.
private struct NetworkStory {
    let run: ScenarioRun
    let cluster: AgentCluster
    let subnet: String
    let root: String
    let began = ContinuousClock.now

    private func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }

    private func document(_ name: String, _ address: String, mebibytes: Int = 1) -> String {
        """
        name: \(name)
        image: {rootfs: \(root)}
        command: [/echo, "7000", "\(mebibytes)"]
        resources: {cpus: 0.2}
        network: {address: \(address)}
        checkpoint: {tcpEstablished: true}
        constraints: {node: [n2, n1]}

        """
    }

    func tell() async throws {
        try await cluster.start()
        let founder = cluster.agents[0]
        // A node says what its bridge is in once all know the words for it.
        let job = try await run.eventually("a job with an address", every: .milliseconds(100)) {
            try await founder.ask { try await $0.submit(document("talking", "automatic"), folder: "/", key: "one") }
        }
        var shown = try await running(job, asking: founder)
        try expect(shown.address == "\(subnet).100/24", "it has the address '\(shown.address)'")
        let stream = try await connect("\(subnet).100")
        chapter("\(shown.address) on \(shown.node) answers")

        try await refuseOthers(founder)
        for _ in 1...3 {
            _ = try await stream.flow(run)
            let taken = try await founder.ask { try await $0.checkpoint(job) }
            let stall = try await stream.flow(run)
            chapter(
                "checkpoint \(taken.generation): frozen for \(taken.frozenSeconds) s, the peer waited \(stall.text)"
            )
        }

        let home = try agent(shown.node)
        try await killDuringCheckpoint(home, job, stream)
        try await moveDuringCheckpoint(job, stream)
        try await moveAbout(job, stream)
        try await moveBeforeItsMemory(founder)
        try await drain(try agent(try await running(job, asking: founder).node), job, stream)
        try await killOnTheWay(job, stream)
        shown = try await running(job, asking: founder)
        try expect(shown.address == "\(subnet).100/24", "it lost its address: '\(shown.address)'")
        try await stream.finish(run)
        chapter("all \(stream.now.sent) bytes came back as they were sent")

        try await expectEnd(of: job)
        let address = try await founder.ask { try await $0.job(job).job.address }
        try expect(address.isEmpty, "the ended job still has \(address)")
        try await expectNothingLeft()
        for agent in cluster.agents { try await agent.end(SIGTERM) }
    }

    private func connect(_ address: String) async throws -> EchoStream {
        let stream = try await run.eventually("a connection", within: .seconds(10), every: .milliseconds(20)) {
            try EchoStream(to: address, port: 7000)
        }
        _ = try await stream.flow(run)
        return stream
    }

    private func expectEnd(of job: String) async throws {
        _ = try await run.eventually("the end of the job", every: .milliseconds(100)) {
            try await cluster.agents[0].ask { try await $0.job(job).job.state } == "completed" ? true : nil
        }
    }

    /// One that is so large that it moves before its memory, which it looks at all the while.
    private func moveBeforeItsMemory(_ founder: AgentProcess) async throws {
        let text = document("remembering", "automatic", mebibytes: 48)
        let job = try await founder.ask { try await $0.submit(text, folder: "/") }
        let shown = try await running(job, asking: founder)
        let stream = try await connect(String(shown.address.prefix { $0 != "/" }))
        // How large it is, is sampled.
        _ = try await run.eventually("its size", within: .seconds(20), every: .milliseconds(100)) {
            try await founder.ask { try await $0.job(job).job.memoryBytes } > 40 << 20 ? true : nil
        }
        try await moveAbout(job, stream)
        try await stream.finish(run)
        try await expectEnd(of: job)
    }

    private func agent(_ name: String) throws -> AgentProcess {
        guard let agent = cluster[name] else { throw Broken("there is no agent '\(name)'") }
        return agent
    }

    private func running(_ job: String, asking agent: AgentProcess) async throws -> WireJobSummary {
        try await run.eventually("the job running", within: .seconds(30), every: .milliseconds(50)) {
            let shown = try await agent.ask { try await $0.job(job).job }
            return shown.state == "running" ? shown : nil
        }
    }

    /// What cannot be had is told.
    private func refuseOthers(_ agent: AgentProcess) async throws {
        do {
            _ = try await agent.ask { try await $0.submit(document("same", "\(subnet).100"), folder: "/") }
            throw Broken("the same address was given twice")
        } catch let error where !(error is Broken) {
            try expect("\(error)".contains("belongs to job 'talking'"), "\(error)")
        }
        let far = try await agent.ask { try await $0.submit(document("far", "10.9.8.7"), folder: "/") }
        let message = try await run.eventually("why it waits", within: .seconds(20), every: .milliseconds(50)) {
            let message = try await agent.ask { try await $0.job(far).job.message }
            if message.contains("10.9.8.7 is not to be had") { return message }
            throw Broken(message)
        }
        try await agent.ask { try await $0.cancel(far) }
        chapter("another's address is refused; one of another network waits: \(message)")
    }

    /// The agent dies while it holds what arrives for the frozen container; the next one goes on.
    private func killDuringCheckpoint(_ home: AgentProcess, _ job: String, _ stream: EchoStream) async throws {
        let checkpoint = Task { try? await home.ask { try await $0.checkpoint(job) } }
        try await frozen(job, on: home)
        try await home.end(SIGKILL)
        _ = await checkpoint.value
        try await home.start()
        let stall = try await stream.flow(run)
        chapter(
            "\(home.name)'s agent was killed with the container frozen; the peer waited \(stall.text) for the next one"
        )
    }

    private func frozen(_ job: String, on home: AgentProcess) async throws {
        let folder = "\(home.stateFolder)/containers"
        _ = try await run.eventually("a frozen container", every: .milliseconds(1)) {
            let names = try FileSystem.list(folder).filter { $0.hasPrefix(job) }
            return names.contains { FileSystem.exists("\(folder)/\($0)/frozen") } ? true : nil
        }
    }

    /// Who asks for a move while a checkpoint is being taken gets it afterwards.
    private func moveDuringCheckpoint(_ job: String, _ stream: EchoStream) async throws {
        let from = try agent(try await running(job, asking: cluster.agents[0]).node)
        let to = cluster.others(than: from)[0]
        let checkpoint = Task { try await from.ask { try await $0.checkpoint(job) } }
        try await frozen(job, on: from)
        var request = WireJobMigrateRequest()
        (request.job.nameOrID, request.to) = (job, to.name)
        let question = request
        let told = try await to.ask { try await $0.jobMigrate(question) }
        let stall = try await stream.flow(run)
        try expect(told.to == to.name, "it moved to \(told.to)")
        chapter(
            "asked to move while checkpoint \(try await checkpoint.value.generation) was taken, it waited \(stall.text)"
        )
    }

    private struct Move {
        var downtime: Duration
        var stall: Duration
    }

    /// Back and forth while bytes flow: each stall is compared with the time in which the container stood still.
    private func moveAbout(_ job: String, _ stream: EchoStream) async throws {
        var moves: [Move] = []
        for round in 1...run.options.moveCount {
            let from = try agent(try await running(job, asking: cluster.agents[0]).node)
            let to = cluster.others(than: from)[0]
            _ = try await stream.flow(run)
            var request = WireJobMigrateRequest()
            (request.job.nameOrID, request.to) = (job, to.name)
            let question = request
            let told = try await cluster.agents[round % 2].ask { try await $0.jobMigrate(question) }
            let stall = try await stream.flow(run)
            try expect(told.from == from.name && told.to == to.name, "it moved from \(told.from) to \(told.to)")
            let move = Move(downtime: .seconds(told.downtimeSeconds), stall: stall)
            // Peers that had to send again would wait longer with each move.
            try expect(
                stall < move.downtime + .seconds(5),
                "the peer waited \(stall.text), it stood still for \(move.downtime.text)"
            )
            if stall > move.downtime + .milliseconds(100) {
                run.note(
                    "  move \(round) to \(to.name): stood still for \(move.downtime.text), the peer waited \(stall.text)"
                )
            }
            moves.append(move)
            if round % 10 == 0 { chapter("\(round) moves, \(stream.now.received) bytes came back as they were sent") }
        }
        let downtimes = moves.map(\.downtime).sorted()
        let beyond = moves.map { $0.stall - $0.downtime }.sorted()
        let late = beyond.count { $0 > .milliseconds(100) }
        chapter(
            "\(moves.count) moves: stood still for \(downtimes[0].text) to \(downtimes[downtimes.count - 1].text), median \(downtimes[downtimes.count / 2].text); "
                + "the peer waited that and at most \(beyond[beyond.count - 1].text) more, median \(beyond[beyond.count / 2].text), "
                + "\(late) times more than 100 ms; all \(stream.now.received) bytes came back as they were sent"
        )
    }

    /// An agent dies in the middle of a move, and is started again at once.
    private func killOnTheWay(_ job: String, _ stream: EchoStream) async throws {
        var generator = run.generator()
        for round in 1...max(2, run.options.moveCount / 2) {
            let victim = round % 2 == 1 ? "destination" : "source"
            let from = try agent(try await running(job, asking: cluster.agents[0]).node)
            let to = cluster.others(than: from)[0]
            let (killed, asked) = victim == "source" ? (from, to) : (to, from)
            _ = try await stream.flow(run)
            _ = try await asked.ask { client in
                var request = WireJobMigrateRequest()
                (request.job.nameOrID, request.to, request.noWait) = (job, to.name, true)
                return try await client.jobMigrate(request)
            }
            let pause = Duration.milliseconds(Int64.random(in: 50...800, using: &generator))
            try await Task.sleep(for: pause)
            try await killed.end(SIGKILL)
            try await killed.start()
            let place = try await run.eventually("the end of the move", within: .seconds(60), every: .milliseconds(50))
            {
                let shown = try await asked.ask { try await $0.job(job) }
                return shown.job.state == "running" && !shown.hasMigration ? shown.job.node : nil
            }
            let stall = try await stream.flow(run)
            chapter(
                "the \(victim)'s agent was killed \(pause.text) after the order to move to \(to.name): it is on \(place), and the peer waited "
                    + stall.text
            )
        }
    }

    private func drain(_ home: AgentProcess, _ job: String, _ stream: EchoStream) async throws {
        let other = cluster.others(than: home)[0]
        _ = try await stream.flow(run)
        _ = try await run.eventually("the drain to be accepted", every: .milliseconds(200)) {
            try await other.ask { client in
                var request = WireNodeDrainRequest()
                request.node = home.name
                _ = try await client.nodeDrain(request)
                return true
            }
        }
        _ = try await run.eventually("the job on \(other.name)", within: .seconds(30), every: .milliseconds(50)) {
            let shown = try await other.ask { try await $0.job(job).job }
            return shown.state == "running" && shown.node == other.name ? true : nil
        }
        let stall = try await stream.flow(run)
        let told = try await other.ask { try await $0.decisions(job) }
        let end = told.last { ["migrated", "restored", "restarted"].contains($0.kind) }
        try expect(end?.kind == "migrated", "it did not move while it ran: \(told.map(\.sentence))")
        try await cluster.done("node undrain \(home.name)", asking: other)
        chapter(
            "\(home.name) was drained; the peer waited \(stall.text) and talks to \(other.name) over the same connection"
        )
    }

    private func expectNothingLeft() async throws {
        for number in 1...2 {
            let place = cluster.network?.place(number).namespace ?? ""
            let command = ProgramCommand("ip", ["-n", place, "-oneline", "link", "show", "master", "br0"])
            _ = try await run.eventually("no interface of a container", every: .milliseconds(50)) {
                let links = try await ProcessRunner.run(command, timeout: .seconds(10)).outputText.split(
                    separator: "\n"
                )
                if links.count == 1 { return true }
                throw Broken("\(links)")
            }
        }
        chapter("no interface is left on either bridge")
    }
}
