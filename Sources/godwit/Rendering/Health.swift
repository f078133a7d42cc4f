import ControlMessages

/// Whether the cluster can decide and act, and what to do when it cannot: drawn from the numbers that an agent tells.
struct ClusterVerdict {
    /// How it is, in a few words.
    var summary: String
    var tone: Presentation.Tone
    /// What is wrong, worst first; each with the remedy.
    var problems: [String]

    init(_ reply: WireStatusReply, _ style: Presentation) {
        let health = reply.health
        problems = []
        let majority = health.voterCount / 2 + 1
        let hasQuorum = health.votersAnswering >= majority
        let timeout = health.partitionTimeoutSeconds
        if !hasQuorum {
            let silent = Self.list(health.silentVoters)
            problems.append(
                "No quorum: \(health.votersAnswering) of \(style.count(health.voterCount, "voter")) "
                    + "\(health.votersAnswering == 1 ? "answers" : "answer"), \(majority) are needed. Nothing is accepted or placed until then, "
                    + "and after \(style.length(timeout)) without a leader jobs stop that do not say 'onPartition: continue'. "
                    + (silent.isEmpty
                        ? "Look at the network between the voters."
                        : "Start the agents of \(silent), or mend their network. If a majority of the voters is lost for good, stop "
                            + "every agent and run 'godwitd recover' on one node that is left.")
            )
        } else if reply.leader.isEmpty {
            problems.append(
                "There is no leader, although \(health.votersAnswering) of \(health.voterCount) voters answer: an election is under way. "
                    + "If it lasts, look at the network between the voters and at their disks; 'godwit cluster voters' shows them."
            )
        } else if health.leaderlessSeconds > 0 {
            let left = timeout - health.leaderlessSeconds
            problems.append(
                "\(Self.name(health.answeredBy)) has not heard from a leader for \(style.length(health.leaderlessSeconds)): "
                    + (left > 0 ? "in \(style.length(left)) it stops its jobs" : "it has stopped its jobs")
                    + " that do not say 'onPartition: continue'. Ask another agent with --agent, and look at this one's network."
            )
        }
        if hasQuorum, !health.silentVoters.isEmpty {
            let spare = health.votersAnswering - majority
            problems.append(
                "\(Self.list(health.silentVoters)) \(health.silentVoters.count == 1 ? "votes but does" : "vote but do") not answer: "
                    + (spare == 0 ? "one more and the cluster stops. " : "\(spare) more may fail. ")
                    + "Start the \(health.silentVoters.count == 1 ? "agent" : "agents"), or wait until the leader puts others in their place."
            )
        }
        let revoked = health.revokedNodes
        if !revoked.isEmpty {
            problems.append(
                "\(Self.list(revoked)) \(revoked.count == 1 ? "is" : "are") shut out, because \(revoked.count == 1 ? "its certificate was" : "their certificates were") "
                    + "revoked; the jobs from there start elsewhere. Take the \(revoked.count == 1 ? "node" : "nodes") out with 'godwit node "
                    + "remove', or issue new certificates with 'godwit ca issue'."
            )
        }
        let lost = health.lostNodes.filter { !revoked.contains($0) }
        if !lost.isEmpty {
            problems.append(
                "\(Self.list(lost)) \(lost.count == 1 ? "is" : "are") lost; the jobs from there were queued anew. "
                    + "Start the \(lost.count == 1 ? "agent" : "agents") again when the "
                    + "\(lost.count == 1 ? "machine is" : "machines are") back."
            )
        }
        // That a voter does not answer was said already when it is why there is no quorum.
        let suspects = health.suspectNodes.filter {
            !revoked.contains($0) && (hasQuorum || !health.silentVoters.contains($0))
        }
        if !suspects.isEmpty {
            problems.append(
                "\(Self.list(suspects)) \(suspects.count == 1 ? "does not answer gossip and gets" : "do not answer gossip and get") "
                    + "no new jobs. If that lasts, look at the \(suspects.count == 1 ? "machine" : "machines") and the network"
                    + (hasQuorum ? "; after \(style.length(timeout)) and a margin the jobs start elsewhere." : ".")
            )
        }
        for expiry in health.expiringCertificates {
            let isPast = expiry.notAfterUnixSeconds <= style.now
            problems.append(
                "The certificate of \(Self.name(expiry.node)) \(isPast ? "expired" : "expires") \(style.moment(expiry.notAfterUnixSeconds)): "
                    + "renew it with 'godwit ca renew' and put the file in its place; the agent needs no restart."
            )
        }
        if !hasQuorum {
            (summary, tone) = ("no quorum", .bad)
        } else if reply.leader.isEmpty || health.leaderlessSeconds > 0 {
            (summary, tone) = ("no leader", .bad)
        } else if !health.lostNodes.isEmpty || !health.suspectNodes.isEmpty || !health.silentVoters.isEmpty {
            (summary, tone) = ("degraded", .warning)
        } else {
            (summary, tone) = ("healthy", .good)
        }
    }

    /// `2 of 3 answer, none may fail`.
    static func voters(_ health: WireClusterHealth) -> String {
        let majority = health.voterCount / 2 + 1
        let answering =
            "\(health.votersAnswering) of \(health.voterCount) \(health.votersAnswering == 1 ? "answers" : "answer")"
        guard health.votersAnswering >= majority else { return "\(answering), \(majority) are needed" }
        let spare = health.votersAnswering - majority
        let learners =
            health.learnerCount == 0
            ? "" : "; \(health.learnerCount) more \(health.learnerCount == 1 ? "learns" : "learn")"
        // A cluster of one knows that it is one.
        guard health.voterCount > 1 else { return answering + learners }
        return "\(answering), \(spare == 0 ? "none" : "\(spare)") may fail\(learners)"
    }

    /// `5: 3 alive, 1 draining, 1 lost`.
    static func nodes(_ count: UInt32, _ health: WireClusterHealth) -> String {
        let parts: [(Int, String)] = [
            (Int(health.nodesAlive), "alive"), (health.joiningNodes.count, "joining"),
            (health.cordonedNodes.count, "cordoned"), (health.drainingNodes.count, "draining"),
            (health.suspectNodes.count, "suspect"), (health.lostNodes.count, "lost"),
        ]
        let told = parts.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
        return told.isEmpty ? String(count) : "\(count): \(told.joined(separator: ", "))"
    }

    /// Names as a sentence has them: `a, b and c`; at most five, then their number.
    private static func list(_ names: [String]) -> String {
        var shown = names.prefix(5).map(name)
        if names.count > 5 { shown.append("\(names.count - 5) others") }
        guard let last = shown.popLast(), !shown.isEmpty else { return names.first.map(name) ?? "" }
        return "\(shown.joined(separator: ", ")) and \(last)"
    }

    private static func name(_ text: String) -> String { text.isEmpty ? "The agent" : text }
}
