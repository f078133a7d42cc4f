package import ClusterModel

/// The state machine that all agents of a cluster agree on: jobs, their history in numbers, their checkpoints, nodes, and who is trusted.
///
/// It changes only by `apply(_:)`, which reads no clock and draws no number: the same commands give the same state everywhere.
/// A command that is refused changes nothing.
package struct ClusterState: Sendable, Equatable {
    /// The newest version of commands and stored state that this program knows; `init(from:)` refuses newer ones.
    package static let newestVersion = 6
    /// The version that every node of a cluster knows: before it, a cluster had one node.
    package static let oldestVersion = 2
    /// Versions of the stored form that `init(from:)` reads.
    static let readVersions = 1...newestVersion
    /// Newest measured iterations that a record keeps.
    package static let measuredIterationLimit = 64
    /// A container that ended sooner than this after its start was lost quickly.
    package static let quickLoss: Duration = .seconds(60)
    /// Quick losses in a row after which a job fails instead of being started once more.
    package static let quickLossLimit = 10

    package internal(set) var limits = StateLimits()
    var records = RecordTable()
    /// The number of the newest decision.
    package internal(set) var lastDecision: UInt64 = 0
    /// The version of commands and stored state that every node knows, so that a cluster is upgraded node by node.
    ///
    /// The least that the live nodes know; it never falls. See `Command.requiredVersion`.
    package internal(set) var version = oldestVersion
    var nodeTable = NodeTable()
    /// The greatest member number that a node ever had.
    var lastMember: UInt64 = 0
    var trustRecords = TrustRecords()
    var checkpointKeyList: [CheckpointKey] = []
    var auditLog = AuditLog()
    /// The last time that the cluster began again from one log; nil when it never did.
    package internal(set) var recovery: Recovery?

    // Found again from the records when a snapshot is read.
    private(set) var liveNames: [String: JobID] = [:]
    private(set) var submissions: [SubmissionKey: JobID] = [:]

    /// Knows no job.
    package init() {}
}

/// A submitter's own mark of a submission.
struct SubmissionKey: Hashable, Sendable {
    var submitter: UserID
    var key: String
}

extension ClusterState {
    /// Every job, by rising submission time.
    package var jobs: [JobRecord] { records.bySubmission() }

    /// Jobs that have not ended, by rising submission time.
    package var liveJobs: [JobRecord] { records.bySubmission(Array(liveNames.values)) }

    /// How many jobs have not ended.
    package var liveJobCount: Int { liveNames.count }

    /// How many jobs are known.
    package var jobCount: Int { records.count }

    /// The record of a job.
    package func job(_ id: JobID) -> JobRecord? { records[id] }

    /// The job that a user's submission with this idempotency key made, while it is remembered.
    package func job(submittedBy user: UserID, withKey key: String) -> JobID? {
        submissions[SubmissionKey(submitter: user, key: key)]
    }

    /// Finds a job by the name of one that has not ended, by its identity, by the name of the newest ended one, or by an
    /// identity's unambiguous beginning, in this order.
    package func resolve(_ reference: String) throws(Refusal) -> JobRecord {
        if let id = liveNames[reference], let record = records[id] { return record }
        if let record = records[JobID(rawValue: reference)] { return record }
        guard !reference.isEmpty else {
            throw Refusal(.invalid, "Name a job: its name, its identity or its beginning.")
        }
        let known = jobs
        if let record = known.last(where: { $0.specification.name == reference }) { return record }
        let matches = known.filter { $0.id.rawValue.hasPrefix(reference) }
        if let first = matches.first, matches.count == 1 { return first }
        if matches.count > 1 {
            let some = matches.prefix(5).map { "\($0.id) (\($0.specification.name))" }.joined(separator: ", ")
            throw Refusal(
                .conflict,
                "'\(reference)' begins \(matches.count) identities: \(some). Give more characters."
            )
        }
        var message = "There is no job '\(reference)'."
        if let closest = closestText(to: reference, among: known.map(\.specification.name)) {
            message += " Did you mean '\(closest)'?"
        }
        throw Refusal(.notFound, message + " `godwit job list --all` shows every job.")
    }

    /// Checkpoints whose files are to be deleted.
    package var retiringCheckpoints: [(job: JobID, generation: CheckpointGeneration)] {
        jobs.flatMap { job in job.catalog.filter { $0.state == .retiring }.map { (job.id, $0.generation) } }
    }
}

extension ClusterState {
    /// Changes the state, or refuses to.
    package mutating func apply(_ command: Command) -> Outcome {
        do throws(Refusal) {
            return .accepted(try accept(command))
        } catch {
            return .refused(error)
        }
    }

    mutating func accept(_ command: Command, isKnown: Bool = false) throws(Refusal) -> Acceptance {
        // An agent alone is all nodes that there are; from here on no older one can join.
        if !isKnown, nodeTable.all.isEmpty, command.requiredVersion >= 4 {
            return try acceptAlone(command)
        }
        guard command.requiredVersion <= version else {
            throw Refusal(
                .conflict,
                "Some node still runs a version of godwitd that does not know this; upgrade all nodes first."
            )
        }
        return switch command {
        case .configure(let limits): try configure(limits)
        case .submit(let submission): try submit(submission)
        case .requestCheckpoint(let job, let stops, let user, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.requestCheckpoint(stops: stops, by: user)
            }
        case .requestRestore(let job, let generation, let user, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.requestRestore(generation, by: user) }
        case .requestResize(let resize):
            try change(resize.job, at: resize.time) { (change) throws(Refusal) in try change.resize(resize) }
        case .requestCancel(let job, let grace, let user, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.requestCancel(grace: grace, by: user) }
        case .importCheckpoint(let imported): try importCheckpoint(imported)
        case .removeCheckpoint(let removal):
            try change(removal.job, at: removal.time) { (change) throws(Refusal) in
                try change.removeCheckpoint(removal.generation, isForced: removal.isForced, by: removal.by)
            }
        case .releaseCheckpoint(let release):
            try change(release.job, at: release.time) { (change) throws(Refusal) in
                try change.release(release.generation, from: release.node, because: release.reason)
            }
        case .waiting(let job, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.wait(because: reason) }
        case .begin(let job, let node, let time, let network):
            try begin(job, on: node, offering: network, at: time)
        case .started(let job, let incarnation, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.started(incarnation) }
        case .adopted(let job, let incarnation, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.adopted(incarnation) }
        case .exited(let job, let incarnation, let exit, let consumed, let time, let vcpus):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.exited(incarnation, exit: exit, consumed: consumed, vcpus: vcpus)
            }
        case .restoreFailed(let failure):
            try change(failure.job, at: failure.time) { (change) throws(Refusal) in try change.restoreFailed(failure) }
        case .beginCheckpoint(let job, let incarnation, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.beginCheckpoint(incarnation) }
        case .checkpointRecorded(let job, let entry, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.recordCheckpoint(entry) }
        case .checkpointFailed(let job, let generation, let reason, let isInterrupted, let time):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.checkpointFailed(generation, reason: reason, isInterrupted: isInterrupted)
            }
        case .checkpointDamaged(let job, let generation, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.checkpointDamaged(generation, reason: reason)
            }
        case .checkpointRetired(let job, let generation):
            try change(job, at: .epoch) { (change) throws(Refusal) in try change.checkpointRetired(generation) }
        case .placeCopies(let job, let generation, let nodes, let time):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.placeCopies(of: generation, on: nodes)
            }
        case .copyHeld(let job, let generation, let node, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.copyHeld(of: generation, by: node) }
        case .copyDeclined(let job, let generation, let node, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.copyDeclined(of: generation, by: node, reason: reason)
            }
        case .copyDamaged(let job, let generation, let node, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.copyDamaged(of: generation, on: node, reason: reason)
            }
        case .copyGone(let job, let generation, let node, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.copyGone(of: generation, from: node) }
        case .moveAway(let job, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.moveAway() }
        case .preempt(let job, let other, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.preempt(for: other, because: reason) }
        case .beginMigration(let order):
            try change(order.job, at: order.time) { (change) throws(Refusal) in try change.beginMigration(order) }
        case .migrationPrepared(let job, let number, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.migrationPrepared(number) }
        case .abortMigration(let job, let number, let reason, let node, let time):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.abortMigration(number, reason: reason, declinedBy: node)
            }
        case .handOver(let job, let number, let handover, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.handOver(number, handover) }
        case .migrationFailed(let job, let number, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.migrationFailed(number, reason: reason)
            }
        case .migrationDrained(let job, let number, let sent, let time):
            try change(job, at: time) { (change) throws(Refusal) in
                try change.migrationDrained(number, sent: sent)
            }
        case .addCheckpointKey(let key): try addCheckpointKey(key)
        case .dropCheckpointKeys(let numbers, let time): try dropCheckpointKeys(numbers, at: time)
        case .ledger(let readings, let time): record(readings, at: time)
        case .allocate(let changes, let time): try allocate(changes, at: time)
        case .note(let decisions): note(decisions)
        case .prune(let time): prune(at: time)
        case .registerNode(let registration): try register(registration)
        case .nodeLeft(let departure): try nodeLeft(departure)
        case .nodeLost(let node, let reason, let time): try nodeLost(node, reason: reason, at: time)
        case .cordon(let node, let user, let time): try cordon(node, by: user, at: time)
        case .drain(let node, let restartsJobs, let user, let time):
            try drain(node, restartsJobs: restartsJobs, by: user, at: time)
        case .undrain(let node, let user, let time): try undrain(node, by: user, at: time)
        case .assign(let job, let node, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.assign(to: node, because: reason) }
        case .unassign(let job, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.unassign(because: reason) }
        case .passOver(let job, let generation, let reason, let time):
            try change(job, at: time) { (change) throws(Refusal) in try change.passOver(generation, because: reason) }
        case .nameCluster(let id, let time): try nameCluster(id, at: time)
        case .revoke(let revocation): try revoke(revocation)
        case .setKeyring(let keyring): try setKeyring(keyring)
        case .trust(let authority): try trust(authority)
        case .distrust(let fingerprint, let user, let time): try distrust(fingerprint, by: user, at: time)
        case .auditEntry(let author, let sentence, let time): try note(sentence, by: author, at: time)
        }
    }

    /// Runs a change on a copy of a record and takes it over when it was not refused.
    mutating func change(
        _ id: JobID,
        at time: Timestamp,
        _ body: (inout JobChange) throws(Refusal) -> Void
    ) throws(Refusal) -> Acceptance {
        guard let record = records[id] else {
            throw Refusal(.notFound, "There is no job \(id); it may have been forgotten.")
        }
        var change = JobChange(record: record, time: time, nodes: nodeTable)
        try body(&change)
        var acceptance = Acceptance()
        take(change, into: &acceptance)
        return acceptance
    }

    /// Stores a changed record and numbers its decisions.
    mutating func take(_ change: JobChange, into acceptance: inout Acceptance) {
        let id = change.record.id
        if records[id] != change.record {
            acceptance.changed.append(id)
            records[id] = change.record
        }
        if change.record.state.isFinal {
            liveNames[change.record.specification.name] = liveName(without: change.record)
        }
        for decision in change.decisions { acceptance.decisions.append(number(decision)) }
    }

    /// Who holds an ended job's name now: nobody, unless a later job took it.
    private func liveName(without record: JobRecord) -> JobID? {
        let holder = liveNames[record.specification.name]
        return holder == record.id ? nil : holder
    }

    private mutating func number(_ decision: Decision) -> NumberedDecision {
        lastDecision += 1
        return NumberedDecision(sequence: lastDecision, decision: decision)
    }
}

// MARK: Commands about no job, or several

extension ClusterState {
    private mutating func configure(_ new: StateLimits) throws(Refusal) -> Acceptance {
        guard (1...100_000).contains(new.liveJobs), (0...1_000_000).contains(new.endedJobs), new.endedRetention >= .zero
        else {
            throw Refusal(.invalid, "The bounds of the state must be 1...100000 live jobs and at least 0 ended ones.")
        }
        limits = new
        return Acceptance()
    }

    mutating func submit(_ submission: Submission) throws(Refusal) -> Acceptance {
        let name = submission.specification.name
        let key = submission.idempotencyKey.map { SubmissionKey(submitter: submission.submitter, key: $0) }
        if let key {
            guard (1...64).contains(key.key.utf8.count) else {
                throw Refusal(
                    .invalid,
                    "An idempotency key has 1 to 64 characters; this one has \(key.key.utf8.count)."
                )
            }
            if let known = submissions[key], let record = records[known] {
                guard record.specification == submission.specification else {
                    throw Refusal(
                        .conflict,
                        "The idempotency key '\(key.key)' was used for job '\(record.specification.name)' with another "
                            + "specification. Use a new key for a new job."
                    )
                }
                var acceptance = Acceptance()
                acceptance.submitted = known
                return acceptance
            }
        }
        if let holder = liveNames[name] {
            throw Refusal(
                .conflict,
                "The name '\(name)' belongs to job \(holder), which has not ended. Choose another name, or end that job with "
                    + "`godwit job cancel \(name)`."
            )
        }
        guard records[submission.id] == nil else {
            throw Refusal(.conflict, "The identity \(submission.id) is taken. Submit again: identities are drawn anew.")
        }
        if let network = submission.specification.network { try requireFree(network) }
        guard liveNames.count < limits.liveJobs else {
            throw Refusal(
                .exhausted,
                "\(liveNames.count) jobs have not ended, which is the bound (limits.jobs). Wait for one to end, or raise it."
            )
        }
        var change = JobChange(record: JobRecord(submission), time: submission.time, nodes: nodeTable)
        change.submitted()
        liveNames[name] = submission.id
        if let key { submissions[key] = submission.id }
        var acceptance = Acceptance()
        acceptance.submitted = submission.id
        take(change, into: &acceptance)
        return acceptance
    }

    private mutating func record(_ readings: [LedgerReading], at time: Timestamp) -> Acceptance {
        var acceptance = Acceptance()
        for reading in readings {
            // A reading of a container that has ended in the meantime is no error: its last one came with its exit.
            guard let record = records[reading.job], record.incarnation == reading.incarnation,
                record.incarnationStarted != nil
            else { continue }
            var change = JobChange(record: record, time: time, nodes: nodeTable)
            change.record.ledger.record(reading.consumed)
            change.checkObjective()
            take(change, into: &acceptance)
        }
        acceptance.changed = Set(acceptance.changed).sorted()
        return acceptance
    }

    private mutating func allocate(_ changes: [AllocationChange], at time: Timestamp) throws(Refusal) -> Acceptance {
        guard changes.allSatisfy({ $0.allocation.rawValue.isFinite && $0.allocation >= .zero }) else {
            throw Refusal(.invalid, "An allocation is a finite number of vCPUs, at least 0.")
        }
        var acceptance = Acceptance()
        for allocation in changes {
            guard let record = records[allocation.job], !record.state.isFinal else { continue }
            var change = JobChange(record: record, time: time, nodes: nodeTable)
            change.record.allocation = record.pinnedAllocation ?? allocation.allocation
            if let decision = allocation.decision { change.note(decision) }
            take(change, into: &acceptance)
        }
        acceptance.changed = Set(acceptance.changed).sorted()
        return acceptance
    }

    private mutating func note(_ decisions: [Decision]) -> Acceptance {
        var acceptance = Acceptance()
        for decision in decisions {
            guard let record = records[decision.job] else { continue }
            var change = JobChange(record: record, time: decision.time, nodes: nodeTable)
            change.note(decision)
            take(change, into: &acceptance)
        }
        acceptance.changed = Set(acceptance.changed).sorted()
        return acceptance
    }

    private mutating func prune(at time: Timestamp) -> Acceptance {
        // A job whose checkpoint files are still on a disk is kept, so that nobody forgets to delete them.
        let ended = records.values.compactMap { record in record.ended.map { (ended: $0, id: record.id) } }.sorted {
            $0 < $1
        }
        let surplus = ended.count - limits.endedJobs
        var acceptance = Acceptance()
        for (rank, entry) in ended.enumerated()
        where (rank < surplus || entry.ended + limits.endedRetention <= time)
            && records[entry.id]?.catalog.isEmpty == true
        {
            if let record = records.removeValue(forKey: entry.id), let key = record.idempotencyKey {
                submissions[SubmissionKey(submitter: record.submitter, key: key)] = nil
            }
            acceptance.pruned.append(entry.id)
        }
        acceptance.pruned.sort()
        pruneNodes(at: time, into: &acceptance)
        pruneRevocations(at: time, into: &acceptance)
        return acceptance
    }
}

// MARK: The stored form

extension ClusterState: Codable {
    private enum CodingKeys: String, CodingKey {
        case formatVersion, limits, lastDecision, jobs
        // From version 2.
        case nodes, lastMember, trust, audit
        // From version 4.
        case checkpointKeys
        // Only after a recovery; a program that does not know it is not heard by the others then.
        case recovery
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let version = try container.decode(Int.self, forKey: .formatVersion)
        guard Self.readVersions.contains(version) else {
            throw DecodingError.dataCorruptedError(
                forKey: .formatVersion,
                in: container,
                debugDescription:
                    "the state has format \(version), and this program reads formats up to \(Self.newestVersion); "
                    + "start the version of godwitd that wrote it"
            )
        }
        self.version = max(version, Self.oldestVersion)
        limits = try container.decode(StateLimits.self, forKey: .limits)
        lastDecision = try container.decode(UInt64.self, forKey: .lastDecision)
        for record in try container.decode([JobRecord].self, forKey: .jobs) {
            records[record.id] = record
            if !record.state.isFinal { liveNames[record.specification.name] = record.id }
            if let key = record.idempotencyKey {
                submissions[SubmissionKey(submitter: record.submitter, key: key)] = record.id
            }
        }
        for record in try container.decodeIfPresent([NodeRecord].self, forKey: .nodes) ?? [] {
            nodeTable[record.node] = record
        }
        lastMember = try container.decodeIfPresent(UInt64.self, forKey: .lastMember) ?? 0
        trustRecords = try container.decodeIfPresent(TrustRecords.self, forKey: .trust) ?? TrustRecords()
        auditLog = try container.decodeIfPresent(AuditLog.self, forKey: .audit) ?? AuditLog()
        checkpointKeyList = try container.decodeIfPresent([CheckpointKey].self, forKey: .checkpointKeys) ?? []
        recovery = try container.decodeIfPresent(Recovery.self, forKey: .recovery)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        // What came with a later version than that of the cluster cannot have been used yet.
        try container.encode(version, forKey: .formatVersion)
        try container.encode(limits, forKey: .limits)
        try container.encode(lastDecision, forKey: .lastDecision)
        try container.encode(jobs, forKey: .jobs)
        try container.encode(nodes, forKey: .nodes)
        try container.encode(lastMember, forKey: .lastMember)
        try container.encode(trustRecords, forKey: .trust)
        try container.encode(auditLog, forKey: .audit)
        if !checkpointKeyList.isEmpty { try container.encode(checkpointKeyList, forKey: .checkpointKeys) }
        try container.encodeIfPresent(recovery, forKey: .recovery)
    }
}
