import ClusterModel
import Containers
import LinuxSystem
import Testing

@Suite struct LogReaderTests {
    @Test func `Following gives every line once, over rotation, and ends with the container`() async throws {
        try await TestNode.run(logFileLimit: .kibibytes(64)) { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "print", "4000"]))
            var lines: [String] = []
            for await line in try node.runtime.logs(of: running.id).follow() where line.stream == .standardOutput {
                lines.append(line.text)
            }
            #expect(lines == (0..<4000).map { "line \($0)" })
            let files = try FileSystem.list("\(node.folder)/state/containers/a-1/logs")
            #expect(files.count > 1 && files.count <= 3)
        }
    }

    @Test func `The log is bounded, and a reader that is too late is told so`() async throws {
        try await TestNode.run(logFileLimit: .kibibytes(16)) { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "print", "20000"]))
            _ = try await node.runtime.exit(of: running.id)
            let logs = "\(node.folder)/state/containers/a-1/logs"
            let files = try FileSystem.list(logs)
            #expect(files.count == 3)
            let size = files.reduce(0) { $0 + (FileSystem.status("\(logs)/\($1)")?.size.rawValue ?? 0) }
            // A file may exceed its limit by one read of the pipe with its prefixes.
            #expect(size < 3 * (16 << 10) + 3 * (512 << 10))
            var position = LogPosition.beginning
            let first = try node.runtime.logs(of: running.id).next(&position)
            #expect(first.first?.text.contains("older lines are missing") == true)
            let (last, end) = try node.runtime.logs(of: running.id).tail(5)
            #expect(last.contains { $0.text == "line 19999" })
            var atEnd = end
            #expect(try node.runtime.logs(of: running.id).next(&atEnd).isEmpty)
        }
    }

    @Test func `A line longer than the limit is kept in parts that say so`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "long", "40000"]))
            _ = try await node.runtime.exit(of: running.id)
            let lines = try node.runtime.logs(of: running.id).tail(10).lines
            #expect(lines.map(\.isPartial) == [true, true, false])
            #expect(lines.map(\.bytes.count).reduce(0, +) == 40000)
        }
    }
}
