import Checkpointing
import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Transport

/// Carries out the effects of one transfer, in order, and answers its core.
actor CopyFetch {
    private var core: CopyTransfer
    private let sources: [NodeID]
    private let limits: CopyTransferLimits
    private let job: JobID
    private let generation: CheckpointGeneration
    private let seal: ImageSeal
    /// More bytes than an index of such images has.
    private let indexLimit: UInt64
    private let isUrgent: Bool
    private let images: any CheckpointStore
    private let metrics: CopyMetrics?
    private let link: any PeerLink
    private let onBlame: @Sendable (NodeID, String) async -> Void
    private let wakes = OperationEvents<Bool>()
    /// What comes while the checkpoint is being written; nil once it was taken over.
    private var arrival: Task<EarlyCopy?, Never>?
    /// Bytes of `incoming` that came so, until it is known whether they are of use.
    private var early: UInt64 = 0

    private var incoming: (any IncomingCopy)?
    private var index: [UInt8] = []
    private var indexLength: UInt64 = 0
    private var offset: UInt64 = 0
    private var step: Task<Void, Never>?
    /// Whether data of earlier generations that is here is taken for good.
    private var shares = true
    private var outcome: CopyTransferOutcome?

    /// `raw` is what the catalog knows of the size of the images; `arrival` is what has come of it by now; `onBlame` hears of holders that have something else than what it knows.
    init(
        job: JobID,
        generation: CheckpointGeneration,
        seal: ImageSeal,
        raw: ByteCount,
        sources: [NodeID],
        arrival: Task<EarlyCopy?, Never>? = nil,
        isUrgent: Bool,
        limits: CopyTransferLimits,
        images: any CheckpointStore,
        link: any PeerLink,
        metrics: CopyMetrics? = nil,
        onBlame: @escaping @Sendable (NodeID, String) async -> Void
    ) {
        indexLimit = ImageIndex.encodedByteLimit(raw: raw)
        core = CopyTransfer(sources: sources, limits: limits, now: .now)
        (self.sources, self.limits, self.arrival) = (sources, limits, arrival)
        (self.job, self.generation, self.seal, self.isUrgent) = (job, generation, seal, isUrgent)
        (self.images, self.link, self.metrics, self.onBlame) = (images, link, metrics, onBlame)
    }

    /// Gives it up, unless it is over.
    func cancel() { tell(.cancelled) }

    /// Runs the transfer to its end.
    func run() async -> CopyTransferOutcome {
        await takeOver()
        await withTaskCancellationHandler {
            await wakes.drive(deadline: { await self.core.deadline }) { event in
                await self.advance(isTimer: event == nil)
            }
        } onCancel: {
            Task(name: "copy.cancel") { await self.cancel() }
        }
        return outcome ?? .failed(.cancelled)
    }

    /// Goes on with what came while the checkpoint was being written.
    private func takeOver() async {
        guard let arrival else { return }
        self.arrival = nil
        arrival.cancel()
        guard let copy = await arrival.value, !core.isFinished else { return }
        (incoming, early) = (copy.incoming, copy.byteCount)
        core = CopyTransfer(sources: sources, early: (copy.source, copy.byteCount), limits: limits, now: .now)
    }

    /// Tells the core at once, so that no answer is lost, and has its effects carried out in their turn.
    private func tell(_ event: CopyTransferEvent) {
        core.receive(event, now: .now)
        wakes.send(true)
    }

    private func advance(isTimer: Bool) async -> Bool {
        if isTimer { core.tick(now: .now) }
        while true {
            let effects = core.drainEffects()
            if effects.isEmpty { return outcome != nil }
            for effect in effects { await carryOut(effect) }
        }
    }

    private func carryOut(_ effect: CopyTransferEffect) async {
        switch effect {
        case .ask(let node, let offset, let number): ask(node, from: offset, number)
        case .hangUp:
            step?.cancel()
            await step?.value
            step = nil
        case .discard:
            incoming = nil
            (offset, early) = (0, 0)
        case .store: store()
        case .blame(let node, let reason): await onBlame(node, reason)
        case .finished(let end): outcome = end
        }
    }

    private func ask(_ node: NodeID, from offset: UInt64, _ number: Int) {
        (index, indexLength, self.offset) = ([], 0, offset)
        var request = CopyRequest(
            job: job,
            generation: generation,
            digest: seal.digest,
            offset: offset,
            isUrgent: isUrgent
        )
        step = Task(name: "copy.fetch") {
            do {
                request.held = try await opened().held
                try await link.fetchCopy(request, from: node) { piece in try await self.take(piece, number) }
                tell(.ended(number: number))
            } catch let failure as RPCFailure where failure.code == .notFound {
                tell(.isWrong(reason: failure.message, number: number))
            } catch CopyProblem.damaged(let reason) {
                tell(.isWrong(reason: reason, number: number))
            } catch let problem as CopyProblem {
                tell(.noRoom(reason: problem.description))
            } catch {
                tell(.failed(reason: "\(error)", number: number))
            }
        }
    }

    private func take(_ piece: CopyPiece, _ number: Int) async throws {
        try Task.checkCancellation()
        metrics?.received.increment(by: piece.index.count + piece.data.count)
        if !piece.index.isEmpty {
            if index.isEmpty { indexLength = piece.indexLength }
            guard indexLength <= indexLimit else {
                throw CopyProblem.damaged(
                    reason:
                        "its index has \(indexLength) bytes, more than an index of such images can have (\(indexLimit))"
                )
            }
            index += piece.index
            guard UInt64(index.count) <= indexLength else {
                throw CopyProblem.damaged(reason: "its index is longer than it says")
            }
            if UInt64(index.count) == indexLength {
                let copy = try await opened()
                metrics?.spared.increment(by: Int64(clamping: copy.spared))
                let dataLength = try await copy.begin(index: index, seal: seal)
                guard offset == 0 || early == 0 || copy.kept == early else {
                    tell(.earlyIsOfNoUse(number: number))
                    throw CancellationError()
                }
                early = 0
                tell(.begun(dataLength: dataLength, number: number))
            }
        }
        guard !piece.data.isEmpty else { return }
        guard let incoming else { throw CopyProblem.damaged(reason: "data came before the index") }
        try await incoming.write(piece.data, at: offset)
        offset += UInt64(piece.data.count)
        tell(.received(byteCount: piece.data.count, number: number))
    }

    private func opened() async throws -> any IncomingCopy {
        if let incoming { return incoming }
        let made = try await images.incoming(job: job, generation: generation, sharing: shares)
        incoming = made
        return made
    }

    private func store() {
        step = Task(name: "copy.store") {
            do {
                guard let incoming else { throw CopyProblem.unavailable(reason: "nothing came") }
                _ = try await incoming.finish()
                tell(.stored)
            } catch CopyProblem.damaged(let reason) {
                if shares, incoming?.held.isEmpty == false {
                    shares = false
                    return tell(.sharedIsWrong)
                }
                tell(.rejected(reason: reason))
            } catch {
                tell(.noRoom(reason: "\(error)"))
            }
        }
    }
}
