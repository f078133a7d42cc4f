import Checkpointing
import ClusterModel
import ClusterState
import ControlMessages
import SwiftProtobuf
import Synchronization
import Transport

/// How far a holder is that reads its copy of a checkpoint, and what it found.
struct CopyCheck: Sendable, Equatable {
    var progress = ReadingProgress(checked: 0, total: 0)
    /// Nil while it reads.
    var result: ImageExamination?
    /// Whether the copy was given up and is made anew from another holder.
    var isReplaced = false
}

// A holder reads its own copy on demand: for a user, or for another node that got wrong bytes of it.
extension CopyKeeper {
    /// Between two messages about how far a check is.
    private static var noticePeriod: Duration { .milliseconds(250) }

    /// Reads a copy, tells `sink` from time to time how far it is, acts on what it finds, and tells that last.
    ///
    /// Whoever asks while the same copy is being read gets the result of that.
    ///
    /// - Throws: `RPCFailure`; `notFound` when this node has no such checkpoint.
    nonisolated func check(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        _ sink: (CopyCheck) async throws -> Void
    ) async throws {
        let running = await beginCheck(job, generation)
        try await withThrowingTaskGroup(of: CopyCheck?.self) { group in
            group.addTask(name: "copy.check.result") { try await running.task.value }
            group.addTask(name: "copy.check.tick") { try await Self.tick() }
            while let next = try await group.next() {
                guard let result = next else {
                    try await sink(CopyCheck(progress: running.progress.withLock { $0 }))
                    group.addTask(name: "copy.check.tick") { try await Self.tick() }
                    continue
                }
                group.cancelAll()
                return try await sink(result)
            }
        }
    }

    private static func tick() async throws -> CopyCheck? {
        try await Task.sleep(for: noticePeriod)
        return nil
    }

    /// Reads every byte and sets straight what is damaged; throws `RPCFailure`.
    func examine(_ job: JobID, _ generation: CheckpointGeneration, _ progress: CheckProgress) async throws -> CopyCheck
    {
        let result: ImageExamination
        do {
            // One thread: nobody waits for it so much that jobs should.
            result = try await images.examine(job: job, generation: generation, bytesPerSecond: 1 << 40) { read in
                progress.withLock { if read.checked > $0.checked { $0 = read } }
            }
        } catch CopyProblem.notFound(let reason) {
            throw RPCFailure(.notFound, reason)
        } catch let problem as CopyProblem {
            throw RPCFailure(.unavailable, problem.description)
        }
        var check = CopyCheck(progress: progress.withLock { $0 }, result: result)
        if let problem = result.problem {
            check.isReplaced = await actOnDamage(job, generation, reason: problem)
        } else {
            check.progress.checked = check.progress.total
        }
        return check
    }

    /// Asks a holder to read its own copy, because what it sent is not what the catalog knows; does not wait for what it finds.
    nonisolated func haveChecked(_ holder: NodeID, _ job: JobID, _ generation: CheckpointGeneration) {
        Task(name: "copy.blame") { [link] in
            try? await link.checkCopy(job, generation, on: holder) { _ in }
        }
    }
}

/// Shared by a reader and those who ask how far it is.
final class CheckProgress: Sendable {
    private let value = Mutex(ReadingProgress(checked: 0, total: 0))

    func withLock<Result>(_ body: (inout ReadingProgress) -> Result) -> Result { value.withLock { body(&$0) } }
}

/// A check that is under way.
struct RunningCheck: Sendable {
    let task: Task<CopyCheck, any Error>
    let progress: CheckProgress
}

extension CopyCheck {
    /// The message as it travels.
    var wire: WireCopyCheckReply {
        .with { reply in
            (reply.checkedBytes, reply.totalBytes) = (progress.checked, progress.total)
            guard let result else { return }
            reply.isDone = true
            reply.problem = result.problem ?? ""
            reply.damagedCount = UInt64(result.damagedCount)
            reply.isReplaced = isReplaced
            reply.damaged = result.damaged.map { region in
                .with {
                    ($0.file, $0.region) = (region.file, UInt64(region.region))
                    ($0.offset, $0.length) = (region.offset, region.length)
                }
            }
        }
    }

    init(_ wire: WireCopyCheckReply) {
        self.init(progress: ReadingProgress(checked: wire.checkedBytes, total: wire.totalBytes))
        guard wire.isDone else { return }
        result = ImageExamination(
            damaged: wire.damaged.prefix(ImageExamination.listed).map {
                DamagedRegion(
                    file: $0.file,
                    region: Int(clamping: $0.region),
                    offset: $0.offset,
                    length: $0.length
                )
            },
            damagedCount: Int(clamping: wire.damagedCount),
            problem: wire.problem.isEmpty ? nil : wire.problem
        )
        isReplaced = wire.isReplaced
    }
}
