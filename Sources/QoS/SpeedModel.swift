import ClusterModel

/// How long one iteration takes on `c` vCPUs: `t(c) = fixed + divisible / c`, learned from the job's own iterations.
///
/// `fixed` is what more vCPUs do not shorten, `divisible` what they share (Amdahl's law with measured constants). The CPU time of an
/// iteration bounds it from below: `t(c) >= cpu / c`, which matters under one vCPU, where the part that cannot be divided slows down too.
package struct SpeedModel: Sendable, Codable, Equatable {
    /// Seconds.
    package var fixed: Double
    /// CPU seconds.
    package var divisible: Double
    /// CPU seconds of one iteration.
    package var cpu: Double
    /// Iterations that the model has learned from; 0 means that it is the user's guess.
    package var observations: Int
    /// How far an iteration may be from the model, as a fraction.
    package var uncertainty: Double

    /// Seconds of one iteration on so many vCPUs; `vcpus` is greater than 0.
    package func seconds(on vcpus: Double) -> Double { max(fixed + divisible / vcpus, cpu / vcpus) }

    /// Part of a declared iteration that is taken as not divisible until measurements tell: the six published LINPACK applications
    /// have 0.39 to 0.51, programs that the user calls parallel tend to less.
    static let assumedFixedFraction = 0.3

    /// The user's guess: `expected` on one vCPU.
    package init(declared expected: Duration, uncertainty: Double) {
        let seconds = max(expected.inSeconds, 1e-3)
        fixed = seconds * Self.assumedFixedFraction
        divisible = seconds - fixed
        cpu = seconds
        observations = 0
        self.uncertainty = uncertainty
    }

    /// Learns from measured iterations, starting from the user's guess.
    ///
    /// Weighted least squares of `t` over `1 / c`; the newest iteration weighs 1, each older one 0.9 of the next. The guess, scaled to
    /// the measured level, takes part with a small weight: with one measurement, or many at the same `c`, it decides how the time divides;
    /// with measurements at two levels it hardly counts. Outliers lose weight (Huber's rule, eight rounds).
    package init(declared expected: Duration, uncertainty: Double, measured: [MeasuredIteration]) {
        self.init(declared: expected, uncertainty: uncertainty)
        let points = measured.suffix(32).enumerated().compactMap { offset, one -> Point? in
            guard one.duration > .zero, one.vcpus > .zero else { return nil }
            return Point(inverse: 1 / one.vcpus.rawValue, seconds: one.duration.inSeconds, weight: 1)
        }
        guard !points.isEmpty else { return }
        learn(from: points)
        observations = points.count
        let consumed = measured.suffix(8).map(\.consumed.inSeconds).filter { $0 > 0 }
        if let median = consumed.median { cpu = median }
    }

    private struct Point {
        var inverse: Double
        var seconds: Double
        var weight: Double
    }

    private mutating func learn(from measured: [Point]) {
        let guess = self
        let scale = measured.map { $0.seconds / guess.seconds(on: 1 / $0.inverse) }.median ?? 1
        var points = measured
        for index in points.indices {
            var age = 1.0
            for _ in index..<(points.count - 1) { age *= 0.9 }
            points[index].weight = age
        }
        let recency = points.map(\.weight)
        let assumed = [1.0, 0.5].map {
            Point(inverse: $0, seconds: scale * (guess.fixed + guess.divisible * $0), weight: 0.03)
        }
        var spread = 0.0
        for _ in 0..<8 {
            fit(points + assumed)
            let residuals = measured.map { abs($0.seconds - fixed - divisible * $0.inverse) }
            spread = residuals.median ?? 0
            let tolerance = max(1.5 * spread, 0.02 * seconds(on: 1))
            for index in points.indices {
                points[index].weight = recency[index] * min(1, tolerance / max(residuals[index], 1e-9))
            }
        }
        // A single measurement may be 15 % off; more of them are trusted as far as they agree.
        uncertainty = min(
            uncertainty,
            max(0.03 + 0.12 / Double(measured.count), 2 * spread / max(seconds(on: 1), 1e-6))
        )
        cpu = min(cpu * scale, fixed + divisible)
    }

    private mutating func fit(_ points: [Point]) {
        let weight = points.reduce(0) { $0 + $1.weight }
        let meanInverse = points.reduce(0) { $0 + $1.weight * $1.inverse } / weight
        let meanSeconds = points.reduce(0) { $0 + $1.weight * $1.seconds } / weight
        let variance = points.reduce(0) {
            $0 + $1.weight * ($1.inverse - meanInverse) * ($1.inverse - meanInverse)
        }
        let covariance = points.reduce(0) {
            $0 + $1.weight * ($1.inverse - meanInverse) * ($1.seconds - meanSeconds)
        }
        divisible = max(0, covariance / max(variance, 1e-12))
        fixed = meanSeconds - divisible * meanInverse
        guard fixed < 0 else { return }
        fixed = 0
        divisible =
            points.reduce(0) { $0 + $1.weight * $1.inverse * $1.seconds }
            / max(points.reduce(0) { $0 + $1.weight * $1.inverse * $1.inverse }, 1e-12)
    }
}

extension Array where Element == Double {
    /// The middle value, or the mean of the two in the middle; nil when empty.
    var median: Double? {
        guard !isEmpty else { return nil }
        let sorted = sorted()
        return (sorted[count / 2] + sorted[(count - 1) / 2]) / 2
    }
}
