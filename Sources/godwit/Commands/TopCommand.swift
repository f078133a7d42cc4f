import ArgumentParser
import ControlMessages

/// `godwit top`.
struct TopCommand: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "top",
        abstract: "Show what the nodes and jobs use, the busiest first.",
        discussion: "JSON: JobListReply, the job that uses the most first."
    )

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Only so many jobs; 0 for all.", valueName: "count"))
    var limit: UInt32 = 0

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let wantsNodes = options.outputOptions.output == .table
        var nodes: [WireNode] = []
        try await options.printRepeatedly(every: watching.period, in: surroundings) { connection in
            var request = WireJobListRequest()
            request.includeEnded = false
            if wantsNodes { nodes = try await connection.nodeList(WireNodeListRequest()).nodes }
            var reply = try await connection.jobList(request)
            // Ties in the order of names, so that lines do not jump.
            reply.jobs.sort {
                ($1.usageVcpus, $1.memoryBytes, $0.name, $0.id) < ($0.usageVcpus, $0.memoryBytes, $1.name, $1.id)
            }
            if limit > 0 { reply.jobs = Array(reply.jobs.prefix(Int(limit))) }
            return reply
        } table: {
            $1.top($0.jobs, nodes: nodes)
        }
        return .success
    }
}
