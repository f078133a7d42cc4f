/// The rules of the papers that grow with the size of the cluster.
package enum Scaling {
    /// How often a member sends one piece of news: λ ln(n + 1) + margin, rounded up (SWIM, section 4.1).
    ///
    /// When each of n members sends it L times to members drawn at random, n e^-L of them never hear it. The paper's λ
    /// log n keeps that small for large n only; the margin keeps it at e^-margin for every n, with fewer sends for
    /// large n.
    package static func transmitLimit(memberCount: Int, multiplier: Double, margin: Double) -> Int {
        Int((multiplier * naturalLogarithm(Double(memberCount + 1)) + margin).rounded(.up))
    }

    /// How long a suspicion lasts once `confirmations` others have said the same (Lifeguard, section IV-B).
    ///
    /// max(Min, Max - (Max - Min) log(C + 1) / log(K + 1)): few accusers leave much time, K or more leave the minimum.
    package static func suspicionTimeout(
        minimum: Duration,
        maximum: Duration,
        confirmations: Int,
        wanted: Int
    ) -> Duration {
        .nanoseconds(
            suspicionNanoseconds(
                minimum: minimum.wholeNanoseconds,
                maximum: maximum.wholeNanoseconds,
                confirmations: confirmations,
                wanted: wanted
            )
        )
    }

    static func suspicionNanoseconds(minimum: Int64, maximum: Int64, confirmations: Int, wanted: Int) -> Int64 {
        guard confirmations < wanted else { return minimum }
        let share = naturalLogarithm(Double(confirmations + 1)) / naturalLogarithm(Double(wanted + 1))
        return max(minimum, maximum - Int64(Double(maximum - minimum) * share))
    }

    /// ln x for x >= 1, to about 15 digits and the same on every machine.
    package static func naturalLogarithm(_ value: Double) -> Double {
        guard value > 1 else { return 0 }
        // x = m 2^e with m in 1..<2; ln m = 2 artanh((m - 1) / (m + 1)), whose series converges by a factor of 9 per
        // term.
        let ratio = (value.significand - 1) / (value.significand + 1)
        var (term, sum) = (ratio, 0.0)
        for odd in stride(from: 1.0, through: 33, by: 2) {
            sum += term / odd
            term *= ratio * ratio
        }
        return 2 * sum + Double(value.exponent) * 0.693_147_180_559_945_309
    }
}

extension Duration {
    /// In nanoseconds, cut off; up to 292 years.
    var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
