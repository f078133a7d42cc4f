import Foundation
import Testing

/// Habits that we agreed on and that no compiler holds.
struct HabitTests {
    static let folders = ["Sources", "Tests", "agents", "proto", "integration", ".ci"]

    // MARK: Nothing is left for later

    // Spelled in pieces, so that this file does not find itself.
    private static let marks = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]

    static func problems(ofMarksIn path: String, text: String) -> [String] {
        text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().flatMap { number, line in
            marks.filter { mark in line.contains(mark) && line.matches(of: /[A-Za-z]+/).contains { $0.0 == mark[...] } }
                .map { "\(path):\(number + 1): \($0): finish it, or open an issue" }
        }
    }

    @Test func nothingIsLeftForLater() throws {
        for folder in Self.folders {
            for file in Repository.textFiles(below: folder) where !file.isGenerated {
                expectNone(Self.problems(ofMarksIn: file.path, text: file.text))
            }
        }
    }

    // MARK: A file tells one story

    static let mostLines = 700

    static func problems(ofLengthIn file: Repository.File) -> [String] {
        let count = file.lines.count
        guard !file.isGenerated, count > mostLines else { return [] }
        return ["\(file.path): \(count) lines; a file tells one story in at most \(mostLines)"]
    }

    @Test func filesTellOneStory() throws {
        for file in try Repository.files(below: "Sources", suffix: ".swift") {
            expectNone(Self.problems(ofLengthIn: file))
        }
    }

    // MARK: Scripts stop at the first error

    /// What is wrong with a script; a file that is none has no problems.
    static func problems(inScript path: String, text: String, isExecutable: Bool) -> [String] {
        let lines = text.split(separator: "\n", maxSplits: 15, omittingEmptySubsequences: false)
        guard let first = lines.first, first.wholeMatch(of: /#!.*\b(?:ba|da|z)?sh\b.*/) != nil else { return [] }
        var found: [String] = []
        if first != "#!/usr/bin/env bash" { found.append("\(path): must start with #!/usr/bin/env bash") }
        // The first thing a script does; comments may stand before.
        let start = lines.dropFirst().first { !$0.hasPrefix("#") && !$0.allSatisfy(\.isWhitespace) }
        if start != "set -euo pipefail" { found.append("\(path): its first command must be set -euo pipefail") }
        if !isExecutable { found.append("\(path): is not executable") }
        return found
    }

    @Test func scriptsStopAtTheFirstError() throws {
        var scripts = 0
        for file in ["agents", "integration", ".ci"].flatMap(Repository.textFiles)
        // Completions are read by a shell that is already running.
        where file.text.hasPrefix("#!") && !file.path.hasPrefix("agents/completions/") {
            scripts += 1
            let isExecutable = FileManager.default.isExecutableFile(
                atPath: Repository.root.appending(path: file.path).path
            )
            expectNone(Self.problems(inScript: file.path, text: file.text, isExecutable: isExecutable))
        }
        #expect(scripts >= 5, "the scripts have moved; this test no longer finds them")
    }

    // MARK: Unit tests wait for events, not for time

    /// Sleeps of a test.
    ///
    /// What another process or the kernel does can only be polled for: such a line says what it polls, `// polls: ...`.
    static func problems(ofSleepsIn path: String, text: String) -> [String] {
        let source = text.split(separator: "\n", omittingEmptySubsequences: false)
        return SwiftText(text).lines.enumerated().compactMap { number, line in
            guard line.contains("sleep"), source[number].firstMatch(of: /\/\/ polls: \w+/) == nil else { return nil }
            return line.firstMatch(of: /(?:^|[^.\w])(?:sleep|usleep|nanosleep)\s*\(|\b(?:Task|Thread)\s*\.\s*sleep\b/)
                .map {
                    "\(path):\(number + 1): '\($0.0)': wait for the event, or say at its end what it polls: // polls: ..."
                }
        }
    }

    @Test func unitTestsDoNotSleep() throws {
        for file in try Repository.files(below: "Tests", suffix: ".swift") {
            expectNone(Self.problems(ofSleepsIn: file.path, text: file.text))
        }
    }

    // MARK: Exit tests hang

    /// Uses of exit tests.
    ///
    /// The library's thread for them waits for any child and spins for ever on one that another test has not reaped yet.
    static func problems(ofExitTestsIn path: String, text: String) -> [String] {
        SwiftText(text).lines.enumerated().filter { $0.element.contains("processExitsWith") }.map {
            "\(path):\($0.offset + 1): an exit test hangs beside tests with children: start this program again instead, as KillTests does"
        }
    }

    @Test func thereAreNoExitTests() throws {
        for file in try Repository.files(below: "Tests", suffix: ".swift") {
            expectNone(Self.problems(ofExitTestsIn: file.path, text: file.text))
        }
    }

    // MARK: The checks themselves

    @Test func plantedHabitsAreFound() {
        #expect(Self.problems(ofMarksIn: "x", text: "a\n// " + "TO" + "DO: later").count == 1)
        #expect(Self.problems(ofMarksIn: "x", text: "methodology of autoDOcking").isEmpty)
        let long = String(repeating: "\n", count: Self.mostLines)
        #expect(Self.problems(ofLengthIn: .init(path: "a.swift", text: long)).count == 1)
        #expect(Self.problems(ofLengthIn: .init(path: "a.pb.swift", text: long)).isEmpty)
        #expect(Self.problems(ofSleepsIn: "x", text: "try await Task.sleep(for: .seconds(1))").count == 1)
        #expect(Self.problems(ofSleepsIn: "x", text: "usleep(10)").count == 1)
        #expect(Self.problems(ofSleepsIn: "x", text: "usleep(10) // polls:").count == 1)
        #expect(Self.problems(ofSleepsIn: "x", text: "usleep(10)  // polls: the exit of a process").isEmpty)
        #expect(Self.problems(ofExitTestsIn: "x", text: "await #expect(processExitsWith: .success) {}").count == 1)
        #expect(Self.problems(ofExitTestsIn: "x", text: "// processExitsWith\n\"processExitsWith\"").isEmpty)
        #expect(Self.problems(ofSleepsIn: "x", text: "run(\"sleep(1)\") // sleep(2)\nclock.sleep(3)").isEmpty)
    }

    @Test(arguments: [
        ("#!/usr/bin/env bash\n# What it does.\n\nset -euo pipefail\n", true, 0),
        ("#!/usr/bin/env bash\necho\n", true, 1),
        ("#!/usr/bin/env bash\nset -euo pipefail\n", false, 1), ("#!/bin/sh\nset -e\n", false, 3), ("plain", false, 0),
    ])
    func plantedScriptIsFound(text: String, isExecutable: Bool, count: Int) {
        #expect(Self.problems(inScript: "x", text: text, isExecutable: isExecutable).count == count)
    }
}
