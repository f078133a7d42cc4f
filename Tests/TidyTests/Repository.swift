import Foundation
import Testing

/// The checkout that these tests read: everything is judged from the files as they are.
enum Repository {
    /// The folder that holds Package.swift.
    ///
    /// Links are resolved, so a package made of links reads the real tree.
    static let root: URL = {
        var folder = URL(filePath: #filePath).resolvingSymlinksInPath()
        for _ in 0..<3 { folder.deleteLastPathComponent() }
        return folder
    }()

    /// A text file with its path from the root.
    struct File: Sendable {
        let path: String
        let text: String

        var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
        var isGenerated: Bool { path.hasSuffix(".pb.swift") }
    }

    /// Names in a folder of the checkout, sorted.
    static func names(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appending(path: folder).path).sorted()
    }

    /// Paths from the root of every file below a folder, sorted; a folder that is absent has none.
    static func paths(below folder: String) -> [String] {
        let start = root.appending(path: folder)
        guard let walk = FileManager.default.enumerator(atPath: start.path) else { return [] }
        var found: [String] = []
        while let name = walk.nextObject() as? String {
            if walk.fileAttributes?[.type] as? FileAttributeType == .typeRegular { found.append("\(folder)/\(name)") }
        }
        return found.sorted()
    }

    static func text(of path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    /// Every file below a folder whose name ends so.
    static func files(below folder: String, suffix: String) throws -> [File] {
        try paths(below: folder).filter { $0.hasSuffix(suffix) }.map { File(path: $0, text: try text(of: $0)) }
    }

    /// Every file below a folder that is UTF-8 text without NUL: what a person may have written.
    static func textFiles(below folder: String) -> [File] {
        paths(below: folder).compactMap { path in
            guard let text = try? text(of: path), !text.utf8.contains(0) else { return nil }
            return File(path: path, text: text)
        }
    }
}

/// Fails the running test once for each problem, so that one run shows them all.
func expectNone(_ problems: [String], sourceLocation: SourceLocation = #_sourceLocation) {
    for problem in problems { Issue.record(Comment(rawValue: problem), sourceLocation: sourceLocation) }
}
