import ClusterModel

/// What the members of a pool know of other pools.
///
/// Each pool judges its own members. A node that is in two pools carries what changed in one into the other, where it
/// goes on as news and is compared by fingerprints, as everything is. Claims about a member have an order, so it does
/// not matter by how many ways they come: the higher incarnation counts, and within one the later status.
extension Membership {
    /// Comparisons of one other pool that a single fingerprint can lead to.
    private static let differingLimit = 3
    /// Exchanges about other pools at once.
    private static let exchangeLimit = 4
    /// Changes that are told at once as news; when more come, as when two pools first meet, comparing brings them.
    private static let newsLimit = 256

    /// Takes up other settings, such as those for wide-area networks after a second site came.
    ///
    /// - Throws: `MembershipConfigurationError`, and nothing is changed, for a value out of its range.
    package mutating func adopt(
        _ configuration: MembershipConfiguration,
        now: ContinuousClock.Instant
    ) throws(MembershipConfigurationError) {
        guard configuration != self.configuration else { return }
        try configuration.validate()
        advance(to: now)
        self.configuration = configuration
        pace = Pace(configuration)
        refreshSubjects()
        settle()
    }

    /// What is known of the members of another pool, in the order of their keys; of this pool what `allMembers` says.
    package func members(of pool: PoolName) -> [Member] {
        guard pool != self.pool else { return allMembers() }
        guard let table = elsewhere[pool] else { return [] }
        return table.ring.compactMap { table[$0] }
    }

    /// The other pools of which something is known, in the order of their names.
    package var otherPools: [PoolName] { elsewhere.keys.sorted() }

    /// Members of other pools that are known, of every status.
    package var elsewhereCount: Int { elsewhere.values.reduce(0) { $0 + $1.count } }

    /// Forgets all other pools but these: they are no more.
    package mutating func keep(pools: Set<PoolName>) {
        elsewhere = elsewhere.filter { pools.contains($0.key) }
        elsewhereChanges = elsewhereChanges.filter { pools.contains($0.key) }
    }

    // MARK: Between two pools of one node

    /// Whether this node carries what is known here into another pool; from the moment at which it begins to, all of it.
    package mutating func setBridging(_ isBridging: Bool) {
        guard isBridging != self.isBridging else { return }
        self.isBridging = isBridging
        members.changes = isBridging ? Set(members.ring) : nil
        elsewhereChanges = [:]
        guard isBridging else { return }
        for (pool, table) in elsewhere { elsewhereChanges[pool] = Set(table.ring) }
    }

    /// What became known here since the last call, for the node's other pool; empty unless it is bridging.
    package mutating func takeChanges() -> [PoolEntry] {
        guard let changes = members.changes, !changes.isEmpty || !elsewhereChanges.isEmpty else { return [] }
        members.changes = []
        var found: [PoolEntry] = []
        for key in changes.sorted() {
            guard let member = members[key] else { continue }
            found.append(PoolEntry(pool: pool, entry: entry(member)))
        }
        for pool in elsewhereChanges.keys.sorted() {
            for key in elsewhereChanges[pool, default: []].sorted() {
                guard let member = elsewhere[pool]?[key] else { continue }
                found.append(PoolEntry(pool: pool, entry: entry(member)))
            }
        }
        elsewhereChanges = [:]
        return found
    }

    /// Takes what the node's other pool knows, and tells this one.
    package mutating func tell(_ entries: [PoolEntry], now: ContinuousClock.Instant) {
        advance(to: now)
        for entry in entries { hear(entry, isNews: entries.count <= Self.newsLimit, ofSameFacts: false) }
    }

    // MARK: Hearing

    /// Takes a claim about a member of another pool.
    ///
    /// `ofSameFacts` says whether a higher version of facts that say the same counts. Between members it does, so that
    /// views become equal; from the own other pool it does not, since a load is not told elsewhere and yet raises the
    /// version.
    mutating func hear(_ claim: PoolEntry, isNews: Bool = true, ofSameFacts: Bool = true) {
        guard claim.pool != pool, state != .left else { return }
        let news = claim.entry.member
        guard news.facts.bytes.count <= configuration.factsByteLimit else { return }
        let key = MemberKey(news.node)
        let age = Int64(claim.entry.ageSeconds) * 1_000_000_000
        guard let member = elsewhere[claim.pool]?[key] else { return admit(claim, age: age, isNews: isNews) }
        guard member.node == news.node else { return }
        let isLater =
            news.incarnation > member.incarnation
            || news.incarnation == member.incarnation && claim.entry.status.order > member.status.order
        let hasFacts =
            news.facts.version > member.facts.version && (ofSameFacts || news.facts.bytes != member.facts.bytes)
        guard isLater || hasFacts else { return }
        let before = member.status
        let moment = clock - age
        elsewhere[claim.pool]?.update(key) {
            if isLater {
                ($0.incarnation, $0.status, $0.endpoint) = (news.incarnation, claim.entry.status, news.endpoint)
                if $0.status != before { $0.changedAt = moment }
            }
            if hasFacts { $0.facts = news.facts }
        }
        note(key, of: claim.pool, isNews: isNews)
        let change: MemberChange? =
            switch (before, claim.entry.status) {
            case _ where !isLater: .factsChanged
            case (.alive, .alive): nil
            case (.suspect, .alive): .refuted
            case (_, .alive): .returned
            case (let old, let new) where old == new: nil
            case (_, .suspect): .suspected
            case (_, .dead): .died
            case (_, .left): .left
            }
        if let change, let member = elsewhere[claim.pool]?[key] {
            report(.changedElsewhere(claim.pool, member, change))
        }
    }

    private mutating func admit(_ claim: PoolEntry, age: Int64, isNews: Bool) {
        let rest = configuration.deadRetention.wholeNanoseconds - age
        // The same rules as for the dead of this pool that were never known here.
        guard claim.entry.status.isLive || rest > configuration.deadRetention.wholeNanoseconds / 2 else { return }
        guard elsewhereCount < configuration.memberLimit,
            elsewhere[claim.pool] != nil || elsewhere.count < GossipLimits.poolCount
        else { return report(.tableFull(refused: claim.entry.member.node)) }
        var member = Member(
            node: claim.entry.member.node,
            endpoint: claim.entry.member.endpoint,
            incarnation: claim.entry.member.incarnation,
            status: claim.entry.status,
            facts: claim.entry.member.facts
        )
        member.changedAt = clock - age
        elsewhere[claim.pool, default: MemberTable()].insert(member)
        note(member.key, of: claim.pool, isNews: isNews)
        if member.status.isLive { report(.changedElsewhere(claim.pool, member, .joined)) }
    }

    private mutating func note(_ key: MemberKey, of pool: PoolName, isNews: Bool) {
        if isBridging { elsewhereChanges[pool, default: []].insert(key) }
        guard isNews, let member = elsewhere[pool]?[key] else { return }
        // One line of news for each member and pool, so both are in its key.
        spread(
            .poolEntry(PoolEntry(pool: pool, entry: entry(member))),
            about: MemberKey(rawValue: mixed(key.rawValue ^ pool.hash))
        )
    }

    /// Forgets who is dead or gone elsewhere for long enough.
    mutating func sweepElsewhere() {
        let retention = configuration.deadRetention.wholeNanoseconds
        for (pool, table) in elsewhere {
            for key in table.deadKeys + table.leftKeys {
                guard let member = table[key], clock - member.changedAt >= retention else { continue }
                elsewhere[pool]?.remove(key)
            }
            if elsewhere[pool]?.count == 0 { elsewhere[pool] = nil }
        }
    }

    // MARK: Comparing

    /// The fingerprints of other pools, as many as a datagram carries.
    ///
    /// Nil where there are none, so that a cluster of one pool pays nothing.
    mutating func poolDigest() -> GossipMessage? {
        guard !elsewhere.isEmpty else { return nil }
        let pools = elsewhere.sorted { $0.key < $1.key }
        let start = pools.count > GossipLimits.digestCount ? Int(random(Int64(pools.count))) : 0
        let chosen = (0..<min(pools.count, GossipLimits.digestCount)).map { pools[(start + $0) % pools.count] }
        return .poolDigest(
            chosen.map { PoolFingerprint(tag: $0.key.tag, root: $0.value.root) },
            isWhole: chosen.count == pools.count
        )
    }

    /// Says what is known here of a few of the pools of which the sender knows something else.
    mutating func compare(_ fingerprints: [PoolFingerprint], isWhole: Bool, reply: inout Reply) {
        var differing: [(tag: UInt32, buckets: [UInt64])] = []
        let none = [UInt64](repeating: 0, count: MemberTable.bucketCount)
        for print in fingerprints where print.tag != pool.tag {
            let table = elsewhere.first { $0.key.tag == print.tag }?.value
            if table?.root ?? 0 != print.root { differing.append((print.tag, table?.buckets ?? none)) }
        }
        if isWhole {
            let told = Set(fingerprints.map(\.tag))
            for (pool, table) in elsewhere.sorted(by: { $0.key < $1.key })
            where !told.contains(pool.tag) && table.root != 0 {
                differing.append((pool.tag, table.buckets))
            }
        }
        guard !differing.isEmpty else { return }
        statistics.differences += 1
        // Another one each time, so that one that cannot be repaired does not keep the others back.
        let start = Int(random(Int64(differing.count)))
        for offset in 0..<min(differing.count, Self.differingLimit) {
            let (tag, buckets) = differing[(start + offset) % differing.count]
            sendAlone(.poolBuckets(tag: tag, buckets.map { UInt32(truncatingIfNeeded: $0) }), to: reply.source)
        }
    }

    mutating func takeBuckets(_ buckets: [UInt32], ofPool tag: UInt32, from source: MemberEndpoint) {
        guard tag != pool.tag else { return }
        let table = elsewhere.first { $0.key.tag == tag }?.value ?? MemberTable()
        var differing = BucketSet.none
        for (index, bucket) in buckets.enumerated() where bucket != UInt32(truncatingIfNeeded: table.buckets[index]) {
            differing.insert(index)
        }
        guard !differing.isEmpty, exchanges.count(where: { $0.tag != nil }) < Self.exchangeLimit,
            !exchanges.contains(where: { $0.tag == tag })
        else { return }
        let request = MemberExchange(
            part: .poolRequest,
            sender: key,
            tag: tag,
            buckets: differing,
            pools: poolEntries(tag: tag, in: differing, unknownTo: [:])
        )
        begin(Exchange(id: nextSequence(), isJoin: false, tag: tag), request, with: source)
    }

    // MARK: Exchanging

    private func poolEntries(
        tag: UInt32,
        in buckets: BucketSet,
        unknownTo peer: [MemberKey: MemberExchange.Entry]
    ) -> [PoolEntry] {
        guard let (pool, table) = elsewhere.first(where: { $0.key.tag == tag }) else { return [] }
        var found: [PoolEntry] = []
        for bucket in 0..<MemberTable.bucketCount where buckets.contains(bucket) {
            for member in table.members(inBucket: bucket) {
                let isNews = peer[member.key].map { theirs in
                    member.incarnation > theirs.member.incarnation
                        || member.incarnation == theirs.member.incarnation && member.status.order > theirs.status.order
                        || member.facts.version > theirs.member.facts.version
                }
                if isNews ?? true { found.append(PoolEntry(pool: pool, entry: entry(member))) }
            }
        }
        return found
    }

    mutating func answerPoolExchange(_ exchange: MemberExchange) -> MemberExchange {
        var theirs: [MemberKey: MemberExchange.Entry] = [:]
        for claim in exchange.pools { theirs[MemberKey(claim.entry.member.node)] = claim.entry }
        let answer = poolEntries(tag: exchange.tag, in: exchange.buckets, unknownTo: theirs)
        merge(pools: exchange.pools)
        return MemberExchange(
            part: .poolAnswer,
            sender: key,
            tag: exchange.tag,
            buckets: exchange.buckets,
            pools: answer
        )
    }

    mutating func merge(pools: [PoolEntry]) {
        for claim in pools { hear(claim, isNews: pools.count <= Self.newsLimit) }
    }
}

extension MemberStatus {
    /// The order of claims of one incarnation: what is later counts.
    var order: UInt8 {
        switch self {
        case .alive: 0
        case .suspect: 1
        case .dead: 2
        case .left: 3
        }
    }
}
