import ControlMessages
import SwiftProtobuf
import Testing

@testable import godwit

/// Tables, details and stories, compared with what was recorded and looked at.
struct TableTests {
    private func text(_ lines: [String]) -> String { lines.joined(separator: "\n") + "\n" }
    private let jobs = [Scene.linpack, Scene.render, Scene.waiting, Scene.failed]

    @Test func jobTables() throws {
        try expectGolden(text(Presentation.reader().jobTable(jobs)), "job-list.txt")
        try expectGolden(text(Presentation.reader(width: 80).jobTable(jobs)), "job-list-80.txt")
        try expectGolden(text(Presentation.reader(unicode: false, color: true).jobTable(jobs)), "job-list-color.txt")
    }

    @Test(arguments: [40, 50, 60, 72, 80, 100, 120, 160, 200])
    func noLineIsWiderThanTheTerminal(width: Int) {
        let style = Presentation.reader(width: width)
        let all = [
            style.jobTable(jobs), style.nodeTable([Scene.node]), style.jobDetail(Scene.shown),
            style.status(Scene.status),
            style.nodeDetail(.with { $0.node = Scene.node }), style.story(Scene.finished),
        ]
        // Tables keep what identifies a row even where it does not fit.
        for line in all.joined() where width >= 60 { #expect(columns(of: line) <= width, "\(line)") }
        for line in all.joined() { #expect(!line.hasSuffix(" "), "\(line)") }
    }

    @Test func oneJob() throws {
        try expectGolden(text(Presentation.reader().jobDetail(Scene.shown)), "job-show.txt")
        var iterative = WireJobShowReply()
        iterative.job = Scene.render
        iterative.speed.fixedSeconds = 12
        iterative.speed.divisibleCpuSeconds = 730
        iterative.speed.iterationsSeen = 7
        try expectGolden(text(Presentation.reader(width: 80).jobDetail(iterative)), "job-show-iterative.txt")
        var ended = WireJobShowReply()
        ended.job = Scene.failed
        ended.exit = "killed by signal 9: out of memory"
        try expectGolden(text(Presentation.reader(width: 80).jobDetail(ended)), "job-show-failed.txt")
    }

    @Test func nodes() throws {
        try expectGolden(text(Presentation.reader().nodeTable([Scene.node])), "node-list.txt")
        let reply = WireNodeShowReply.with {
            $0.node = Scene.node
            $0.node.processor = .with {
                ($0.architecture, $0.stateBytes, $0.criu) = ("amd64", 2696, "4.2")
                $0.features = [
                    "sse3", "ssse3", "fma", "sse4_1", "sse4_2", "movbe", "popcnt", "aes", "avx", "f16c", "avx2", "bmi2",
                ]
            }
            $0.jobs = [Scene.linpack]
        }
        try expectGolden(text(Presentation.reader(width: 80).nodeDetail(reply)), "node-show.txt")
    }

    @Test func cluster() throws { try expectGolden(text(Presentation.reader().status(Scene.status)), "status.txt") }

    @Test func stories() throws {
        try expectGolden(text(Presentation.reader(width: 100).story(Scene.explanation)), "job-explain-running.txt")
        try expectGolden(
            text(Presentation.reader(width: 80, now: noon + 100).story(Scene.finished)),
            "job-explain-finished.txt"
        )
        var failed = WireJobExplainReply()
        failed.job = Scene.failed
        try expectGolden(text(Presentation.reader(width: 80).story(failed)), "job-explain-failed.txt")
    }

    @Test func aStoryFoldsOnlyLongRunsOfOneKind() {
        let steps = StoryStep.steps(Scene.decisions, style: .reader())
        #expect(steps.map(\.decisions.count) == [1, 1, 6, 1, 1, 1, 1, 1, 1])
        #expect(steps[2].sentence.hasPrefix("Resized 6 times within 12 s between 0.90 and 1.00 vCPUs."))
        let three = Array(Scene.decisions[2..<5])
        #expect(StoryStep.steps(three, style: .reader()).count == 3)
        #expect(StoryStep.steps([], style: .reader()).isEmpty)
    }
}
