import ClusterModel
import Glibc
import LinuxSystem

/// What can happen to one agent of a cluster in namespaces, and how it is undone.
enum Fault: String, CaseIterable, Sendable {
    case killed, frozen, cutOff, deaf, unheard, diskFull

    /// What it is to its victim, in words.
    var text: String {
        switch self {
        case .killed: "is killed"
        case .frozen: "is frozen"
        case .cutOff: "is cut off"
        case .deaf: "hears nobody"
        case .unheard: "is not heard"
        case .diskFull: "has a full disk"
        }
    }
}

/// Brings faults over agents, any number at once; one at a time for each agent.
actor Faults {
    private let cluster: AgentCluster
    private let network: ScenarioNetwork
    private var victims: [Int: Fault] = [:]
    /// The order in which lines are changed is that in which they were asked to.
    private var wiring: Task<Void, any Error>?

    init(_ cluster: AgentCluster, _ network: ScenarioNetwork) { (self.cluster, self.network) = (cluster, network) }

    /// Takes an agent that nothing happens to; nil when there is none.
    func choose(_ fault: Fault, using generator: inout SeededGenerator) -> AgentProcess? {
        let free = (1...cluster.agents.count).filter { victims[$0] == nil }
        guard let number = free.randomElement(using: &generator) else { return nil }
        victims[number] = fault
        return cluster.agents[number - 1]
    }

    /// Marks an agent as one that something happens to.
    func take(_ agent: AgentProcess, _ fault: Fault) { victims[cluster.number(agent)] = fault }

    /// Lets it happen.
    func begin(_ fault: Fault, to agent: AgentProcess) async throws {
        take(agent, fault)
        switch fault {
        case .killed: try await agent.end(SIGKILL)
        case .frozen: try await agent.pause()
        case .cutOff, .deaf, .unheard: try await wire()
        case .diskFull: try fill(Self.ballast(agent))
        }
    }

    /// Undoes it.
    func end(_ fault: Fault, of agent: AgentProcess) async throws {
        switch fault {
        case .killed: try await agent.start(within: .seconds(40))
        case .frozen: try await agent.goOn()
        case .cutOff, .deaf, .unheard:
            victims[cluster.number(agent)] = nil
            try await wire()
        case .diskFull: try FileSystem.removeAll(Self.ballast(agent))
        }
        victims[cluster.number(agent)] = nil
    }

    private func wire() async throws {
        let before = wiring
        let task = Task {
            try await before?.value
            try await network.lose(losses)
        }
        wiring = task
        try await task.value
    }

    /// What the present victims do not hear, and who does not hear them.
    private var losses: Set<ScenarioNetwork.Loss> {
        var losses: Set<ScenarioNetwork.Loss> = []
        for (number, fault) in victims {
            for other in 1...network.count where other != number {
                if fault == .cutOff || fault == .deaf { losses.insert(.init(from: other, to: number)) }
                if fault == .cutOff || fault == .unheard { losses.insert(.init(from: number, to: other)) }
            }
        }
        return losses
    }

    /// On the file system of the agent's state.
    private static func ballast(_ agent: AgentProcess) -> String {
        FileSystem.parent(of: agent.stateFolder) + "/ballast"
    }
}

/// Writes a file until nothing more fits.
func fill(_ path: String) throws {
    let filler = try FileSystem.create(path, mode: 0o600)
    var chunk = 1 << 20
    while chunk >= 4096 {
        do { try filler.write([UInt8](repeating: 0, count: chunk)) } catch { chunk /= 4 }
    }
}
