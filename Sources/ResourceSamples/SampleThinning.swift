package import ClusterModel

/// Which points of a history to keep: many of the last minutes, few of the last weeks.
///
/// The answer depends only on the points' times, so thinning often or seldom leaves the same points, and what was thinned at
/// one moment and again at a later one equals what is thinned once at the later. That is so because the widths nest:
/// every bucket of a wide width is made of whole buckets of the one before, aligned to the epoch, and the oldest point of
/// each is kept.
package struct SampleThinning: Sendable, Equatable {
    /// Points younger than `age` are kept one to a bucket of `width`.
    package struct Tier: Sendable, Equatable {
        package var width: Duration
        package var age: Duration

        /// Puts a tier together.
        package init(width: Duration, age: Duration) { (self.width, self.age) = (width, age) }
    }

    /// From the youngest to the oldest.
    package let tiers: [Tier]

    /// 1 s for 10 min, 10 s for 2 h, 1 min for 2 days, 10 min for 30 days: at most 8,520 points a job.
    package static let standard = SampleThinning(checked: [
        Tier(width: .seconds(1), age: .seconds(600)),
        Tier(width: .seconds(10), age: .seconds(7200)),
        Tier(width: .seconds(60), age: .seconds(172_800)),
        Tier(width: .seconds(600), age: .seconds(2_592_000)),
    ])

    private init(checked tiers: [Tier]) { self.tiers = tiers }

    /// Takes tiers of one's own; nil unless ages rise, widths are positive, and each is a multiple of the one before.
    package init?(_ tiers: [Tier]) {
        guard !tiers.isEmpty else { return nil }
        for (index, tier) in tiers.enumerated() {
            guard tier.width.nanoseconds > 0, tier.age > .zero else { return nil }
            guard index > 0 else { continue }
            let before = tiers[index - 1]
            guard tier.age > before.age, tier.width > before.width,
                tier.width.nanoseconds % before.width.nanoseconds == 0
            else { return nil }
        }
        self.tiers = tiers
    }

    /// The most points that a history can have after thinning.
    package var pointLimit: Int {
        var limit = 1
        var from = Duration.zero
        for tier in tiers {
            limit += Int((tier.age - from).nanoseconds / tier.width.nanoseconds) + 2
            from = tier.age
        }
        return limit
    }

    /// The tier that a point of this age belongs to; nil when it is too old for all of them.
    package func tier(ofAge age: Duration) -> Tier? { tiers.first { age < $0.age } }

    /// The places of the points to keep, in order; the youngest point is always among them.
    ///
    /// - Parameters:
    ///   - times: when the points were taken, from the oldest to the youngest.
    ///   - now: the present moment; points of the future count as of now.
    /// - Returns: indices into `times`, rising.
    package func indicesToKeep(of times: [Timestamp], now: Timestamp) -> [Int] {
        var kept: [Int] = []
        var last: Timestamp?
        for (index, time) in times.enumerated() {
            let isYoungest = index == times.count - 1
            guard let tier = tier(ofAge: now - time) else {
                // Its bucket is over with it: a later point of the same bucket was dropped, or would have been, long ago.
                if isYoungest { kept.append(index) }
                last = time
                continue
            }
            let isFirstOfBucket = last.map { bucket($0, tier.width) != bucket(time, tier.width) } ?? true
            if isFirstOfBucket || isYoungest {
                kept.append(index)
                last = time
            }
        }
        return kept
    }

    private func bucket(_ time: Timestamp, _ width: Duration) -> Int64 {
        let (quotient, remainder) = time.rawValue.quotientAndRemainder(dividingBy: width.nanoseconds)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
