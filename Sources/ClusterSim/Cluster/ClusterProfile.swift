import ClusterModel

/// What may go wrong in one run, drawn from its seed: runs differ in kind, not only in detail.
package struct ClusterProfile: Sendable {
    /// Kinds of bad luck.
    package enum Name: String, Sendable, CaseIterable {
        /// Each seed draws one of the others.
        case mixed
        /// Nothing but delays: what goes wrong here goes wrong always.
        case calm
        /// Loss, duplication and long delays.
        case lossy
        /// Cuts, in one direction and in both, of halves, of one agent, of links.
        case partitions
        /// Agents that do not run for a while, although their containers do.
        case pauses
        /// Agents that are killed, and machines that lose their power.
        case crashes
        /// Disks that are slow, and stall.
        case disks
        /// Leaders that lose or hand over their office again and again.
        case elections
        /// Everything, often.
        case storm
        /// Clocks that run wrong beyond what fencing and leases bear; everything else must hold.
        case clocks
    }

    package let name: Name
    /// Agents of the cluster, 1...9.
    package let agentCount: Int
    /// How many of them vote at the beginning; the others are learners.
    package let voterCount: Int
    /// Of a thousand messages.
    var lossPermille: Int
    var repeatPermille: Int
    var latePermille: Int
    var delay: ClosedRange<Int64>
    var diskLatency: ClosedRange<Int64>
    var stallPermille: Int
    /// The agent does nothing else while it persists.
    var blocksOnDisk: Bool
    /// How long a sync takes that stalls.
    var stallTime: ClosedRange<Int64> = 200_000_000...1_500_000_000
    /// Whether messages travel on streams, which lose nothing: what is lost is sent again, and what follows it waits.
    var hasStreams = false
    let faultInterval: Int64
    let compactionThreshold: UInt64
    /// Clocks run that much too fast or too slow at most, in parts per million.
    let driftPPM: Int
    let faults: [Fault]

    /// What can be inflicted.
    enum Fault: String, CaseIterable {
        case killAgent, crashMachine, powerFailure, cutHalves, cutOne, cutLinks, mend, pauseAgent, pauseLong, transfer
        case changeVoters, cutBusyNode, pauseBusyNode, pauseLeader, isolateLeader
        /// An agent gets little of its processor for a while.
        case starveAgent
        /// An administrator shuts a node out for ever.
        case revokeNode
        /// The leader and a node that runs something are cut off together, and the leader stops for a while.
        case pauseLeaderWithFriend
        /// A node is heard no more, and stops just when an answer is on the way to it.
        case pauseAndMute
        /// A machine loses its power when its agent has just begun a container.
        case crashAtCreation
    }

    /// Whether clocks stay within what leases and fencing bear.
    var hasSoundClocks: Bool { name != .clocks }

    /// Nothing goes wrong, a round trip takes a millisecond, and so does a sync of a disk.
    init(quiet count: Int, voters: Int) {
        (name, agentCount, voterCount) = (.calm, count, voters)
        (lossPermille, repeatPermille, latePermille, stallPermille) = (0, 0, 0, 0)
        (delay, diskLatency, blocksOnDisk) = (400_000...600_000, 500_000...1_500_000, false)
        (faultInterval, compactionThreshold, driftPPM, faults) = (0, 2000, 500, [])
    }

    init(using generator: inout SeededGenerator, name wanted: Name, agents: Int?) {
        func draw(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
        let millisecond: Int64 = 1_000_000
        let drawable = Name.allCases.filter { $0 != .mixed }
        let drawn = drawable[draw(0...(drawable.count - 1))]
        name = wanted == .mixed ? drawn : wanted
        let count = agents ?? [3, 3, 3, 4, 5, 5, 7, 9][draw(0...7)]
        agentCount = count
        voterCount = min(count, count >= 5 && draw(0...1) == 0 ? 5 : 3)
        let isBad = name == .lossy || name == .storm
        lossPermille = isBad ? draw(1...150) : draw(0...3) == 0 && name != .calm ? draw(1...30) : 0
        repeatPermille = isBad ? draw(0...100) : 0
        latePermille = isBad ? draw(0...30) : name == .calm ? 0 : draw(0...5)
        delay = 100_000...(Int64(draw(1...(isBad ? 40 : 5))) * millisecond)
        let latency = name == .disks ? draw(20...150) : name == .storm ? draw(1...60) : draw(1...8)
        diskLatency = 50_000...(Int64(latency) * millisecond)
        stallPermille = name == .disks ? draw(1...20) : 0
        blocksOnDisk = draw(0...2) == 0
        faultInterval = Int64(draw(name == .storm ? 100...600 : 400...2500)) * millisecond
        compactionThreshold = UInt64(draw(10...120))
        driftPPM = name == .clocks ? 200_000 : draw(0...ClusterSimulation.clockDriftPPM)
        faults =
            switch name {
            case .mixed, .calm: []
            case .lossy: [.mend, .starveAgent]
            case .partitions:
                [.cutHalves, .cutOne, .cutLinks, .cutBusyNode, .cutBusyNode, .isolateLeader, .revokeNode, .mend]
            case .pauses:
                [
                    .pauseAgent, .pauseLong, .pauseBusyNode, .pauseLeader, .pauseLeader, .pauseLeaderWithFriend,
                    .pauseLeaderWithFriend, .pauseAndMute, .pauseAndMute, .starveAgent, .mend,
                ]
            case .crashes:
                [
                    .killAgent, .killAgent, .crashMachine, .crashMachine, .crashAtCreation, .crashAtCreation,
                    .powerFailure,
                ]
            case .disks:
                [
                    .killAgent, .crashMachine, .crashAtCreation, .crashAtCreation, .powerFailure, .isolateLeader,
                    .starveAgent, .mend,
                ]
            case .elections:
                [.revokeNode, .transfer, .transfer, .isolateLeader, .changeVoters, .mend, .pauseAgent, .killAgent]
            case .storm:
                [
                    .killAgent, .crashMachine, .powerFailure, .cutHalves, .cutOne, .cutLinks, .mend, .mend, .pauseAgent,
                    .pauseLong, .transfer, .changeVoters, .cutBusyNode, .pauseBusyNode, .isolateLeader, .pauseLeader,
                    .pauseLeaderWithFriend, .pauseAndMute, .crashAtCreation, .starveAgent, .revokeNode,
                ]
            case .clocks:
                [
                    .killAgent, .cutHalves, .cutBusyNode, .pauseAgent, .transfer, .isolateLeader, .isolateLeader,
                    .isolateLeader, .isolateLeader, .mend,
                ]
            }
    }
}
