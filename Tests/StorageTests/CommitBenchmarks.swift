import ClusterModel
import Foundation
import GRDB
import Glibc
import Storage
import Testing

/// Commits per second beside their peers: a bare append with `fdatasync`, and SQLite with one transaction for each commit.
///
/// Runs with `GODWIT_BENCHMARKS=1`, best in release.
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["GODWIT_BENCHMARKS"] == "1"))
struct CommitBenchmarks {
    private let seconds = 3.0

    private func report(_ name: String, _ latencies: [Double], elapsed: Double) {
        let sorted = latencies.sorted()
        func quantile(_ q: Double) -> String { (sorted[Int(Double(sorted.count - 1) * q)] * 1000).text(decimals: 3) }
        let rate = (Double(sorted.count) / elapsed).text(decimals: 0)
        print("\(name): \(rate) commits/s, p50 \(quantile(0.5)) ms, p99 \(quantile(0.99)) ms, max \(quantile(1)) ms")
    }

    @Test(arguments: [1, 64])
    func stateStore(callers: Int) async throws {
        let scratch = Scratch()
        let (store, _) = try await StateStore.open(folder: scratch.path)
        let writer = OrderedWriter(store)
        let clock = ContinuousClock()
        let began = clock.now
        let end = began + .milliseconds(Int64(seconds * 1000))
        let latencies = try await withThrowingTaskGroup(of: [Double].self) { group in
            for _ in 0..<callers {
                group.addTask {
                    var own: [Double] = []
                    while clock.now < end {
                        let start = clock.now
                        try await writer.write(bytes: 256)
                        own.append(start.duration(to: clock.now).inSeconds)
                    }
                    return own
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        let statistics = try await store.statistics()
        report("state store, \(callers) callers", latencies, elapsed: began.duration(to: clock.now).inSeconds)
        print(
            "    batches per transaction: \((Double(statistics.batchCount) / Double(statistics.transactionCount)).text(decimals: 1))"
        )
        try await store.close()
    }

    /// What the disk itself takes: growing a file, as a log without reserved room does, and writing where room is.
    @Test(arguments: [false, true])
    func bareWrite(overwrites: Bool) throws {
        let scratch = Scratch()
        try FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        let file = unsafe open(scratch.file, O_WRONLY | O_CREAT, 0o600)
        let bytes = [UInt8](repeating: 1, count: 4096 + 24)
        let room = overwrites ? 1000 : 0
        for _ in 0..<room { _ = unsafe bytes.withUnsafeBytes { unsafe write(file, $0.baseAddress, $0.count) } }
        fsync(file)
        var number = 0
        let clock = ContinuousClock()
        let began = clock.now
        var latencies: [Double] = []
        while began.duration(to: clock.now).inSeconds < seconds {
            let start = clock.now
            let offset = (room > 0 ? number % room : number) * bytes.count
            _ = unsafe bytes.withUnsafeBytes { unsafe pwrite(file, $0.baseAddress, $0.count, offset) }
            fdatasync(file)
            number += 1
            latencies.append(start.duration(to: clock.now).inSeconds)
        }
        close(file)
        report(
            overwrites ? "overwrite 4 KiB + fdatasync" : "append 4 KiB + fdatasync",
            latencies,
            elapsed: began.duration(to: clock.now).inSeconds
        )
    }

    @Test func plainSQLite() throws {
        let scratch = Scratch()
        try FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        var configuration = Configuration()
        configuration.prepareDatabase { try $0.execute(sql: "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL") }
        let database = try DatabaseQueue(path: scratch.file, configuration: configuration)
        try database.write { try $0.execute(sql: "CREATE TABLE log (position INTEGER PRIMARY KEY, command BLOB)") }
        let bytes = Data(repeating: 1, count: 256)
        let clock = ContinuousClock()
        let began = clock.now
        var latencies: [Double] = []
        while began.duration(to: clock.now).inSeconds < seconds {
            let start = clock.now
            try database.write {
                try $0.cachedStatement(sql: "INSERT INTO log (command) VALUES (?)").execute(arguments: [bytes])
            }
            latencies.append(start.duration(to: clock.now).inSeconds)
        }
        report("SQLite, one transaction each", latencies, elapsed: began.duration(to: clock.now).inSeconds)
    }
}
