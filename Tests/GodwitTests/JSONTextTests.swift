import ControlMessages
import SwiftProtobuf
import Testing

@testable import godwit

/// What programs read.
struct JSONTextTests {
    @Test func messagesAreTheirProto3Mapping() throws {
        try expectGolden(
            jsonText(WireJobListReply.with { $0.jobs = [Scene.linpack, Scene.waiting] }, isIndented: true),
            "job-list.json"
        )
        try expectGolden(jsonText(Scene.shown, isIndented: true), "job-show.json")
        try expectGolden(jsonText(Scene.explanation, isIndented: false), "job-explain.json")
        try expectGolden(jsonText(Scene.status, isIndented: true), "status.json")
        try expectGolden(jsonText(WireNodeShowReply.with { $0.node = Scene.node }, isIndented: true), "node-show.json")
    }

    @Test func indentingChangesNothingButSpace() throws {
        for message in [Scene.shown as any Message, Scene.explanation, WireJobListReply(), Scene.status] {
            let line = try jsonText(message, isIndented: false)
            let indented = try jsonText(message, isIndented: true)
            #expect(line.split(separator: "\n").count == 1)
            #expect(try type(of: message).init(jsonString: indented).isEqualTo(message: message))
        }
        #expect(
            indentedJSON(#"{"a":"x,{\"}","b":[],"c":{}}"#) == "{\n  \"a\": \"x,{\\\"}\",\n  \"b\": [],\n  \"c\": {}\n}"
        )
    }
}
