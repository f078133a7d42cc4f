import CoreMetrics
import Metrics

/// What copies of checkpoints cost and find, each declared once with the sentence that Prometheus shows.
struct CopyMetrics: Sendable {
    let sent: Counter
    let received: Counter
    let spared: Counter
    let copied: Counter
    let declined: Counter
    let underWay: Meter
    let checked: Counter
    let damaged: Counter
    let replaced: Counter

    /// Declares the metrics in a registry.
    init(registry: MetricsRegistry) {
        let counter = registry.counter
        sent = counter("godwit_checkpoint_copy_sent_bytes_total", "Bytes of checkpoints that were sent to other nodes.")
        received = counter(
            "godwit_checkpoint_copy_received_bytes_total",
            "Bytes of checkpoints that came from other nodes."
        )
        spared = counter(
            "godwit_checkpoint_copy_spared_bytes_total",
            "Bytes of checkpoints that need not come, because earlier generations with the same data are here."
        )
        copied = counter("godwit_checkpoint_copies_total", "Copies of checkpoints that came in full.")
        declined = counter(
            "godwit_checkpoint_copies_declined_total",
            "Copies of checkpoints that this node could not take, for want of room or because every source was damaged."
        )
        underWay = registry.meter(
            "godwit_checkpoint_copies_under_way",
            "Copies of checkpoints that are on their way here now."
        )
        checked = counter(
            "godwit_checkpoint_checks_total",
            "Checkpoints on this disk of which every byte was read and looked at, regularly or because somebody asked."
        )
        damaged = counter("godwit_checkpoint_damage_total", "Checkpoints on this disk that were found damaged.")
        replaced = counter(
            "godwit_checkpoint_damage_replaced_total",
            "Checkpoints that were found damaged and that a good copy of another node replaces."
        )
    }
}
