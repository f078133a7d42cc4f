package import ClusterModel

/// A checkpoint that came out of a tar and lies on a node, complete and durable.
package struct CheckpointImport: Sendable, Codable, Equatable {
    /// The job that it makes; nil when it is added to one that exists.
    package var submission: Submission?
    package var job: JobID
    /// Its generation is the next one of the job.
    package var entry: CatalogEntry
    package var by: UserID
    package var time: Timestamp

    /// Takes the values as they are; `apply(_:)` checks them.
    package init(submission: Submission?, job: JobID, entry: CatalogEntry, by: UserID, time: Timestamp) {
        self.submission = submission
        self.job = job
        self.entry = entry
        self.by = by
        self.time = time
    }
}

/// The removal of a checkpoint that a user asked for.
package struct CheckpointRemoval: Sendable, Codable, Equatable {
    package var job: JobID
    package var generation: CheckpointGeneration
    /// Also the one that the job waits to go on from, and the last good one of a job that stands still.
    package var isForced: Bool
    package var by: UserID
    package var time: Timestamp

    /// Takes the values as they are.
    package init(job: JobID, generation: CheckpointGeneration, isForced: Bool, by: UserID, time: Timestamp) {
        self.job = job
        self.generation = generation
        self.isForced = isForced
        self.by = by
        self.time = time
    }
}

/// A node without room asks for the end of a checkpoint that nobody needs.
package struct CheckpointRelease: Sendable, Codable, Equatable {
    package var job: JobID
    package var generation: CheckpointGeneration
    /// It holds the checkpoint.
    package var node: NodeID
    /// One sentence.
    package var reason: String
    package var time: Timestamp

    /// Takes the values as they are.
    package init(job: JobID, generation: CheckpointGeneration, node: NodeID, reason: String, time: Timestamp) {
        self.job = job
        self.generation = generation
        self.node = node
        self.reason = reason
        self.time = time
    }
}

// Checkpoints that users bring and take away.
extension JobChange {
    /// The job was made for an imported checkpoint: it stands still with it, as if it had been stopped there.
    mutating func begun(with entry: CatalogEntry, by user: UserID) throws(Refusal) {
        guard entry.completedIterations < record.totalIterations else {
            throw Refusal(
                .invalid,
                "The checkpoint was taken after \(entry.completedIterations) iterations, and the job has \(record.totalIterations)."
            )
        }
        record.completedIterations = entry.completedIterations
        record.ledger.rollBack(to: entry.consumed)
        record.incarnation = entry.incarnation
        append(entry)
        let what =
            "Imported by \(user) with \(entry.consumed.text) of CPU time done; `godwit job restore \(record.specification.name)` "
            + "continues it."
        decide(.suspended, what, [.init(name: "generation", value: Double(entry.generation.rawValue))])
        enter(.suspended, what)
    }

    /// An imported checkpoint becomes the newest generation of the job.
    mutating func importCheckpoint(_ entry: CatalogEntry, by user: UserID) throws(Refusal) {
        guard !record.state.isFinal else { throw refuse("it has ended", "Import it as a job of its own.") }
        guard entry.generation == record.lastGeneration.next else {
            throw Refusal(
                .stale,
                "Checkpoint \(entry.generation) of job '\(record.specification.name)' cannot be the next one after "
                    + "\(record.lastGeneration). Import it again."
            )
        }
        guard entry.completedIterations == record.completedIterations else {
            throw refuse(
                "the checkpoint belongs to its iteration \(entry.completedIterations + 1), and iteration "
                    + "\(record.completedIterations + 1) is next",
                "Import it as a job of its own."
            )
        }
        append(entry)
        decide(
            .checkpointed,
            "Checkpoint \(entry.generation) was imported by \(user): \(entry.raw) stored as \(entry.stored), with "
                + "\(entry.consumed.text) of CPU time done.",
            [.init(name: "generation", value: Double(entry.generation.rawValue))]
        )
        retireSurplus()
    }

    private mutating func append(_ entry: CatalogEntry) {
        var entry = entry
        entry.state = .complete
        entry.damage = nil
        entry.copies = nil
        record.catalog.append(entry)
        record.lastGeneration = entry.generation
    }

    /// Lets a generation go because a user wants it to.
    mutating func removeCheckpoint(_ generation: CheckpointGeneration, isForced: Bool, by user: UserID) throws(Refusal)
    {
        let name = record.specification.name
        guard let index = record.catalog.firstIndex(where: { $0.generation == generation && $0.state != .retiring })
        else {
            let known = record.catalog.filter { $0.state != .retiring }.map { "\($0.generation)" }
            throw Refusal(
                .notFound,
                "'\(name)' has no checkpoint \(generation)."
                    + (known.isEmpty ? "" : " There are: \(known.joined(separator: ", ")).")
            )
        }
        let isUsed = record.resumption?.generation == generation
        if isUsed, record.state == .restoring || record.state == .starting {
            throw refuse("it is being restored from checkpoint \(generation)", "Try again when it runs.")
        }
        let isAwaited = isUsed && record.state == .queued
        let isLast = record.state == .suspended && record.goodCheckpoints.map(\.generation) == [generation]
        guard isForced || !(isAwaited || isLast) else {
            throw refuse(
                isAwaited
                    ? "it waits to go on from checkpoint \(generation)"
                    : "checkpoint \(generation) is the only one that it can go on from",
                "Remove it all the same with --force."
            )
        }
        retire(index)
        let what = "Checkpoint \(generation) was removed by \(user)."
        decide(.warned, what, [.init(name: "generation", value: Double(generation.rawValue))])
        if isAwaited, let resumption = record.resumption { next(after: resumption, because: what) }
    }
}

extension ClusterState {
    /// Takes in an imported checkpoint, and the job that it makes.
    mutating func importCheckpoint(_ imported: CheckpointImport) throws(Refusal) -> Acceptance {
        guard let submission = imported.submission else {
            return try change(imported.job, at: imported.time) { (change) throws(Refusal) in
                try change.importCheckpoint(imported.entry, by: imported.by)
            }
        }
        let before = self
        var acceptance = try submit(submission)
        do throws(Refusal) {
            guard acceptance.submitted == submission.id, imported.job == submission.id else {
                throw Refusal(.conflict, "This checkpoint was imported before, as job \(imported.job).")
            }
            let begun = try change(submission.id, at: imported.time) { (change) throws(Refusal) in
                try change.begun(with: imported.entry, by: imported.by)
            }
            acceptance.decisions += begun.decisions
            return acceptance
        } catch {
            self = before
            throw error
        }
    }
}
