import ArgumentParser
import ClusterModel
import ClusterSim

/// How long the computing part of a leader's look at its cluster takes on this machine.
struct PassCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pass",
        abstract: "Time what a leader computes for a large cluster, on this machine.",
        discussion: """
            A leader looks at everything twice a second and when a job has changed. This is the part of it that grows with the cluster; real time, nothing
            is simulated.

            first     every job is placed, as far as there is room; how many commands that gave
            rest      every job has its node, or waits for room
            voters    who should vote
            """
    )

    @Option(help: "Nodes, 1 to 1024.")
    var nodes = 1000
    @Option(help: "Jobs, 1 to 100000.")
    var jobs = 2000
    @Option(help: "Repetitions; the median is printed.")
    var runs = 21

    func validate() throws {
        guard (1...1024).contains(nodes) else { throw ValidationError("--nodes must be 1 to 1024.") }
        guard (1...100_000).contains(jobs) else { throw ValidationError("--jobs must be 1 to 100000.") }
        guard (1...10_000).contains(runs) else { throw ValidationError("--runs must be 1 to 10000.") }
    }

    func run() throws {
        guard var load = LeaderLoad(nodes: nodes, jobs: jobs) else {
            throw ValidationError("the state refuses so many nodes and jobs.")
        }
        var placed = 0
        let first = ContinuousClock().measure { while case let count = load.place(), count > 0 { placed += count } }
        let settled = load
        let rows = [
            ["first", "\(placed)", text(first)],
            ["rest", "\(settled.plan())", median { _ = settled.plan() }],
            ["voters", settled.chooseVoters() ? "0" : "1", median { _ = settled.chooseVoters() }],
        ]
        printTable(["what", "commands", "time"], rows)
    }

    private func median(_ body: () -> Void) -> String {
        let times = (0..<runs).map { _ in ContinuousClock().measure(body) }.sorted()
        return text(times[times.count / 2])
    }

    private func text(_ duration: Duration) -> String { "\((duration / .milliseconds(1)).text(decimals: 2)) ms" }
}
