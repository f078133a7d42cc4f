import ClusterModel
import ClusterState
import Foundation
import Testing

/// Draws commands, sensible and senseless, for a few jobs.
private struct CommandSource {
    var generator: SeededGenerator
    var now = Bench.start
    var submitted = 0
    /// Whether nodes come and go; without, an agent is alone.
    var hasNodes = false

    mutating func pick<Value>(_ values: [Value]) -> Value { values[Int(generator.next() % UInt64(values.count))] }
    mutating func below(_ bound: UInt64) -> Int { Int(generator.next() % bound) }

    mutating func next(_ state: ClusterState) -> Command {
        now = now + .milliseconds(Int64(generator.next() % 40_000))
        let known = state.jobs
        guard let job = known.isEmpty || below(12) == 0 ? nil : pick(known) else { return submission() }
        let id = job.id
        // Mostly the present incarnation and generation, sometimes another.
        let incarnation = below(8) == 0 ? Incarnation(rawValue: UInt32(below(4))) : job.incarnation
        let generation =
            below(4) == 0 || job.catalog.isEmpty
            ? CheckpointGeneration(rawValue: UInt32(below(6))) : pick(job.catalog.map(\.generation))
        if hasNodes, below(4) == 0 { return nodeCommand(state, id) }
        switch below(24) {
        case 0...2:
            let drawn = NodeID(rawValue: pick(["n1", "n2"]))
            return .begin(job: id, node: hasNodes && below(4) > 0 ? job.assignedNode ?? drawn : drawn, time: now)
        case 3...5: return .started(job: id, incarnation: incarnation, time: now)
        case 6...8:
            let exits: [ContainerExit] = [
                .exited(code: 0), .exited(code: 1), .lost, .signalled(number: 9, isOutOfMemory: false),
                .signalled(number: 9, isOutOfMemory: true), .notStarted(reason: "no image"),
            ]
            let consumed = below(3) == 0 ? nil : Duration.seconds(below(100))
            return .exited(job: id, incarnation: incarnation, exit: pick(exits), consumed: consumed, time: now)
        case 9...10: return .beginCheckpoint(job: id, incarnation: incarnation, time: now)
        case 11...12: return .checkpointRecorded(job: id, entry: entry(job), time: now)
        case 13:
            return .checkpointFailed(
                job: id,
                generation: below(4) == 0 ? generation : job.lastGeneration,
                reason: "no space.",
                isInterrupted: below(2) == 0,
                time: now
            )
        case 14: return .checkpointDamaged(job: id, generation: generation, reason: "bad block.", time: now)
        case 15: return .checkpointRetired(job: id, generation: generation)
        case 16: return .requestCheckpoint(job: id, stops: below(2) == 0, by: Bench.user, time: now)
        case 17:
            return .requestRestore(job: id, generation: below(2) == 0 ? nil : generation, by: Bench.user, time: now)
        case 18:
            return below(4) == 0
                ? .requestCancel(job: id, grace: .seconds(below(20)), by: Bench.user, time: now)
                : .requestResize(
                    Resize(
                        job: id,
                        allocation: pick([.pin(0.5), .release, nil]),
                        memory: pick([.mebibytes(64), nil]),
                        by: Bench.user,
                        time: now
                    )
                )
        case 19:
            let readings = known.map {
                LedgerReading(job: $0.id, incarnation: incarnation, consumed: .seconds(below(200)))
            }
            return .ledger(readings: readings, time: now)
        case 20:
            return .allocate(
                changes: [AllocationChange(job: id, allocation: VCPUCount(Double(below(400)) / 100))],
                time: now
            )
        case 21:
            return .restoreFailed(
                RestoreFailure(
                    job: id,
                    incarnation: incarnation,
                    generation: job.resumption?.generation ?? generation,
                    reason: "criu failed.",
                    isDamaged: below(2) == 0,
                    time: now
                )
            )
        case 22: return .adopted(job: id, incarnation: incarnation, time: now)
        default: return below(3) == 0 ? .prune(time: now) : .waiting(job: id, reason: "Reason \(below(3)).", time: now)
        }
    }

    private mutating func nodeCommand(_ state: ClusterState, _ job: JobID) -> Command {
        let number = 1 + below(4)
        let node = Bench.nodeID(number)
        switch below(24) {
        case 16...18: return copyCommand(state, job, node)
        case 19...23: return migrationCommand(state, job, node)
        case 0...2:
            // Mostly the number it has, sometimes another.
            let member = below(5) == 0 ? UInt64(1 + below(6)) : state.node(node)?.member ?? UInt64(number)
            let (isReady, address, time) = (below(4) > 0, "10.0.0.\(below(3)):7420", now)
            return .registerNode(
                Bench.registration(number) {
                    $0.member = member
                    $0.isReady = isReady
                    $0.address = address
                    $0.time = time
                }
            )
        case 3: return .nodeLost(node: node, reason: "silent", time: now)
        case 4:
            let by = below(2) == 0 ? Bench.user : nil
            return .nodeLeft(NodeDeparture(node: node, by: by, abandonsCheckpoints: below(2) == 0, time: now))
        case 5: return .cordon(node: node, by: Bench.user, time: now)
        case 6: return .drain(node: node, restartsJobs: below(2) == 0, by: Bench.user, time: now)
        case 7...8: return .undrain(node: node, by: Bench.user, time: now)
        case 9: return .unassign(job: job, reason: "Taken back.", time: now)
        default:
            let queued = state.liveJobs.filter { $0.state == .queued && $0.assignedNode == nil }
            let wanted = queued.isEmpty ? job : pick(queued).id
            return .assign(job: wanted, node: node, reason: "It fits.", time: now)
        }
    }

    private mutating func migrationCommand(_ state: ClusterState, _ job: JobID, _ node: NodeID) -> Command {
        let running = state.liveJobs.filter { $0.migration != nil }
        let meant = running.isEmpty || below(5) == 0 ? job : pick(running).id
        let number = below(6) == 0 ? UInt64(below(3)) : state.job(meant)?.lastMigration ?? 1
        switch below(9) {
        case 0...1:
            let by = below(2) == 0 ? Bench.user : nil
            return .beginMigration(MigrationOrder(job: job, to: node, by: by, reason: "Somebody asked.", time: now))
        case 2: return .migrationPrepared(job: meant, number: number, time: now)
        case 3:
            let decliner = below(2) == 0 ? node : nil
            return .abortMigration(job: meant, number: number, reason: "Full.", declinedBy: decliner, time: now)
        case 4...5:
            let handover = Migration.Handover(
                frozen: now,
                stoodStill: .milliseconds(Int64(below(900))),
                bytes: .mebibytes(64),
                isLazy: below(2) == 0,
                consumed: below(2) == 0 ? nil : .seconds(below(100))
            )
            return .handOver(job: meant, number: number, handover: handover, time: now)
        case 6: return .migrationFailed(job: meant, number: number, reason: "No room.", time: now)
        case 7:
            let incarnation = state.job(meant)?.incarnation ?? Incarnation(rawValue: 1)
            return .started(job: meant, incarnation: incarnation, time: now)
        default: return .migrationDrained(job: meant, number: number, sent: .mebibytes(20), time: now)
        }
    }

    private mutating func copyCommand(_ state: ClusterState, _ job: JobID, _ node: NodeID) -> Command {
        let catalog = state.job(job)?.catalog ?? []
        let generation = catalog.isEmpty ? CheckpointGeneration(rawValue: 1) : pick(catalog).generation
        switch below(10) {
        case 9: return .passOver(job: job, generation: generation, reason: "No node fits.", time: now)
        case 8: return .preempt(job: job, yieldsTo: Bench.id(1 + below(6)), reason: "Room is needed.", time: now)
        case 7: return .moveAway(job: job, time: now)
        case 0:
            let number = (state.checkpointKeys.last?.number ?? 0) + UInt64(below(2))
            let secret = SecretBytes([UInt8](repeating: 7, count: below(5) == 0 ? 31 : 32))
            return .addCheckpointKey(CheckpointKey(number: number, secret: secret, gossipKey: 1, time: now))
        case 1: return .dropCheckpointKeys(numbers: state.surplusCheckpointKeys(at: now), time: now)
        case 2:
            let wanted = (0..<below(3)).map { _ in Bench.nodeID(1 + below(4)) }
            return .placeCopies(job: job, generation: generation, nodes: wanted, time: now)
        case 3: return .copyDeclined(job: job, generation: generation, node: node, reason: "Full.", time: now)
        case 4: return .copyDamaged(job: job, generation: generation, node: node, reason: "A bit fell over.", time: now)
        case 5: return .copyGone(job: job, generation: generation, node: node, time: now)
        default: return .copyHeld(job: job, generation: generation, node: node, time: now)
        }
    }

    private mutating func submission() -> Command {
        submitted += 1
        let specification = Bench.specification("name-\(below(6))") { job in
            job.retries.limit = below(3)
            job.checkpoint.generations = 1 + below(3)
            job.checkpoint.recovery = pick([.restore, .restore, .restart, .fail])
            if below(3) == 0 {
                job.kind = .iterative
                job.objective = .iterations(
                    count: 1 + below(4),
                    expected: .seconds(5),
                    startOverhead: .zero,
                    deadline: .seconds(600)
                )
            } else if below(2) == 0 {
                job.objective = .cpuTime(amount: .seconds(50), frame: .seconds(600))
            }
        }
        let key = below(3) == 0 ? "key-\(below(4))" : nil
        return .submit(
            Submission(
                id: Bench.id(submitted),
                specification: specification,
                submitter: Bench.user,
                time: now,
                idempotencyKey: key
            )
        )
    }

    private mutating func entry(_ job: JobRecord) -> CatalogEntry {
        CatalogEntry(
            generation: below(6) == 0 ? CheckpointGeneration(rawValue: UInt32(below(6))) : job.lastGeneration,
            taken: now,
            node: job.node ?? Bench.node,
            incarnation: job.incarnation,
            frozen: .seconds(1),
            total: .seconds(2),
            raw: .mebibytes(1),
            stored: .mebibytes(1),
            consumed: .seconds(below(100)),
            completedIterations: below(6) == 0 ? 0 : job.completedIterations,
            seal: below(3) == 0 ? nil : ImageSeal(key: 1, digest: String(repeating: "a", count: 64))
        )
    }
}

/// What must hold of every state, whatever happened.
private func violations(_ state: ClusterState, after before: ClusterState) -> [String] {
    var found: [String] = []
    func hold(_ condition: Bool, _ what: String) { if !condition { found.append(what) } }
    let live = state.jobs.filter { !$0.state.isFinal }
    hold(Set(live.map(\.specification.name)).count == live.count, "two live jobs have one name")
    hold(state.liveJobs == live, "the index of live jobs is wrong")
    hold(state.lastDecision >= before.lastDecision, "decision numbers fell")
    let members = state.nodes.filter { $0.state != .left }.map(\.member)
    hold(Set(members).count == members.count, "two nodes have one member number")
    hold(state.nodes.allSatisfy { $0.member < state.nextMember }, "a member number may be given twice")
    hold(state.version >= before.version, "the version fell")
    hold(state.nodes.allSatisfy { !$0.isDraining || $0.isCordoned }, "a draining node is not cordoned")
    for job in state.jobs {
        let id = job.id
        hold(job.state.isFinal == (job.ended != nil), "\(id): ended and final differ")
        hold((job.state == .checkpointing) == (job.openCheckpoint != nil), "\(id): open checkpoint while \(job.state)")
        hold(job.state != .restoring || job.resumption != nil, "\(id): restores from nothing")
        hold(job.state != .stopping || job.request != nil, "\(id): stops without a reason")
        hold(job.state != .running || job.incarnationStarted != nil, "\(id): runs without a start")
        hold(job.state.mayHaveContainer || job.incarnationStarted == nil, "\(id): a start without a container")
        hold(job.retriesUsed <= job.specification.retries.limit, "\(id): too many retries")
        hold(job.completedIterations <= job.totalIterations, "\(id): too many iterations")
        hold(job.measuredIterations.count <= ClusterState.measuredIterationLimit, "\(id): too many measurements")
        hold(job.ledger.total >= .zero && job.lost >= .zero, "\(id): negative CPU time")
        hold(job.goodCheckpoints.count <= job.specification.checkpoint.generations + 3, "\(id): too many generations")
        hold(
            job.catalog.map(\.generation) == Set(job.catalog.map(\.generation)).sorted(),
            "\(id): catalog out of order"
        )
        hold(job.catalog.allSatisfy { $0.generation <= job.lastGeneration }, "\(id): a generation from the future")
        for entry in job.catalog {
            hold(!entry.holders.isEmpty, "\(id): a checkpoint that nobody has")
            hold(Set(entry.holders).count == entry.holders.count, "\(id): a holder twice")
            hold(Set(entry.wantedCopies).isDisjoint(with: entry.holders), "\(id): a holder is to fetch what it has")
            hold(entry.seal != nil || entry.wantedCopies.isEmpty, "\(id): an unsealed checkpoint is to leave its node")
            hold(entry.state != .retiring || entry.wantedCopies.isEmpty, "\(id): a retiring checkpoint is fetched")
            if !state.nodes.isEmpty, entry.copies != nil {
                hold(
                    entry.holders.allSatisfy { $0 == entry.node || state.node($0)?.state != .left },
                    "\(id): a node that left holds a copy"
                )
            }
        }
        hold(!job.state.isFinal || job.goodCheckpoints.isEmpty, "\(id): an ended job keeps checkpoints")
        hold(!job.message.isEmpty, "\(id): no message")
        hold(
            (job.state == .migrating) == (job.migration?.phase == .handedOver),
            "\(id): between nodes while \(job.state)"
        )
        if let migration = job.migration {
            hold(migration.source != migration.destination, "\(id): moves to where it is")
            hold(job.node == (migration.isHandedOver ? migration.destination : migration.source), "\(id): is elsewhere")
            hold(migration.next == nil || migration.next == job.incarnation, "\(id): another container was handed over")
        }
        hold(
            job.assignment == nil || job.state == .queued || job.state.mayHaveContainer,
            "\(id): assigned while \(job.state)"
        )
        if !state.nodes.isEmpty, let node = job.state.mayHaveContainer ? job.node : job.assignedNode {
            // Of a job that ran before the first node registered nobody knows the node.
            hold(job.assignedNode == nil || job.assignedNode == node, "\(id): runs where it is not assigned")
            if job.assignedNode != nil {
                hold(state.node(node)?.state.isLive == true, "\(id): is on node \(node), which is not there")
            }
        }
        if job.state == .queued, let node = job.assignedNode, let resumption = job.resumption {
            let entry = job.checkpoint(resumption.generation)
            hold(
                entry?.holders.contains(node) == true || entry?.seal != nil,
                "\(id): assigned away from its checkpoint"
            )
        }
        if let resumption = job.resumption {
            hold(job.checkpoint(resumption.generation)?.state != .retiring, "\(id): goes on from a retiring checkpoint")
        }
        guard let old = before.job(id) else { continue }
        // A move that failed goes back to the container before, and to no other.
        let isReturn = old.state == .migrating && job.incarnation == old.migration?.incarnation
        hold(job.incarnation >= old.incarnation || isReturn, "\(id): the incarnation fell")
        let last = max(job.incarnation, job.lastIncarnation ?? job.incarnation)
        hold(last >= max(old.incarnation, old.lastIncarnation ?? old.incarnation), "\(id): a number may be given twice")
        hold(job.lastGeneration >= old.lastGeneration, "\(id): the generation fell")
        hold(!old.state.isFinal || job.state == old.state, "\(id): rose from the dead")
        hold(job.completedIterations >= old.completedIterations, "\(id): lost an iteration")
        hold(
            job.ledger.total + job.lost >= old.ledger.total + old.lost || job.state == .suspended,
            "\(id): CPU time vanished"
        )
        hold(old.metDeadline == nil || job.metDeadline == old.metDeadline, "\(id): the deadline's outcome changed")
    }
    return found
}

struct RandomCommandTests {
    @Test(arguments: UInt64(1)...40)
    func noSequenceOfCommandsBreaksAnInvariant(seed: UInt64) throws {
        var source = CommandSource(generator: SeededGenerator(seed: seed), hasNodes: seed % 2 == 0)
        var state = ClusterState()
        var limits = StateLimits()
        limits.liveJobs = 5
        limits.endedJobs = 3
        _ = state.apply(.configure(limits))
        var log: [Command] = [.configure(limits)]
        var snapshot: (state: ClusterState, logged: Int)?
        var accepted = 0
        for step in 0..<1500 {
            let command = source.next(state)
            let before = state
            let outcome = state.apply(command)
            if let acceptance = outcome.acceptance {
                accepted += 1
                log.append(command)
                let sequences = acceptance.decisions.map(\.sequence)
                #expect(sequences == Array((before.lastDecision + 1)..<(state.lastDecision + 1)))
                for decision in acceptance.decisions {
                    #expect(decision.decision.sentence.hasSuffix("."), "\(decision)")
                }
            } else {
                #expect(state == before, "seed \(seed), step \(step): a refused command changed the state: \(command)")
            }
            let found = violations(state, after: before)
            try #require(found.isEmpty, "seed \(seed), step \(step), \(command): \(found)")
            if step == 700 { snapshot = (state, log.count) }
        }
        #expect(accepted > 250, "seed \(seed) hardly did anything")

        // The log replayed is the same state; so is a snapshot with the log after it, through its stored form.
        var replayed = ClusterState()
        for command in log {
            let stored = try JSONDecoder().decode(Command.self, from: JSONEncoder().encode(command))
            #expect(stored == command)
            #expect(replayed.apply(stored).acceptance != nil)
        }
        #expect(replayed == state)
        let (early, logged) = try #require(snapshot)
        var restored = try JSONDecoder().decode(ClusterState.self, from: JSONEncoder().encode(early))
        #expect(restored == early)
        for command in log[logged...] { #expect(restored.apply(command).acceptance != nil) }
        #expect(restored == state)
    }

    @Test func equalStatesHaveEqualBytes() throws {
        var source = CommandSource(generator: SeededGenerator(seed: 99))
        var state = ClusterState()
        for _ in 0..<400 { _ = state.apply(source.next(state)) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let bytes = try encoder.encode(state)
        let again = try encoder.encode(JSONDecoder().decode(ClusterState.self, from: bytes))
        #expect(bytes == again)
    }

    @Test func aNewerFormatIsRefusedByName() throws {
        let format = ClusterState.newestVersion + 1
        let newer = Data(#"{"formatVersion": \#(format), "jobs": [], "limits": {}, "lastDecision": 0}"#.utf8)
        let error = #expect(throws: DecodingError.self) { try JSONDecoder().decode(ClusterState.self, from: newer) }
        #expect(error.map { "\($0)".contains("format \(format)") } == true)
    }
}
