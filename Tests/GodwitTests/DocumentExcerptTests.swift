import ControlMessages
import SwiftProtobuf
import Testing

@testable import godwit

/// A document's problems in their places.
struct DocumentExcerptTests {
    private func problem(_ line: UInt32, _ column: UInt32, _ path: String, _ message: String) -> WireDocumentProblem {
        .with { ($0.line, $0.column, $0.path, $0.message) = (line, column, path, message) }
    }

    @Test func eachProblemShowsItsLineWithAMark() throws {
        let document = "name: linpack\nresources:\n\tmemroy: 1GiB\n  cpus: \u{1B}many\r\n"
        let text = documentExcerpt(
            [
                problem(3, 2, "resources.memroy", "unknown key; did you mean memory?"),
                problem(4, 9, "resources.cpus", "\"many\" is no number; write for example 1.5"),
                problem(0, 0, "", "the image is missing; add image"), problem(99, 1, "", "ends too early"),
            ],
            name: "job.yaml",
            content: Array(document.utf8),
            style: .reader()
        )
        try expectGolden(text, "document-problems.txt")
    }

    @Test func aLongLineIsCutAroundThePlace() {
        let document = String(repeating: "abcdefghij", count: 50)
        let text = documentExcerpt(
            [problem(1, 251, "x", "wrong")],
            name: "job.json",
            content: Array(document.utf8),
            style: .reader(width: 60)
        )
        let rows = lines(text)
        #expect(rows.count == 4 && rows[1].count <= 60)
        let mark = rows[2].firstIndex(of: "^").map { rows[2].distance(from: rows[2].startIndex, to: $0) }
        #expect(mark.map { Array(rows[1])[$0] } == "a")
    }

    @Test func aMarkStandsBelowAWideCharacter() {
        let text = documentExcerpt(
            [problem(1, 4, "", "here")],
            name: "j",
            content: Array("東京: x".utf8),
            style: .reader()
        )
        #expect(lines(text)[2] == "      | " + String(repeating: " ", count: 5) + "^")
    }
}
