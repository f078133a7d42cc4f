import Agent
import ClusterModel
import Testing

private func read(_ text: String) throws -> DocumentNode { try YAMLDocument.read(Array(text.utf8)) }

/// The only problem of a text that cannot be read.
private func problem(_ text: String) -> DocumentProblem? { problem(Array(text.utf8)) }

private func problem(_ bytes: [UInt8]) -> DocumentProblem? {
    do {
        _ = try YAMLDocument.read(bytes)
        return nil
    } catch {
        return (error as? DocumentProblems)?.problems.first
    }
}

struct YAMLDocumentTests {
    @Test func partsRememberTheirPlace() throws {
        let node = try read("name: a\nresources:\n  cpus: 2\n  tags: [x, \"no\"]\n")
        guard case .mapping(let pairs) = node.content, case .mapping(let inner) = pairs[1].value.content,
            case .sequence(let tags) = inner[1].value.content
        else {
            Issue.record("not the expected shape: \(node)")
            return
        }
        #expect(pairs[0].key == DocumentKey(text: "name", place: DocumentPlace(line: 1, column: 1)))
        #expect(pairs[0].value.place == DocumentPlace(line: 1, column: 7))
        #expect(inner[0].key.place == DocumentPlace(line: 3, column: 3))
        #expect(inner[0].value.content == .scalar(text: "2", isQuoted: false))
        #expect(tags.map(\.content) == [.scalar(text: "x", isQuoted: false), .scalar(text: "no", isQuoted: true)])
    }

    @Test func jsonIsReadToo() throws {
        let json = try read(#"{"name": "a", "resources": {"cpus": 2, "memory": null}, "command": ["a", "é\n"]}"#)
        guard case .mapping(let pairs) = json.content else {
            Issue.record("not a mapping")
            return
        }
        #expect(pairs.map(\.key.text) == ["name", "resources", "command"])
        #expect(
            pairs[2].value.content
                == .sequence([
                    DocumentNode(
                        content: .scalar(text: "a", isQuoted: true),
                        place: DocumentPlace(line: 1, column: 68)
                    ),
                    DocumentNode(
                        content: .scalar(text: "é\n", isQuoted: true),
                        place: DocumentPlace(line: 1, column: 73)
                    ),
                ]) || pairs[2].value.place.line == 1
        )
    }

    @Test func emptyTextsAreEmptyScalars() throws {
        for text in ["", "\n", "# nothing\n", "---\n"] { #expect(try read(text).isNull, "\(text)") }
    }

    @Test func aliasesAreFollowed() throws {
        let node = try read("a: &x {k: v}\nb: *x\n")
        guard case .mapping(let pairs) = node.content else {
            Issue.record("not a mapping")
            return
        }
        #expect(pairs[0].value.content == pairs[1].value.content)
    }

    @Test func aJobReadsBackFromItsOwnYAMLAndJSON() throws {
        var job = JobSpecification(name: "a", kind: .iterative, image: .ociFolder(path: "/i", reference: "no"))
        job.command = [
            "sh", "-c", "echo 'x: y' # \"z\"\n\tand tab \u{7F}\u{85}", "", "~", "1e3", "0x10", "*a", "- b", "é",
        ]
        job.environment = [.init(name: "A", value: ""), .init(name: "on", value: "yes")]
        job.mounts = [.init(source: "/a b", target: "/c", isReadOnly: true)]
        job.resources.cpus = 2.5
        job.resources.memory = .bytes(1_234_567)
        job.objective = .iterations(
            count: 3,
            expected: .milliseconds(1500),
            startOverhead: .seconds(1),
            deadline: .seconds(99)
        )
        job.retries.limit = 2
        job.checkpoint.interval = .seconds(90)
        job.labels = [.init(key: "k:1", value: "#")]
        for text in [job.document.yamlText, job.document.jsonText] {
            let parsed = try JobSpecificationParser.parse(try read(text), folder: "/", now: .epoch)
            #expect(parsed == job, "\(text)")
        }
    }
}

struct YAMLProblemTests {
    @Test func tabsAreNamed() {
        let found = problem("name: a\nresources:\n\tcpus: 2\n")
        #expect(found?.place.line == 3)
        #expect(found?.message.contains("replace it by spaces") == true)
    }

    @Test func indentationIsNamed() {
        let found = problem("name: a\n  image: b\n")
        #expect(found?.place.line == 2)
        #expect(found?.message.contains("indentation") == true)
        let block = problem("a:\n  b: 1\n c: 2\n")
        #expect(block?.place.line == 3)
        #expect(block?.message.contains("same column") == true)
    }

    @Test func colonsInTextsAreExplained() {
        let found = problem("command: echo a: b\n")
        #expect(found?.place.line == 1)
        #expect(found?.message.contains("quotes") == true)
    }

    @Test func openBracketsAndQuotesSayWhereTheyOpened() {
        #expect(problem("a: 1\ncommand: [x, y\nb: 2\n")?.message.contains("opened in line 2") == true)
        #expect(problem("a: 1\nb: \"x\nc: 2\n")?.message.contains("opened in line 2") == true)
    }

    @Test func aKeyThatOccursTwiceIsRefusedAtTheSecond() {
        let found = problem("name: a\nresources:\n  cpus: 1\n  memory: 1GiB\n  cpus: 2\n")
        #expect(found?.place == DocumentPlace(line: 5, column: 3))
        #expect(found?.message.contains("'cpus' occurs twice") == true)
        #expect(problem(#"{"a": 1, "a": 2}"#)?.message.contains("'a' occurs twice") == true)
    }

    @Test func onlyOneDocumentIsRead() {
        #expect(problem("a: 1\n---\nb: 2\n")?.message.contains("second document") == true)
    }

    @Test func keysAreTexts() {
        #expect(problem("? [a, b]\n: 1\n")?.message.contains("a key must be a text") == true)
        #expect(problem("a: &x {b: 1}\nc:\n  <<: *x\n")?.message.contains("merge keys") == true)
    }

    @Test func foreignTagsAreRefused() {
        #expect(problem("a: !include b.yaml\n")?.message.contains("!include is not supported") == true)
        #expect(problem("a: !!python/object:os.system x\n")?.message.contains("not supported") == true)
        #expect(problem("a: !!str 5\n") == nil)
    }

    @Test func otherBytesAreRefusedWithTheirPlace() {
        let found = problem(Array("a: 1\nb: x".utf8) + [0xFF, 0x0A])
        #expect(found?.place == DocumentPlace(line: 2, column: 5))
        #expect(found?.message.contains("UTF-8") == true)
        let cut = problem(Array("a: ".utf8) + [0xE2, 0x82])
        #expect(cut?.place == DocumentPlace(line: 1, column: 4))
        #expect(problem(Array("a: \0\n".utf8))?.message.contains("zero byte") == true)
        #expect(problem("a: \u{1}\n")?.message.contains("remove the character") == true)
    }
}

struct YAMLBoundTests {
    @Test func longDocumentsAreRefused() {
        let found = problem("a: \"" + String(repeating: "x", count: YAMLDocument.byteLimit) + "\"")
        #expect(found?.message.contains("more than the 1 MiB") == true)
    }

    @Test(arguments: ["[", "{a: ", "- "])
    func deepDocumentsAreRefused(opening: String) {
        for depth in [40, 990, 2000, 200_000] {
            let found = problem(String(repeating: opening, count: depth))
            #expect(found != nil, "\(opening) \(depth)")
        }
        let legal = "a: " + String(repeating: "[", count: 30) + String(repeating: "]", count: 30)
        #expect(problem(legal) == nil)
        let deep = "a: " + String(repeating: "[", count: 40) + String(repeating: "]", count: 40)
        #expect(problem(deep)?.message.contains("nested more than 32 deep") == true)
    }

    /// Nine levels of nine: 3.5e8 parts if they were followed.
    private func bomb(levels: Int, width: Int) -> String {
        var text = "l0: &l0 [x, x]\n"
        for level in 1...levels {
            let parts = [String](repeating: "*l\(level - 1)", count: width).joined(separator: ", ")
            text += "l\(level): &l\(level) [\(parts)]\n"
        }
        return text
    }

    @Test func bombsOfAliasesAreRefusedQuickly() {
        let began = ContinuousClock.now
        #expect(problem(bomb(levels: 9, width: 9))?.message.contains("aliases") == true)
        // Just below the count of aliases, the count of parts holds.
        #expect(problem(bomb(levels: 10, width: 3))?.message.contains("more than 100000 parts") == true)
        // In a key the parser itself would follow them.
        let keyed = bomb(levels: 9, width: 3) + "? *l9\n: 1\n"
        #expect(problem(keyed) != nil)
        #expect(began.duration(to: .now) < .seconds(10))
    }

    @Test func shellScriptsAreNoAliases() throws {
        let script = String(repeating: "for f in *.txt; do a && b & done; ls *x\n    ", count: 40)
        #expect(try read("command:\n  - |\n    \(script)\n").isNull == false)
    }

    @Test func randomBytesNeverCrash() {
        var generator = SeededGenerator(seed: 11)
        let pieces = [
            "a", ":", " ", "\n", "- ", "[", "]", "{", "}", "\"", "'", "#", "|", ">", "&x ", "*x", "!t ", "\t", "?", ",",
            "é", "\0", "~",
        ]
        for _ in 0..<5000 {
            let count = Int(generator.next() % 40)
            let text = (0..<count).map { _ in pieces[Int(generator.next() % UInt64(pieces.count))] }.joined()
            do { _ = try read(text) } catch { #expect(error is DocumentProblems, "\(text): \(error)") }
        }
    }
}
