package import ClusterModel

// Moving a job from node to node while it runs.
extension JobChange {
    mutating func beginMigration(_ order: MigrationOrder) throws(Refusal) {
        guard record.state == .running, let source = record.node else {
            throw refuse("only a running job can be moved", "`godwit job show` tells when it runs.")
        }
        if let known = record.migration {
            throw refuse("it is on its way from \(known.source) to \(known.destination) already", "Wait for its end.")
        }
        guard record.request == nil else { throw refuse("another request is being carried out", "Wait for its end.") }
        guard let target = nodes[order.to] else {
            throw Refusal(.notFound, "There is no node \(order.to). `godwit node list` shows those there are.")
        }
        guard order.to != source else { throw refuse("it runs on node \(source) already", "Choose another node.") }
        guard target.acceptsAssignments else {
            let what = target.state == .active ? (target.isDraining ? "draining" : "cordoned") : target.state.rawValue
            throw refuse("node \(order.to) is \(what) and takes no new jobs", "Choose another node.")
        }
        if let address = record.address, target.network?.subnet != address.network {
            throw refuse(
                "node \(order.to) has no bridge in the network of its address \(address)",
                "Choose another node."
            )
        }
        let number = (record.lastMigration ?? 0) + 1
        record.lastMigration = number
        record.migration = Migration(order, number: number, source: source, incarnation: record.incarnation)
        decide(.placed, "Is to be moved from node \(source) to node \(order.to). \(order.reason)")
    }

    /// The present move, if it is the one that is meant.
    private func migration(_ number: UInt64) throws(Refusal) -> Migration {
        guard let migration = record.migration, migration.number == number else {
            throw Refusal(.stale, "Move \(number) of job \(record.id) is over.")
        }
        return migration
    }

    mutating func migrationPrepared(_ number: UInt64) throws(Refusal) {
        guard try migration(number).phase == .preparing else {
            throw Refusal(.stale, "Move \(number) of job \(record.id) is prepared.")
        }
        record.migration?.phase = .prepared
        record.migration?.phaseSince = time
    }

    /// Gives a move up before the hand-over; afterwards only the destination can.
    mutating func abortMigration(_ number: UInt64, reason: String, declinedBy node: NodeID?) throws(Refusal) {
        guard try !migration(number).isHandedOver else {
            throw refuse("it has been handed over to another node", "Wait for its end.")
        }
        abandonMigration(because: reason, declinedBy: node)
    }

    /// Gives up a move whose job is still the source's.
    mutating func abandonMigration(because reason: String, declinedBy node: NodeID? = nil) {
        guard let migration = record.migration else { return }
        record.migration = nil
        noteFailedMigration(reason, declinedBy: node)
        let place = "on node \(migration.source)"
        decide(
            .warned,
            "The move to node \(migration.destination) was given up: \(Self.clause(reason)). The job runs on, \(place); nothing is lost."
        )
    }

    private mutating func noteFailedMigration(_ reason: String, declinedBy node: NodeID?) {
        var failed = record.failedMigrations ?? FailedMigrations(count: 0, last: time, nodes: [], reason: reason)
        failed.count += 1
        (failed.last, failed.reason) = (time, reason)
        if let node { failed.nodes = Set(failed.nodes + [node]).sorted() }
        record.failedMigrations = failed
    }

    /// From here on the job is the destination's.
    mutating func handOver(_ number: UInt64, _ handover: Migration.Handover) throws(Refusal) {
        var migration = try migration(number)
        guard migration.phase == .prepared, record.state == .running, record.incarnation == migration.incarnation else {
            throw Refusal(.stale, "Job \(record.id) cannot be handed over now: it is \(record.state.rawValue).")
        }
        guard nodes[migration.destination]?.state == .active else {
            throw refuse("node \(migration.destination) is not there any more", "Give the move up.")
        }
        if let consumed = handover.consumed { record.ledger.record(consumed) }
        (migration.settled, migration.current) = (record.ledger.settled, record.ledger.current)
        record.ledger.settle()
        checkObjective()
        migration.phase = .handedOver
        migration.phaseSince = time
        migration.handover = handover
        migration.next = record.takeIncarnation()
        record.migration = migration
        record.node = migration.destination
        record.assignment = JobAssignment(node: migration.destination, time: time, reason: migration.reason)
        let way = "from node \(migration.source) to node \(migration.destination)"
        enter(.migrating, "Stands still while it moves \(way).")
    }

    /// It runs at the destination.
    mutating func migrationStarted() {
        guard let migration = record.migration, let handover = migration.handover else { return }
        record.migration?.phase = .running
        record.migration?.phaseSince = time
        record.failedMigrations = nil
        record.failedCheckpoints = nil
        let downtime = max(handover.stoodStill, time - handover.frozen)
        record.lastMove = MeasuredMove(
            at: time,
            stoodStill: downtime,
            bytes: handover.bytes,
            isLazy: handover.isLazy
        )
        enter(.running, record.runningMessage)
        decide(
            .migrated,
            "Moved from node \(migration.source) to node \(migration.destination); it stood still for \(downtime.text).",
            [
                .init(name: "downtimeSeconds", value: downtime.inSeconds),
                .init(name: "incarnation", value: Double(record.incarnation.rawValue)),
            ]
        )
    }

    /// The destination has everything: the source's container may go.
    mutating func migrationDrained(_ number: UInt64, sent: ByteCount) throws(Refusal) {
        let migration = try migration(number)
        guard migration.phase == .running, let handover = migration.handover else {
            throw Refusal(.stale, "Job \(record.id) does not run at its destination yet.")
        }
        record.migration = nil
        let total = max(.zero, time - migration.began)
        decide(
            .migrated,
            "The whole move to node \(migration.destination) took \(total.text): \(handover.bytes) of memory and files went across as "
                + "\(sent). Node \(migration.source) holds nothing of it any more.",
            [
                .init(name: "totalSeconds", value: total.inSeconds),
                .init(name: "rawBytes", value: Double(handover.bytes.rawValue)),
                .init(name: "sentBytes", value: Double(sent.rawValue)),
            ]
        )
    }

    /// The destination could not, and nothing of the job is left there.
    mutating func migrationFailed(_ number: UInt64, reason: String) throws(Refusal) {
        let migration = try migration(number)
        guard migration.phase == .handedOver else {
            throw Refusal(.stale, "Job \(record.id) is not between two nodes.")
        }
        goBack(because: "node \(migration.destination) could not go on with it: \(Self.clause(reason))")
    }

    /// Lets the source's container, which stands still, run on; where it is gone, too, the recovery rule says what follows.
    private mutating func goBack(because reason: String) {
        guard let migration = record.migration else { return }
        let destination = migration.destination
        guard !migration.isSourceLost, nodes[migration.source]?.state.isLive == true else {
            let what = "It was between two nodes when node \(migration.source) was lost, and \(reason)."
            return ended(.lost, cause: what)
        }
        record.lastIncarnation = record.incarnation
        record.incarnation = migration.incarnation
        record.node = migration.source
        record.assignment = JobAssignment(node: migration.source, time: time, reason: "It came back from a move.")
        (record.ledger.settled, record.ledger.current) = (migration.settled, migration.current)
        record.migration = nil
        noteFailedMigration(reason, declinedBy: destination)
        let stood = migration.handover.map { max($0.stoodStill, time - $0.frozen) } ?? .zero
        enter(.running, record.runningMessage)
        decide(
            .warned,
            "The move to node \(destination) failed: \(reason). The job runs on, on node \(migration.source), where it stood still for "
                + "\(stood.text); nothing is lost.",
            [.init(name: "downtimeSeconds", value: stood.inSeconds)]
        )
    }

    /// Goes on after a node is gone that has part in the job's move; false when that is nothing particular.
    mutating func migrationNodeGone(_ node: NodeID, cause: String) -> Bool {
        guard let migration = record.migration else { return false }
        switch (migration.phase, node) {
        case (.preparing, migration.destination), (.prepared, migration.destination):
            abandonMigration(because: cause, declinedBy: node)
        case (.handedOver, migration.destination):
            goBack(because: Self.clause(cause))
        case (.handedOver, migration.source), (.running, migration.source):
            guard !migration.isSourceLost else { return true }
            record.migration?.isSourceLost = true
            decide(
                .warned,
                "\(cause) The job has left it; node \(migration.destination) goes on with it if it has everything."
            )
        default: return false
        }
        return true
    }

    /// A sentence as part of another one.
    private static func clause(_ sentence: String) -> String {
        var text = sentence
        while text.last == "." { text.removeLast() }
        return text
    }
}

extension JobRecord {
    /// The number of the job's next container, unless another one comes between; none is ever used twice.
    package var nextIncarnation: Incarnation { max(incarnation, lastIncarnation ?? incarnation).next }

    mutating func takeIncarnation() -> Incarnation {
        incarnation = nextIncarnation
        return incarnation
    }

    var runningMessage: String {
        totalIterations > 1 ? "Iteration \(completedIterations + 1) of \(totalIterations) runs." : "Runs."
    }
}

extension JobRecord {
    /// The record as it would be when a move had begun: for plans that begin several at once.
    package func moving(_ order: MigrationOrder) -> JobRecord {
        guard let node else { return self }
        var moved = self
        moved.migration = Migration(order, number: (lastMigration ?? 0) + 1, source: node, incarnation: incarnation)
        return moved
    }
}
