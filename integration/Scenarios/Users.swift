import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// The service's umask hides what the agent writes, and none of that reaches into containers.
struct RunsAsItsUser: Scenario {
    static let name = "RunsAsItsUser"
    static let promise = "a job that is not root can read its own root folder, also under an agent with umask 077"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let data = run.folder + "/data"
        try FileSystem.createFolder(data)
        let agent = try AgentProcess(run)
        // As in the shipped unit; the agent inherits it.
        let usual = umask(0o077)
        defer { umask(usual) }
        try await agent.start()
        let client = try await agent.connect()
        let files = ["/", "/ends", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/given/data", "/dev/shm"]
        let job = try await client.submit(
            """
            name: somebody
            image: {rootfs: \(root)}
            command: [/ends, open, \(files.joined(separator: ", "))]
            user: "1000:1000"
            mounts: [{source: \(data), target: /given/data}]
            """,
            folder: "/"
        )
        let shown = try await run.eventually("the end of the job") {
            let shown = try await client.job(job).job
            return shown.endedUnixSeconds > 0 ? shown : nil
        }
        let lines = try await client.output(job)
        run.note(lines.joined(separator: ", "))
        try expect(lines.first == "user 1000 group 1000", "it ran as '\(lines.first ?? "")'")
        for file in files { try expect(lines.contains("\(file) opens"), "user 1000 may not open \(file)") }
        try expect(shown.state == "completed", "it is \(shown.state): \(shown.message)")
        await client.close()
    }
}
