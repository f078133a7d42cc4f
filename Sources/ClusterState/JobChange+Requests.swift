import ClusterModel

// What users ask of a job. A request is kept in the record until it is done, so that a crash in between resumes it.
extension JobChange {
    mutating func requestCheckpoint(stops: Bool, by user: UserID) throws(Refusal) {
        guard record.state == .running || record.state == .checkpointing else {
            throw refuse("only a running job can be checkpointed", "`godwit job show` tells when it runs.")
        }
        if case .checkpoint(let known, let requested, let moves, let other) = record.request {
            // Two requests for one container are served by one checkpoint; the stronger wish wins.
            record.request = .checkpoint(
                stops: known || stops,
                requested: requested,
                moves: stops ? nil : moves,
                yieldsTo: stops ? nil : other
            )
            return
        }
        guard record.request == nil else { throw refuse("another request is being carried out", "Wait for its end.") }
        record.request = .checkpoint(stops: stops, requested: time)
    }

    mutating func requestRestore(_ generation: CheckpointGeneration?, by user: UserID) throws(Refusal) {
        try requireRestorable(generation)
        switch record.state {
        case .suspended, .queued:
            resume(from: generation, origin: generation == nil ? .newest : .named)
        case .running:
            guard record.request == nil else {
                throw refuse("another request is being carried out", "Wait for its end.")
            }
            record.request = .restore(generation: generation, requested: time)
            let which = generation.map { "checkpoint \($0)" } ?? "its newest checkpoint"
            enter(.stopping, "Is being stopped, to go on from \(which) as \(user) asked.")
        case .starting, .restoring, .checkpointing, .migrating, .stopping:
            throw refuse("a restore needs it running, queued or suspended", "Try again when it is.")
        case .completed, .failed, .cancelled:
            throw refuse("it has ended and its checkpoints are deleted", "Submit it again.")
        }
    }

    private func requireRestorable(_ generation: CheckpointGeneration?) throws(Refusal) {
        guard !record.state.isFinal else { return }
        let good = record.goodCheckpoints.map { "\($0.generation)" }.joined(separator: ", ")
        guard !good.isEmpty else {
            throw refuse(
                "it has no complete checkpoint",
                "Take one with `godwit job checkpoint \(record.specification.name)` while it runs."
            )
        }
        guard let generation, !record.goodCheckpoints.contains(where: { $0.generation == generation }) else {
            return try requireReachable(generation)
        }
        if let entry = record.checkpoint(generation), entry.state == .damaged {
            throw Refusal(
                .conflict,
                "Checkpoint \(generation) of '\(record.specification.name)' is damaged: \(entry.damage ?? "no details"). "
                    + "Good ones: \(good)."
            )
        }
        throw Refusal(.notFound, "'\(record.specification.name)' has no checkpoint \(generation). Good ones: \(good).")
    }

    /// Refuses when no node that is there has the generation, or any when it is nil.
    private func requireReachable(_ generation: CheckpointGeneration?) throws(Refusal) {
        let wanted = record.goodCheckpoints.filter { generation == nil || $0.generation == generation }
        guard !wanted.contains(where: nodes.holds), let entry = wanted.last else { return }
        throw refuse(
            "checkpoint \(entry.generation) is on node \(entry.node), which is not there",
            "Restore it when that node is back, or cancel the job and submit it again."
        )
    }

    /// Puts the job into the queue to go on from a generation, or from the newest good one; without any it is suspended.
    mutating func resume(from generation: CheckpointGeneration?, origin: Resumption.Origin) {
        let entry = generation.flatMap { record.checkpoint($0) } ?? restorable(before: nil)
        guard let entry, entry.state == .complete, nodes.holds(entry) else {
            record.incarnationStarted = nil
            guard let entry = unreachable else {
                return enter(
                    .suspended,
                    "No complete checkpoint is left to go on from. Cancel the job and submit it again."
                )
            }
            return enter(
                .suspended,
                "Checkpoint \(entry.generation) is on node \(entry.node), which is not there. Restore the job when it is back, or cancel it."
            )
        }
        fallBack(to: entry)
        record.failedRestores = []
        record.resumption = Resumption(generation: entry.generation, origin: origin)
        requeue("Waits to go on from checkpoint \(entry.generation).")
    }

    mutating func resize(_ resize: Resize) throws(Refusal) {
        guard !record.state.isFinal else { throw refuse("it has ended", "Nothing is left to resize.") }
        var parts: [String] = []
        switch resize.allocation {
        case .pin(let vcpus):
            try checkVCPUs(vcpus, "An allocation")
            record.pinnedAllocation = vcpus
            record.allocation = vcpus
            parts.append("its allocation is held at \(vcpus) vCPUs")
        case .release:
            record.pinnedAllocation = nil
            parts.append("the policy sets its allocation again")
        case nil: break
        }
        if let cpu = resize.cpuLimit {
            if case .limit(let limit) = cpu { try checkVCPUs(limit, "A CPU limit") }
            record.limits.cpu = cpu
            parts.append(record.cpuLimit.map { "its CPU limit is \($0) vCPUs" } ?? "it has no CPU limit")
        }
        if let memory = resize.memory {
            guard memory >= .mebibytes(1) else {
                throw Refusal(.invalid, "A memory limit is at least 1 MiB; \(memory) is too small.")
            }
            record.limits.memory = memory
            parts.append("its memory limit is \(memory)")
        }
        guard !parts.isEmpty else { throw Refusal(.invalid, "Say what to resize: vCPUs, CPU limit or memory.") }
        decide(
            .resized,
            "Resized by \(resize.by): \(parts.joined(separator: "; ")).",
            [.init(name: "allocationVCPUs", value: record.allocation.rawValue)]
        )
    }

    private func checkVCPUs(_ vcpus: VCPUCount, _ what: String) throws(Refusal) {
        guard vcpus.rawValue.isFinite, (0.01...4096).contains(vcpus.rawValue) else {
            throw Refusal(.invalid, "\(what) is between 0.01 and 4096 vCPUs; \(vcpus) is not.")
        }
    }

    mutating func requestCancel(grace: Duration, by user: UserID) throws(Refusal) {
        let grace = max(.zero, grace)
        switch record.state {
        case .completed, .failed, .cancelled:
            throw refuse("it has ended", "Nothing is left to cancel.")
        case .queued, .suspended:
            finish(.cancelled, "Cancelled by \(user).")
        case .starting, .restoring, .running, .checkpointing, .migrating, .stopping:
            if case .cancel(let known, let requested, let by) = record.request {
                // A second request can only shorten the grace.
                record.request = .cancel(grace: min(known, grace), requested: requested, by: by)
                return
            }
            record.request = .cancel(grace: grace, requested: time, by: user)
            let open = record.openCheckpoint
            record.openCheckpoint = nil
            enter(.stopping, "Is being stopped: \(user) cancelled it.")
            if let exit = open?.exit { ended(exit) }
        }
    }
}
