import LinuxSystem

/// What an agent's log says that it has seen.
enum GossipSighting {
    case joined(Int)
    case suspected(Int)
    case died(Int)
    /// The agent itself is up and may be joined.
    case ready
}

/// A kind of agents that gossip: how to start them, and how to read what they say.
protocol GossipSide {
    /// What starts an agent; all but number 0 join.
    func command(_ number: Int) -> ProgramCommand
    func logPath(of number: Int) -> String
    /// What a line of an agent's log says; nil when it is of no interest.
    func sighting(in line: String) -> GossipSighting?
    /// Frees the disk of what they wrote; they have ended.
    func remove()
}

/// Whole agents as they are shipped: each a member of the Raft group too, and looking after containers that it does not have.
struct GodwitSide: GossipSide {
    private let agents: BenchmarkAgents

    init(_ context: BenchmarkContext, count: Int) throws {
        // In a room of their own, where every port is free.
        agents = try BenchmarkAgents(context, ports: (0..<count).map { 20_000 + $0 })
    }

    func command(_ number: Int) -> ProgramCommand { agents.command(number) }
    func logPath(of number: Int) -> String { agents.logPath(of: number) }
    func remove() { agents.remove() }

    func sighting(in line: String) -> GossipSighting? {
        if line.contains(" agent.ready ") { return .ready }
        guard line.contains(" member."), let number = subject(of: line) else { return nil }
        if line.contains(" member.joined ") { return .joined(number) }
        if line.contains(" member.suspected ") { return .suspected(number) }
        return line.contains(" member.died ") ? .died(number) : nil
    }

    private func subject(of line: String) -> Int? {
        guard let range = line.firstRange(of: " node=") else { return nil }
        return agents.number(of: line[range.upperBound...].prefix { $0 != " " })
    }
}

/// The peer: serf agents with the profile `lan`, which is its default, and sealed like ours.
struct SerfSide: GossipSide {
    private let program: String
    private let folder: String
    private let count: Int

    /// Any key will do.
    private static let key = "cg8StVXbQJ0gPvMd9o7yrg5v8BcVqJZ1Y2m0Yk5t3wA="

    init(_ context: BenchmarkContext, count: Int) throws {
        program = try context.peer("serf", package: "serf")
        folder = context.folder + "/serf"
        self.count = count
        try FileSystem.removeAll(folder)
        for number in 0..<count {
            try FileSystem.createFolder("\(folder)/n\(number)")
            // Eight agents are joined through, so that the first one is not overrun.
            let seed = number < 8 ? 0 : number % 8
            let join = number == 0 ? "" : #", "retry_join": ["127.0.0.1:\#(20_000 + seed)"], "retry_interval": "1s""#
            try FileSystem.writeAtomically(
                """
                {"node_name": "n\(number)", "bind": "127.0.0.1:\(20_000 + number)", "rpc_addr": "127.0.0.1:\(25_000 + number)",
                 "profile": "lan", "log_level": "info", "encrypt_key": "\(Self.key)"\(join)}

                """,
                to: "\(folder)/n\(number)/serf.json"
            )
        }
    }

    func command(_ number: Int) -> ProgramCommand {
        ProgramCommand(program, ["agent", "-config-file=\(folder)/n\(number)/serf.json"], startsSession: true)
    }

    func logPath(of number: Int) -> String { "\(folder)/n\(number)/serf.log" }
    func remove() { try? FileSystem.removeAll(folder) }

    func sighting(in line: String) -> GossipSighting? {
        if line.contains("Serf agent running!") { return .ready }
        if let number = number(after: "EventMemberJoin: n", in: line) { return .joined(number) }
        if let number = number(after: "EventMemberFailed: n", in: line) { return .died(number) }
        return number(after: "memberlist: Suspect n", in: line).map(GossipSighting.suspected)
    }

    private func number(after words: String, in line: String) -> Int? {
        guard let range = line.firstRange(of: words) else { return nil }
        return Int(line[range.upperBound...].prefix { $0.isNumber })
    }
}
