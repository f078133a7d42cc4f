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

    /// What git ignores; a checkout without .gitignore ignores nothing.
    static let ignored = IgnoredNames(gitignore: (try? text(of: ".gitignore")) ?? "")

    /// A text file with its path from the root.
    struct File: Sendable {
        let path: String
        let text: String

        var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
        var isGenerated: Bool { path.hasSuffix(".pb.swift") }
    }

    /// Names in a folder of the checkout, sorted; what git ignores is no part of it.
    static func names(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appending(path: folder).path)
            .filter { !ignored.covers($0) }.sorted()
    }

    /// Paths from the root of every file below a folder that git does not ignore, sorted; a folder that is absent has none.
    static func paths(below folder: String) -> [String] {
        let start = root.appending(path: folder)
        guard let walk = FileManager.default.enumerator(atPath: start.path) else { return [] }
        var found: [String] = []
        while let name = walk.nextObject() as? String {
            guard !ignored.covers((name as NSString).lastPathComponent) else {
                walk.skipDescendants()
                continue
            }
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

/// Names that .gitignore keeps out of the repository: what a build or an editor leaves behind.
///
/// Read from the file instead of asking git, so that a checkout without git's folder is judged alike.
struct IgnoredNames: Sendable {
    /// With `*` as in a shell; each holds in every folder.
    let patterns: [String]
    /// Lines that this reader does not understand, so that nobody believes they count.
    let notUnderstood: [String]

    init(gitignore: String) {
        let lines = gitignore.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { !$0.isEmpty && !$0.hasPrefix("#") }
        let names = lines.map { $0.hasSuffix("/") ? String($0.dropLast()) : String($0) }
        patterns = names.filter { !Self.isBeyondUs($0) }
        notUnderstood = names.filter(Self.isBeyondUs)
    }

    /// Whether a file or folder of this name is ignored.
    func covers(_ name: String) -> Bool { patterns.contains { Self.matches(name[...], $0[...]) } }

    /// Exceptions, paths, and the rarer wildcards.
    private static func isBeyondUs(_ pattern: String) -> Bool { pattern.contains { "!/?[\\".contains($0) } }

    private static func matches(_ name: Substring, _ pattern: Substring) -> Bool {
        guard let first = pattern.first else { return name.isEmpty }
        guard first == "*" else { return name.first == first && matches(name.dropFirst(), pattern.dropFirst()) }
        return matches(name, pattern.dropFirst()) || (!name.isEmpty && matches(name.dropFirst(), pattern))
    }
}

/// Fails the running test once for each problem, so that one run shows them all.
func expectNone(_ problems: [String], sourceLocation: SourceLocation = #_sourceLocation) {
    for problem in problems { Issue.record(Comment(rawValue: problem), sourceLocation: sourceLocation) }
}
