package import ClusterModel

/// The published rules, as printed.
///
/// López-Huguet et al., J. Parallel Distrib. Comput. 133 (2019), section 2.
/// They are kept to be compared with, so nothing here is improved; `QoS.docc` lists what is wrong with them.
package enum PaperPolicy {
    /// CPU time that should have been consumed by `now` (equation 2.5): a straight line from the start to the end of the frame.
    package static func desired(now: Timestamp, start: Timestamp, amount: Duration, frame: Duration) -> Duration {
        let elapsed = now - start
        guard elapsed < frame else { return amount }
        return .seconds(max(0, elapsed.inSeconds) * amount.inSeconds / frame.inSeconds)
    }

    /// Consumed over desired CPU time (equation 2.4); 1 while nothing is desired yet.
    package static func performance(consumed: Duration, desired: Duration) -> Double {
        desired > .zero ? consumed.inSeconds / desired.inSeconds : 1
    }

    /// Equation 2.1 and the branches of algorithm 1.
    package static func condition(performance: Double, maxOverprogress: Double, under: Double) -> JobCondition {
        if performance > 1 + maxOverprogress { return .overprogress }
        return performance < under ? .underprogress : .ontime
    }

    /// The fixed steps of algorithm 1, clamped as the prototype does.
    package static func share(after share: Double, condition: JobCondition, configuration: QoSConfiguration) -> Double {
        let moved: Double =
            switch condition {
            case .overprogress: share - configuration.paperStep
            case .underprogress: share + configuration.paperStep
            default: share
            }
        return min(configuration.paperMaximum, max(configuration.paperMinimum, moved))
    }

    /// Equation 2.3: every remaining iteration takes the declared time and a whole start overhead.
    package static func predictedEnd(
        now: Timestamp,
        remainingIterations: Int,
        expected: Duration,
        startOverhead: Duration
    ) -> Timestamp {
        now + (expected + startOverhead) * remainingIterations
    }

    /// The window of the prototype, since equation 2.2 cannot work: `[registered + desv * W, deadline - 0.05 * W]`.
    ///
    /// The prototype's parameter `desv_deadline` is the one that the papers call maxOverprogress.
    package static func window(
        registered: Timestamp,
        frame: Duration,
        maxOverprogress: Double,
        configuration: QoSConfiguration
    ) -> ClosedRange<Timestamp> {
        let earliest = registered + frame * maxOverprogress
        let latest = registered + frame * (1 - configuration.paperWindowEnd)
        return min(earliest, latest)...latest
    }

    /// A prediction earlier than the window is overprogress, later is underprogress.
    package static func condition(predictedEnd: Timestamp, window: ClosedRange<Timestamp>) -> JobCondition {
        if predictedEnd > window.upperBound { return .underprogress }
        return predictedEnd < window.lowerBound ? .overprogress : .ontime
    }
}
