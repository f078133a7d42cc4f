import Testing

/// A target imports only what Package.swift lets it, and pure targets only pure ones.
struct LayeringTests {
    /// Modules of the toolchain that any shell target may import; a pure target may import none of them.
    static let ofTheToolchain: Set = [
        "Swift", "Synchronization", "Dispatch", "Foundation", "FoundationEssentials", "Glibc", "Musl", "Testing",
        "RegexBuilder",
    ]

    /// Modules that come with a product under other names than the product's.
    static let ofProduct: [String: Set<String>] = [
        "NIO": ["NIO", "NIOCore", "NIOPosix", "NIOEmbedded"],
        "Collections": ["Collections", "DequeModule", "HeapModule", "OrderedCollections"],
        "Metrics": ["Metrics", "CoreMetrics"],
    ]

    /// What is wrong with the imports of one file of a target.
    static func problems(
        inFile path: String,
        text: String,
        of target: Manifest.Target,
        in manifest: Manifest
    ) -> [String] {
        var allowed = Set(target.targets)
        if target.isPure {
            allowed = allowed.filter { manifest[$0]?.isPure == true }
        } else {
            allowed.formUnion(ofTheToolchain)
            for product in target.products { allowed.formUnion(ofProduct[product] ?? [product]) }
        }
        return imports(of: text).filter { !allowed.contains($0.module) }.map { line, module in
            let reason =
                target.isPure && (manifest[module]?.isPure ?? false) == false
                ? "\(target.name) is pure and may import pure targets only"
                : "Package.swift does not name it among the dependencies of \(target.name)"
            return "\(path):\(line): import \(module): \(reason)"
        }
    }

    /// The modules that a file imports, with the lines.
    static func imports(of text: String) -> [(line: Int, module: String)] {
        SwiftText(text).lines.enumerated().compactMap { number, line in
            guard line.contains("import") else { return nil }
            let pattern =
                /^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+(?:(?:struct|class|enum|func|protocol|typealias|var|let)\s+)?(\w+)/
            return line.firstMatch(of: pattern).map { (number + 1, String($0.1)) }
        }
    }

    /// Dependencies that do not stand above the target that uses them.
    static func problems(inOrderOf manifest: Manifest) -> [String] {
        manifest.targets.flatMap { target in
            target.targets.filter { !manifest.above(target.name).contains($0) }
                .map { "Package.swift: \(target.name) uses \($0), which stands below it" }
        }
    }

    @Test func everyTargetImportsOnlyWhatItNames() throws {
        let manifest = try Manifest.ofThisPackage()
        try #require(manifest.targets.count > 20)
        for target in manifest.targets where target.kind != .systemLibrary {
            // Benchmarks are targets of their own, built on demand.
            for file in try Repository.files(below: target.folder, suffix: ".swift")
            where !file.path.hasPrefix("integration/Benchmarks/") {
                expectNone(Self.problems(inFile: file.path, text: file.text, of: target, in: manifest))
            }
        }
    }

    @Test func everyTargetUsesOnlyWhatStandsAboveIt() throws {
        expectNone(Self.problems(inOrderOf: try Manifest.ofThisPackage()))
    }

    @Test func pureTargetsNameOnlyPureTargets() throws {
        let manifest = try Manifest.ofThisPackage()
        for target in manifest.targets where target.isPure {
            for name in target.targets {
                #expect(manifest[name]?.isPure == true, "\(target.name) is pure, but names \(name), which is not")
            }
            #expect(target.products.isEmpty, "\(target.name) is pure, but names \(target.products)")
        }
    }

    // MARK: The checks themselves

    static let small = Manifest(
        """
        let nio = Target.Dependency.product(name: "NIO", package: "swift-nio")
            targets: [
                // MARK: Vocabulary (pure)
                .target(name: "Model"),
                .target(name: "Policy", dependencies: ["Model"]),
                // MARK: System: touches the kernel
                .target(
                    name: "Shell",
                    dependencies: ["Model", nio]
                ),
                .testTarget(name: "ShellTests", dependencies: ["Shell", "Later"]),
                .target(name: "Later"),
            ]
        """
    )

    @Test func manifestIsReadAsWritten() throws {
        let shell = try #require(Self.small["Shell"])
        #expect(
            shell.targets == ["Model"] && shell.products == ["NIO"] && !shell.isPure && shell.folder == "Sources/Shell"
        )
        #expect(Self.small["Policy"]?.isPure == true)
        #expect(Self.small["ShellTests"]?.folder == "Tests/ShellTests")
    }

    @Test(arguments: [
        ("import Foundation", "Policy", 1), ("@preconcurrency package import Glibc", "Policy", 1),
        ("import Shell", "Policy", 1), ("package import Model", "Policy", 0),
        ("// import Glibc\nlet a = \"import Foundation\"", "Policy", 0),
        ("import Policy", "Shell", 1), ("import struct Foundation.Data\nimport NIOCore", "Shell", 0),
        ("internal import Hummingbird", "Shell", 1),
    ])
    func plantedImportIsFound(text: String, name: String, count: Int) throws {
        let target = try #require(Self.small[name])
        #expect(Self.problems(inFile: "x", text: text, of: target, in: Self.small).count == count)
    }

    @Test func plantedOrderIsFound() {
        #expect(Self.problems(inOrderOf: Self.small) == ["Package.swift: ShellTests uses Later, which stands below it"])
    }
}
