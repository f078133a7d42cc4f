import ClusterModel
import ControlMessages

/// The cluster itself: who belongs to it, who votes, what happened, what is refused.
extension Presentation {
    /// Members as a table.
    func memberTable(_ reply: WireClusterMembersReply) -> [String] {
        guard !reply.members.isEmpty else { return ["no members; an agent of a cluster of one says so itself"] }
        var table = Table(columns: [
            .init(title: "NODE", minimumWidth: 8),
            .init(title: "SITE", minimumWidth: 6, dropOrder: 3),
            .init(title: "ROLE", dropOrder: 2),
            .init(title: "ADDRESS", minimumWidth: 12, dropOrder: 4),
            .init(title: "STATE"),
            .init(title: "GOSSIP", isOptional: true),
            .init(title: "CONSENSUS", isOptional: true),
            .init(title: "HEARD", isRight: true, dropOrder: 1),
            .init(title: "INCARNATION", isRight: true, dropOrder: 6),
            .init(title: "VERSION", dropOrder: 5),
        ])
        table.rows = reply.members.map { member in
            let service = member.isDraining ? ", draining" : member.isCordoned ? ", cordoned" : ""
            let heard = member.lastHeardSeconds
            return [
                .init(member.node, .strong), .init(member.site), .init(member.role), .init(member.address),
                .init(member.state + service, stateTone(member.state, isServing: service.isEmpty)),
                .init(member.gossip, gossipTone(member.gossip)),
                .init(member.consensus, member.consensus == "leader" ? .strong : .plain),
                .init(heard < 0 ? (member.gossip.isEmpty ? "never" : "by gossip") : heard == 0 ? "itself" : ago(heard)),
                .init(String(member.incarnation)), .init(member.version),
            ]
        }
        return table.lines(self)
    }

    /// An age in tenths of seconds while that says something.
    private func ago(_ seconds: Double) -> String {
        seconds < 10 ? "\(seconds.text(decimals: 1)) s ago" : "\(length(seconds.rounded())) ago"
    }

    private func stateTone(_ state: String, isServing: Bool) -> Tone {
        switch state {
        case "active": isServing ? .good : .warning
        case "joining": .notice
        case "lost": .bad
        default: .faint
        }
    }

    private func gossipTone(_ status: String) -> Tone {
        switch status {
        case "alive": .good
        case "suspect": .warning
        case "dead": .bad
        default: .faint
        }
    }

    /// Consensus: its leader, its log, its members.
    func consensus(_ reply: WireClusterVotersReply) -> [String] {
        var fields = FieldList()
        let since = reply.leaderSinceUnixSeconds > 0 ? ", since \(moment(reply.leaderSinceUnixSeconds))" : ""
        fields.add(
            "leader",
            reply.leader.isEmpty ? "none" : reply.leader + since,
            reply.leader.isEmpty ? .bad : .strong
        )
        fields.add("term", String(reply.term))
        let waiting = reply.commitIndex >= reply.appliedIndex ? reply.commitIndex - reply.appliedIndex : 0
        let unapplied = waiting == 0 ? "" : ", \(waiting) of them not applied yet"
        fields.add("log", "\(reply.commitIndex) entries committed\(unapplied)")
        if reply.answeredBy != reply.leader { fields.add("told by", "\(reply.answeredBy), which does not lead") }
        var table = Table(columns: [
            .init(title: "MEMBER", dropOrder: 2),
            .init(title: "NODE", minimumWidth: 8),
            .init(title: "SITE", minimumWidth: 6, dropOrder: 1),
            .init(title: "ROLE"),
            .init(title: "MATCH", isRight: true, dropOrder: 0),
            .init(title: "BEHIND", isRight: true),
            .init(title: "CONTACT", isRight: true),
        ])
        table.rows = reply.members.map { member in
            let isKnown = member.matchIndex > 0
            let behind = reply.commitIndex > member.matchIndex ? reply.commitIndex - member.matchIndex : 0
            let contact = member.lastContactSeconds
            return [
                .init(String(member.member, radix: 16), .faint), .init(member.node, .strong), .init(member.site),
                .init(
                    member.role + (member.isLeaving ? ", leaving" : ""),
                    member.role == "leader" ? .good : member.isLeaving ? .warning : .plain
                ),
                .init(isKnown ? String(member.matchIndex) : unknown), .init(isKnown ? String(behind) : unknown),
                .init(contact < 0 ? unknown : contact == 0 ? "itself" : ago(contact)),
            ]
        }
        return fields.lines(self) + (reply.members.isEmpty ? [] : [""] + table.lines(self))
    }

    /// One event as a line.
    ///
    /// `12:00:01  audit       cordon     ada cordoned node-1.`
    func eventLine(_ event: WireClusterEvent) -> String {
        let tone: Tone =
            switch event.kind {
            case "dead", "no-leader", "lost", "revoke": .bad
            case "suspect", "cordon", "drain", "left", "leave", "removed": .warning
            case "alive", "join", "undrain", "leader", "voter": .good
            default: .plain
            }
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - columns(of: text)))
        }
        let (source, kind) = (printable(event.source), printable(event.kind))
        var sentence = oneLine(event.sentence)
        if sentence.isEmpty { sentence = printable(event.node) }
        // Who asked stands in an audit entry's sentence; who saw it does not.
        let seen = event.source == "membership" && !event.by.isEmpty ? " (seen by \(printable(event.by)))" : ""
        return "\(clock(event.timeUnixSeconds))  \(paint(padded(source, 10), .faint))  "
            + "\(paint(padded(kind, 9), tone))  \(sentence)\(seen)"
    }

    /// Keys of gossip as a table.
    func keyTable(_ reply: WireKeyringListReply) -> [String] {
        guard !reply.keys.isEmpty else { return ["no keys: a cluster of one does not gossip"] }
        var table = Table(columns: [
            .init(title: "KEY", isRight: true), .init(title: "USE"), .init(title: "MADE", isRight: true),
            .init(title: "NODES", isRight: true),
        ])
        table.rows = reply.keys.map { key in
            [
                .init(String(key.id), .strong),
                .init(key.isPrimary ? "seals and opens" : "opens", key.isPrimary ? .good : .plain),
                .init(key.createdUnixSeconds > 0 ? distance(to: key.createdUnixSeconds) : unknown),
                .init(key.nodeCount > 0 ? "\(key.nodeCount) of \(reply.nodeCount)" : unknown),
            ]
        }
        return table.lines(self)
    }

    /// Revocations as a table.
    func revocationTable(_ revocations: [WireRevocation]) -> [String] {
        guard !revocations.isEmpty else { return ["nothing is revoked"] }
        var table = Table(columns: [
            .init(title: "REVOKED"), .init(title: "WHAT", minimumWidth: 20), .init(title: "BY", minimumWidth: 6),
            .init(title: "REASON", minimumWidth: 10, dropOrder: 0, isOptional: true),
        ])
        table.rows = revocations.map { revocation in
            [
                .init(clock(revocation.timeUnixSeconds)), .init(revocationSubject(revocation), .strong),
                .init(revocation.by), .init(revocation.reason),
            ]
        }
        return table.lines(self)
    }

    /// Trusted authorities as a table.
    func authorityTable(_ authorities: [WireAuthority]) -> [String] {
        var table = Table(columns: [
            .init(title: "FINGERPRINT"), .init(title: "SUBJECT", minimumWidth: 20), .init(title: "SITE"),
            .init(title: "EXPIRES", isRight: true), .init(title: "TRUSTED BY"),
            .init(title: "NODES", minimumWidth: 10, dropOrder: 0),
        ])
        table.rows = authorities.map { authority in
            [
                .init(String(authority.fingerprint.prefix(16))), .init(authority.subject, .strong),
                .init(authority.site.isEmpty ? "every" : authority.site),
                .init(distance(to: authority.expiresUnixSeconds), authority.expiresUnixSeconds <= now ? .bad : .plain),
                .init(authority.isReplicated ? authority.by : "identity files"),
                .init(authority.nodes.joined(separator: ", ")),
            ]
        }
        return table.lines(self)
    }

    /// What a revocation is about: `serial 4f...`, or the identity.
    func revocationSubject(_ revocation: WireRevocation) -> String {
        revocation.identity.isEmpty ? "serial \(revocation.serial)" : revocation.identity
    }

    /// What nodes and jobs use, the busiest first.
    func top(_ jobs: [WireJobSummary], nodes: [WireNode]) -> [String] {
        var nodeTable = Table(columns: [
            .init(title: "NODE", minimumWidth: 8), .init(title: "STATE"), .init(title: "CPU"),
            .init(title: "USED", isRight: true), .init(title: "ALLOCATED", isRight: true, dropOrder: 0),
            .init(title: "VCPUS", isRight: true), .init(title: "MEMORY", isRight: true, dropOrder: 1),
            .init(title: "JOBS", isRight: true, dropOrder: 2),
        ])
        nodeTable.rows = nodes.sorted { ($1.usedVcpus, $0.name) < ($0.usedVcpus, $1.name) }.map { node in
            let share = node.capacityVcpus > 0 ? node.usedVcpus / node.capacityVcpus : 0
            return [
                .init(node.name, .strong), .init(node.state, nodeTone(node)), .init(bar(share, width: 10)),
                .init(vcpus(node.usedVcpus)), .init(vcpus(node.allocatedVcpus)), .init(vcpus(node.capacityVcpus)),
                .init("\(bytes(node.memoryUsedBytes)) of \(bytes(node.memoryBytes))"), .init(String(node.runningJobs)),
            ]
        }
        guard !jobs.isEmpty else { return nodeTable.lines(self) + ["", "no jobs"] }
        var jobTable = Table(columns: [
            .init(title: "JOB", minimumWidth: 10), .init(title: "NODE", minimumWidth: 6), .init(title: "STATE"),
            .init(title: "USED", isRight: true), .init(title: "ALLOCATED", isRight: true, dropOrder: 0),
            .init(title: "MEMORY", isRight: true, dropOrder: 1), .init(title: "PROGRESS", isRight: true, dropOrder: 2),
            .init(title: "CONDITION", dropOrder: 3, isOptional: true),
            .init(title: "USER", dropOrder: 4, isOptional: true),
        ])
        jobTable.rows = jobs.map { job in
            let isPlaced = JobState(rawValue: job.state)?.mayHaveContainer ?? false
            return [
                .init(job.name, .strong), .init(job.node), .init(job.state, job.stateTone),
                .init(isPlaced ? vcpus(job.usageVcpus) : unknown),
                .init(isPlaced ? vcpus(job.allocationVcpus) : unknown),
                .init(isPlaced ? bytes(job.memoryBytes) : unknown),
                .init(job.progress >= 0 ? percent(job.progress) : unknown),
                .init(job.conditionText, job.conditionTone), .init(job.user),
            ]
        }
        return nodeTable.lines(self) + [""] + jobTable.lines(self)
    }
}
