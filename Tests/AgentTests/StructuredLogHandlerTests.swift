import Foundation
import Logging
import Testing

@testable import Agent

/// One line for each message, for people or for programs.
struct StructuredLogHandlerTests {
    private static func handler(_ format: StructuredLogHandler.Format) -> StructuredLogHandler {
        StructuredLogHandler(label: "godwitd", level: .info, format: format) { "2026-01-31T12:00:00.250Z" }
    }

    @Test func textIsReadableAndStaysOnOneLine() {
        let line = Self.handler(.text).textLine(
            level: .warning,
            message: "job.start.failed",
            fields: [
                ("job", "solver"), ("reason", "no image\nat all"), ("empty", ""), ("pair", "a=b"), ("count", "\(3)"),
            ]
        )
        #expect(
            line == "2026-01-31T12:00:00.250Z warning godwitd: job.start.failed job=solver "
                + "reason=\"no image\\nat all\" empty=\"\" pair=\"a=b\" count=3\n"
        )
        let broken = Self.handler(.text).textLine(level: .info, message: "two\nlines\r\nhere", fields: [])
        #expect(broken.dropLast().allSatisfy { !$0.isNewline })
    }

    @Test func everyJSONLineIsOneObject() throws {
        let hostile = "quote \" backslash \\ tab \t new line \n bell \u{7} nul \0 snow \u{2603} \u{2028}"
        let line = Self.handler(.json).jsonLine(
            level: .error,
            message: hostile,
            fields: [("b\"", .string(hostile)), ("list", ["x", "y"]), ("nested", ["k": "v"])]
        )
        #expect(line.hasSuffix("}\n"))
        #expect(line.dropLast().allSatisfy { $0 != "\n" })
        let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(object["message"] as? String == hostile)
        #expect(object["level"] as? String == "error")
        #expect(object["source"] as? String == "godwitd")
        #expect(object["time"] as? String == "2026-01-31T12:00:00.250Z")
        let metadata = try #require(object["metadata"] as? [String: String])
        #expect(metadata["b\""] == hostile)
        #expect(metadata.count == 3)
    }

    @Test func metadataOfTheLoggerIsKept() {
        var handler = Self.handler(.text)
        handler[metadataKey: "node"] = "knot"
        #expect(handler[metadataKey: "node"] == "knot")
        #expect(handler.metadata["node"] == "knot")
        handler[metadataKey: "node"] = nil
        #expect(handler.metadata.isEmpty)
    }
}
