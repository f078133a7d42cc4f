import Checkpointing
import ClusterModel
import ClusterState
import ControlMessages
import FoundationEssentials
import ImageStore
import Logging
import SwiftProtobuf
import Synchronization
import TLS
import Transport

/// What the control plane needs of this node's checkpoints.
struct CheckpointAccess: Sendable {
    let images: any CheckpointStore
    let link: any PeerLink
    let keeper: CopyKeeper
    let uploads: ArchiveUploads

    init(images: any CheckpointStore, link: any PeerLink, keeper: CopyKeeper) {
        (self.images, self.link, self.keeper) = (images, link, keeper)
        uploads = ArchiveUploads { try await images.receiveArchive() }
    }
}

// Checkpoints as users see them: one by one, whatever becomes of their jobs.
extension ControlService {
    // MARK: Looking

    func checkpointList(_ call: RPCCall) async throws {
        let request = try call.decode(WireCheckpointListRequest.self)
        let age = await age()
        let state = await replica.state
        let jobs = request.hasJob ? [try state.resolve(request.job.nameOrID)] : state.jobs
        if !request.node.isEmpty, !state.nodes.isEmpty, state.node(NodeID(rawValue: request.node)) == nil {
            throw RPCFailure(.notFound, "there is no node '\(request.node)'; `godwit node list` shows every node")
        }
        var reply = WireCheckpointListReply()
        reply.ageSeconds = age
        for job in jobs.sorted(by: { $0.specification.name < $1.specification.name }) {
            for entry in job.catalog where entry.state != .retiring {
                guard request.node.isEmpty || entry.holders.contains(NodeID(rawValue: request.node)) else { continue }
                reply.checkpoints.append(Self.wire(entry, of: job))
            }
        }
        call.reply(reply)
    }

    private static func wire(_ entry: CatalogEntry, of job: JobRecord) -> WireJobCheckpoint {
        .with {
            $0.jobID = job.id.rawValue
            $0.jobName = job.specification.name
            $0.jobState = job.state.rawValue
            $0.checkpoint = entry.wire
        }
    }

    func checkpointShow(_ call: RPCCall) async throws {
        let request = try call.decode(WireCheckpointShowRequest.self)
        let age = await age()
        let job = try await job(request.job)
        let entry = try Self.entry(request.generation, of: job)
        let state = await replica.state
        var reply = WireCheckpointShowReply()
        reply.ageSeconds = age
        reply.checkpoint = Self.wire(entry, of: job)
        reply.incarnation = entry.incarnation.rawValue
        reply.completedIterations = UInt32(clamping: entry.completedIterations)
        reply.wanted = entry.wantedCopies.map(\.rawValue)
        reply.declined = entry.copies?.declined.map(\.rawValue) ?? []
        let replicas = job.specification.checkpoint.replicas
        reply.replicas = UInt32(clamping: state.nodes.count > 1 ? replicas : 0)
        reply.isSafe = entry.seal != nil && entry.isSafe(replicas: replicas)
        reply.sealKey = entry.seal?.key ?? 0
        reply.indexSha256 = entry.seal?.digest ?? ""
        reply.damage = entry.damage ?? ""
        reply.purpose = Self.purpose(of: entry, of: job, nodeCount: state.nodes.count)
        reply.otherGenerations = job.goodCheckpoints.map(\.generation.rawValue).filter {
            $0 != entry.generation.rawValue
        }
        call.reply(reply)
    }

    /// What keeps a checkpoint and what it waits for, in one or two sentences.
    static func purpose(of entry: CatalogEntry, of job: JobRecord, nodeCount: Int) -> String {
        let name = job.specification.name
        var sentences: [String] = []
        if entry.state == .damaged {
            sentences.append("Cannot be restored; kept until a good one follows, or `godwit checkpoint rm` removes it.")
        } else if job.resumption?.generation == entry.generation, job.state == .queued || job.state == .restoring {
            sentences.append("'\(name)' goes on from it\(job.state == .queued ? " when there is room" : " now").")
        } else if job.newestGoodCheckpoint?.generation == entry.generation {
            sentences.append("The newest good one: '\(name)' goes on from it when its container or its node is lost.")
        } else {
            sentences.append("An earlier one of \(job.specification.checkpoint.generations) that '\(name)' keeps.")
        }
        let replicas = job.specification.checkpoint.replicas
        if entry.state == .complete, nodeCount > 1, replicas > 0 {
            let missing = replicas + 1 - entry.holders.count
            if entry.seal == nil {
                sentences.append("It is not sealed, so it stays on its node.")
            } else if !entry.wantedCopies.isEmpty {
                let names = entry.wantedCopies.map(\.rawValue).joined(separator: ", ")
                sentences.append("Waits for \(names) to fetch a copy.")
            } else if missing > 0 {
                sentences.append(
                    "Waits for \(missing) more cop\(missing == 1 ? "y" : "ies"): no node is there that can take one."
                )
            }
        }
        return sentences.joined(separator: " ")
    }

    /// The generation that a request names, or the newest good one for 0.
    private static func entry(_ number: UInt32, of job: JobRecord) throws -> CatalogEntry {
        let name = job.specification.name
        guard number != 0 else {
            if let entry = job.newestGoodCheckpoint { return entry }
            throw RPCFailure(
                .notFound,
                "'\(name)' has no good checkpoint; take one with `godwit job checkpoint \(name)` while it runs"
            )
        }
        if let entry = job.checkpoint(CheckpointGeneration(rawValue: number)), entry.state != .retiring { return entry }
        let known = job.catalog.filter { $0.state != .retiring }.map { "\($0.generation)" }
        throw RPCFailure(
            .notFound,
            "'\(name)' has no checkpoint \(number)"
                + (known.isEmpty ? "" : "; there are: \(known.joined(separator: ", "))")
        )
    }

    // MARK: Reading every byte

    func checkpointVerify(_ call: RPCCall) async throws {
        let request = try call.decode(WireCheckpointVerifyRequest.self)
        let job = try await ownJob(request.job, call)
        let entry = try Self.entry(request.generation, of: job)
        guard let checkpoints else { throw Self.noCheckpoints(node.node) }
        let generation = entry.generation
        let checks = HolderChecks(entry.holders)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for holder in entry.holders {
                group.addTask(name: "checkpoint.verify") { [own = node.node] in
                    let hear: @Sendable (CopyCheck) -> Void = { checks.hear($0, of: holder) }
                    do {
                        if holder == own {
                            try await checkpoints.keeper.check(job.id, generation, hear)
                        } else {
                            try await checkpoints.link.checkCopy(job.id, generation, on: holder, receiving: hear)
                        }
                        checks.end(holder)
                    } catch let failure as RPCFailure {
                        checks.fail(holder, failure.message)
                    } catch {
                        checks.fail(holder, "\(error)")
                    }
                    return true
                }
            }
            var running = entry.holders.count
            group.addTask(name: "checkpoint.verify.tick") {
                try await Task.sleep(for: .milliseconds(500))
                return false
            }
            while running > 0, let isEnd = try await group.next() {
                if isEnd {
                    running -= 1
                } else {
                    try await call.send(checks.reply(generation))
                    group.addTask(name: "checkpoint.verify.tick") {
                        try await Task.sleep(for: .milliseconds(500))
                        return false
                    }
                }
            }
            group.cancelAll()
        }
        try await call.send(checks.reply(generation))
    }

    private static func noCheckpoints(_ node: NodeID) -> RPCFailure {
        RPCFailure(.unavailable, "node \(node) keeps no checkpoints; ask another agent")
    }

    // MARK: Out of the cluster and into it

    func checkpointExport(_ call: RPCCall) async throws {
        let request = try call.decode(WireCheckpointExportRequest.self)
        let job = try await ownJob(request.job, call)
        let entry = try Self.entry(request.generation, of: job)
        guard let checkpoints, entry.holders.contains(node.node) else {
            throw RPCFailure(
                .unavailable,
                "checkpoint \(entry.generation) of '\(job.specification.name)' is on "
                    + "\(entry.holders.map(\.rawValue).joined(separator: ", ")), which cannot be reached now; try again"
            )
        }
        let description = ArchiveDescription(
            cluster: node.cluster.rawValue,
            job: job.id.rawValue,
            name: job.specification.name,
            generation: entry.generation.rawValue,
            takenUnixSeconds: entry.taken.seconds,
            cpuSeconds: entry.consumed.inSeconds,
            completedIterations: entry.completedIterations,
            imageBytes: entry.raw.rawValue,
            godwit: productVersion
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let archive: any OutgoingArchive
        do {
            archive = try await checkpoints.images.export(
                job: job.id,
                generation: entry.generation,
                description: [UInt8](try encoder.encode(description)) + [0x0A],
                document: Array(job.specification.document.jsonText.utf8) + [0x0A]
            )
        } catch let error as ImageStoreError {
            throw RPCFailure(.unavailable, error.description)
        }
        logger.notice(
            "checkpoint.exported",
            metadata: ["job": "\(job.id)", "generation": "\(entry.generation)", "by": "\(user(call))"]
        )
        var isFirst = true
        while true {
            let bytes: [UInt8]
            do { bytes = try await archive.next() } catch let error as ImageStoreError where error.code == .damaged {
                // A reader of bytes that are not what was written: the same as a scrub has found.
                _ = await checkpoints.keeper.actOnDamage(job.id, entry.generation, reason: error.description)
                throw RPCFailure(.unavailable, "\(error) Another copy takes its place where there is one; try again")
            }
            if bytes.isEmpty { return }
            var reply = WireCheckpointExportReply()
            if isFirst { (reply.totalBytes, reply.generation) = (archive.byteCount, entry.generation.rawValue) }
            isFirst = false
            reply.data = Data(bytes)
            try await call.send(reply)
        }
    }

    func checkpointImport(_ call: RPCCall) async throws {
        try call.require(.submit)
        let request = try call.decode(WireCheckpointImportRequest.self)
        guard let checkpoints else { throw Self.noCheckpoints(node.node) }
        do {
            let (received, archive) = try await checkpoints.uploads.take(
                [UInt8](request.data),
                at: request.offset,
                isLast: request.isLast,
                of: request.upload,
                by: user(call)
            )
            var reply = WireCheckpointImportReply()
            reply.received = received
            if let archive { try await adopt(archive, request, call, &reply) }
            call.reply(reply)
        } catch let error as ImageStoreError {
            throw RPCFailure(error.code == .damaged ? .invalid : .exhausted, error.description)
        } catch let problem as CopyProblem {
            throw RPCFailure(.exhausted, problem.description)
        }
    }

    private func adopt(
        _ archive: any IncomingArchive,
        _ request: WireCheckpointImportRequest,
        _ call: RPCCall,
        _ reply: inout WireCheckpointImportReply
    ) async throws {
        guard let checkpoints else { return }
        let content = try await archive.finish()
        let description: ArchiveDescription
        do {
            description = try JSONDecoder().decode(ArchiveDescription.self, from: Data(content.description))
        } catch {
            throw RPCFailure(.invalid, "this is not a checkpoint that can be imported: its description cannot be read")
        }
        guard description.format <= ArchiveDescription.newestFormat else {
            throw RPCFailure(
                .invalid,
                "the tar has format \(description.format), and this agent knows \(ArchiveDescription.newestFormat); upgrade it"
            )
        }
        let taken = content.record
        guard description.job == taken.job.rawValue, description.generation == taken.generation.rawValue,
            (0...Int(UInt32.max)).contains(description.completedIterations)
        else {
            throw RPCFailure(
                .invalid,
                "this is not a checkpoint that can be imported: it says that it is checkpoint \(description.generation) of job "
                    + "\(description.job), and its index is of checkpoint \(taken.generation) of job \(taken.job)"
            )
        }
        var specification = try documents.jobSpecification(content.document, name: "job.json", baseFolder: "/")
        if !request.name.isEmpty { specification.name = request.name }
        let moment = now()
        var submission: Submission?
        let job: JobID
        var generation = CheckpointGeneration(rawValue: 1)
        var incarnation = Incarnation(rawValue: 1)
        if request.hasInto {
            let target = try await ownJob(request.into, call)
            let own = target.specification
            guard own.image == specification.image, own.command == specification.command else {
                throw RPCFailure(
                    .conflict,
                    "the checkpoint is of '\(description.name)', which runs another image or command than '\(own.name)'; "
                        + "import it as a job of its own"
                )
            }
            (job, generation) = (target.id, target.lastGeneration.next)
            incarnation = max(incarnation, target.incarnation)
        } else {
            var generator = SystemRandomNumberGenerator()
            job = JobID.random(using: &generator)
            submission = Submission(id: job, specification: specification, submitter: user(call), time: moment)
        }
        let record = try await archive.adopt(as: job, generation, incarnation: incarnation)
        let entry = CatalogEntry(
            generation: generation,
            taken: record.taken,
            node: node.node,
            incarnation: incarnation,
            frozen: record.frozen,
            total: record.total,
            raw: record.rawBytes,
            stored: record.storedBytes,
            consumed: record.ledger,
            completedIterations: description.completedIterations,
            seal: record.seal
        )
        do {
            let imported = CheckpointImport(
                submission: submission,
                job: job,
                entry: entry,
                by: user(call),
                time: moment
            )
            _ = try await propose(.importCheckpoint(imported))
        } catch {
            // A refusal is certain; after anything else the files stay until nobody has counted them for a while.
            if error is Refusal { try? await checkpoints.images.remove(job: job, generation: generation) }
            throw error
        }
        (reply.jobID, reply.generation) = (job.rawValue, generation.rawValue)
        reply.jobName = await replica.state.job(job)?.specification.name ?? specification.name
        reply.message = await replica.state.job(job)?.message ?? ""
    }

    // MARK: Removing

    func checkpointRemove(_ call: RPCCall) async throws {
        let request = try call.decode(WireCheckpointRemoveRequest.self)
        let job = try await ownJob(request.job, call)
        guard request.generation != 0 else {
            throw RPCFailure(.invalid, "say which generation; `godwit checkpoint list` shows them")
        }
        let generation = CheckpointGeneration(rawValue: request.generation)
        let holders = job.checkpoint(generation)?.holders ?? []
        let removal = CheckpointRemoval(
            job: job.id,
            generation: generation,
            isForced: request.force,
            by: user(call),
            time: now()
        )
        let acceptance = try await propose(.removeCheckpoint(removal))
        var reply = WireCheckpointRemoveReply()
        reply.nodes = holders.map(\.rawValue)
        reply.message = acceptance.decisions.map(\.decision.sentence).joined(separator: " ")
        call.reply(reply)
    }
}

/// How far each holder is that reads its copy.
private final class HolderChecks: Sendable {
    private let checks: Mutex<[(node: NodeID, check: CopyCheck, problem: String?)]>

    init(_ holders: [NodeID]) {
        checks = Mutex(holders.sorted().map { ($0, CopyCheck(), nil) })
    }

    private func change(_ holder: NodeID, _ body: (inout (node: NodeID, check: CopyCheck, problem: String?)) -> Void) {
        checks.withLock { checks in
            guard let index = checks.firstIndex(where: { $0.node == holder }) else { return }
            body(&checks[index])
        }
    }

    func hear(_ check: CopyCheck, of holder: NodeID) { change(holder) { $0.check = check } }

    /// The holder has said all that it says.
    func end(_ holder: NodeID) {
        change(holder) { if $0.check.result == nil { $0.problem = "it ended without a result" } }
    }

    func fail(_ holder: NodeID, _ problem: String) { change(holder) { $0.problem = problem } }

    func reply(_ generation: CheckpointGeneration) -> WireCheckpointVerifyReply {
        let checks = checks.withLock { $0 }
        return .with { reply in
            reply.generation = generation.rawValue
            reply.holders = checks.map { node, check, problem in
                .with { holder in
                    holder.node = node.rawValue
                    (holder.checkedBytes, holder.totalBytes) = (check.progress.checked, check.progress.total)
                    holder.problem = problem ?? check.result?.problem ?? ""
                    holder.state =
                        problem != nil
                        ? "unreachable" : check.result.map { $0.problem == nil ? "good" : "damaged" } ?? "reading"
                    holder.damagedCount = UInt64(check.result?.damagedCount ?? 0)
                    holder.isReplaced = check.isReplaced
                    holder.damaged = (check.result?.damaged ?? []).map { region in
                        .with {
                            ($0.file, $0.region) = (region.file, UInt64(region.region))
                            ($0.offset, $0.length) = (region.offset, region.length)
                        }
                    }
                }
            }
        }
    }
}
