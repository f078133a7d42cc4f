import ClusterModel
import Testing

@testable import Agent

/// Messages that wait keep their order, and the oldest make room.
struct PeersMessageQueueTests {
    @Test func `The oldest make room when there are too many`() {
        var queue = PeerMessageQueue(limits: (count: 3, byteCount: 1000))
        #expect(queue.append([[1], [2]]) == 0)
        #expect(queue.append([[3], [4], [5]]) == 2)
        #expect(queue.count == 3)
        #expect(queue.byteCount == 3)
        #expect(queue.takeBatch(byteLimit: 100) == [[3], [4], [5]])
        #expect(queue.isEmpty)
    }

    @Test func `The oldest make room when they are too long, but one always fits`() {
        var queue = PeerMessageQueue(limits: (count: 100, byteCount: 10))
        #expect(queue.append([[UInt8](repeating: 0, count: 6), [UInt8](repeating: 1, count: 6)]) == 1)
        #expect(queue.append([[UInt8](repeating: 2, count: 50)]) == 1)
        #expect(queue.count == 1)
        #expect(queue.takeBatch(byteLimit: 1).map(\.count) == [50])
    }

    @Test func `A batch holds what fits and at least one`() {
        var queue = PeerMessageQueue(limits: (count: 100, byteCount: 1000))
        _ = queue.append([3, 3, 3, 9, 1].map { [UInt8](repeating: 0, count: $0) })
        #expect(queue.takeBatch(byteLimit: 7).map(\.count) == [3, 3])
        #expect(queue.takeBatch(byteLimit: 7).map(\.count) == [3])
        #expect(queue.takeBatch(byteLimit: 7).map(\.count) == [9])
        #expect(queue.takeBatch(byteLimit: 7).map(\.count) == [1])
        #expect(queue.takeBatch(byteLimit: 7).isEmpty)
    }

    /// The queue against an array, with every bound in play.
    @Test(arguments: 1...20)
    func `It does what an array would`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var queue = PeerMessageQueue(limits: (count: 300, byteCount: 4000))
        var model: [[UInt8]] = []
        for _ in 0..<2000 {
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<6:
                let new = (0..<Int.random(in: 1...8, using: &generator)).map { _ in
                    [UInt8](
                        repeating: .random(in: 0...255, using: &generator),
                        count: .random(in: 0...60, using: &generator)
                    )
                }
                let dropped = queue.append(new)
                model += new
                var expected = 0
                while model.count > 300 || model.reduce(0, { $0 + $1.count }) > 4000 {
                    model.removeFirst()
                    expected += 1
                }
                #expect(dropped == expected)
            case 6..<9:
                let limit = Int.random(in: 1...500, using: &generator)
                let batch = queue.takeBatch(byteLimit: limit)
                #expect(batch == Array(model.prefix(batch.count)))
                #expect(model.isEmpty == batch.isEmpty)
                model.removeFirst(batch.count)
            default:
                if Bool.random(using: &generator), Bool.random(using: &generator) {
                    #expect(queue.removeAll() == model.count)
                    model = []
                }
            }
            #expect(queue.count == model.count)
            #expect(queue.byteCount == model.reduce(0) { $0 + $1.count })
        }
    }
}
