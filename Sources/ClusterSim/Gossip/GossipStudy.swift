import ClusterModel
import SWIM

/// What gossip costs and how fast it is in a pool of a given size: some runs, each with one crash.
package struct GossipStudy: Sendable, Encodable {
    /// What a pool is put through.
    package struct Shape: Sendable {
        /// Members of the pool, at least 2.
        package var members = 100
        /// Part of all datagrams that is lost.
        package var loss = 0.0
        /// One-way delay.
        package var delay: Duration = .milliseconds(1)
        /// Members that get 100 ms of each 2 s only.
        package var starved = 0
        /// Whether the settings for wide areas hold.
        package var isWide = false
        /// How long the pool is watched before the crash.
        package var watched: Duration = .seconds(20)

        /// The defaults: a quiet local network.
        package init() {}
    }

    /// Runs.
    package private(set) var runs = 0
    /// Seconds until the first member held the crashed one for dead, run by run.
    package private(set) var firstSeconds: [Double] = []
    /// Seconds until all did.
    package private(set) var allSeconds: [Double] = []
    /// Runs in which not all did within a minute.
    package private(set) var unfinished = 0
    /// Verdicts about members that were well, by members that were well.
    package private(set) var falseVerdicts = 0
    /// Suspicions of members that had not crashed; they are refuted.
    package private(set) var falseSuspicions = 0
    private var packets = 0.0
    private var bytes = 0.0

    /// Bytes that a seal adds to each datagram: nonce, key and tag.
    private static let sealBytes: UInt64 = 29

    /// Datagrams of one member in a second, while nothing happens.
    package var packetsPerSecond: Double { packets / Double(max(1, runs)) }
    /// Bytes of them, sealed.
    package var bytesPerSecond: Double { bytes / Double(max(1, runs)) }

    private enum CodingKeys: String, CodingKey {
        case runs, firstSeconds, allSeconds, unfinished, falseVerdicts, falseSuspicions, packets, bytes
    }

    private init() {}

    /// Runs a pool for each seed.
    ///
    /// - Parameters:
    ///   - seeds: one run each.
    ///   - shape: the pool and its network.
    ///   - origin: what stands for the start of the clocks; it changes nothing.
    /// - Returns: what all runs showed.
    /// - Throws: when a configuration is refused.
    package static func run(
        seeds: ClosedRange<UInt64>,
        shape: Shape,
        origin: ContinuousClock.Instant
    ) throws -> GossipStudy {
        var study = GossipStudy()
        for seed in seeds { try study.add(seed, shape, origin) }
        return study
    }

    private mutating func add(_ seed: UInt64, _ shape: Shape, _ origin: ContinuousClock.Instant) throws {
        let configuration: MembershipConfiguration = shape.isWide ? .wan : .lan
        var pool = try SimulatedPool(seed: seed, settled: shape.members, configuration: configuration, origin: origin)
        (pool.network.loss, pool.network.delay) = (shape.loss, shape.delay)
        pool.run(for: .seconds(3))
        for index in 0..<min(shape.starved, shape.members) {
            pool.starve(index, period: .seconds(2), share: .milliseconds(100))
        }
        let before = (packets: pool.packets, bytes: pool.packetBytes)
        pool.run(for: shape.watched)
        let memberSeconds = Double(shape.members) * shape.watched.inSeconds
        let sent = pool.packets - before.packets
        packets += Double(sent) / memberSeconds
        bytes += Double(pool.packetBytes - before.bytes + Self.sealBytes * sent) / memberSeconds
        let victim = shape.members - 1
        let start = pool.now
        let name = SimulatedPool.name(victim)
        falseSuspicions += pool.reports(.suspected).count
        pool.crash(victim)
        let took = pool.run(atMost: .seconds(60)) { $0.allKnowTheEnd(of: victim) }
        if let took { allSeconds.append(took.inSeconds) } else { unfinished += 1 }
        if let first = pool.reports(.died, of: name).first(where: { $0.at >= start }) {
            firstSeconds.append(Double(first.at - start) / 1e9)
        }
        falseVerdicts += pool.falseVerdicts { pool.isUp($0) && $0 >= shape.starved }.count
        runs += 1
    }
}
