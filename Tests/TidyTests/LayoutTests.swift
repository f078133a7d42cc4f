import Foundation
import Testing

/// The checkout looks as README.md draws it.
struct LayoutTests {
    static let allowed: Set = [
        "Package.swift", "Sources", "Tests", "agents", "proto", "integration", "README.md", "LICENSE",
    ]

    static func problems(inTopLevel names: [String]) -> [String] {
        names.filter { !allowed.contains($0) && !$0.hasPrefix(".") }
            .map {
                "\($0) does not belong at the top level; allowed are \(allowed.sorted().joined(separator: ", ")) and dot files"
            }
            + allowed.subtracting(names).sorted().map { "\($0) is missing at the top level" }
    }

    @Test func topLevelHoldsOnlyWhatItShould() throws {
        expectNone(Self.problems(inTopLevel: try Repository.names(in: "")))
    }

    /// What is wrong with the map in README.md: the rows of its tables that start with a target's name, in order.
    static func problems(inMap readme: String, of manifest: Manifest) -> [String] {
        let drawn = readme.matches(of: /(?m)^\| ((?:`[\w-]+`(?:, | ))+)\|/).flatMap { row in
            row.1.matches(of: /`([\w-]+)`/).map { String($0.1) }
        }
        let built = manifest.targets.filter { $0.kind != .testTarget }.map(\.name)
        let missing = built.filter { !drawn.contains($0) }.map { "README.md: the map does not name \($0)" }
        let extra = drawn.filter { !built.contains($0) }.map {
            "README.md: the map names \($0), which Package.swift does not"
        }
        guard missing.isEmpty, extra.isEmpty, drawn != built else { return missing + extra }
        return ["README.md: the map must follow Package.swift's order: \(built.joined(separator: ", "))"]
    }

    @Test func mapNamesEveryTargetInOrder() throws {
        expectNone(Self.problems(inMap: try Repository.text(of: "README.md"), of: try Manifest.ofThisPackage()))
    }

    /// Folders under Sources and Tests that no target owns.
    static func problems(inFolders folders: [String], of manifest: Manifest) -> [String] {
        let owned = Set(manifest.targets.map(\.folder))
        return folders.filter { !owned.contains($0) }.map { "\($0) belongs to no target of Package.swift" }
    }

    @Test func everyFolderBelongsToATarget() throws {
        let folders = try ["Sources", "Tests"].flatMap { parent in
            try Repository.names(in: parent).map { "\(parent)/\($0)" }
        }
        expectNone(Self.problems(inFolders: folders, of: try Manifest.ofThisPackage()))
    }

    @Test func plantedNamesAreFound() {
        let names = Self.allowed.sorted()
        #expect(Self.problems(inTopLevel: names + [".ci", ".gitignore"]) == [])
        #expect(Self.problems(inTopLevel: names + ["notes.txt"]).count == 1)
        #expect(Self.problems(inTopLevel: names.filter { $0 != "LICENSE" }) == ["LICENSE is missing at the top level"])
    }

    @Test func everyIgnoredNameIsUnderstood() {
        #expect(Repository.ignored.notUnderstood == [])
    }

    @Test func ignoredNamesAreNoPartOfTheRepository() {
        let ignored = IgnoredNames(gitignore: "# built\n\n.build/\n.build-*/\nPackage.resolved\n*.swp\n!a\nb/c\n")
        for name in [".build", ".build-tidy", "Package.resolved", ".x.swp"] { #expect(ignored.covers(name), "\(name)") }
        for name in ["Package.swift", "build", "x.swp.txt", "# built", ""] { #expect(!ignored.covers(name), "\(name)") }
        #expect(ignored.notUnderstood == ["!a", "b/c"])
    }

    @Test func plantedMapsAreFound() {
        let manifest = Manifest(
            "    targets: [\n.target(name: \"A\"),\n.target(name: \"B-c\"),\n.testTarget(name: \"ATests\"),\n]"
        )
        #expect(Self.problems(inMap: "| `A` | x |\n| `B-c` | y |", of: manifest) == [])
        #expect(Self.problems(inMap: "| `A`, `B-c` | x |", of: manifest) == [])
        #expect(Self.problems(inMap: "| `A` | uses `B-c` |", of: manifest) == ["README.md: the map does not name B-c"])
        #expect(Self.problems(inMap: "| `B-c` | y |\n| `A` | x |", of: manifest).count == 1)
        #expect(Self.problems(inMap: "| `A`, `B-c`, `D` | x |", of: manifest).count == 1)
        #expect(Self.problems(inFolders: ["Sources/A", "Sources/D", "Tests/ATests"], of: manifest).count == 1)
    }
}
