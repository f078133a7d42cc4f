import ClusterModel

/// A direct probe under way, with all that follows from it.
struct Probe: Sendable {
    let sequence: UInt32
    let target: MemberKey
    /// Those who were asked to try as well.
    var helpers: [MemberKey] = []
    var nacks: [MemberKey] = []
}

/// A probe on behalf of another member.
struct Relay: Sendable {
    let target: MemberKey
    let askedFrom: MemberEndpoint
    let askedSequence: UInt32
}

/// Failure detection (SWIM, section 3.1; Lifeguard, section IV-A).
extension Membership {
    /// Probes under way at once; with the default periods there are four.
    private static let probeLimit = 64

    // MARK: Whom to probe

    /// Probes the observed members in turn, spread evenly over the protocol period.
    mutating func observeNext(generation: UInt32) {
        guard generation == observeGeneration, state != .left else { return }
        if configuration.observerCount == 0 {
            after(pace.protocolPeriod * Int64(health.multiplier), .observe(generation: generation))
            return probeNextInOrder(repeats: false)
        }
        let share = pace.protocolPeriod * Int64(health.multiplier) / Int64(max(1, subjects.count))
        after(share, .observe(generation: generation))
        guard !subjects.isEmpty else { return }
        nextSubject = (nextSubject + 1) % subjects.count
        probe(subjects[nextSubject])
    }

    /// Probes one of all members; those that this node observes anyway are passed over.
    mutating func probeNextInOrder(repeats: Bool = true) {
        guard state != .left else { return }
        if repeats {
            after(pace.roundRobinPeriod * Int64(health.multiplier), .roundRobin)
            // Without observers the protocol period does this already.
            guard configuration.observerCount > 0 else { return }
        }
        // A few dead in a row are passed over; more cost a period.
        for _ in 0..<min(16, probeOrder.count) {
            guard let slot = probeOrder.next(using: &generator) else { return }
            guard let member = members.member(inSlot: slot), member.status.isLive, !subjects.contains(member.key)
            else { continue }
            return probe(member.key)
        }
    }

    mutating func probeIfLive(_ key: MemberKey) {
        guard state != .left, members[key]?.status.isLive == true else { return }
        probe(key)
    }

    /// Finds out anew whom this node observes, after `changed` came, went or changed its health.
    mutating func noteRingChange(at changed: MemberKey) {
        guard configuration.observerCount > 0, state != .left else { return }
        // Only what lies between the farthest observed member and this node matters.
        if subjects.count >= configuration.observerCount, let farthest = subjects.last,
            key.rawValue &- changed.rawValue > key.rawValue &- farthest.rawValue
        {
            return
        }
        refreshSubjects()
    }

    mutating func refreshSubjects() {
        let before = subjects
        subjects = members.subjects(of: key, count: configuration.observerCount)
        for subject in subjects where !before.contains(subject) && clock > 0 {
            // Whoever comes under observation because another observer failed may have failed with it.
            after(random(pace.gossipPeriod), .observeNow(subject))
        }
    }

    // MARK: The probe

    private mutating func probe(_ target: MemberKey) {
        guard let member = members[target], member.status.isLive, target != key, probes.count < Self.probeLimit,
            !probes.contains(where: { $0.target == target })
        else { return }
        let probe = Probe(sequence: nextSequence(), target: target)
        probes.append(probe)
        statistics.probes += 1
        sendProbe(probe, to: member)
        let wait = pace.probeTimeout * Int64(health.multiplier)
        after(wait, .askOthers(sequence: probe.sequence))
    }

    /// A suspect is told of the suspicion with the probe: the buddy system (Lifeguard, section IV-C).
    private mutating func sendProbe(_ probe: Probe, to member: Member) {
        var messages = [
            GossipMessage.probe(
                sequence: probe.sequence,
                target: UInt32(truncatingIfNeeded: member.key.rawValue)
            )
        ]
        if let accusation = accusation(of: member.key) { messages.append(accusation) }
        send(messages, to: member.endpoint)
    }

    /// No answer in time: others try, a stream tries, and the datagram is sent once more.
    mutating func askOthers(sequence: UInt32) {
        guard let index = probes.firstIndex(where: { $0.sequence == sequence }) else { return }
        guard let target = members[probes[index].target], target.status.isLive else {
            probes.remove(at: index)
            return
        }
        var helpers: [Member] = []
        var excluded = [key, target.key]
        for _ in 0..<configuration.indirectProbeCount {
            guard let helper = members.randomLiveMember(besides: excluded, using: &generator) else { break }
            excluded.append(helper.key)
            // A suspect would probably not answer, and its silence would count against this node.
            if helper.status == .alive { helpers.append(helper) }
        }
        probes[index].helpers = helpers.map(\.key)
        for helper in helpers {
            send(
                [.indirectProbe(sequence: sequence, target: target.key, endpoint: target.endpoint)],
                to: helper.endpoint
            )
        }
        sendProbe(probes[index], to: target)
        effects.append(.probeStream(sequence, node: target.node, endpoint: target.endpoint))
        after(pace.indirectProbeTimeout * Int64(health.multiplier), .giveUpProbe(sequence: sequence))
    }

    /// Nobody could reach it.
    mutating func giveUpProbe(sequence: UInt32) {
        guard let index = probes.firstIndex(where: { $0.sequence == sequence }) else { return }
        let probe = probes.remove(at: index)
        statistics.probesFailed += 1
        health.note(.probeFailed(helpers: probe.helpers.count, nacks: probe.nacks.count))
        accuse(probe.target)
    }

    mutating func takeAck(_ sequence: UInt32, from sender: MemberKey) {
        if let index = probes.firstIndex(where: { $0.sequence == sequence }) {
            let probe = probes[index]
            guard sender == probe.target || probe.helpers.contains(sender) else { return }
            probes.remove(at: index)
            health.note(.probeSucceeded)
        } else if let relay = relays[sequence], relay.target == sender {
            relays[sequence] = nil
            send([.ack(sequence: relay.askedSequence)], to: relay.askedFrom)
        }
    }

    mutating func takeNack(_ sequence: UInt32, from sender: MemberKey) {
        guard let index = probes.firstIndex(where: { $0.sequence == sequence }),
            probes[index].helpers.contains(sender), !probes[index].nacks.contains(sender)
        else { return }
        probes[index].nacks.append(sender)
    }

    /// The member answered over a stream: it lives, and only datagrams do not get through.
    package mutating func streamProbeSucceeded(_ sequence: UInt32, now: ContinuousClock.Instant) {
        advance(to: now)
        guard let index = probes.firstIndex(where: { $0.sequence == sequence }) else { return }
        probes.remove(at: index)
        health.note(.probeSucceeded)
    }

    // MARK: On behalf of others

    mutating func relayProbe(
        of target: MemberKey,
        at endpoint: MemberEndpoint,
        sequence asked: UInt32,
        askedFrom: MemberEndpoint
    ) {
        guard target != key, relays.count < configuration.relayLimit else { return }
        let own = nextSequence()
        relays[own] = Relay(target: target, askedFrom: askedFrom, askedSequence: asked)
        send([.probe(sequence: own, target: UInt32(truncatingIfNeeded: target.rawValue))], to: endpoint)
        // The nack goes out before the asker gives up: at 80 % of its time (Lifeguard, section IV-A).
        after(pace.indirectProbeTimeout * 8 / 10, .nack(sequence: own))
        after(pace.indirectProbeTimeout * Int64(configuration.localHealthLimit + 1), .forgetRelay(sequence: own))
    }

    mutating func sendNack(sequence: UInt32) {
        guard let relay = relays[sequence] else { return }
        send([.nack(sequence: relay.askedSequence)], to: relay.askedFrom)
    }
}
