import ClusterModel
import ClusterState
import Raft
import WireFormat

/// What the agents replicate: the cluster's state itself.
///
/// Log and snapshots carry numbers that stand for the values, because how values are written as bytes is the concern of other tests.
struct ReplicatedMachine {
    var applied: LogIndex = 0
    var state = ClusterState()
}

/// The values that numbers in logs and snapshots stand for.
struct ValueBook {
    private(set) var commands: [Command] = []
    private var states: [ClusterState] = []

    /// A proposal's bytes; `padding` makes some of them long.
    mutating func proposal(of command: Command, padding: Int) -> [UInt8] {
        commands.append(command)
        return Self.bytes(UInt64(commands.count - 1), padding: padding)
    }

    mutating func snapshot(of state: ClusterState, padding: Int) -> [UInt8] {
        states.append(state)
        return Self.bytes(UInt64(states.count - 1), padding: padding)
    }

    func command(_ bytes: [UInt8]) -> Command? { Self.number(bytes).map { commands[$0] } }

    /// Nobody has applied anything where there is no snapshot.
    func state(_ bytes: [UInt8]) -> ClusterState? {
        bytes.isEmpty ? ClusterState() : Self.number(bytes).map { states[$0] }
    }

    private static func bytes(_ number: UInt64, padding: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendInteger(number)
        return bytes + [UInt8](repeating: 7, count: padding)
    }

    private static func number(_ bytes: [UInt8]) -> Int? {
        var offset = 0
        return (try? bytes.span.readInteger(at: &offset) as UInt64).map(Int.init)
    }
}
