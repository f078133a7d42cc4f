package import ClusterModel

/// How a copy is fetched.
package struct CopyTransferLimits: Sendable, Equatable {
    /// A source that sends nothing for so long is given up for this time; default 30 s.
    package var stall: Duration = .seconds(30)
    /// The longest that opening every region and making the copy durable may take; default 600 s.
    package var store: Duration = .seconds(600)
    /// How often one source may fail before it is passed over; default 3.
    package var attemptsPerSource = 3
    /// Wait before a source is asked again; default 1 s.
    package var pause: Duration = .seconds(1)
    package init() {}
}

/// What a transfer asks its shell to do, in the order in which it must be done.
package enum CopyTransferEffect: Sendable, Equatable {
    /// Ask this node for the index and the data from this byte on. Answers: `begun`, `received`, `ended` or `failed`, all with the same number.
    case ask(NodeID, offset: UInt64, number: Int)
    /// Stop listening to the answers to the last question.
    case hangUp
    /// Throw away what came.
    case discard
    /// Open every region, make the copy durable and give it its name. Answer: `stored` or `rejected`.
    case store
    /// What this node has is not what was written: tell the catalog.
    case blame(NodeID, reason: String)
    /// It is over; nothing follows.
    case finished(CopyTransferOutcome)
}

/// How a transfer ended.
package enum CopyTransferOutcome: Sendable, Equatable {
    /// The copy is here, durable, and every byte of it was opened.
    case held(from: [NodeID])
    /// Nothing is here; the sentence says why.
    case failed(CopyTransferFailure)
}

/// Why there is no copy.
package enum CopyTransferFailure: Sendable, Equatable {
    /// Every source has something else than what was written.
    case damaged(reason: String)
    /// No source could be asked for all of it; later one may.
    case unreachable(reason: String)
    /// This node cannot take it.
    case declined(reason: String)
    /// Nobody wants it any more.
    case cancelled

    /// The sentence, for people.
    package var reason: String {
        switch self {
        case .damaged(let reason), .unreachable(let reason), .declined(let reason): reason
        case .cancelled: "nobody wants it any more"
        }
    }
}

/// What the shell tells a transfer.
package enum CopyTransferEvent: Sendable, Equatable {
    /// The index came, is the one of the catalog, and describes so many bytes of data.
    case begun(dataLength: UInt64, number: Int)
    /// So many bytes of data came and are written.
    case received(byteCount: Int, number: Int)
    /// The source has nothing more.
    case ended(number: Int)
    /// The source cannot be reached, or stopped; what came is good.
    case failed(reason: String, number: Int)
    /// What the source sent is not what the catalog knows.
    case isWrong(reason: String, number: Int)
    /// There is no room here, or it cannot be written.
    case noRoom(reason: String)
    case stored
    /// Some region does not open.
    case rejected(reason: String)
    /// Some region does not open, and it may lie in data that was here before: all of it is to come.
    case sharedIsWrong
    /// What came before the index does not belong where it was put: all is to come.
    case earlyIsOfNoUse(number: Int)
    /// Nobody wants it any more.
    case cancelled
}

/// One copy of one checkpoint on its way here: from whichever holder has it, going on at another one where the last one stopped.
///
/// Some of it may have come while its checkpoint was still being written. Copies are the same byte for byte, so what came from one source is continued
/// from the next. When all is there, every region is opened; where one
/// does not, and several sources had a part in it, each is asked alone for all of it, so that the bad one is found.
package struct CopyTransfer: Sendable {
    private enum State: Sendable, Equatable {
        case asking(source: Int)
        case receiving(source: Int, length: UInt64)
        case pausing
        case storing
        case finished
    }

    /// When `tick` must be called next; nil once it is over.
    package private(set) var deadline: ContinuousClock.Instant?
    private let sources: [NodeID]
    private let limits: CopyTransferLimits
    private var state = State.pausing
    private var failures: [Int]
    private var isExcluded: [Bool]
    private var offset: UInt64 = 0
    /// Sources whose bytes are among what came.
    private var contributors: [Int] = []
    /// Whether part of it came while the checkpoint was being written.
    private var hasEarly = false
    /// Whether only one source may contribute from now on.
    private var isSingle = false
    private var next = 0
    private var number = 0
    private var damage: String?
    private var trouble = "no node that is there has it"
    private var effects: [CopyTransferEffect] = []

    /// Begins with the first source; each may be there once.
    ///
    /// `early` says how many bytes of the data came before, and from which node; they count when that is one of the sources.
    package init(
        sources: [NodeID],
        early: (source: NodeID, byteCount: UInt64)? = nil,
        limits: CopyTransferLimits = CopyTransferLimits(),
        now: ContinuousClock.Instant
    ) {
        (self.sources, self.limits) = (sources, limits)
        failures = Array(repeating: 0, count: sources.count)
        isExcluded = Array(repeating: false, count: sources.count)
        if let early, early.byteCount > 0, let source = sources.firstIndex(of: early.source) {
            (offset, contributors, next, hasEarly) = (early.byteCount, [source], source, true)
        }
        ask(now: now)
    }

    /// Whether nothing more will happen.
    package var isFinished: Bool { state == .finished }

    /// What is to be done now, in order; each effect is handed out once.
    package mutating func drainEffects() -> [CopyTransferEffect] {
        defer { effects = [] }
        return effects
    }

    /// Takes an answer of the shell; answers to an earlier question change nothing.
    package mutating func receive(_ event: CopyTransferEvent, now: ContinuousClock.Instant) {
        guard !isFinished else { return }
        switch (state, event) {
        case (_, .cancelled): finish(.failed(.cancelled))
        case (_, .noRoom(let reason)): finish(.failed(.declined(reason: reason)))
        case (.asking(let source), .begun(let length, self.number)):
            state = .receiving(source: source, length: length)
            deadline = now + limits.stall
            if offset == length { storeAll(now: now) }
        case (.receiving(let source, let length), .received(let count, self.number)):
            if !contributors.contains(source) { contributors.append(source) }
            offset += UInt64(count)
            deadline = now + limits.stall
            if offset >= length { storeAll(now: now) }
        case (.receiving(let source, _), .ended(self.number)):
            // Its file is shorter than the index says.
            sourceIsWrong(source, "it ends at byte \(offset) of its data", now: now)
        case (.asking(let source), .ended(self.number)): sourceIsWrong(source, "it sent no index", now: now)
        case (.asking(let source), .failed(let reason, self.number)),
            (.receiving(let source, _), .failed(let reason, self.number)):
            sourceFailed(source, reason, now: now)
        case (.asking(let source), .isWrong(let reason, self.number)),
            (.receiving(let source, _), .isWrong(let reason, self.number)):
            sourceIsWrong(source, reason, now: now)
        case (.storing, .stored): finish(.held(from: contributors.map { sources[$0] }))
        case (.storing, .rejected(let reason)): rejected(reason, now: now)
        case (.storing, .sharedIsWrong):
            startAgain()
            ask(now: now)
        case (.asking, .earlyIsOfNoUse(self.number)):
            effects.append(.hangUp)
            startAgain()
            ask(now: now)
        default: break
        }
    }

    /// Acts on a limit that has passed.
    package mutating func tick(now: ContinuousClock.Instant) {
        guard let deadline, now >= deadline else { return }
        switch state {
        case .asking(let source), .receiving(let source, _):
            effects.append(.hangUp)
            sourceFailed(source, "node \(sources[source]) sent nothing for \(limits.stall.text)", now: now)
        case .pausing: ask(now: now)
        case .storing: finish(.failed(.declined(reason: "writing the copy took longer than \(limits.store.text)")))
        case .finished: self.deadline = nil
        }
    }

    private mutating func storeAll(now: ContinuousClock.Instant) {
        state = .storing
        deadline = now + limits.store
        effects += [.hangUp, .store]
    }

    private mutating func rejected(_ reason: String, now: ContinuousClock.Instant) {
        // What a source gave then is not what it has now: that is asked for before anyone is blamed.
        if !hasEarly, contributors.count == 1, let only = contributors.first {
            return sourceIsWrong(only, reason, now: now)
        }
        if contributors.count > 1 { isSingle = true }
        startAgain()
        ask(now: now)
    }

    private mutating func sourceFailed(_ source: Int, _ reason: String, now: ContinuousClock.Instant) {
        trouble = reason
        failures[source] += 1
        next = source + 1
        if isSingle, offset > 0 { startAgain() }
        pause(now: now)
    }

    private mutating func sourceIsWrong(_ source: Int, _ reason: String, now: ContinuousClock.Instant) {
        isExcluded[source] = true
        damage = "the copy on node \(sources[source]): \(reason)"
        effects += [.hangUp, .blame(sources[source], reason: reason)]
        startAgain()
        next = source + 1
        ask(now: now)
    }

    private mutating func startAgain() {
        effects.append(.discard)
        offset = 0
        contributors = []
        hasEarly = false
    }

    private mutating func pause(now: ContinuousClock.Instant) {
        // Another source is asked at once; the same one after a pause.
        if let source = candidate(), failures[source] == 0 { return ask(now: now) }
        state = .pausing
        deadline = now + limits.pause
    }

    /// The next source in turn that may still be asked.
    private func candidate() -> Int? {
        sources.indices.map { (next + $0) % sources.count }.filter { source in
            !isExcluded[source] && failures[source] < limits.attemptsPerSource
        }.min { failures[$0] < failures[$1] }
    }

    private mutating func ask(now: ContinuousClock.Instant) {
        guard let source = candidate() else {
            let isEachWrong = !sources.isEmpty && isExcluded.allSatisfy { $0 }
            return finish(.failed(isEachWrong ? .damaged(reason: damage ?? trouble) : .unreachable(reason: trouble)))
        }
        number += 1
        state = .asking(source: source)
        deadline = now + limits.stall
        effects.append(.ask(sources[source], offset: offset, number: number))
    }

    private mutating func finish(_ outcome: CopyTransferOutcome) {
        state = .finished
        deadline = nil
        if case .failed = outcome { effects += [.hangUp, .discard] }
        effects.append(.finished(outcome))
    }
}
