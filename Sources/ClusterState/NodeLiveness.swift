package import ClusterModel

/// Which nodes may be declared lost, as a leader knows it; the twin of ``NodeAuthority``.
///
/// One value belongs to one reign: a leader that was elected again begins a new one, since it does not know what others answered
/// meanwhile. Compare ``term`` with the present one before each use.
package struct NodeLiveness: Sendable, Equatable {
    /// A moment of the leader's own clock.
    package typealias Instant = ContinuousClock.Instant

    /// The reign that this value belongs to.
    package let term: Term
    private let lossDelay: Duration
    private let leadingSince: Instant
    private var contacts: [NodeID: Instant] = [:]

    /// Knows of no contact yet: each node counts as heard from when the reign began.
    ///
    /// - Parameters:
    ///   - configuration: the same as the nodes'.
    ///   - term: the term that this member leads.
    ///   - leadingSince: read after this member had been elected.
    package init(configuration: FencingConfiguration, term: Term, leadingSince: Instant) {
        self.term = term
        lossDelay = configuration.lossDelay
        self.leadingSince = leadingSince
    }

    /// Takes note of a node's request, before it is answered.
    ///
    /// - Parameters:
    ///   - node: who asked.
    ///   - now: read after the request had come.
    package mutating func heard(from node: NodeID, at now: Instant) {
        contacts[node] = max(contacts[node] ?? leadingSince, now)
    }

    /// Since when a node has not been heard from.
    package func lastContact(with node: NodeID) -> Instant { contacts[node] ?? leadingSince }

    /// From when on the node may be declared lost, unless it is heard from before.
    ///
    /// By then its authority is over and its containers are gone, whatever it is doing and whatever happened to any message.
    package func lossDeadline(of node: NodeID) -> Instant { lastContact(with: node) + lossDelay }

    /// Whether the node may be declared lost now; the proposal must be made in this reign.
    package func mayBeDeclaredLost(_ node: NodeID, at now: Instant) -> Bool { now >= lossDeadline(of: node) }

    /// Forgets a node that has left, so that the table does not grow.
    package mutating func forget(_ node: NodeID) { contacts[node] = nil }
}
