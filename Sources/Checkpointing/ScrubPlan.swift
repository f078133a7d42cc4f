/// When which checkpoint is to be read, so that each is read once in a period and never all at once.
package struct ScrubPlan: Sendable, Equatable {
    /// Nil: nothing is ever due.
    package let period: Duration?
    private var due: [String: ContinuousClock.Instant] = [:]

    /// Knows of no checkpoint yet.
    package init(period: Duration?) { self.period = period }

    /// Takes note of what there is now, by names; a new one is due at some moment of the next period that its name decides.
    package mutating func follow(_ names: [String], now: ContinuousClock.Instant) {
        guard let period else { return }
        let known = Set(names)
        due = due.filter { known.contains($0.key) }
        for name in names where due[name] == nil {
            let share = Double(XXHash64.hash(Array(name.utf8).span) >> 11) / Double(1 << 53)
            due[name] = now + .seconds(period / .seconds(1) * share)
        }
    }

    /// The one that is due for longest, which then is due again after a period; nil when none is.
    package mutating func next(now: ContinuousClock.Instant) -> String? {
        guard let period, let first = due.min(by: { ($0.value, $0.key) < ($1.value, $1.key) }), first.value <= now
        else {
            return nil
        }
        due[first.key] = now + period
        return first.key
    }
}
