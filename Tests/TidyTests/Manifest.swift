/// What Package.swift says about the house: its targets in order, what each may use, which are pure.
struct Manifest {
    /// One entry of the list of targets.
    struct Target: Equatable {
        enum Kind: String {
            case target, systemLibrary, executableTarget, testTarget
        }
        let name: String
        let kind: Kind
        /// Folder of its sources, from the root.
        let folder: String
        /// Names of targets of this package.
        let targets: [String]
        /// Names of products of other packages.
        let products: [String]
        /// Stands under a heading that says "(pure)", or is the simulator, which the headings put under verification.
        let isPure: Bool
    }

    let targets: [Target]

    subscript(name: String) -> Target? { targets.first { $0.name == name } }

    /// Targets that stand before the given one.
    func above(_ name: String) -> Set<String> {
        Set(targets.prefix { $0.name != name }.map(\.name))
    }

    init(_ text: String) {
        var productOf: [String: String] = [:]
        for match in text.matches(of: /let (\w+) = Target\.Dependency\.product\(name: "([^"]+)"/) {
            productOf[String(match.1)] = String(match.2)
        }
        guard let start = text.firstRange(of: "    targets: [\n") else {
            targets = []
            return
        }
        var body = text[start.upperBound...]
        // What stands below the list is built on demand only, such as benchmarks with the peers they measure against.
        if let end = body.firstRange(of: "\n    ]\n)") { body = body[..<end.lowerBound] }
        let names = Set(
            body.matches(of: /\.(?:target|systemLibrary|executableTarget|testTarget)\(\s*name: "([^"]+)"/).map {
                String($0.1)
            }
        )

        var found: [Target] = []
        var isPureSection = false
        var rest = body
        while let next = rest.firstMatch(of: /MARK: ([^\n]*)|\.(target|systemLibrary|executableTarget|testTarget)\(/) {
            if let heading = next.1 {
                isPureSection = heading.contains("(pure)")
                rest = rest[next.range.upperBound...]
                continue
            }
            let entry = Self.balanced(rest[next.range.upperBound...])
            rest = rest[entry.endIndex...]
            guard let kind = next.2.flatMap({ Target.Kind(rawValue: String($0)) }),
                let name = entry.firstMatch(of: /name: "([^"]+)"/).map({ String($0.1) })
            else { continue }
            let dependencies = entry.firstMatch(of: /dependencies: \[([^\]]*)\]/).map { String($0.1) } ?? ""
            let quoted = dependencies.matches(of: /"([^"]+)"/).map { String($0.1) }
            let variables = dependencies.replacing(/"[^"]*"/, with: "").matches(of: /\w+/).map { String($0.0) }
            let parent = kind == .testTarget ? "Tests" : "Sources"
            found.append(
                Target(
                    name: name,
                    kind: kind,
                    folder: entry.firstMatch(of: /path: "([^"]+)"/).map { String($0.1) } ?? "\(parent)/\(name)",
                    targets: quoted.filter(names.contains),
                    products: variables.compactMap { productOf[$0] },
                    isPure: isPureSection || name == "ClusterSim"
                )
            )
        }
        targets = found
    }

    /// The text up to the parenthesis that closes the one already opened.
    private static func balanced(_ text: Substring) -> Substring {
        var depth = 1
        for index in text.indices {
            if text[index] == "(" { depth += 1 }
            if text[index] == ")" { depth -= 1 }
            if depth == 0 { return text[..<index] }
        }
        return text
    }

    /// Package.swift of this checkout.
    static func ofThisPackage() throws -> Manifest { Manifest(try Repository.text(of: "Package.swift")) }
}
