/// Where a job is in its life.
///
/// `queued` -> `starting` -> `running` <-> `checkpointing` ... -> `completed` | `failed` | `cancelled`.
package enum JobState: String, Sendable, Codable, CaseIterable {
    /// Accepted; waits for room, or for its next try.
    case queued
    /// Its image is being prepared or its container created.
    case starting
    /// Its container is being made from a checkpoint.
    case restoring
    case running
    /// Frozen for a checkpoint.
    case checkpointing
    /// Frozen on one node, about to run on another.
    case migrating
    /// Checkpointed and stopped on demand; `job restore` continues it.
    case suspended
    /// Told to end.
    case stopping
    case completed
    case failed
    case cancelled

    /// Whether the job has ended for ever.
    package var isFinal: Bool { self == .completed || self == .failed || self == .cancelled }

    /// Whether a container of this job may exist.
    package var mayHaveContainer: Bool {
        switch self {
        case .starting, .restoring, .running, .checkpointing, .migrating, .stopping: true
        case .queued, .suspended, .completed, .failed, .cancelled: false
        }
    }
}

/// How a container came to its end.
package enum ContainerExit: Sendable, Codable, Equatable {
    case exited(code: Int32)
    case signalled(number: Int32, isOutOfMemory: Bool)
    /// The container could not be started; the sentence says why and what to do.
    case notStarted(reason: String)
    /// Its node ended it, having been out of touch with the cluster's leader for longer than it may run containers without.
    case fenced
    /// It is gone and nobody saw it end: the machine or its supervisor crashed.
    case lost

    /// Whether the command itself said that it succeeded.
    package var isSuccess: Bool { self == .exited(code: 0) }
}

/// CPU time that a job has consumed over all its incarnations; counters of the kernel start anew, this does not.
package struct CPULedger: Sendable, Codable, Equatable {
    /// Consumed by containers that have ended.
    package var settled: Duration = .zero
    /// Consumed by the present container, as of the last sample.
    package var current: Duration = .zero
    package init() {}

    /// Everything consumed so far, as of the last sample.
    package var total: Duration { settled + current }

    /// Takes a reading of the present container's counter.
    ///
    /// A reading below the last one is refused: counters only rise.
    package mutating func record(_ reading: Duration) {
        if reading > current { current = reading }
    }

    /// Closes the present container's account.
    package mutating func settle() {
        settled += current
        current = .zero
    }

    /// Continues from a checkpoint: work after it was lost, so `total` falls back to what the checkpoint had.
    package mutating func rollBack(to total: Duration) {
        settled = total
        current = .zero
    }
}
