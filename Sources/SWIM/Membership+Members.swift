import ClusterModel

/// What members say about themselves: that they are there, and their facts.
extension Membership {
    /// A member introduces itself, or somebody passes its introduction on.
    ///
    /// `isNews` says whether others should hear of it from here. Not what a seed told a joining node: that node would
    /// tell the whole pool to the pool.
    mutating func hearAlive(_ entry: GossipEntry, isNews: Bool = true) {
        let target = MemberKey(entry.node)
        guard entry.facts.bytes.count <= configuration.factsByteLimit else { return }
        guard target != key else { return hearOfSelf(entry) }
        guard let member = members[target] else { return admit(entry, isNews: isNews) }
        guard member.node == entry.node else { return report(.keyConflict(member, refused: entry.node)) }
        guard entry.incarnation >= member.incarnation else { return }
        guard entry.incarnation > member.incarnation else {
            if member.status.isLive { hearFacts(entry.facts, of: target) }
            return
        }
        if member.endpoint != entry.endpoint, member.status.isLive {
            // A copy of a node must not push the one out that lives and answers. If that one is gone, its observers
            // find out in seconds, and then the newcomer, which goes on comparing views, gets in.
            report(.nameConflict(member, claimant: entry.endpoint))
            return
        }
        members.update(target) {
            $0.endpoint = entry.endpoint
            if entry.facts.version > $0.facts.version { $0.facts = entry.facts }
        }
        revive(member, entry.incarnation)
        if isNews, let updated = members[target] { spread(.alive(GossipEntry(updated)), about: target) }
        if entry.facts.version > member.facts.version, let updated = members[target] {
            report(.changed(updated, .factsChanged))
        }
    }

    private mutating func admit(_ entry: GossipEntry, isNews: Bool) {
        if members.count >= configuration.memberLimit {
            guard let oldest = oldestGone() else { return report(.tableFull(refused: entry.node)) }
            forget(oldest)
        }
        var member = Member(
            node: entry.node,
            endpoint: entry.endpoint,
            incarnation: entry.incarnation,
            facts: entry.facts
        )
        member.changedAt = clock
        insert(member)
        report(.changed(member, .joined))
        if isNews { spread(.alive(entry), about: member.key) }
    }

    /// Takes in a member that is not there yet, without telling others.
    mutating func insert(_ member: Member) {
        members.insert(member)
        if let slot = members.slot(of: member.key) { probeOrder.insert(slot, using: &generator) }
        if member.status.isLive { noteRingChange(at: member.key) }
    }

    /// Of a few that left or, if none did, are dead the one that is gone longest; drawn at random, so that a full table
    /// costs no walk.
    private mutating func oldestGone() -> Member? {
        let gone = members.leftKeys.isEmpty ? members.deadKeys : members.leftKeys
        guard !gone.isEmpty else { return nil }
        var oldest: Member?
        for _ in 0..<8 {
            guard let member = members[gone[Int(truncatingIfNeeded: generator.next() % UInt64(gone.count))]],
                member.key != key
            else { continue }
            if oldest.map({ member.changedAt < $0.changedAt }) ?? true { oldest = member }
        }
        return oldest
    }

    /// Others remember this node from an earlier life, or another node has its name.
    private mutating func hearOfSelf(_ entry: GossipEntry) {
        let own = own
        guard state != .leaving, state != .left, entry.node == own.node else { return }
        if entry.endpoint != own.endpoint, entry.incarnation >= own.incarnation {
            report(.nameConflict(own, claimant: entry.endpoint))
        }
        if entry.facts.version > own.facts.version
            || entry.facts.version == own.facts.version && entry.facts != own.facts
        {
            members.update(key) { $0.facts.version = entry.facts.version + 1 }
            spread(.facts(key, self.own.facts), about: key)
        }
        guard
            entry.incarnation > own.incarnation
                || entry.incarnation == own.incarnation && entry.endpoint != own.endpoint
        else { return }
        members.update(key) { $0.incarnation = entry.incarnation.next }
        spread(.alive(GossipEntry(self.own)), about: key)
    }

    // MARK: Facts

    mutating func hearFacts(_ facts: NodeFacts, of target: MemberKey) {
        guard target != key, facts.bytes.count <= configuration.factsByteLimit, let member = members[target],
            member.status.isLive, facts.version > member.facts.version
        else { return }
        change(target, nil) { $0.facts = facts }
        if let updated = members[target] { report(.changed(updated, .factsChanged)) }
        spread(.facts(target, facts), about: target)
    }

    /// Tells all members these facts about this node.
    ///
    /// Facts that come too fast for the size of the pool replace each other here until the time has come: what all
    /// nodes say must fit what each can hear.
    /// - Returns: false, and nothing is changed, if they are larger than `factsByteLimit`.
    @discardableResult
    package mutating func publish(facts: [UInt8], now: ContinuousClock.Instant) -> Bool {
        advance(to: now)
        guard facts.count <= configuration.factsByteLimit else { return false }
        guard facts != (pendingFacts ?? own.facts.bytes) else { return true }
        let isSet = pendingFacts != nil
        pendingFacts = facts
        let next = factsPublishedAt == .min ? clock : factsPublishedAt + factsPeriod
        if next <= clock {
            publishPendingFacts()
        } else if !isSet {
            timers.add(.publishFacts, at: next)
        }
        return true
    }

    /// The configured one, longer in pools of more than 100.
    var factsPeriod: Int64 {
        configuration.factsPeriod.wholeNanoseconds * Int64(max(100, members.liveCount)) / 100
    }

    mutating func publishPendingFacts() {
        guard let bytes = pendingFacts else { return }
        pendingFacts = nil
        factsPublishedAt = clock
        members.update(key) { $0.facts = NodeFacts(version: min($0.facts.version + 1, .max - 1), bytes: bytes) }
        spread(.facts(key, own.facts), about: key)
    }
}
