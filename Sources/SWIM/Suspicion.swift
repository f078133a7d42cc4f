/// One suspected member, as this node sees the case.
struct Suspicion: Sendable {
    let incarnation: MemberIncarnation
    /// In nanoseconds of the instance's own time.
    let startedAt: Int64
    /// Tells this suspicion's timers from those of an earlier one.
    let stamp: UInt32
    /// Who could not reach it, at most K + 1: more would not shorten the time.
    private(set) var accusers: [MemberKey] = []
    /// Whether this node itself could not reach it.
    var isOurs = false
    /// Whether somebody holds it for dead already: that stands for all confirmations.
    var hasDeathCertificate = false
    /// Times that the suspect was told.
    var noticeCount = 0

    init(incarnation: MemberIncarnation, startedAt: Int64, stamp: UInt32) {
        (self.incarnation, self.startedAt, self.stamp) = (incarnation, startedAt, stamp)
    }

    /// Adds those who are not there yet, up to `limit`.
    ///
    /// - Returns: whether somebody was added. Only that is worth telling others (Lifeguard, section IV-B: the first K
    ///   independent suspicions).
    mutating func add(_ keys: [MemberKey], limit: Int) -> Bool {
        let before = accusers.count
        for key in keys where accusers.count < min(limit, GossipLimits.accuserCount) && !accusers.contains(key) {
            accusers.append(key)
        }
        return accusers.count > before
    }
}
