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

    /// What a target names and none of its files imports.
    ///
    /// Programs are not meant: a test names them so that they are built.
    static func problems(ofUnused target: Manifest.Target, texts: [String], in manifest: Manifest) -> [String] {
        let imported = Set(texts.flatMap { imports(of: $0).map(\.module) })
        let targets = target.targets.filter {
            manifest[$0]?.kind != .executableTarget && !imported.contains($0)
        }
        let products = target.products.filter { ofProduct[$0, default: [$0]].isDisjoint(with: imported) }
        return (targets + products).map { "Package.swift: \(target.name) names \($0) and does not import it" }
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

    @Test func everyTargetImportsWhatItNames() throws {
        let manifest = try Manifest.ofThisPackage()
        for target in manifest.targets where target.kind != .systemLibrary {
            let files = try Repository.files(below: target.folder, suffix: ".swift")
                .filter { !$0.path.hasPrefix("integration/Benchmarks/") }
            // A target of C includes instead.
            guard !files.isEmpty else { continue }
            expectNone(Self.problems(ofUnused: target, texts: files.map(\.text), in: manifest))
        }
    }

    /// Variables of Package.swift that hold a product which no target names.
    static func problems(ofUnusedProductsIn text: String) -> [String] {
        // The package of a product often has its name: strings do not count.
        let words = text.replacing(/"[^"]*"/, with: "").matches(of: /\w+/).map(\.0)
        return text.matches(of: /let (\w+) = Target\.Dependency\.product/).map { String($0.1) }
            .filter { name in words.count { $0 == name } < 2 }
            .map { "Package.swift: no target names \($0)" }
    }

    @Test func everyProductIsNamed() throws {
        expectNone(Self.problems(ofUnusedProductsIn: try Repository.text(of: "Package.swift")))
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
        )
        package.targets.append(.target(name: "OnDemand", dependencies: ["Later"]))
        """
    )

    @Test func manifestIsReadAsWritten() throws {
        let shell = try #require(Self.small["Shell"])
        #expect(
            shell.targets == ["Model"] && shell.products == ["NIO"] && !shell.isPure && shell.folder == "Sources/Shell"
        )
        #expect(Self.small["Policy"]?.isPure == true)
        #expect(Self.small["ShellTests"]?.folder == "Tests/ShellTests")
        #expect(Self.small.targets.map(\.name) == ["Model", "Policy", "Shell", "ShellTests", "Later"])
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

    @Test func plantedNamesWithoutImportAreFound() throws {
        let shell = try #require(Self.small["Shell"])
        #expect(Self.problems(ofUnused: shell, texts: ["import Model", "import NIOCore"], in: Self.small) == [])
        #expect(Self.problems(ofUnused: shell, texts: ["import NIO\n// import Model"], in: Self.small).count == 1)
        #expect(Self.problems(ofUnused: shell, texts: [""], in: Self.small).count == 2)
        let unused = "let nio = Target.Dependency.product(name: \"NIO\", package: \"swift-nio\")\n"
        #expect(Self.problems(ofUnusedProductsIn: unused).count == 1)
        #expect(Self.problems(ofUnusedProductsIn: unused + ".target(name: \"A\", dependencies: [nio])") == [])
    }

    @Test func plantedOrderIsFound() {
        #expect(Self.problems(inOrderOf: Self.small) == ["Package.swift: ShellTests uses Later, which stands below it"])
    }
}
