import Checkpointing
import Testing

struct ScrubPlanTests {
    @Test("each checkpoint is due once in a period, at moments that are spread")
    func spread() {
        let start = ContinuousClock().systemEpoch
        var plan = ScrubPlan(period: .seconds(1000))
        let names = (0..<100).map { "job/\($0)" }
        plan.follow(names, now: start)
        var seen: [String: Int] = [:]
        var most = 0
        for second in 0..<3000 {
            var count = 0
            while let name = plan.next(now: start + .seconds(second)) {
                seen[name, default: 0] += 1
                count += 1
            }
            most = max(most, count)
            plan.follow(names, now: start + .seconds(second))
        }
        #expect(names.allSatisfy { seen[$0] == 3 })
        #expect(most <= 5)
    }

    @Test("what is gone is not due any more, and without a period nothing ever is")
    func gone() {
        let start = ContinuousClock().systemEpoch
        var plan = ScrubPlan(period: .seconds(10))
        plan.follow(["a/1", "a/2"], now: start)
        plan.follow(["a/2"], now: start)
        #expect(plan.next(now: start + .seconds(20)) == "a/2")
        #expect(plan.next(now: start + .seconds(20)) == nil)
        var never = ScrubPlan(period: nil)
        never.follow(["a/1"], now: start)
        #expect(never.next(now: start + .seconds(1_000_000)) == nil)
    }
}
