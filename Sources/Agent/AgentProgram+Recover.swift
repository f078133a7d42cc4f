import AgentConfiguration
import ClusterModel
import ClusterState
import Glibc
import LinuxSystem
import NIO
import Raft
import Storage
import Transport

// `godwitd recover`: for when a majority of voters was lost for good.
extension AgentProgram {
    /// Makes this node's log a new cluster of one.
    ///
    /// Nothing is changed unless everything can be read, no agent runs on the state, none of the old cluster answers, and the
    /// administrator has confirmed it: by typing the node's name, or beforehand (`isConfirmed`).
    package static func recover(configurationPath: String, isConfirmed: Bool) async throws {
        let configuration = try readConfiguration(path: configurationPath, role: .worker)
        let folder = configuration.folders.state
        guard FileSystem.exists("\(folder)/state/state.sqlite") else {
            throw Failure(
                "there is no log in \(folder)/state; is folders.state the one of the node's agent?",
                exitCode: 78
            )
        }
        let (store, stored) = try await StateStore.open(folder: "\(folder)/state")
        do {
            try await recover(store, stored, folder: folder, configuration, isConfirmed: isConfirmed)
        } catch {
            try? await store.close()
            throw error
        }
        try await store.close()
    }

    private static func recover(
        _ store: StateStore,
        _ stored: StoredState,
        folder: String,
        _ configuration: AgentConfiguration,
        isConfirmed: Bool
    ) async throws {
        let recovery = try ClusterRecovery(stored)
        let now = WallClock.now()
        write("The log of node \(recovery.node) is to begin a new cluster of one.\n")
        for line in recovery.summary(now: now) { write("  \(line)\n") }
        let answering = await agents(answeringAmong: recovery.others)
        guard answering.isEmpty else {
            let names = answering.map { "\($0.node) (\($0.address))" }.joined(separator: ", ")
            throw Failure(
                "an agent of the old cluster still answers: \(names). Stop it first: what it goes on doing, this node would not know. "
                    + "Nothing was changed"
            )
        }
        if !isConfirmed { try confirm(recovery.node) }

        let copy = "\(folder)/state.before-recovery-\(stamp(now))"
        try await store.copy(to: copy)
        var generator = SystemRandomNumberGenerator()
        let lineage = UInt64.random(in: 1 ... .max, using: &generator)
        let member = RaftMemberID.random(using: &generator)
        try await store.beginAnew(
            try recovery.beginning(lineage: lineage, member: member, keyring: .random(), now: now)
        )

        let delay = FencingConfiguration(partitionTimeout: configuration.cluster.partitionTimeout).lossDelay
        write(
            """
            Node \(recovery.node) is a cluster of its own now. The old log is kept in \(copy); it holds secrets, remove it when it is not needed.
            Start the agent of \(recovery.node). For \(delay.text) it begins no container: so long may those of the other nodes still run. Then the jobs from \
            there are queued again.
            On every other node, before its agent is started again, move the folder 'state' within its folders.state aside, and start it
            with --join: it joins as a new member. Its checkpoints and logs can stay.

            """
        )
    }

    /// Asks for the node's name on the terminal.
    private static func confirm(_ node: NodeID) throws {
        guard isatty(0) == 1 else {
            throw Failure("nobody can be asked here: say --yes if you are sure. Nothing was changed", exitCode: 64)
        }
        write("What the lost voters had accepted and this node had not is gone. Type '\(node)' to go on: ")
        guard readLine() == node.rawValue else { throw Failure("not confirmed; nothing was changed") }
    }

    /// Which of these agents take connections.
    static func agents(
        answeringAmong others: [(node: NodeID, address: String)]
    ) async -> [(node: NodeID, address: String)] {
        await withTaskGroup(of: (NodeID, String)?.self) { tasks in
            for (node, text) in others {
                guard let address = try? PeerAddress(text) else { continue }
                tasks.addTask {
                    let connection = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                        .connectTimeout(.seconds(2))
                        .connect(host: address.host, port: address.port ?? PeerAddress.standardPort)
                    guard let channel = try? await connection.get() else { return nil }
                    try? await channel.close()
                    return (node, text)
                }
            }
            var found: [(node: NodeID, address: String)] = []
            for await agent in tasks { if let (node, address) = agent { found.append((node, address)) } }
            return found.sorted { $0.node < $1.node }
        }
    }

    /// `20261121T210414Z`: a moment as names of folders have it.
    private static func stamp(_ time: Timestamp) -> String {
        time.description.prefix { $0 != "." }.filter { $0 != "-" && $0 != ":" } + "Z"
    }
}
