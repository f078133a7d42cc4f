import Metrics
import SWIM
import Transport

/// What Prometheus sees of the membership; each metric declared once.
struct MembershipMetrics: Sendable {
    private let registry: MetricsRegistry
    private let pool: PoolName
    let packetsIn: Counter
    let packetsOut: Counter
    let bytesIn: Counter
    let bytesOut: Counter
    let eventsDropped: Counter
    private let probesFailed: Counter
    private let suspicions: Counter
    private let verdicts: Counter
    private let refutations: Counter
    private let differences: Counter
    private let exchanges: Counter
    private let standstills: Counter

    /// Declares the metrics in a registry.
    init(registry: MetricsRegistry, pool: PoolName = .common) {
        (self.registry, self.pool) = (registry, pool)
        let counter = registry.counter
        packetsIn = counter("godwit_gossip_packets_received_total", "Gossip datagrams that arrived, good or not.")
        packetsOut = counter("godwit_gossip_packets_sent_total", "Gossip datagrams that were sent.")
        bytesIn = counter("godwit_gossip_bytes_received_total", "Bytes of the gossip datagrams that arrived, sealed.")
        bytesOut = counter("godwit_gossip_bytes_sent_total", "Bytes of the gossip datagrams that were sent, sealed.")
        eventsDropped = counter(
            "godwit_membership_events_dropped_total",
            "Events that a part of the agent was too slow to take; it looked at the whole view instead."
        )
        probesFailed = counter("godwit_membership_probes_failed_total", "Probes that nobody could get answered.")
        suspicions = counter("godwit_membership_suspicions_total", "Suspicions of any member, begun here or elsewhere.")
        verdicts = counter("godwit_membership_verdicts_total", "Members that this node was first to declare dead.")
        refutations = counter("godwit_membership_refutations_total", "Accusations of this node that it refuted.")
        differences = counter("godwit_membership_differences_total", "Comparisons of views that found a difference.")
        exchanges = counter("godwit_membership_exchanges_total", "Exchanges over streams that this node began.")
        standstills = counter(
            "godwit_membership_standstills_total",
            "Times that this node was not run when it should have been."
        )
        registry.describe("godwit_members", "Members of this node's pools by what it thinks of them.")
        registry.describe("godwit_gossip_refused_total", "Gossip datagrams that were dropped, by reason.")
    }

    /// Counts a datagram that was dropped.
    func refused(_ reason: String) {
        Counter(label: "godwit_gossip_refused_total", dimensions: [("reason", reason)], factory: registry).increment()
    }

    /// Sets how many members there are of each status.
    func set(_ counts: [MemberStatus: Int]) {
        for status in MemberStatus.allCases {
            var dimensions = [("status", "\(status)")]
            if pool != .common { dimensions.append(("pool", pool.rawValue)) }
            Meter(label: "godwit_members", dimensions: dimensions, factory: registry)
                .set(Double(counts[status] ?? 0))
        }
    }

    /// Adds what the membership has counted since the last time.
    func add(_ now: MembershipStatistics, since last: MembershipStatistics) {
        for (counter, difference) in [
            (probesFailed, now.probesFailed - last.probesFailed), (suspicions, now.suspicions - last.suspicions),
            (verdicts, now.verdicts - last.verdicts), (refutations, now.refutations - last.refutations),
            (differences, now.differences - last.differences), (exchanges, now.exchanges - last.exchanges),
            (standstills, now.standstills - last.standstills),
        ] where difference > 0 { counter.increment(by: Int64(clamping: difference)) }
    }
}
