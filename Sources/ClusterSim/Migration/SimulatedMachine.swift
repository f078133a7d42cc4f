import Checkpointing
import ClusterModel
import ClusterState

/// A machine: containers and marks, which agents come and go beside.
struct SimulatedMachine: Sendable {
    struct Container: Sendable, Equatable {
        var incarnation: Incarnation
        var isFrozen = false
        /// The move whose source still has memory of it.
        var lacksMemoryOf: UInt64?
        /// The move that it came by; 0 when it was started here.
        var move: UInt64 = 0
        /// Frames that its kernel has taken, and acknowledged.
        var received: [Int] = []
        /// What is held of those that arrive for it; nil while nothing is.
        var hold: [Int]?
        /// Whether the bridge lets frames in and out.
        var isOpen = true
    }

    let number: Int
    let node: NodeID
    var member: UInt64
    var isUp = true
    var isLinked = true
    /// Until when its shims let containers run.
    var lease = 0
    var containers: [Container] = []
    /// A container that may be another node's, and the move that it is about.
    var mark: (incarnation: Incarnation, number: UInt64)?
    /// Moves of which the whole dump is in memory.
    var dumps: Set<UInt64> = []
    /// Counts the agents.
    var life = 0
    var agent: SimulatedMigrationAgent?

    init(number: Int) {
        self.number = number
        node = NodeID(rawValue: "n\(number + 1)")
        member = UInt64(number + 1)
    }

    var isReached: Bool { isUp && isLinked }

    func mayRun(at clock: Int) -> Bool { clock < lease && agent?.hasAuthority == true }

    func container(_ incarnation: Incarnation) -> Int? { containers.firstIndex { $0.incarnation == incarnation } }

    /// Gives a container what was held for it, in order, and opens the way to it.
    mutating func unlock(_ index: Int) {
        containers[index].received += containers[index].hold ?? []
        (containers[index].hold, containers[index].isOpen) = (nil, true)
    }

    /// Ends this machine's part in a container's address; returns what was held.
    mutating func leaveNetwork(_ incarnation: Incarnation) -> [Int] {
        guard let index = container(incarnation) else { return [] }
        defer { (containers[index].hold, containers[index].isOpen) = (nil, false) }
        return containers[index].hold ?? []
    }

    mutating func freeze(_ incarnation: Incarnation, _ isFrozen: Bool) {
        if let index = container(incarnation) { containers[index].isFrozen = isFrozen }
    }

    /// Ends a container; its agent, if there is one, will see it.
    mutating func kill(_ incarnation: Incarnation) {
        guard let index = container(incarnation) else { return }
        containers.remove(at: index)
        agent?.ended.append(incarnation)
    }

    mutating func killAll() { for container in containers { kill(container.incarnation) } }

    /// Ends what has not got all of its memory, which nobody can bring any more.
    mutating func killIncomplete() {
        for container in containers where container.lacksMemoryOf != nil { kill(container.incarnation) }
    }

    /// Power off: nothing in memory is left.
    mutating func crash() {
        (isUp, containers, mark, dumps) = (false, [], nil, [])
    }
}

/// What one agent has in its memory.
struct SimulatedMigrationAgent: Sendable {
    /// Its copy of the state, and how much of the log is in it.
    var state: ClusterState
    var applied: Int
    var source: MigrationSourceOperation?
    var destination: MigrationDestinationOperation?
    /// The move that the destination's core is about.
    var destinationMove: UInt64 = 0
    /// The container that it makes, as the hand-over named it.
    var destinationIncarnation: Incarnation?
    /// Who may have what is held for the container that leaves.
    var offer: (number: UInt64, to: NodeID)?
    /// What was given to him.
    var given: [Int]?
    /// Moves of which the memory is in a container that stands still here; whoever reads it does so through this agent.
    var heldMemory: Set<UInt64> = []
    /// Whether what the destination's core made has run.
    var hasRun = false
    /// Whether a leader has answered it: what its shims were promised before it started is no right to start anything.
    var hasAuthority = false
    /// Steps that take time.
    var steps: [SimulatedStep] = []
    /// Containers whose end it has not reported yet.
    var ended: [Incarnation] = []
    /// Whether a proposal of its ordinary work is under way.
    var isReporting = false

    init(state: ClusterState, applied: Int) { (self.state, self.applied) = (state, applied) }

    var isIdle: Bool { source == nil && destination == nil && ended.isEmpty && !isReporting }

    var doing: String {
        "source \(source.map { $0.phase.rawValue } ?? "-"), destination \(destination.map { $0.phase.rawValue } ?? "-")"
    }
}

/// Something that a shell does and that takes time.
enum SimulatedStep: Sendable, Equatable {
    case source(MigrationSourceEffect)
    case destination(MigrationDestinationEffect)
    /// The destination looks whether it can take the job.
    case prepare(UInt64)
    /// The ordinary end of a container that has no right to be.
    case kill(Incarnation)
    /// The ordinary start of a container.
    case start(Incarnation)
    /// Memory of a container comes from the node that it left.
    case drain(Incarnation)
}

/// A command on its way to the leader, and what its proposer does with the answer.
struct SimulatedProposal: Sendable {
    enum Purpose: Sendable, Equatable {
        case ordinary
        /// Of the source's core.
        case handOver, settle, giveUp
        /// Of the destination's core.
        case announce, conclude, tell
        case exit(Incarnation)
    }

    var machine: Int
    var life: Int
    var command: Command
    var purpose: Purpose
}
