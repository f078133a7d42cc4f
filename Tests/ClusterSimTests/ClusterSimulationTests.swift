import ClusterSim
import Foundation
import Testing

/// Whole clusters under faults; `godwit-sim cluster --seeds SEED` repeats a failure, and `GODWIT_SEEDS` asks for more seeds.
struct ClusterSimulationTests {
    static let origin = ContinuousClock().systemEpoch
    private static let parts = 8
    private static let seedsPerPart =
        (ProcessInfo.processInfo.environment["GODWIT_SEEDS"].flatMap(Int.init) ?? 200) / parts

    @Test(arguments: 0..<parts)
    func `Every promise holds under every kind of fault`(part: Int) {
        var total = ClusterStatistics()
        let first = UInt64(part * Self.seedsPerPart)
        for seed in first..<(first + UInt64(Self.seedsPerPart)) {
            let report = ClusterSimulation(seed: seed, origin: Self.origin).run()
            #expect(report.violations == [], "seed \(seed), \(report.profile)")
            total.jobs += report.statistics.jobs
            total.containers += report.statistics.containers
            total.fenced += report.statistics.fenced
            total.lost += report.statistics.lost
            total.reigns += report.statistics.reigns
            total.crashes += report.statistics.crashes
            total.snapshots += report.statistics.snapshots
            total.reads += report.statistics.reads
        }
        // A run in which nothing happens proves nothing.
        #expect(total.jobs > 5 * Self.seedsPerPart && total.reads > 10 * Self.seedsPerPart)
        #expect(total.reigns > Self.seedsPerPart && total.containers > total.jobs)
        if Self.seedsPerPart >= 20 {
            #expect(total.fenced > 0 && total.lost > 0 && total.crashes > 0 && total.snapshots > 0)
        }
    }

    /// A commit index on disk that was ahead of a torn write.
    @Test(arguments: [(600_270, ClusterProfile.Name.storm, 5)] as [(UInt64, ClusterProfile.Name, Int)])
    func `Seeds that failed once`(seed: UInt64, profile: ClusterProfile.Name, agents: Int) {
        var options = ClusterSimulation.Options()
        (options.profile, options.agents) = (profile, agents)
        #expect(ClusterSimulation(seed: seed, options: options, origin: Self.origin).run().violations == [])
    }

    @Test func `Two processes run a seed alike`() throws {
        let seeds: ClosedRange<UInt64> = 0...5
        let others = try OtherProcess.digests(of: seeds)
        for seed in seeds {
            let digest = ClusterSimulation(seed: seed, origin: Self.origin).run().digest
            #expect(others[seed] == digest, "seed \(seed)")
        }
    }
}

/// What runs in the second process.
struct OtherProcessTests {
    /// A test only in the process that ``ClusterSimulationTests`` starts.
    @Test(.enabled(if: OtherProcess.order != nil, "runs in the second process"))
    func `Writes down digests`() throws {
        let order = try #require(OtherProcess.order)
        let lines = order.seeds.map { seed in
            "\(seed) \(ClusterSimulation(seed: seed, origin: ClusterSimulationTests.origin).run().digest)\n"
        }
        try Data(lines.joined().utf8).write(to: URL(filePath: order.file))
    }
}

/// This program again, told by its environment what to do.
enum OtherProcess {
    private static let key = "GODWIT_SIM_DIGESTS"

    static var order: (seeds: ClosedRange<UInt64>, file: String)? {
        guard let words = ProcessInfo.processInfo.environment[key]?.split(separator: " ", maxSplits: 2),
            words.count == 3, let first = UInt64(words[0]), let last = UInt64(words[1]), first <= last
        else { return nil }
        return (first...last, String(words[2]))
    }

    /// Runs the seeds in another process.
    static func digests(of seeds: ClosedRange<UInt64>) throws -> [UInt64: UInt64] {
        let file = FileManager.default.temporaryDirectory.appending(path: "godwit-digests-\(UUID())")
        defer { try? FileManager.default.removeItem(at: file) }
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["--testing-library", "swift-testing", "--filter", "OtherProcessTests"]
        process.environment = ProcessInfo.processInfo.environment
            .merging([key: "\(seeds.lowerBound) \(seeds.upperBound) \(file.path)"]) { $1 }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        var digests: [UInt64: UInt64] = [:]
        for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
            let words = line.split(separator: " ").compactMap { UInt64($0) }
            if words.count == 2 { digests[words[0]] = words[1] }
        }
        return digests
    }
}
