import ClusterModel
import Foundation
import Storage
import Testing

/// A folder of its own for one test, deleted at its end.
final class Scratch: Sendable {
    let path: String

    init() {
        path = FileManager.default.temporaryDirectory.path + "/godwit-storage-\(UUID().uuidString)"
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var file: String { path + "/state.sqlite" }
}

let term = Term(rawValue: 1)
let jobA = JobID(rawValue: "aaaaaaaaaaaa")
let jobB = JobID(rawValue: "bbbbbbbbbbbb")

func entry(_ index: UInt64, _ text: String = "command") -> LogEntry {
    LogEntry(index: index, term: term, command: Array("\(text) \(index)".utf8))
}

func decision(_ sequence: UInt64, of job: JobID = jobA, at seconds: Double = 0) -> NumberedDecision {
    NumberedDecision(
        sequence: sequence,
        decision: Decision(
            time: Timestamp(seconds: seconds),
            job: job,
            kind: .resized,
            sentence: "Decision \(sequence).",
            numbers: [.init(name: "slackSeconds", value: Double(sequence) / 3)]
        )
    )
}

func sample(of job: JobID = jobA, at seconds: Double) -> JobSample {
    JobSample(
        job: job,
        time: Timestamp(seconds: seconds),
        consumed: .milliseconds(Int64(seconds * 500)),
        desired: .seconds(7),
        allocation: 1.25,
        usage: 0.75,
        memory: .mebibytes(64)
    )
}

/// The code of the error that a body throws.
func code(of body: () async throws -> Void) async -> StorageError.Code? {
    do {
        try await body()
        return nil
    } catch {
        return (error as? StorageError)?.code
    }
}
