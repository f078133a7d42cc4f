import ControlMessages
import SwiftProtobuf
import Testing

@testable import godwit

/// The live view of jobs.
struct WatchTests {
    private func view() -> WatchView {
        var view = WatchView()
        for second in 1...30 {
            view.receive(
                Scene.watch(Double(second)) { $0.allocationVcpus = 0.5 + Double(second % 4) * 0.4 }
            )
        }
        view.receive(Scene.watch(50, { _ in }, Scene.decisions))
        return view
    }

    @Test func aPictureIsDrawnAsRecorded() throws {
        let lines = view().lines(.reader(width: 90), height: 30)
        #expect(lines.count < 30 && lines.allSatisfy { columns(of: $0) <= 90 })
        try expectGolden(lines.joined(separator: "\n") + "\n", "job-watch.txt")
        let ascii = view().lines(.reader(width: 80, unicode: false), height: 24)
        #expect(ascii.allSatisfy { $0.utf8.allSatisfy { $0 < 0x80 } })
    }

    @Test func severalJobsAreATable() throws {
        var view = WatchView()
        var reply = WireJobWatchReply()
        reply.jobs = [Scene.linpack, Scene.render, Scene.waiting]
        reply.decisions = Array(Scene.decisions.prefix(2))
        view.receive(reply)
        try expectGolden(
            view.lines(.reader(width: 100), height: 30).joined(separator: "\n") + "\n",
            "job-watch-all.txt"
        )
    }

    @Test func plainLinesTellChangesOnlyOnce() {
        var view = WatchView()
        view.receive(Scene.watch(50, { _ in }, [Scene.decisions[0]]))
        #expect(view.newLines(.reader()).count == 2)
        view.receive(Scene.watch(51, { _ in }, [Scene.decisions[0]]))
        #expect(view.newLines(.reader(now: noon + 51)).isEmpty)
        view.receive(Scene.watch(52) { $0.state = "checkpointing" })
        #expect(
            view.newLines(.reader(now: noon + 52)) == [
                "12:00:52 linpack checkpointing; on time; progress 62 %; 1.50 vCPUs, 1.48 used; "
                    + "37 s consumed, 33 s desired: 3.9 s ahead; slack 9.0 s"
            ]
        )
        view.receive(Scene.watch(62.1) { $0.state = "checkpointing" })
        #expect(view.newLines(.reader(now: noon + 62.1)).count == 1)
    }

    @Test func aScreenReplacesItsLastPicture() {
        var screen = LiveScreen(height: 10)
        #expect(!screen.redraw(["a", "b", "c"]).contains("A\r"))
        #expect(screen.redraw(["a"]).contains("\u{1B}[3A\r"))
        #expect(screen.redraw(["a"]).contains("\u{1B}[1A\r"))
        let high = screen.redraw((0..<50).map(String.init))
        #expect(high.split(separator: "\n").count == 10)
        #expect(screen.redraw([]).contains("\u{1B}[9A\r"))
    }
}
