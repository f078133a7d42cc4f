import Checkpointing
import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Metrics

// Containers that run before their memory has arrived.
extension NodeController {
    /// A container of which memory is still to come.
    struct Arrival {
        /// Ends when all is there, or the container is gone and what kept the memory from coming is on record.
        var following: Task<Void, Never>
    }

    /// Follows the memory of a container that has just been restored; until it has arrived, no checkpoint of it is begun.
    func follow(_ key: ContainerKey, _ checkpoint: CheckpointRecord, _ awaited: ByteCount) {
        follow(key) { await self.arrived(key, checkpoint, awaited, $0) }
    }

    private func arrived(
        _ key: ContainerKey,
        _ checkpoint: CheckpointRecord,
        _ awaited: ByteCount,
        _ arrival: MemoryArrival?
    ) async {
        switch arrival?.end {
        case .complete:
            let duration = arrival?.duration ?? .zero
            metrics.memoryArrival.record(duration: duration)
            logger.info(
                "restore.memory.arrived",
                metadata: ["container": "\(key)", "bytes": "\(awaited)", "duration": "\(duration.text)"]
            )
            arrivals[key] = nil
            // CRIU says the same of one that ended meanwhile: nothing is missing to it.
            guard containers[key.job]?.key != key || containers[key.job]?.exit == nil else { break }
            await note(
                .restored,
                "All of its memory (\(awaited)) has arrived, \(duration.text) after the restore began.",
                of: key
            )
        case .failed(let problem):
            logger.warning(
                "restore.memory.lost",
                metadata: ["container": "\(key)", "reason": "\(problem.reason)"]
            )
            await note(
                .warned,
                "It was ended, because memory that was still to come from checkpoint \(checkpoint.generation) could not be had: \(problem.reason)",
                of: key
            )
            if case .damaged(let reason) = problem {
                try? await images.markDamaged(job: key.job, generation: checkpoint.generation, reason: reason)
                await noteDamage(key.job, checkpoint.generation, reason)
            }
            arrivals[key] = nil
        case .containerEnded, nil:
            arrivals[key] = nil
        }
        await reconcile([key.job])
    }

    /// Follows the memory of a container that has come from another node; when all is there, that node is not needed any more.
    ///
    /// `sent` is what went across before it ran.
    func follow(_ key: ContainerKey, _ memory: RemoteMemory, from source: NodeID, sent: ByteCount) {
        follow(key) { await self.arrived(key, memory, from: source, sent: sent, $0) }
    }

    private func follow(_ key: ContainerKey, then arrived: @escaping @Sendable (MemoryArrival?) async -> Void) {
        metrics.restoresLazy.increment()
        let following = Task(name: "job.memory") { await arrived(await host.memoryArrival(of: key)) }
        arrivals[key] = Arrival(following: following)
    }

    private func arrived(
        _ key: ContainerKey,
        _ memory: RemoteMemory,
        from source: NodeID,
        sent: ByteCount,
        _ arrival: MemoryArrival?
    ) async {
        switch arrival?.end {
        case .complete:
            let duration = arrival?.duration ?? .zero
            metrics.memoryArrival.record(duration: duration)
            logger.info(
                "migration.memory.arrived",
                metadata: [
                    "container": "\(key)", "bytes": "\(memory.byteCount)", "sent": "\(memory.sentBytes)",
                    "duration": "\(duration.text)",
                ]
            )
            arrivedBytes[key.job] = sent + memory.sentBytes
            arrivals[key] = nil
            await reconcile([key.job])
        case .failed(let problem):
            logger.warning(
                "migration.memory.lost",
                metadata: ["container": "\(key)", "from": "\(source)", "reason": "\(problem.reason)"]
            )
            await note(
                .warned,
                "It was ended, because memory that was still to come from node \(source) could not be had: \(problem.reason)",
                of: key
            )
        // Its end, which is about to be reported, says all; until then nobody may think that nothing is missing.
        case .containerEnded, nil: break
        }
    }

    /// Says how a container was restored.
    func tellRestore(
        _ key: ContainerKey,
        _ checkpoint: CheckpointRecord,
        _ awaited: ByteCount?,
        _ obstacle: String?,
        after duration: Duration
    ) async {
        logger.info(
            "restore.running",
            metadata: [
                "container": "\(key)", "generation": "\(checkpoint.generation)", "duration": "\(duration.text)",
                "awaited": "\(awaited ?? .zero)", "obstacle": "\(obstacle ?? "")",
            ]
        )
        let sentence =
            if let awaited {
                "Runs \(duration.text) after its restore was decided, while \(awaited) of its memory still arrive."
            } else if let obstacle {
                "Runs \(duration.text) after its restore was decided, with all of its memory, since \(obstacle)."
            } else {
                "Runs \(duration.text) after its restore was decided, with all of its memory, which is little."
            }
        await note(.restored, sentence, of: key)
    }

    /// Waits for memory that is still to come, when the agent stops: without it those containers would have to be restored again.
    func endArrivals() async {
        let open = arrivals.values.map(\.following)
        guard !open.isEmpty else { return }
        logger.info("restore.memory.awaited", metadata: ["containers": "\(open.count)"])
        let limit = Task { try? await Task.sleep(for: settings.arrivalPatience) }
        let all = Task {
            for following in open { await following.value }
            limit.cancel()
        }
        await limit.value
        all.cancel()
    }

    private func note(_ kind: Decision.Kind, _ sentence: String, of key: ContainerKey) async {
        await report([.note([Decision(time: now(), job: key.job, kind: kind, sentence: sentence)])])
    }
}
