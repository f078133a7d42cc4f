import Foundation
import ResourceSamples

/// Texts that a kernel printed, one folder per kernel and cgroup version.
enum Fixtures {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures")
    static let v1 = "linux-6.18-v1"
    static let v2 = "linux-6.8-v2"

    static func bytes(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: root.appending(path: name)))
    }

    static var all: [String] {
        [v1, v2].flatMap { folder in
            ((try? FileManager.default.contentsOfDirectory(atPath: root.appending(path: folder).path)) ?? []).sorted()
                .map { "\(folder)/\($0)" }
        }
    }
}

/// Runs a parser on a text given in the test itself.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
