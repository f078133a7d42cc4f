import Testing

/// What other targets use says what it promises, and every module has its page.
///
/// swift-format holds the same rule for `public` only; ours are mostly `package`.
struct DocumentationTests {
    /// Members whose promise is a protocol's, not ours, by protocol; "" are those of the standard library that everybody knows.
    static let ofOthers: [String: Set<String>] = [
        "": [
            "description", "debugDescription", "hash", "encode", "rawValue", "id", "allCases", "hashValue", "next",
            "makeIterator",
            "startIndex", "endIndex", "index", "Element", "AsyncIterator", "makeAsyncIterator",
        ],
        "LogHandler": ["log", "logLevel", "metadata", "metadataProvider"],
        "MetricsFactory": [
            "makeCounter", "makeFloatingPointCounter", "makeMeter", "makeRecorder", "makeTimer", "destroyCounter",
            "destroyFloatingPointCounter", "destroyMeter", "destroyRecorder", "destroyTimer",
        ],
        "Service": ["run"],
        "ChannelInboundHandler": channelHandler, "ChannelOutboundHandler": channelHandler,
        "ChannelDuplexHandler": channelHandler,
    ]
    private static let channelHandler: Set = [
        "InboundIn", "InboundOut", "OutboundIn", "OutboundOut", "handlerAdded", "handlerRemoved", "channelActive",
        "channelInactive",
        "channelRead", "channelReadComplete", "channelWritabilityChanged", "userInboundEventTriggered", "errorCaught",
        "write",
        "flush", "read", "close", "connect", "bind", "triggerUserOutboundEvent",
    ]

    /// What the protocols of a text ask for, by protocol: members are explained there, once.
    static func requirements(in code: [Substring]) -> [String: Set<String>] {
        var found: [String: Set<String>] = [:]
        var current: (name: String, depth: Int)?
        var depth = 0
        for line in code {
            if current == nil, let name = line.firstMatch(of: /\bprotocol\s+(\w+)/)?.1 {
                current = (String(name), depth)
            }
            if let current, depth > current.depth,
                let member = line.prefixMatch(
                    of: /\s*(?:(?:static|mutating|nonisolated)\s+)*(?:func|var|associatedtype)\s+(\w+)/
                )?.1
            {
                found[current.name, default: []].insert(String(member))
            }
            depth += line.count { $0 == "{" } - line.count { $0 == "}" }
            if let open = current, depth <= open.depth, line.contains("}") { current = nil }
        }
        return found
    }

    /// The members that a text need not explain because a protocol that it names after a colon does.
    static func witnesses(in code: [Substring], of protocols: [String: Set<String>]) -> Set<String> {
        var names = ofOthers["", default: []]
        for line in code {
            guard line.contains(":"),
                let clause = line.firstMatch(of: /\b(?:class|struct|enum|actor|extension)\s+[\w.<>, ]+:([^{]*)/)?.1
            else { continue }
            for name in clause.matches(of: /\w+/) {
                names.formUnion(protocols[String(name.0), default: []])
                names.formUnion(ofOthers[String(name.0), default: []])
            }
        }
        return names
    }

    /// Types that say nothing about their values: a property of one of them needs its unit, its bound or its meaning.
    static let bare: Set = [
        "Int", "Int8", "Int16", "Int32", "Int64", "UInt", "UInt8", "UInt16", "UInt32", "UInt64", "Double", "Float",
        "Bool", "String",
        "Substring", "Any", "Data",
    ]

    /// Declarations of a text that other targets can use and that have no comment.
    ///
    /// Left out: operators and `witnesses`; overrides; initialisers that neither throw nor fail, because they fill in what the
    /// properties explain; stored properties whose type is a word of ours (`deadline: Timestamp?`), because the type explains them.
    static func problems(inFile path: String, text: String, protocols: [String: Set<String>] = [:]) -> [String] {
        let source = text.split(separator: "\n", omittingEmptySubsequences: false)
        let code = SwiftText(text).lines
        let witnesses = witnesses(in: code, of: protocols)
        let pattern =
            /^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:public|package)\s+(?!import\b|extension\b)((?:(?:final|static|class|mutating|nonmutating|borrowing|consuming|indirect|override|convenience|required|lazy|weak|unowned|unsafe|nonisolated|isolated|distributed|dynamic|private\(set\)|fileprivate\(set\)|internal\(set\)|nonisolated\(\w+\))\s+)*)(actor|class|enum|func|init|let|protocol|struct|subscript|typealias|associatedtype|var|macro|case)\b(.*)/
        return code.enumerated().compactMap { number, line in
            guard line.contains("package") || line.contains("public"), let match = line.firstMatch(of: pattern) else {
                return nil
            }
            let (modifiers, keyword, rest) = (match.1, match.2, match.3)
            if modifiers.contains("override") { return nil }
            let name = rest.prefixMatch(of: /\s+(\w+|`[^`]+`)/).map { String($0.1) } ?? ""
            if keyword == "func", rest.prefixMatch(of: /\s+\w/) == nil { return nil }
            if witnesses.contains(name),
                keyword == "func" || keyword == "var" || keyword == "let" || keyword == "typealias"
                    || modifiers.contains("static")
            {
                return nil
            }
            if keyword == "subscript", rest.hasPrefix("(metadataKey ") { return nil }
            if keyword == "init", rest.hasPrefix("(from decoder:") { return nil }
            if keyword == "let" || keyword == "var", !modifiers.contains("static"), isExplainedByItsType(rest) {
                return nil
            }
            if keyword == "init", !rest.hasPrefix("?"), !signature(from: number, in: code).contains("throws") {
                return nil
            }
            var above = number - 1
            while above >= 0, isAttribute(source[above]) { above -= 1 }
            if above >= 0, isDocumentation(source[above]) { return nil }
            return
                "\(path):\(number + 1): `\(line.trimmingPrefix(/\s+/).prefix(80))` has no /// comment that says what it promises"
        }
    }

    /// Whether this is the rest of a stored property of one of our own types: `deadline: Timestamp?`, `taken = Timestamp.epoch`.
    private static func isExplainedByItsType(_ rest: Substring) -> Bool {
        let type =
            rest.wholeMatch(of: /\s+\w+:\s*\[?([A-Z]\w*)(?:\.\w+)*\]?\??(?:\s*=.*)?/)?.1
            ?? rest.wholeMatch(of: /\s+\w+\s*=\s*([A-Z]\w*)[.(][^{]*/)?.1
        return type.map { !bare.contains(String($0)) } ?? false
    }

    /// A declaration from its line to the brace that opens its body; initialisers may break their parameters over lines.
    private static func signature(from line: Int, in code: [Substring]) -> String {
        var text = ""
        for next in code[line..<min(line + 30, code.count)] {
            guard let brace = next.firstIndex(of: "{") else {
                text += next + " "
                continue
            }
            return text + next[..<brace]
        }
        return text
    }

    private static func isAttribute(_ line: Substring) -> Bool { line.wholeMatch(of: /\s*@\w+.*/) != nil }
    private static func isDocumentation(_ line: Substring) -> Bool {
        line.prefixMatch(of: /\s*\/\/\//) != nil || line.wholeMatch(of: /.*\*\/\s*/) != nil
    }

    @Test func everyDeclarationForOthersIsExplained() throws {
        let files = try Repository.files(below: "Sources", suffix: ".swift").filter { !$0.isGenerated }
        let protocols = files.filter { $0.text.contains("protocol ") }.map {
            Self.requirements(in: SwiftText($0.text).lines)
        }
        .reduce(into: [:]) { $0.merge($1) { $0.union($1) } }
        for file in files { expectNone(Self.problems(inFile: file.path, text: file.text, protocols: protocols)) }
    }

    /// What is wrong with a module's page; nil is a page that is not there.
    static func problems(inPage text: String?, of name: String) -> [String] {
        let path = "Sources/\(name)/\(name).docc/\(name).md"
        guard let text else { return ["\(path) is missing: say what \(name) promises and why it is shaped so"] }
        guard text.hasPrefix("# ``\(name)``\n") else { return ["\(path): the first line must be # ``\(name)``"] }
        return text.count < 200 ? ["\(path): too short to say what \(name) promises and why it is shaped so"] : []
    }

    @Test func everyModuleHasItsPage() throws {
        for target in try Manifest.ofThisPackage().targets
        where target.kind == .target && target.name != "ControlMessages" {
            let swift = try Repository.files(below: target.folder, suffix: ".swift")
            // A target without Swift only declares C.
            guard !swift.isEmpty else { continue }
            let page = try? Repository.text(of: "\(target.folder)/\(target.name).docc/\(target.name).md")
            expectNone(Self.problems(inPage: page, of: target.name))
        }
    }

    @Test(arguments: [
        "package struct A {}", "public func f() {}", "  package static let a = 1", "package var a: Int",
        "package mutating func apply() {}", "package private(set) var a = 1", "@MainActor package final class A {}",
        "package init(_ text: String) throws(E) {", "package init?(a: Int) {", "package init(\n  a: Int\n) throws {",
        "// not a doc comment\npackage var a: [String]",
        "package var deadline: Timestamp { computed() }", "package var size = Int(4)",
        "/// far away\n\npackage var a: Int",
    ])
    func plantedDeclarationIsFound(text: String) {
        #expect(Self.problems(inFile: "x", text: text).count == 1)
    }

    @Test(arguments: [
        "/// A.\npackage struct A {}", "/// A.\n@MainActor\npackage final class A {}", "package import NIO",
        "package extension A {}",
        "package init(a: Int) { self.a = a }", "package static func < (l: A, r: A) -> Bool { true }", "struct A {}",
        "package var description: String { \"\" }", "let a = \"package struct A\"", "/** A. */\npackage let a = 1",
        "package var deadline: Timestamp?", "package var deadline = Timestamp.epoch",
        "package internal(set) var state: State = .complete",
        "package let mounts: [Mount]",
    ])
    func innocentDeclarationPasses(text: String) {
        #expect(Self.problems(inFile: "x", text: text) == [])
    }

    @Test func protocolExplainsItsWitnesses() {
        let asks = "package protocol Store {\n  func load() async\n  var size: Int { get }\n}\nfunc other() {}"
        let protocols = Self.requirements(in: SwiftText(asks).lines)
        #expect(protocols == ["Store": ["load", "size"]])
        let keeps = "/// A.\npackage actor Disk: Store {\n  package func load() {}\n  package func extra() {}\n}"
        #expect(Self.problems(inFile: "x", text: keeps, protocols: protocols).count == 1)
        #expect(Self.problems(inFile: "x", text: keeps.replacing(": Store", with: ""), protocols: protocols).count == 2)
    }

    @Test func plantedPagesAreFound() {
        #expect(Self.problems(inPage: nil, of: "QoS").count == 1)
        #expect(Self.problems(inPage: "# QoS\n", of: "QoS").count == 1)
        #expect(Self.problems(inPage: "# ``QoS``\n\nShort.", of: "QoS").count == 1)
        #expect(Self.problems(inPage: "# ``QoS``\n\n" + String(repeating: "Promise. ", count: 30), of: "QoS") == [])
    }
}
