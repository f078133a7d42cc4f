import SWIM

extension SeenMember {
    /// What the node says about itself; of another site's node without what changes all the time.
    ///
    /// Nil before it said anything.
    var facts: NodeFactsSummary? {
        guard !member.facts.bytes.isEmpty else { return nil }
        return try? NodeFactsSummary.decode(member.facts.bytes.span)
    }
}
