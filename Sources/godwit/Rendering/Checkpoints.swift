import ControlMessages

// Checkpoints as `godwit checkpoint` shows them.
extension Presentation {
    /// Checkpoints of several jobs, one in each line.
    func checkpointList(_ checkpoints: [WireJobCheckpoint]) -> [String] {
        guard !checkpoints.isEmpty else { return ["There are no checkpoints."] }
        var table = Table(columns: [
            .init(title: "JOB", minimumWidth: 8),
            .init(title: "GENERATION", isRight: true),
            .init(title: "AGE", isRight: true),
            .init(title: "STATE"),
            .init(title: "CPU TIME", isRight: true, dropOrder: 1),
            .init(title: "FROZEN", isRight: true, dropOrder: 0),
            .init(title: "IMAGES", isRight: true, dropOrder: 2),
            .init(title: "STORED", isRight: true),
            .init(title: "NODES", minimumWidth: 6),
        ])
        table.rows = checkpoints.map { item in
            let checkpoint = item.checkpoint
            return [
                .init(item.jobName),
                .init(String(checkpoint.generation)),
                .init(length(max(0, (now - checkpoint.takenUnixSeconds).rounded()))),
                .init(checkpoint.state, checkpoint.state == "damaged" ? .bad : .plain),
                .init(length(checkpoint.cpuSeconds)),
                .init(length(checkpoint.frozenSeconds)),
                .init(bytes(checkpoint.rawBytes)),
                .init(bytes(checkpoint.storedBytes)),
                .init(checkpoint.holders.isEmpty ? checkpoint.node : checkpoint.holders.joined(separator: ",")),
            ]
        }
        return table.lines(self)
    }

    /// One checkpoint, everything that is known of it.
    func checkpointDetails(_ reply: WireCheckpointShowReply) -> [String] {
        let (job, checkpoint) = (reply.checkpoint, reply.checkpoint.checkpoint)
        let isDamaged = checkpoint.state == "damaged"
        var fields = FieldList()
        fields.add("state", checkpoint.state, isDamaged ? .bad : .good)
        fields.add("damage", reply.damage, .bad)
        fields.add("why it is here", reply.purpose)
        fields.add("taken", moment(checkpoint.takenUnixSeconds))
        fields.add("of", "incarnation \(reply.incarnation) on \(checkpoint.node), the job is \(job.jobState)")
        fields.add(
            "CPU time",
            length(checkpoint.cpuSeconds)
                + (reply.completedIterations > 0 ? " after \(count(reply.completedIterations, "iteration"))" : "")
        )
        fields.add("frozen", "\(length(checkpoint.frozenSeconds)), \(length(checkpoint.totalSeconds)) in all")
        let share =
            checkpoint.rawBytes > 0
            ? " (\(percent(Double(checkpoint.storedBytes) / Double(checkpoint.rawBytes))))" : ""
        fields.add("images", "\(bytes(checkpoint.rawBytes)), stored as \(bytes(checkpoint.storedBytes))\(share)")
        let holders = checkpoint.holders.isEmpty ? [checkpoint.node] : checkpoint.holders
        fields.add("held by", holders.joined(separator: ", "))
        fields.add("to be copied to", reply.wanted.joined(separator: ", "))
        fields.add("declined by", reply.declined.joined(separator: ", "), .warning)
        if reply.replicas > 0 {
            fields.add(
                "copies",
                "\(holders.count) of \(reply.replicas + 1), "
                    + (reply.isSafe ? "outlives a node" : "does not outlive a node yet"),
                reply.isSafe ? .plain : .warning
            )
        }
        fields.add("sealed", reply.sealKey > 0 ? "under checkpoint key \(reply.sealKey)" : "no")
        fields.add("index", reply.indexSha256.isEmpty ? "" : "SHA-256 \(reply.indexSha256)")
        fields.add("other good ones", reply.otherGenerations.map { "\($0)" }.joined(separator: ", "))
        return [
            paint("checkpoint \(checkpoint.generation) of \(printable(job.jobName))", .strong)
                + " (\(printable(job.jobID)))"
        ]
            + fields.lines(self)
    }

    /// How far each holder is, or what it found.
    func checkTable(_ reply: WireCheckpointVerifyReply) -> [String] {
        var table = Table(columns: [
            .init(title: "NODE", minimumWidth: 6),
            .init(title: "STATE"),
            .init(title: "CHECKED", isRight: true),
            .init(title: "DAMAGED", isRight: true, isOptional: true),
            .init(title: "WHAT FOLLOWS", minimumWidth: 12, isOptional: true),
        ])
        table.rows = reply.holders.map { holder in
            let tone: Tone =
                switch holder.state {
                case "good": .good
                case "reading": .notice
                default: .bad
                }
            let share =
                holder.totalBytes > 0 ? " (\(percent(Double(holder.checkedBytes) / Double(holder.totalBytes))))" : ""
            let follows =
                holder.isReplaced
                ? "replaced by a good copy"
                : holder.state == "damaged" ? "no good copy is left to replace it" : holder.problem
            return [
                .init(holder.node),
                .init(holder.state, tone),
                .init("\(bytes(holder.checkedBytes))\(share)"),
                .init(holder.damagedCount > 0 ? count(holder.damagedCount, "region") : ""),
                .init(follows),
            ]
        }
        return table.lines(self)
    }

    /// Each damaged region that was named.
    func damageLines(_ reply: WireCheckpointVerifyReply) -> [String] {
        reply.holders.flatMap { holder -> [String] in
            guard holder.state == "damaged" else { return [] }
            if holder.damaged.isEmpty { return ["\(printable(holder.node)): \(oneLine(holder.problem))"] }
            let named = holder.damaged.map { region in
                "\(printable(holder.node)): region \(region.region) of \(printable(region.file)), \(bytes(region.length)) "
                    + "from byte \(region.offset) on, is not what was written"
            }
            let rest = holder.damagedCount - min(holder.damagedCount, UInt64(named.count))
            return rest > 0 ? named + ["\(printable(holder.node)): and \(count(rest, "more region"))"] : named
        }
    }
}
