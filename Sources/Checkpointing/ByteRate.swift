/// Keeps a stream of bytes below a rate: says how long to wait after each piece.
package struct ByteRate: Sendable, Equatable {
    /// Bytes a second; 0 means no bound.
    package let bytesPerSecond: Int64
    /// What may go at once after a rest.
    private let burst: Duration = .milliseconds(100)
    private var paidUntil: ContinuousClock.Instant?

    /// Below 0 is taken as 0.
    package init(bytesPerSecond: Int64) { self.bytesPerSecond = max(0, bytesPerSecond) }

    /// Takes note of bytes and gives the time to wait before the next ones, so that over any time the mean stays below the rate.
    package mutating func pause(after byteCount: Int, now: ContinuousClock.Instant) -> Duration {
        guard bytesPerSecond > 0 else { return .zero }
        let from = max(paidUntil ?? now - burst, now - burst)
        let until = from + .seconds(Double(byteCount) / Double(bytesPerSecond))
        paidUntil = until
        return max(.zero, now.duration(to: until))
    }

    /// The time until nobody has used the rate for `rest`, as far as is known now; zero when that is so, and without a bound.
    package func untilUnused(for rest: Duration, now: ContinuousClock.Instant) -> Duration {
        guard bytesPerSecond > 0, let paidUntil else { return .zero }
        return max(.zero, now.duration(to: paidUntil + rest))
    }
}
