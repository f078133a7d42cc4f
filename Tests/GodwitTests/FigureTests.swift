import ControlMessages
import Testing

@testable import godwit

/// The drawing of a job's story.
struct FigureTests {
    private func drawing(_ reply: WireJobExplainReply) -> String {
        Figure(reply: reply, style: .reader(now: noon + 100).plain).svg()
    }

    @Test func aFinishedJobIsDrawnAsRecorded() throws {
        try expectGolden(drawing(Scene.finished), "figure-finished.svg")
    }

    @Test func aRunningJobIsDrawnAsRecorded() throws {
        try expectGolden(drawing(Scene.explanation), "figure-running.svg")
    }

    @Test func aJobWithoutDeadlineAndSamplesIsDrawn() throws {
        var reply = WireJobExplainReply()
        reply.job = Scene.waiting
        let text = drawing(reply)
        #expect(text.hasPrefix("<svg ") && text.hasSuffix("</svg>\n"))
        #expect(!text.contains("nan") && !text.contains("inf"))
        #expect(!text.contains(">deadline<"))
    }

    @Test func everyDecisionHasOneMarkAndOneSentence() {
        let steps = StoryStep.steps(Scene.finished.decisions, style: .reader())
        let text = drawing(Scene.finished)
        let circles = text.split(separator: "\n").filter { $0.hasPrefix("<circle") }.count
        #expect(circles == 2 * steps.count)
        for step in steps { #expect(text.contains(step.sentence.split(separator: " ")[0])) }
    }

    @Test func namesCannotLeaveTheirElement() {
        var reply = Scene.finished
        reply.job.name = "<script>\"&\u{1B}"
        reply.decisions[0].sentence = "</text><script>"
        let text = drawing(reply)
        #expect(!text.contains("<script>") && text.contains("&lt;script&gt;&quot;&amp;\u{FFFD}"))
        #expect(!text.contains("\u{1B}"))
    }

    @Test func marksOfOneMomentDoNotTouch() {
        let scale = TimeScale(reply: Scene.finished, now: noon, left: 72, right: 936)
        let times = (0..<24).map { noon + 60 + Double($0) * 0.01 } + [noon + 90]
        let layout = MarkLayout(times: times, scale: scale, spacing: 19)
        for (index, mark) in layout.places.enumerated() {
            #expect(mark.x <= 936 + 9.5)
            for other in layout.places[..<index] where other.lane == mark.lane {
                #expect(abs(other.x - mark.x) >= 18.99)
            }
        }
    }

    @Test(arguments: [0.3, 1, 1.5, 4, 37, 60, 481, 86_400.5])
    func axesEndAtARoundNumberAboveTheHighest(highest: Double) throws {
        let axis = ValueAxis(highest: highest, top: 0, height: 100)
        let last = try #require(axis.ticks.last)
        #expect(last.value >= highest && last.value <= highest * 2.5)
        #expect((4...6).contains(axis.ticks.count))
        #expect(axis.y(0) == 100 && axis.y(axis.highest) == 0)
    }

    @Test(arguments: [2.0, 8, 70, 481, 4000, 90_000, 9e6])
    func theTimeAxisHasAFewRoundTicks(span: Double) {
        var reply = WireJobExplainReply()
        reply.job = Scene.linpack
        reply.job.deadlineUnixSeconds = noon + span
        reply.job.predictedEndUnixSeconds = 0
        let scale = TimeScale(reply: reply, now: noon, left: 0, right: 100)
        #expect((4...11).contains(scale.ticks.count), "\(scale.ticks.map(\.label))")
        #expect(Set(scale.ticks.map(\.label)).count == scale.ticks.count)
    }
}
