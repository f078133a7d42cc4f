import ArgumentParser
import ClusterSim
import Foundation

/// The same seeds in another process, which tells the digest of each.
final class SecondRun {
    private let process = Process()
    private let pipe = Pipe()
    private var rest = Data()

    /// Starts this program again.
    init(seeds: String, profile: ClusterProfile.Name, agents: Int?) throws {
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["cluster", "--digests", "--seeds", seeds, "--profile", profile.rawValue]
        if let agents { process.arguments?.append(contentsOf: ["--agents", "\(agents)"]) }
        process.standardOutput = pipe
        try process.run()
    }

    /// The digest of a seed, to be asked for in the order in which they run.
    ///
    /// - Parameter seed: the next one.
    /// - Returns: what the other process came to.
    /// - Throws: when it ended, or says something else.
    func digest(of seed: UInt64) throws -> UInt64 {
        while true {
            if let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                let words = String(decoding: rest[..<end], as: UTF8.self).split(separator: " ").map { UInt64($0) }
                rest = Data(rest[(end + 1)...])
                guard words.count == 2, words[0] == seed, let digest = words[1] else {
                    throw ValidationError("The second process told of another seed than \(seed).")
                }
                return digest
            }
            let more = pipe.fileHandleForReading.availableData
            guard !more.isEmpty else { throw ValidationError("The second process ended before seed \(seed).") }
            rest += more
        }
    }
}
