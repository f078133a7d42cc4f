import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import TLS
import Transport

/// However a job ends, its owner reads why.
struct EveryEndHasASentence: Scenario {
    static let name = "EveryEndHasASentence"
    static let promise = "exit codes, signals, memory, missing images and wrong documents end in a state and a sentence"

    private struct Case {
        var document: String
        var state: String
        var words: [String]
    }

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        let client = try await agent.connect()
        func ends(_ name: String, _ how: String, _ more: String = "") -> String {
            "{name: \(name), image: {rootfs: \(root)}, command: [/ends, '\(how)']\(more)}"
        }
        let cases = [
            Case(document: ends("fine", "code:0"), state: "completed", words: ["Completed"]),
            Case(document: ends("three", "code:3"), state: "failed", words: ["exit code 3", "job logs"]),
            Case(document: ends("faults", "segv"), state: "failed", words: ["SIGSEGV"]),
            Case(
                document: ends("eats", "memory", ", resources: {memory: 32MiB}"),
                state: "failed",
                words: ["32 MiB", "resources.memory"]
            ),
            Case(
                document: ends("again", "code:4", ", retries: {limit: 2, backoff: 100ms}"),
                state: "failed",
                words: ["exit code 4", "retries"]
            ),
            Case(
                document: "{name: nothing, image: {rootfs: \(root)}, command: [/missing]}",
                state: "failed",
                words: ["/missing"]
            ),
            Case(
                document: "{name: nowhere, image: {rootfs: /no/such/folder}, command: [/x]}",
                state: "failed",
                words: ["/no/such/folder"]
            ),
        ]
        for one in cases {
            let job = try await client.submit(one.document, folder: "/")
            let shown = try await run.eventually("the end of \(one.document)", within: .seconds(40)) {
                let shown = try await client.job(job).job
                return shown.endedUnixSeconds > 0 ? shown : nil
            }
            run.note("\(shown.name): \(shown.message)")
            try expect(shown.state == one.state, "\(shown.name) is \(shown.state): \(shown.message)")
            for word in one.words {
                try expect(shown.message.contains(word), "\(shown.name): '\(shown.message)' does not say '\(word)'")
            }
        }
        let again = try await client.decisions("again").filter { $0.kind == "retried" }
        try expect(again.count == 2, "it was tried \(again.count) times again instead of 2")

        for (document, word) in [
            ("{name: typo, image: {rootfs: \(root)}, comand: [/x]}", "command"),
            ("{name: units, image: {rootfs: \(root)}, resources: {memory: 5 parsecs}}", "resources.memory"),
            (
                "{name: late, image: {rootfs: \(root)}, command: [/x], resources: {cpus: 1}, "
                    + "objective: {cpuTime: 100s, frame: 10s}}", "objective"
            ),
        ] {
            do {
                try await client.submit(document, folder: "/")
                throw Broken("accepted: \(document)")
            } catch let failure as RPCFailure {
                run.note(failure.problems.first.map { "\($0)" } ?? failure.message)
                try expect(failure.description.contains(word), "'\(failure.description)' does not name \(word)")
            }
        }
        await client.close()
    }
}

/// Output is kept, bounded and followed.
struct LogsAreKept: Scenario {
    static let name = "LogsAreKept"
    static let promise = "output is kept after the end, within its bound, and can be followed while it comes"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        let client = try await agent.connect()
        let job = try await client.submit(
            "{name: flood, image: {rootfs: \(root)}, command: [/ends, flood]}",
            folder: "/"
        )
        var request = WireJobLogsRequest()
        request.job.nameOrID = job
        request.follow = true
        var followed = 0
        var last = ""
        for try await message in client.jobLogs(request) {
            followed += message.lines.count
            last = message.lines.last.map { String(decoding: $0.text, as: UTF8.self) } ?? last
        }
        try expect(followed == 131_072, "\(followed) of 131072 lines were followed")
        try expect(last.hasPrefix("131071 "), "the last line is '\(last.prefix(20))'")
        let kept = try await client.output(job)
        try expect(kept.last == last, "the last line was not kept after the end")
        request.follow = false
        request.tailLines = 3
        var tail: [String] = []
        for try await message in client.jobLogs(request) {
            tail += message.lines.map { String(decoding: $0.text, as: UTF8.self) }
        }
        try expect(tail == Array(kept.suffix(3)), "the last three lines are \(tail)")
        await client.close()
    }
}

/// A stranger gets a clear word and nothing else.
struct WhoMayDoWhat: Scenario {
    static let name = "WhoMayDoWhat"
    static let promise =
        "unknown certificates, other clusters, missing rights and garbage are refused, and nobody else notices"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        let owner = try await agent.connect("owner", .submit)
        let job = try await owner.submit(
            "{name: mine, image: {rootfs: \(root)}, command: [/counter, '100000', '0']}",
            folder: "/"
        )

        _ = try await run.eventually("a running job") { try await owner.job(job).job.state == "running" ? true : nil }
        let stranger = try CertificateAuthority.create(cluster: ClusterID(rawValue: "scenario"), now: WallClock.now())
        try await refused("a forged certificate", run) {
            let client = try await ControlClient.connect(
                agent.credentials("owner", .admin, of: stranger),
                software: "stranger",
                group: AgentProcess.group
            )
            _ = try await client.status()
        }
        let elsewhere = try CertificateAuthority.create(cluster: ClusterID(rawValue: "elsewhere"), now: WallClock.now())
        try await refused("another cluster's certificate", run) {
            let client = try await ControlClient.connect(
                agent.credentials("owner", .admin, of: elsewhere),
                software: "stranger",
                group: AgentProcess.group
            )
            _ = try await client.status()
        }
        let reader = try await agent.connect("reader", .read)
        _ = try await reader.allJobs()
        try await refused("a submission without the right", run) {
            try await reader.submit("{name: no, image: {rootfs: \(root)}}", folder: "/")
        }
        await reader.close()
        let other = try await agent.connect("other", .submit)
        try await refused("cancelling somebody else's job", run) { try await other.cancel(job) }
        await other.close()

        for _ in 0..<50 { try sendGarbage(port: agent.port) }
        try expect(try await owner.job(job).job.state == "running", "the job was disturbed")
        try await owner.cancel(job)
        await owner.close()
    }

    private func refused(_ what: String, _ run: ScenarioRun, _ body: () async throws -> Void) async throws {
        do { try await body() } catch {
            run.note("\(what): \(error)")
            return
        }
        throw Broken("\(what) was not refused")
    }

    private func sendGarbage(port: Int) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let isConnected = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                unsafe connect(descriptor, raw, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        try expect(isConnected, "the agent does not accept connections any more")
        let bytes = [UInt8](repeating: 0x47, count: 4096)
        _ = unsafe bytes.withUnsafeBytes { unsafe send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }
}

/// A disk without room stops acceptance, not containers.
struct FullDisk: Scenario {
    static let name = "FullDisk"
    static let promise =
        "with the disk full, nothing is acknowledged that is not kept, containers run on, and all is well when there is room"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let disk = run.folder + "/disk"
        try FileSystem.createFolder(disk)
        try Mounts.tmpfs(on: disk, size: .mebibytes(48))
        let agent = try AgentProcess(run, stateFolder: disk + "/state")
        try await agent.start()
        let client = try await agent.connect()
        let steady = try await client.submit(
            "{name: steady, image: {rootfs: \(root)}, command: [/counter, '100000', '0']}",
            folder: "/"
        )
        let processes = try await run.eventually("a running container") {
            let found = try agent.processes(of: steady)
            return found.isEmpty ? nil : found.sorted()
        }
        let ballast = disk + "/ballast"
        try fill(ballast)
        var refusals = 0
        var accepted: [String] = []
        for number in 0..<20 {
            do {
                accepted.append(
                    try await client.submit(
                        "{name: more-\(number), image: {rootfs: \(root)}, command: [/ends, 'code:0']}",
                        folder: "/"
                    )
                )
            } catch {
                if refusals == 0 { run.note("\(error)") }
                refusals += 1
            }
        }
        try expect(refusals > 0, "20 submissions were accepted on a full disk")
        try expect(try agent.processes(of: steady).sorted() == processes, "a container was disturbed")
        do {
            _ = try await client.checkpoint(steady)
            throw Broken("a checkpoint was taken on a full disk")
        } catch let error as Broken { throw error } catch { run.note("checkpoint: \(error)") }
        try expect(try agent.processes(of: steady).sorted() == processes, "the failed checkpoint ended a container")

        try FileSystem.removeAll(ballast)
        _ = try await run.eventually("an accepted submission", within: .seconds(20)) {
            try await client.submit("{name: after, image: {rootfs: \(root)}, command: [/ends, 'code:0']}", folder: "/")
        }
        for job in accepted + ["after"] {
            _ = try await run.eventually("the end of \(job)", within: .seconds(40)) {
                try await client.job(job).job.endedUnixSeconds > 0 ? true : nil
            }
        }
        let problems = try await client.status().problems.filter { $0.contains("cannot be written") }
        try expect(problems.isEmpty, "problems are still reported: \(problems)")
        try await client.cancel(steady)
        await client.close()
    }
}
