import ClusterModel
import LinuxSystem

// How long a container stood still, and when: its own program tells, for both sides alike.
extension Gap {
    /// Seconds of the clock that the container's program reads too, before and after a restore.
    static var now: Double { WallClock.now().seconds }

    /// The longest gap that ended after a moment, as soon as its line is there.
    static func longest(
        _ what: String,
        after moment: Double,
        _ context: BenchmarkContext,
        _ lines: () async throws -> [String]
    ) async throws -> Gap {
        try await context.eventually("the container's word after \(what)") {
            let found = try await lines().compactMap(Gap.init).filter { $0.end > moment }
            // Shorter ones are the scheduler's.
            guard let longest = found.max(by: { $0.length < $1.length }), longest.length > 0.02 else { return nil }
            return longest
        }
    }
}
