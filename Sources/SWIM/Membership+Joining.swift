/// How a member comes and how it goes.
extension Membership {
    /// Seeds that are asked at once.
    private static let seedsAtOnce = 3

    /// Looks for a pool at these addresses; this node's own among them is passed over.
    ///
    /// Asks up to three seeds at a time over streams and takes the whole view from whoever answers. Reports
    /// `joinSucceeded`, or, after the configured attempts, `joinFailed`. Without any other seed this node is a pool of
    /// one at once.
    package mutating func join(seeds: [MemberEndpoint], now: ContinuousClock.Instant) {
        advance(to: now)
        guard state == .idle || state == .running else { return }
        let address = own.endpoint
        self.seeds = seeds.reduce(into: []) { list, seed in
            if seed != address, !list.contains(seed) { list.append(seed) }
        }
        guard !self.seeds.isEmpty else {
            state = .running
            return report(.joinSucceeded(memberCount: members.liveCount))
        }
        state = .joining(attempt: 0)
        joinGeneration &+= 1
        tryToJoin(generation: joinGeneration)
    }

    mutating func tryToJoin(generation: UInt32) {
        guard generation == joinGeneration, case .joining(let attempt) = state else { return }
        guard attempt < configuration.joinAttemptLimit else {
            // Who looked for more members of a pool that it is in stays in it.
            state = members.liveCount > 1 ? .running : .idle
            return report(.joinFailed(attempts: attempt))
        }
        state = .joining(attempt: attempt + 1)
        // Streams that never answered are given up with the attempt.
        exchanges.removeAll(where: \.isJoin)
        for offset in 0..<min(Self.seedsAtOnce, seeds.count) {
            let index = (attempt * Self.seedsAtOnce + offset) % seeds.count
            begin(exchangeOf: .all, with: seeds[index], isJoin: true)
        }
        let pause = min(
            configuration.joinBackoff.wholeNanoseconds << Int64(min(attempt, 16)),
            configuration.joinBackoffLimit.wholeNanoseconds
        )
        // A quarter of jitter, so that nodes that start together do not ask together for ever.
        after(pause + random(pause / 4), .tryToJoin(generation: generation))
    }

    mutating func finishJoin() {
        guard case .joining = state else { return }
        state = .running
        joinGeneration &+= 1
        report(.joinSucceeded(memberCount: members.liveCount))
        spread(.alive(GossipEntry(own)), about: key)
        // The seed's view may have holes when many join at once; the fast comparisons find them.
        settle()
    }

    /// Says goodbye to all members; `leaveFinished` is reported when the word is spread or the time for it is over.
    package mutating func leave(now: ContinuousClock.Instant) {
        advance(to: now)
        guard state != .leaving, state != .left else { return }
        let wasAlone = members.liveCount < 2
        state = .leaving
        joinGeneration &+= 1
        let incarnation = own.incarnation
        members.update(key) { $0.status = .left }
        guard !wasAlone else { return endLeave() }
        spread(.left(key, incarnation), about: key)
        after(configuration.leaveTimeout.wholeNanoseconds, .endLeave)
    }

    mutating func endLeave() {
        guard state == .leaving else { return }
        state = .left
        probes.removeAll()
        report(.leaveFinished)
    }
}
