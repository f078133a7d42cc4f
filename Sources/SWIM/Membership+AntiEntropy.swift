import ClusterModel
package import WireFormat

/// An exchange of entries that this node asked for.
struct Exchange: Sendable {
    let id: UInt32
    /// Whether it is part of joining, where any one success will do.
    let isJoin: Bool
    /// The other pool that it is about.
    var tag: UInt32?
}

/// What gossip missed is found by comparing fingerprints, and repaired over a stream.
///
/// SWIM has nothing of the kind, and memberlist sends the whole table both ways. Here equal views cost two small
/// datagrams; views that differ cost one of a kilobyte and the entries of those 256ths of the key space that differ.
extension Membership {
    /// Comparisons in a row that find no difference before the slow pace is taken up again.
    private static let settledCount = 3

    // MARK: Comparing

    mutating func compareViews(generation: UInt32) {
        guard generation == compareGeneration, state != .left else { return }
        let isSettled = equalViewsInRow >= Self.settledCount
        let period = isSettled ? pace.antiEntropyPeriod : pace.settlingPeriod
        after(period / 2 + random(period), .compareViews(generation: generation))
        // While news is under way views differ for a moment; that need not be found out.
        if !memberNews.isEmpty || !factNews.isEmpty, deferredComparisons < 3 {
            deferredComparisons += 1
            return
        }
        deferredComparisons = 0
        guard let peer = members.randomLiveMember(besides: [key], using: &generator) else { return }
        send([digest], to: peer.endpoint)
        if let others = poolDigest() { sendAlone(others, to: peer.endpoint) }
    }

    private var digest: GossipMessage { .digest(root: members.root, liveCount: UInt32(members.liveCount)) }

    mutating func compare(root: UInt64, liveCount: UInt32, reply: inout Reply) {
        guard root != members.root || liveCount != UInt32(members.liveCount) else {
            return reply.messages.append(.viewsAreEqual)
        }
        noteDifference()
        reply.messages.append(.buckets(members.buckets.map { UInt32(truncatingIfNeeded: $0) }))
    }

    mutating func noteEqualViews() { equalViewsInRow = min(equalViewsInRow + 1, Self.settledCount) }

    private mutating func noteDifference() {
        statistics.differences += 1
        let wasSettled = equalViewsInRow >= Self.settledCount
        equalViewsInRow = 0
        guard wasSettled else { return }
        settle()
    }

    /// Takes up the fast pace.
    mutating func settle() {
        equalViewsInRow = 0
        compareGeneration &+= 1
        after(pace.settlingPeriod / 2 + random(pace.settlingPeriod), .compareViews(generation: compareGeneration))
    }

    mutating func takeBuckets(_ buckets: [UInt32], from source: MemberEndpoint) {
        var differing = BucketSet.none
        for (index, bucket) in buckets.enumerated()
        where bucket != UInt32(truncatingIfNeeded: members.buckets[index]) {
            differing.insert(index)
        }
        guard !differing.isEmpty else { return noteEqualViews() }
        noteDifference()
        guard exchanges.allSatisfy({ $0.tag != nil }) else { return }
        begin(exchangeOf: differing, with: source, isJoin: false)
    }

    // MARK: Exchanging

    mutating func begin(exchangeOf buckets: BucketSet, with endpoint: MemberEndpoint, isJoin: Bool) {
        let request = MemberExchange(
            part: .request,
            sender: key,
            buckets: buckets,
            // A joining node asks for everything and tells only of itself: what it remembers may be long out of date.
            entries: isJoin ? [entry(own)] : entries(in: buckets, unknownTo: [:])
        )
        begin(Exchange(id: nextSequence(), isJoin: isJoin), request, with: endpoint)
    }

    mutating func begin(_ exchange: Exchange, _ request: MemberExchange, with endpoint: MemberEndpoint) {
        exchanges.append(exchange)
        statistics.exchanges += 1
        after(configuration.exchangeTimeout.wholeNanoseconds, .giveUpExchange(exchange.id))
        let bytes = request.encoded(limit: configuration.exchangeByteLimit)
        effects.append(.exchange(exchange.id, request: bytes, endpoint: endpoint))
    }

    func entry(_ member: Member) -> MemberExchange.Entry {
        let age = member.status.isLive ? 0 : (clock - member.changedAt) / 1_000_000_000
        return MemberExchange.Entry(
            GossipEntry(member),
            status: member.status,
            ageSeconds: UInt32(clamping: max(0, age))
        )
    }

    /// This node first, then its entries of these buckets that tell the other side something.
    private func entries(
        in buckets: BucketSet,
        unknownTo peer: [MemberKey: MemberExchange.Entry]
    ) -> [MemberExchange.Entry] {
        var found = [entry(own)]
        for bucket in 0..<MemberTable.bucketCount where buckets.contains(bucket) {
            for member in members.members(inBucket: bucket) where member.key != key {
                let theirs = peer[member.key]
                let isNews = theirs.map { theirs in
                    member.incarnation > theirs.member.incarnation
                        || member.incarnation == theirs.member.incarnation && !member.status.isLive
                            && theirs.status.isLive
                        || member.facts.version > theirs.member.facts.version
                }
                if isNews ?? true { found.append(entry(member)) }
            }
        }
        return found
    }

    /// Answers the request that a peer sent over a stream; the peer then knows what this node knows, and the other way
    /// round.
    ///
    /// - Throws: `DecodeError`, after nothing was changed, for bytes that no correct member writes.
    package mutating func answerExchange(
        _ request: Span<UInt8>,
        now: ContinuousClock.Instant
    ) throws(DecodeError) -> [UInt8] {
        let exchange = try decode(request, expecting: .request)
        advance(to: now)
        if exchange.part == .poolRequest {
            return answerPoolExchange(exchange).encoded(limit: configuration.exchangeByteLimit)
        }
        var theirs: [MemberKey: MemberExchange.Entry] = [:]
        theirs.reserveCapacity(exchange.entries.count)
        for entry in exchange.entries { theirs[MemberKey(entry.member.node)] = entry }
        // Before the merge, so that the asker gets its own entry as it was remembered here.
        let old = exchange.sender == key ? nil : members[exchange.sender]
        if exchange.sender != key { merge(exchange, isNews: true) }
        var answer = entries(in: exchange.buckets, unknownTo: theirs)
        if let old, !answer.contains(where: { $0.member.node == old.node }),
            old.incarnation >= theirs[old.key]?.member.incarnation ?? old.incarnation
        {
            answer.append(entry(old))
        }
        return MemberExchange(part: .answer, sender: key, buckets: exchange.buckets, entries: answer)
            .encoded(limit: configuration.exchangeByteLimit)
    }

    /// Takes the answer to an exchange.
    ///
    /// - Throws: `DecodeError` for bytes that no correct member writes; the exchange has failed then.
    package mutating func exchangeSucceeded(
        _ id: UInt32,
        answer: Span<UInt8>,
        now: ContinuousClock.Instant
    ) throws(DecodeError) {
        advance(to: now)
        guard let index = exchanges.firstIndex(where: { $0.id == id }) else { return }
        let answer = try decode(answer, expecting: .answer)
        guard (answer.part == .poolAnswer) == (exchanges[index].tag != nil) else {
            throw .invalid(field: "part of an exchange", value: UInt64(answer.part.rawValue))
        }
        let exchange = exchanges.remove(at: index)
        guard exchange.tag == nil else { return merge(pools: answer.pools) }
        merge(answer, isNews: !exchange.isJoin)
        if exchange.isJoin { finishJoin() }
    }

    private func decode(_ bytes: Span<UInt8>, expecting part: MemberExchange.Part) throws(DecodeError) -> MemberExchange
    {
        guard bytes.count <= configuration.exchangeByteLimit else {
            throw .tooLong(field: "exchange", count: bytes.count, limit: configuration.exchangeByteLimit)
        }
        return try MemberExchange.decode(bytes, expecting: part)
    }

    /// The peer could not be reached, or its answer was no good.
    package mutating func exchangeFailed(_ id: UInt32, now: ContinuousClock.Instant) {
        advance(to: now)
        loseExchange(id)
    }

    mutating func loseExchange(_ id: UInt32) { exchanges.removeAll { $0.id == id } }

    private mutating func merge(_ exchange: MemberExchange, isNews: Bool) {
        for entry in exchange.entries {
            let target = MemberKey(entry.member.node)
            switch entry.status {
            // A suspicion passes or becomes a verdict where it began; it is not carried on by this way.
            case .alive, .suspect: hearAlive(entry.member, isNews: isNews)
            case .dead, .left: mergeEnded(entry, key: target, from: exchange.sender)
            }
        }
    }

    /// Somebody holds a member for dead or gone.
    ///
    /// That the view of one other member says so is no verdict: after a healed partition half of it would be wrong. It
    /// is a suspicion with enough confirmations, which the member can refute.
    private mutating func mergeEnded(_ entry: MemberExchange.Entry, key target: MemberKey, from sender: MemberKey) {
        let incarnation = entry.member.incarnation
        if target == key { return hearAccusation(incarnation) }
        guard let member = members[target] else { return remember(entry) }
        guard member.node == entry.member.node else { return }
        let age = Int64(entry.ageSeconds) * 1_000_000_000
        if entry.status == .left {
            hearLeave(of: target, incarnation, age: age)
        } else if member.status.isLive {
            hearSuspicion(of: target, incarnation, accusers: [sender], hasDeathCertificate: true)
        }
    }

    /// Keeps the death of a member that was never known here, so that its old introductions do not bring it back.
    private mutating func remember(_ entry: MemberExchange.Entry) {
        let age = Int64(entry.ageSeconds) * 1_000_000_000
        let rest = configuration.deadRetention.wholeNanoseconds - age
        // What is to be forgotten soon is not worth a place, and would wander on for ever between those who just forgot
        // it.
        guard rest > configuration.deadRetention.wholeNanoseconds / 2, members.count < configuration.memberLimit
        else { return }
        var member = Member(
            node: entry.member.node,
            endpoint: entry.member.endpoint,
            incarnation: entry.member.incarnation,
            status: entry.status,
            facts: entry.member.facts
        )
        member.changedAt = clock - age
        insert(member)
        scheduleReconnect()
    }

    // MARK: Beyond a healed partition

    mutating func scheduleReconnect() {
        guard !reconnectIsSet, !members.deadKeys.isEmpty else { return }
        reconnectIsSet = true
        after(pace.reconnectPeriod / 2 + random(pace.reconnectPeriod), .reconnect)
    }

    /// Tells one of the dead that it is held for dead; if it lives, it refutes that and compares views.
    mutating func reconnect() {
        reconnectIsSet = false
        guard state != .left, state != .leaving, !members.deadKeys.isEmpty else { return }
        scheduleReconnect()
        let index = Int(truncatingIfNeeded: generator.next() % UInt64(members.deadKeys.count))
        guard let member = members[members.deadKeys[index]], let accusation = accusation(of: member.key) else { return }
        send([accusation, digest], to: member.endpoint)
    }
}
