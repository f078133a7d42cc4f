/// What goes out and what comes in.
extension Membership {
    /// What is said in return to one datagram.
    struct Reply {
        let source: MemberEndpoint
        let sender: MemberKey
        var messages: [GossipMessage] = []
        /// Whether the sender believes something false about this node.
        var mustRefute = false
        /// Whether the sender asked for something, and so shows that it takes itself for a member.
        var sawRequest = false
    }

    mutating func take(_ message: GossipMessage, reply: inout Reply) {
        switch message {
        case .probe(let sequence, let target):
            guard target == UInt32(truncatingIfNeeded: key.rawValue) else { return }
            reply.sawRequest = true
            reply.messages.append(.ack(sequence: sequence))
        case .ack(let sequence): takeAck(sequence, from: reply.sender)
        case .nack(let sequence): takeNack(sequence, from: reply.sender)
        case .indirectProbe(let sequence, let target, let endpoint):
            reply.sawRequest = true
            relayProbe(of: target, at: endpoint, sequence: sequence, askedFrom: reply.source)
        case .alive(let entry): hearAlive(entry)
        case .suspect(let key, let incarnation, let accusers):
            if key == self.key {
                reply.mustRefute = true
                hearAccusation(incarnation)
            } else {
                hearSuspicion(of: key, incarnation, accusers: accusers)
            }
        case .dead(let key, let incarnation, let accuser):
            if key == self.key {
                reply.mustRefute = true
                hearAccusation(incarnation)
            } else {
                hearDeath(of: key, incarnation, accuser: accuser)
            }
        case .left(let key, let incarnation):
            if key == self.key {
                reply.mustRefute = true
                hearAccusation(incarnation)
            } else {
                hearLeave(of: key, incarnation)
            }
        case .facts(let key, let facts): hearFacts(facts, of: key)
        case .digest(let root, let liveCount):
            reply.sawRequest = true
            compare(root: root, liveCount: liveCount, reply: &reply)
        case .viewsAreEqual: noteEqualViews()
        case .buckets(let buckets): takeBuckets(buckets, from: reply.source)
        case .poolEntry(let claim): hear(claim)
        case .poolDigest(let fingerprints, let isWhole): compare(fingerprints, isWhole: isWhole, reply: &reply)
        case .poolBuckets(let tag, let buckets): takeBuckets(buckets, ofPool: tag, from: reply.source)
        case .unknown: break
        }
    }

    /// Sends what is to be said, and with it what the sender must know first.
    ///
    /// A sender that this node holds for suspect, dead or gone is told so (the buddy system of Lifeguard, section IV-C,
    /// in both directions): it may not have heard, and only it can refute.
    mutating func answer(_ reply: inout Reply) {
        if reply.mustRefute, state != .leaving, state != .left {
            reply.messages.insert(.alive(refutation), at: 0)
        }
        if reply.sawRequest, let accusation = accusation(of: reply.sender) {
            reply.messages.append(accusation)
        }
        guard !reply.messages.isEmpty else { return }
        send(reply.messages, to: reply.source)
    }

    /// This node as it is, without its facts, which the receiver has or will miss when views are compared.
    private var refutation: GossipEntry {
        let own = own
        return GossipEntry(node: own.node, endpoint: own.endpoint, incarnation: own.incarnation)
    }

    /// What is held against a member, in the words in which it can refute it.
    func accusation(of key: MemberKey) -> GossipMessage? {
        guard let member = members[key] else { return nil }
        return switch member.status {
        case .alive: nil
        case .suspect: .suspect(key, member.incarnation, accusers: suspicions[key]?.accusers ?? [self.key])
        case .dead: .dead(key, member.incarnation, accuser: self.key)
        case .left: .left(key, member.incarnation)
        }
    }

    /// Sends messages, and news in the room that is left.
    mutating func send(_ messages: [GossipMessage], to endpoint: MemberEndpoint) {
        var bytes = GossipDatagram.header(sender: key)
        for message in messages { message.encode(into: &bytes) }
        fill(&bytes)
        emit(bytes, to: endpoint)
    }

    /// Sends a message about other pools, with nothing beside it: who knows of no pools drops the whole datagram.
    mutating func sendAlone(_ message: GossipMessage, to endpoint: MemberEndpoint) {
        emit(GossipDatagram(sender: key, messages: [message]).encoded(), to: endpoint)
    }

    /// Adds news up to the datagram's limit (SWIM, section 4.1: piggybacking).
    ///
    /// Where both wait, a quarter of the room is kept for facts, so that a wave of joins does not silence them.
    @discardableResult
    mutating func fill(_ bytes: inout [UInt8]) -> Int {
        guard !memberNews.isEmpty || !factNews.isEmpty else { return 0 }
        let limit = configuration.datagramByteLimit
        let transmitLimit = transmitLimit
        let share = factNews.isEmpty ? limit : limit - (limit - bytes.count) / 4
        var count = memberNews.take(into: &bytes, byteLimit: share, transmitLimit: transmitLimit)
        count += factNews.take(into: &bytes, byteLimit: limit, transmitLimit: transmitLimit)
        return count
    }

    mutating func emit(_ bytes: [UInt8], to endpoint: MemberEndpoint) {
        statistics.datagramsSent += 1
        statistics.bytesSent += UInt64(bytes.count)
        effects.append(.send(bytes, to: endpoint))
    }

    /// From the size of the pool now and not when the news came: early news of a growing pool would otherwise stop too
    /// soon.
    var transmitLimit: Int {
        Scaling.transmitLimit(
            memberCount: members.liveCount,
            multiplier: configuration.retransmitMultiplier,
            margin: configuration.retransmitMargin
        )
    }

    // MARK: Gossip

    /// Puts news in line and sees to it that it goes out soon.
    mutating func spread(_ message: GossipMessage, about key: MemberKey) {
        switch message {
        case .facts: factNews.add(message, about: key)
        case .poolEntry: poolNews.add(message, about: key)
        default: memberNews.add(message, about: key)
        }
        guard !gossipIsDue else { return }
        gossipIsDue = true
        // The jitter keeps members that heard at the same moment from sending at the same moment.
        after(pace.gossipDelay / 2 + random(pace.gossipDelay / 2 + 1), .gossip)
    }

    /// Sends news to a few members drawn at random; silent when there is none.
    mutating func gossip() {
        gossipIsDue = false
        var chosen = [key]
        for _ in 0..<configuration.gossipFanout {
            guard hasNews,
                let peer = members.randomLiveMember(besides: chosen, using: &generator)
            else { break }
            chosen.append(peer.key)
            // Full packets go out at once up to the fan-out; what does not fit waits for the next period.
            var bytes = GossipDatagram.header(sender: key)
            if fill(&bytes) > 0 { emit(bytes, to: peer.endpoint) }
            bytes = GossipDatagram.header(sender: key)
            let count = poolNews.take(
                into: &bytes,
                byteLimit: configuration.datagramByteLimit,
                transmitLimit: transmitLimit
            )
            if count > 0 { emit(bytes, to: peer.endpoint) }
        }
        if members.liveCount < 2 { dropNewsForNobody() }
        if hasNews {
            gossipIsDue = true
            after(pace.gossipPeriod, .gossip)
        } else if state == .leaving {
            endLeave()
        }
    }

    private var hasNews: Bool { !memberNews.isEmpty || !factNews.isEmpty || !poolNews.isEmpty }

    /// A pool of one has nobody to tell, and a member that joins gets the whole view.
    private mutating func dropNewsForNobody() {
        memberNews = DisseminationQueue(limit: configuration.pendingUpdateLimit)
        factNews = DisseminationQueue(limit: configuration.pendingUpdateLimit)
        poolNews = DisseminationQueue(limit: configuration.pendingUpdateLimit)
    }
}
