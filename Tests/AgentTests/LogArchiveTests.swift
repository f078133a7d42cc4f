import ClusterModel
import ClusterState
import ControlMessages
import Foundation
import Synchronization
import Testing

@testable import Agent

/// The output of containers that are gone is kept, bounded, and removed with its job.
@Suite(.timeLimit(.minutes(5)))
struct LogArchiveTests {
    private let folder: String
    private let archive: LogArchive
    private let job = JobID(rawValue: "job1aaaaaaaa")

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "godwit-logs-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        archive = LogArchive(folder: folder + "/archive")
    }

    private func clean() { try? FileManager.default.removeItem(atPath: folder) }

    private func key(_ incarnation: Int) -> ContainerKey {
        ContainerKey(job: job, incarnation: Incarnation(rawValue: UInt32(incarnation)))
    }

    /// The logs of a container as its shim writes them.
    private func makeLogs(_ incarnation: Int, _ lines: [String]) throws -> String {
        let logs = "\(folder)/container-\(incarnation)/logs"
        try FileManager.default.createDirectory(atPath: logs, withIntermediateDirectories: true)
        let text = lines.enumerated().map { number, line in
            let stream = line.hasPrefix("!") ? "stderr" : "stdout"
            return "\(incarnation * 1_000_000_000 + number) \(stream) F \(line)\n"
        }
        try text.joined().write(toFile: logs + "/0000000001.log", atomically: true, encoding: .utf8)
        return logs
    }

    private func read(
        _ change: (inout LogQuery) -> Void = { _ in },
        present: [(incarnation: Incarnation, folder: String)] = []
    ) async throws -> [String] {
        var query = LogQuery(job: job)
        change(&query)
        let lines = Mutex<[String]>([])
        try await archive.read(query, present: { present }, isOver: { true }) { batch in
            lines.withLock { $0 += batch.map { String(decoding: $0.text, as: UTF8.self) } }
        }
        return lines.withLock { $0 }
    }

    @Test func theJobsWhoseOutputIsKeptAreKnown() throws {
        defer { clean() }
        #expect(try archive.jobs() == [])
        try archive.keep(try makeLogs(1, ["one"]), of: key(1))
        #expect(try archive.jobs() == [job])
        try archive.remove(job)
        #expect(try archive.jobs() == [])
    }

    @Test func outputOfAllIncarnationsIsReadOldestFirst() async throws {
        defer { clean() }
        try archive.keep(try makeLogs(1, ["one", "two"]), of: key(1))
        try archive.keep(try makeLogs(2, ["three"]), of: key(2))
        let third = try makeLogs(3, ["four", "!five"])
        let present = [(incarnation: Incarnation(rawValue: 3), folder: third)]
        #expect(try await read(present: present) == ["one", "two", "three", "four", "!five"])
        #expect(!FileManager.default.fileExists(atPath: "\(folder)/container-1/logs"), "logs move, they are not copied")
    }

    @Test func theTailGoesBackOverIncarnations() async throws {
        defer { clean() }
        try archive.keep(try makeLogs(1, (1...10).map { "a\($0)" }), of: key(1))
        try archive.keep(try makeLogs(2, ["b1", "b2"]), of: key(2))
        #expect(try await read { $0.tailLineCount = 4 } == ["a9", "a10", "b1", "b2"])
        #expect(try await read { $0.tailLineCount = 1 } == ["b2"])
    }

    @Test func oneStreamIsReadAlone() async throws {
        defer { clean() }
        try archive.keep(try makeLogs(1, ["out", "!error", "more"]), of: key(1))
        #expect(try await read { $0.includesOutput = false } == ["!error"])
        #expect(try await read { $0.includesErrors = false } == ["out", "more"])
        let tail = try await read { query in
            query.tailLineCount = 1
            query.includesOutput = false
        }
        #expect(tail == ["!error"])
    }

    @Test func aContainerThatMovesIntoTheArchiveWhileItIsReadLosesNothing() async throws {
        defer { clean() }
        let logs = try makeLogs(1, ["one", "two"])
        let (archive, key) = (archive, key(1))
        let lines = Mutex<[String]>([])
        let looks = Mutex(0)
        var query = LogQuery(job: job)
        query.follows = true
        try await archive.read(
            query,
            present: {
                // Its logs are listed for the last time, and gone when they are opened.
                let look = looks.withLock { count in
                    count += 1
                    return count
                }
                guard look == 1 else { return [] }
                try? archive.keep(logs, of: key)
                return [(incarnation: key.incarnation, folder: logs)]
            },
            isOver: { true },
            { batch in lines.withLock { $0 += batch.map { String(decoding: $0.text, as: UTF8.self) } } }
        )
        #expect(lines.withLock { $0 } == ["one", "two"])
    }

    @Test func onlyTheNewestIncarnationsAreKept() async throws {
        defer { clean() }
        for incarnation in 1...40 {
            try archive.keep(try makeLogs(incarnation, ["\(incarnation)"]), of: key(incarnation))
        }
        #expect(try await read() == (25...40).map(String.init))
        let kept = try FileManager.default.contentsOfDirectory(atPath: "\(archive.folder)/\(job)")
        #expect(kept.count == archive.incarnationLimit)
    }

    @Test func aJobThatIsForgottenTakesItsOutputWithIt() async throws {
        defer { clean() }
        try archive.keep(try makeLogs(1, ["one"]), of: key(1))
        try archive.remove(job)
        #expect(try await read() == [])
        try archive.remove(job)
        try archive.keep("\(folder)/nothing-there", of: key(2))
    }
}
