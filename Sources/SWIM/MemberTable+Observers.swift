/// Who observes whom.
///
/// The ring of keys is the same for all who know the same members, so nobody has to say whom he observes: each member
/// watches those that stand just before it. One ring suffices where Rapid takes one per observer, because a key is a
/// hash: neighbours in the ring have nothing in common that could make them fail together.
extension MemberTable {
    /// Steps that a walk takes at most, so that a ring full of dead members costs no more than this.
    private static let walkLimit = 256

    /// The members that `observer` probes: those with fewer than `count` alive members between them and it.
    ///
    /// A suspect is observed but does not count as an observer, so the next in the ring takes its place before it is
    /// declared dead.
    /// - Returns: nearest first, at most four times `count`.
    package func subjects(of observer: MemberKey, count: Int) -> [MemberKey] {
        var found: [MemberKey] = []
        guard count > 0, ring.count > 1, slot(of: observer) != nil else { return found }
        var index = lowerBound(of: observer)
        var healthy = 0
        for _ in 0..<min(ring.count - 1, Self.walkLimit) where healthy < count && found.count < 4 * count {
            index = index == 0 ? ring.count - 1 : index - 1
            guard let member = self[ring[index]], member.status.isLive else { continue }
            found.append(member.key)
            if member.status == .alive { healthy += 1 }
        }
        return found
    }

    /// The alive members that probe `subject`, nearest first.
    package func observers(of subject: MemberKey, count: Int) -> [Member] {
        var found: [Member] = []
        guard count > 0, ring.count > 1 else { return found }
        var index = lowerBound(of: subject)
        if index == ring.count || ring[index] != subject { index -= 1 }
        for _ in 0..<min(ring.count - 1, Self.walkLimit) where found.count < count {
            index = index + 1 >= ring.count ? 0 : index + 1
            guard let member = self[ring[index]], member.status == .alive else { continue }
            found.append(member)
        }
        return found
    }
}
