import ClusterModel

/// What may go wrong in one run, drawn from its seed: runs differ in kind, not only in detail.
struct Profile {
    let voterCount: Int
    let spareCount: Int
    /// One message in so many; nil: none.
    let lossPermille: Int
    let repeatPermille: Int
    let delay: ClosedRange<Int64>
    let diskLatency: ClosedRange<Int64>
    /// One sync in a thousand that takes as long as a stall.
    let stallPermille: Int
    /// The shell does nothing else while it persists.
    let blocksOnDisk: Bool
    /// Messages pass through their bytes.
    let encodes: Bool
    let faultInterval: Int64
    let changesMembership: Bool
    let transfers: Bool
    let compactionThreshold: LogIndex
    /// Clocks run that much too fast or too slow, in permille.
    let driftPermille: Int
    /// What bad luck is after.
    let theme: Theme

    /// A kind of bad luck that needs several things to happen in a row.
    enum Theme: CaseIterable {
        case mixed, shortReigns, slowDisks, handOvers, quickRestarts, jointHalves, learnerFriends
    }

    typealias LogIndex = UInt64

    init(using generator: inout SeededGenerator, theme wanted: Theme?) {
        func draw(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
        let millisecond: Int64 = 1_000_000
        // Half of the runs have no theme.
        let themes = Theme.allCases.filter { $0 != .mixed }
        let drawn = draw(0...1) == 0 ? .mixed : themes[draw(0...(themes.count - 1))]
        theme = wanted ?? drawn
        voterCount = theme != .mixed ? 3 : [1, 2, 3, 3, 3, 3, 5][draw(0...6)]
        spareCount = theme == .jointHalves || theme == .learnerFriends ? 3 : draw(0...2)
        lossPermille = draw(0...2) == 0 ? draw(1...200) : 0
        repeatPermille = draw(0...2) == 0 ? draw(1...100) : 0
        delay = 100_000...(Int64(theme == .mixed ? draw(1...30) : draw(1...3)) * millisecond)
        let latency = theme == .mixed ? draw(1...20) : theme == .slowDisks ? draw(50...200) : draw(1...2)
        diskLatency = 50_000...(Int64(latency) * millisecond)
        stallPermille = draw(0...3) == 0 ? 10 : 0
        blocksOnDisk = draw(0...2) == 0
        encodes = draw(0...3) == 0
        faultInterval = Int64(theme == .mixed ? draw(120...700) : draw(60...300)) * millisecond
        changesMembership = draw(0...1) == 0
        transfers = draw(0...1) == 0 || theme == .handOvers
        compactionThreshold = UInt64(draw(5...60))
        driftPermille = draw(0...45)
    }
}
