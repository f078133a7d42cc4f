import Testing

/// Pure targets take time and chance as arguments, start nothing and print nothing.
struct PurityTests {
    /// Words that no pure target may use, with the reason.
    static var banned: [(pattern: Regex<Substring>, reason: String)] {
        [
            (
                /\b(?:ContinuousClock|SuspendingClock|WallClock|UTCClock)\s*\(\s*\)|\b\w*[Cc]lock\.now\b|=\s*\.now\b/,
                "reads a clock; take `now` as an argument"
            ),
            (
                /\bDate\s*\(\s*\)|\bDate\.now\b|\bgettimeofday\b|\bclock_gettime\b/,
                "reads a clock; take `now` as an argument"
            ),
            (
                /\.(?:random|randomElement|shuffled|shuffle)\s*\((?![^()]*(?:\([^()]*\)[^()]*)*\busing:)/,
                "draws from the system's generator; take a generator as an argument"
            ),
            (
                /\bSystemRandomNumberGenerator\b|\barc4random\w*/,
                "draws from the system's generator; take a generator as an argument"
            ),
            (
                /\bTask\s*[.{(<]|\bTaskGroup\b|\bwith\w*TaskGroup\b/,
                "starts a task; return an effect and let the shell start it"
            ),
            (/\bprint\s*\(|\bdebugPrint\s*\(/, "prints; return a value and let the shell print it"),
            (/\b(?:DispatchQueue|FileManager|ProcessInfo|getenv)\b/, "touches the system; that is a shell's work"),
        ]
    }

    /// Impure words of a text.
    static func problems(inFile path: String, text: String) -> [String] {
        let banned = banned
        return SwiftText(text).lines.enumerated().flatMap { number, line in
            banned.compactMap { pattern, reason in
                line.firstMatch(of: pattern).map { "\(path):\(number + 1): '\($0.0)' \(reason)" }
            }
        }
    }

    @Test func pureTargetsStayPure() throws {
        let pure = try Manifest.ofThisPackage().targets.filter(\.isPure)
        try #require(pure.count >= 7)
        for target in pure {
            for file in try Repository.files(below: target.folder, suffix: ".swift") {
                expectNone(Self.problems(inFile: file.path, text: file.text))
            }
        }
    }

    @Test(arguments: [
        "let start = ContinuousClock.now", "let t = clock.now", "let t = ContinuousClock ().now", "let d = Date()",
        "let x = Int.random(in: 0..<(3 + 4))", "list.shuffle()", "var g = SystemRandomNumberGenerator()",
        "Task { await x() }", "await Task.yield()", "print(\"a\")", "let t = \"\\(Date())\"",
        "func f(now: Instant = .now) {}",
    ])
    func plantedWordIsFound(text: String) {
        #expect(Self.problems(inFile: "x", text: text).count == 1)
    }

    @Test(arguments: [
        "let x = Int.random(in: 0..<(3 + 4), using: &generator)", "list.shuffle(using: &generator)", "// print(Date())",
        "let text = \"print(now)\"", "let state = view.now", "func blueprint() {}", "let a = #\"Task { \"quoted\" }\"#",
        "/* Task { /* nested */ Task { */ let a = 1", "let a = \"\"\"\n print(1)\n \"\"\"",
    ])
    func innocentTextPasses(text: String) {
        #expect(Self.problems(inFile: "x", text: text) == [])
    }
}
