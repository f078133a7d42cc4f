/// When a copy that no holder could give is tried again, and for how long before another node should be asked for it.
struct CopyRetries {
    /// Wait before the next try.
    let pause: Duration
    /// After which it is given up, from the first try that failed.
    let patience: Duration
    private var failures: [JobGeneration: (first: ContinuousClock.Instant?, next: ContinuousClock.Instant)] = [:]

    init(pause: Duration, patience: Duration) { (self.pause, self.patience) = (pause, patience) }

    func mayTry(_ key: JobGeneration, now: ContinuousClock.Instant) -> Bool {
        failures[key].map { $0.next <= now } ?? true
    }

    /// Notes that a try failed; returns whether there is to be another one.
    ///
    /// While no holder is there, no node could be asked instead, so that this one waits.
    mutating func failed(_ key: JobGeneration, hasHolder: Bool, now: ContinuousClock.Instant) -> Bool {
        let first = hasHolder ? failures[key]?.first ?? now : nil
        failures[key] = (first, now + pause)
        return first.map { now < $0 + patience } ?? true
    }

    /// Forgets what is not wanted any more.
    mutating func keep(only wanted: Set<JobGeneration>) { failures = failures.filter { wanted.contains($0.key) } }
}
