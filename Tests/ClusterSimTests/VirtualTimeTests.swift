import ClusterModel
import Testing

@testable import ClusterSim

struct VirtualTimeTests {
    @Test(arguments: UInt64(0)..<20)
    func `Events come by time, and those of one time in the order in which they were pushed`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var queue = EventQueue<Int>()
        var waiting: [(time: Int64, number: Int)] = []
        var now: Int64 = 0
        for number in 0..<500 {
            let time = now + Int64(generator.next() % 20)
            queue.push(number, at: time)
            waiting.append((time, number))
            guard generator.next() % 3 > 0 else { continue }
            let expected = waiting.min { $0 < $1 }
            let popped = queue.pop()
            #expect(popped?.time == expected?.time && popped?.event == expected?.number)
            waiting.removeAll { $0.number == expected?.number }
            now = popped?.time ?? now
        }
        waiting.sort { $0 < $1 }
        for expected in waiting { #expect(queue.pop()?.event == expected.number) }
        #expect(queue.pop() == nil)
    }

    @Test func `A timer of a machine's clock never fires before its time`() {
        let origin = ClusterSimulationTests.origin
        for rate in [0.8, 0.98, 1, 1.02, 1.2] {
            let clock = SimulatedClock(origin: origin, offset: 12_345, rate: rate, wallError: 0)
            for time in stride(from: Int64(0), to: 100_000_000_000, by: 777_777_777) {
                let due = clock.local(at: time)
                let fires = clock.global(due)
                #expect(clock.local(at: fires) >= due && fires - time < 3000)
            }
        }
    }
}
