package import ClusterModel

/// A job's way from one node to another, from the choice of the destination until the source holds nothing of it any more.
///
/// Up to the hand-over the job is the source's, and whoever gives the move up costs it nothing. From then on it is the destination's: the
/// source's container stands still until this record says that the destination has everything, and it is thawed only when the record says that
/// the destination has failed. So never two of its containers run.
package struct Migration: Sendable, Codable, Equatable {
    /// How far it is.
    package enum Phase: String, Sendable, Codable, CaseIterable {
        /// The destination finds out whether it can take the job, and gets what it needs; the job runs.
        case preparing
        /// The destination is ready: the source is to freeze, dump and hand over.
        case prepared
        /// The source's container stands still; only the destination may start one.
        case handedOver
        /// It runs at the destination; the source still holds what was not fetched yet.
        case running
    }

    /// What the source knew when it handed over.
    package struct Handover: Sendable, Codable, Equatable {
        /// When the container was frozen, by the source's wall clock.
        package var frozen: Timestamp
        /// From then until the hand-over was proposed.
        package var stoodStill: Duration
        /// Of images and writable layer.
        package var bytes: ByteCount
        /// Whether memory is fetched from the frozen container after the destination runs.
        package var isLazy: Bool
        /// The last reading of the container's CPU time counter; nil when there was none.
        package var consumed: Duration?

        /// Takes the values as they are.
        package init(
            frozen: Timestamp,
            stoodStill: Duration,
            bytes: ByteCount,
            isLazy: Bool = false,
            consumed: Duration? = nil
        ) {
            self.frozen = frozen
            self.stoodStill = stoodStill
            self.bytes = bytes
            self.isLazy = isLazy
            self.consumed = consumed
        }
    }

    /// Counts the moves of this job, from 1: what is said about another one is stale.
    package let number: UInt64
    package let source: NodeID
    package let destination: NodeID
    /// The container that is moved.
    package let incarnation: Incarnation
    /// Who asked; nil when the leader did: the source is being drained, or cannot keep its deadlines.
    package let by: UserID?
    /// Why, and why there: a sentence.
    package let reason: String
    package let began: Timestamp
    package internal(set) var phase = Phase.preparing
    package internal(set) var phaseSince: Timestamp
    /// From the hand-over on.
    package internal(set) var handover: Handover?
    /// The destination's container, from the hand-over on.
    package internal(set) var next: Incarnation?
    /// Whether the source was lost after the hand-over: then nothing can go back, and what was not fetched is gone.
    package internal(set) var isSourceLost = false
    /// The ledger's two parts as they were at the hand-over, for the way back.
    var settled: Duration = .zero
    var current: Duration = .zero

    init(_ order: MigrationOrder, number: UInt64, source: NodeID, incarnation: Incarnation) {
        (self.number, self.source, self.incarnation) = (number, source, incarnation)
        (destination, by, reason, began, phaseSince) = (order.to, order.by, order.reason, order.time, order.time)
    }

    /// Whether only the destination may have a running container.
    package var isHandedOver: Bool { phase == .handedOver || phase == .running }

    /// How long the job may be on its way to the hand-over; it runs meanwhile, but for the freeze, which the source bounds closer.
    package static let preparationLimit: Duration = .seconds(900)
}

/// Moves that came to nothing since the present container began.
package struct FailedMigrations: Sendable, Codable, Equatable {
    /// One after the other.
    package internal(set) var count: Int
    package internal(set) var last: Timestamp
    /// Destinations that could not, sorted.
    package internal(set) var nodes: [NodeID]
    /// The last sentence.
    package internal(set) var reason: String

    /// Until when nobody but a user asks for another one.
    package var pauseEnd: Timestamp {
        last + Backoff.delay(attempt: count, first: .seconds(5), maximum: .seconds(300))
    }
}

/// How a move went: what is known of the next one.
package struct MeasuredMove: Sendable, Codable, Equatable {
    /// When the job ran again.
    package var at: Timestamp
    /// How long it ran nowhere.
    package var stoodStill: Duration
    /// Of images and writable layer that went across meanwhile.
    package var bytes: ByteCount
    /// Whether its memory was fetched afterwards.
    package var isLazy: Bool
}

/// A move that is to begin.
package struct MigrationOrder: Sendable, Codable, Equatable {
    package var job: JobID
    package var to: NodeID
    /// nil: the leader, of its own accord.
    package var by: UserID?
    /// A sentence: why, and why there.
    package var reason: String
    package var time: Timestamp

    /// Takes the values as they are; `apply(_:)` checks them.
    package init(job: JobID, to: NodeID, by: UserID?, reason: String, time: Timestamp) {
        (self.job, self.to, self.by, self.reason, self.time) = (job, to, by, reason, time)
    }
}

/// What a node has to do about a job that is on its way between two nodes.
package enum MigrationTask: Sendable, Equatable {
    /// The destination: find out whether it can be taken, and get what is needed.
    case prepare
    /// The destination: keep ready.
    case await
    /// The source: freeze, dump and hand over this incarnation.
    case handOver(Incarnation)
    /// The source: keep this incarnation frozen and give what is asked for.
    case hold(Incarnation)
    /// The destination: make this incarnation from what the source has.
    case receive(Incarnation)
    /// The destination: fetch what this incarnation still lacks, and say so.
    case drain(Incarnation)
}

extension ClusterState {
    /// Whether every node knows moves and preemption.
    package var knowsMigrations: Bool { version >= 6 }
}

extension JobRecord {
    /// What a node has to do about the job's migration; nil when it has no part in one, or only goes on as usual.
    package func migrationTask(on node: NodeID) -> MigrationTask? {
        guard let migration else { return nil }
        switch (migration.phase, node) {
        case (.preparing, migration.destination): return .prepare
        case (.prepared, migration.destination): return .await
        case (.prepared, migration.source): return state == .running ? .handOver(migration.incarnation) : nil
        case (.handedOver, migration.source), (.running, migration.source): return .hold(migration.incarnation)
        case (.handedOver, migration.destination): return .receive(incarnation)
        case (.running, migration.destination): return .drain(incarnation)
        default: return nil
        }
    }

    /// Whether the leader may have the job moved now of its own accord: it runs, nothing else was asked for, and it is time to try again if that
    /// failed before.
    package func mayMigrate(at now: Timestamp) -> Bool {
        guard state == .running, request == nil, migration == nil else { return false }
        return failedMigrations.map { $0.last > now || $0.pauseEnd <= now } ?? true
    }

    /// Every node on which something of the job's containers may be.
    package var occupiedNodes: [NodeID] {
        var nodes = state.mayHaveContainer ? [node] : [assignedNode]
        if let migration { nodes += [migration.source, migration.destination] }
        return Set(nodes.compactMap { $0 }).sorted()
    }
}

/// What the replicated state says about a container that its node may have handed over.
package enum MigrationVerdict: Sendable, Equatable {
    /// Only the destination may run the job; the container stays frozen.
    case handedOver
    /// The container is the job's, and no hand-over of this move can be accepted any more.
    case isOurs
    /// The hand-over may still be accepted.
    case undecided
    /// Nothing is wanted of the container any more.
    case released
}

extension JobRecord {
    /// What is true of a node's container and of one move.
    ///
    /// For whoever proposed a hand-over or cannot know whether it did, only what is read after the answer to a later proposal counts.
    package func verdict(on incarnation: Incarnation, at node: NodeID, move number: UInt64) -> MigrationVerdict {
        if let migration, migration.number == number, migration.source == node, migration.isHandedOver {
            return .handedOver
        }
        guard state.mayHaveContainer, self.node == node, self.incarnation == incarnation else { return .released }
        return migration?.number == number ? .undecided : .isOurs
    }
}
