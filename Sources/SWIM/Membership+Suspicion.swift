import ClusterModel

/// From the first doubt to the verdict, and back (SWIM, section 4.2; Lifeguard, sections IV-B and IV-C).
extension Membership {
    /// Reminders within the shortest suspicion; later ones come ever more rarely.
    private static let remindersInMinimum: Int64 = 8
    private static let reminderLimit = 16

    // MARK: Suspecting

    /// This node could not reach the member.
    mutating func accuse(_ target: MemberKey) {
        guard let member = members[target], member.status.isLive else { return }
        let isNew = suspicions[target]?.isOurs != true
        suspect(member, member.incarnation, accusers: [key])
        guard isNew, suspicions[target] != nil else { return }
        suspicions[target]?.isOurs = true
        scheduleEnd(of: target)
        if let stamp = suspicions[target]?.stamp { remindSuspect(target, stamp: stamp) }
        // The other observers need not wait for gossip: with their word the suspicion is as short as it may be.
        guard let message = accusation(of: target) else { return }
        for observer in members.observers(of: target, count: configuration.observerCount) where observer.key != key {
            send([message], to: observer.endpoint)
        }
    }

    mutating func hearSuspicion(
        of target: MemberKey,
        _ incarnation: MemberIncarnation,
        accusers: [MemberKey],
        hasDeathCertificate: Bool = false
    ) {
        guard let member = members[target], member.status.isLive, incarnation >= member.incarnation else { return }
        suspect(member, incarnation, accusers: accusers)
        guard hasDeathCertificate, suspicions[target]?.hasDeathCertificate == false else { return }
        suspicions[target]?.hasDeathCertificate = true
        scheduleEnd(of: target)
        after(random(pace.gossipPeriod), .observeNow(target))
    }

    private mutating func suspect(_ member: Member, _ incarnation: MemberIncarnation, accusers: [MemberKey]) {
        let target = member.key
        let isKnown = suspicions[target]?.incarnation == incarnation
        if !isKnown {
            stamp &+= 1
            suspicions[target] = Suspicion(incarnation: incarnation, startedAt: clock, stamp: stamp)
        }
        let limit = configuration.suspicionConfirmationCount + 1
        guard suspicions[target]?.add(accusers, limit: limit) == true || !isKnown else { return }
        if !isKnown {
            statistics.suspicions += 1
            change(target, member.status == .suspect ? nil : .suspected) {
                $0.incarnation = incarnation
                $0.status = .suspect
            }
        }
        scheduleEnd(of: target)
        if let accusation = accusation(of: target) { spread(accusation, about: target) }
    }

    /// Sets the timer for the end as it is now; earlier timers find that it is not over yet, or that it is.
    private mutating func scheduleEnd(of target: MemberKey) {
        guard let suspicion = suspicions[target] else { return }
        timers.add(.suspicionEnds(target, stamp: suspicion.stamp), at: max(clock, end(of: suspicion)))
    }

    /// When a suspicion becomes a verdict.
    ///
    /// Two things differ from Lifeguard. A node of poor local health whose word stands alone waits longer: the longest
    /// suspicion grows with its multiplier, while others' confirmations shorten it as ever. And a node that only heard
    /// of the suspicion leaves the verdict to those who could not reach the member: they hear the refutation first. It
    /// speaks itself only if they have fallen silent, after the time that news needs to reach everybody.
    func end(of suspicion: Suspicion) -> Int64 {
        let minimum = suspicionMinimum
        let others = members.liveCount - 2
        let wanted = min(configuration.suspicionConfirmationCount, max(0, others))
        let confirmations = suspicion.hasDeathCertificate ? wanted : suspicion.accusers.count - 1
        let multiplier = suspicion.isOurs ? health.multiplier : 1
        let length = Scaling.suspicionNanoseconds(
            minimum: minimum,
            maximum: Int64(Double(minimum) * configuration.suspicionMaximumMultiplier) * Int64(multiplier),
            confirmations: confirmations,
            wanted: wanted
        )
        let grace = suspicion.isOurs ? 0 : minimum + pace.gossipPeriod * Int64(transmitLimit)
        return suspicion.startedAt + length + grace
    }

    /// Lifeguard's Min: α log10(n) protocol periods, and at least α.
    ///
    /// With observers the logarithm is left out. It is there for the time that gossip needs to reach the suspect and
    /// its refutation to come back; an observer tells the suspect itself, and the suspect answers it, in one round trip
    /// whatever the size of the pool.
    var suspicionMinimum: Int64 {
        let base = Double(pace.protocolPeriod) * configuration.suspicionMultiplier
        guard configuration.observerCount == 0 else { return Int64(base) }
        let decades = Scaling.naturalLogarithm(Double(max(1, members.liveCount))) / Scaling.naturalLogarithm(10)
        return Int64(base * max(1, decades))
    }

    mutating func endSuspicion(of target: MemberKey, stamp: UInt32) {
        guard let suspicion = suspicions[target], suspicion.stamp == stamp, state != .left,
            members[target]?.status == .suspect
        else { return }
        let end = end(of: suspicion)
        // The pool's size or this node's health may have changed since the timer was set.
        guard end <= clock else { return timers.add(.suspicionEnds(target, stamp: stamp), at: end) }
        statistics.verdicts += 1
        bury(target, suspicion.incarnation, accuser: key)
    }

    /// Tells the suspect again and again, since it alone can end a false suspicion.
    mutating func remindSuspect(_ target: MemberKey, stamp: UInt32) {
        guard let suspicion = suspicions[target], suspicion.stamp == stamp, suspicion.noticeCount < Self.reminderLimit,
            let member = members[target], member.status == .suspect, let accusation = accusation(of: target)
        else { return }
        suspicions[target]?.noticeCount += 1
        send([accusation], to: member.endpoint)
        let step = suspicionMinimum / Self.remindersInMinimum
        let wait = suspicion.noticeCount < Int(Self.remindersInMinimum) ? step : step << 3
        after(wait, .remindSuspect(target, stamp: stamp))
    }

    // MARK: Verdicts

    mutating func hearDeath(of target: MemberKey, _ incarnation: MemberIncarnation, accuser: MemberKey) {
        guard let member = members[target], incarnation >= member.incarnation else { return }
        guard member.status.isLive else {
            // Died again, and the life between was missed here: only what is above the last one may bring it back.
            guard incarnation > member.incarnation else { return }
            return members.update(target) { $0.incarnation = incarnation }
        }
        bury(target, incarnation, accuser: accuser)
    }

    private mutating func bury(_ target: MemberKey, _ incarnation: MemberIncarnation, accuser: MemberKey) {
        end(target, incarnation, as: .dead, age: 0)
        spread(.dead(target, incarnation, accuser: accuser), about: target)
    }

    mutating func hearLeave(of target: MemberKey, _ incarnation: MemberIncarnation, age: Int64 = 0) {
        guard let member = members[target], incarnation >= member.incarnation, member.status != .left else { return }
        // Who is already held for dead with this very incarnation is gone either way.
        guard member.status.isLive || incarnation > member.incarnation else { return }
        end(target, incarnation, as: .left, age: age)
        spread(.left(target, incarnation), about: target)
    }

    /// Takes a member out of the living.
    mutating func end(_ target: MemberKey, _ incarnation: MemberIncarnation, as status: MemberStatus, age: Int64) {
        suspicions[target] = nil
        probes.removeAll { $0.target == target }
        change(target, status == .dead ? .died : .left) {
            $0.status = status
            $0.incarnation = incarnation
        }
        members.update(target) { $0.changedAt -= age }
        scheduleReconnect()
    }

    /// Forgets who is dead or gone for long enough; looks 64 times within the retention.
    mutating func sweep() {
        let retention = configuration.deadRetention.wholeNanoseconds
        after(retention / 64, .sweep)
        sweepElsewhere()
        for target in (members.deadKeys + members.leftKeys).sorted() {
            guard let member = members[target], clock - member.changedAt >= retention else { continue }
            forget(member)
        }
    }

    /// Forgets a member that does not take part.
    mutating func forget(_ member: Member) {
        guard member.key != key, !member.status.isLive else { return }
        if let slot = members.slot(of: member.key) { probeOrder.remove(slot) }
        members.remove(member.key)
        memberNews.remove(member.key)
        factNews.remove(member.key)
        report(.changed(member, .forgotten))
    }

    // MARK: Refuting

    /// Somebody says that this node is suspect, dead or gone: it answers with a higher incarnation (SWIM, section 4.2).
    mutating func hearAccusation(_ incarnation: MemberIncarnation) {
        let own = own
        guard incarnation >= own.incarnation, state != .leaving, state != .left else { return }
        members.update(key) { $0.incarnation = incarnation.next }
        health.note(.refutedSuspicion)
        statistics.refutations += 1
        report(.refutedAccusation(incarnation.next))
        spread(.alive(GossipEntry(self.own)), about: key)
    }

    /// Holds a member for alive in a higher incarnation.
    mutating func revive(_ member: Member, _ incarnation: MemberIncarnation) {
        suspicions[member.key] = nil
        let what: MemberChange? =
            switch member.status {
            case .alive: nil
            case .suspect: .refuted
            case .dead, .left: .returned
            }
        change(member.key, what) {
            $0.status = .alive
            $0.incarnation = incarnation
        }
    }

    /// Changes a member, remembers when, tells the agent and looks whether the observers change.
    mutating func change(_ target: MemberKey, _ what: MemberChange?, _ body: (inout Member) -> Void) {
        let moment = clock
        let before = members[target]?.status
        members.update(target) {
            body(&$0)
            if $0.status != before { $0.changedAt = moment }
        }
        guard let member = members[target] else { return }
        if let what { report(.changed(member, what)) }
        if member.status != before, target != key { noteRingChange(at: target) }
    }
}
