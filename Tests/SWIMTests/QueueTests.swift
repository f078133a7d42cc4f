import ClusterModel
@testable import SWIM
import Testing

struct DisseminationQueueTests {
    private func claim(_ index: Int, _ number: UInt32 = 1) -> GossipMessage { .left(key(index), incarnation(number)) }

    private func take(_ queue: inout DisseminationQueue, bytes: Int = 1_200, limit: Int = 3) throws -> [GossipMessage] {
        var packet = GossipDatagram(sender: key(0), messages: []).encoded()
        guard queue.take(into: &packet, byteLimit: bytes, transmitLimit: limit) > 0 else { return [] }
        return try GossipDatagram.decode(packet.span).messages
    }

    @Test("SWIM 4.1: what was sent least often goes first")
    func freshFirst() throws {
        var queue = DisseminationQueue(limit: 64)
        queue.add(claim(1), about: key(1))
        #expect(try take(&queue) == [claim(1)])
        queue.add(claim(2), about: key(2))
        // Room for one of 13 bytes after a header of 9.
        #expect(try take(&queue, bytes: 22) == [claim(2)])
        #expect(try take(&queue) == [claim(1), claim(2)])
    }

    @Test("each piece is sent a bounded number of times, and never twice in one packet")
    func bounded() throws {
        var queue = DisseminationQueue(limit: 64)
        queue.add(claim(1), about: key(1))
        for _ in 0..<3 { #expect(try take(&queue) == [claim(1)]) }
        #expect(try take(&queue) == [])
        #expect(queue.isEmpty)
    }

    @Test("newer news takes the place of older about the same member")
    func replaced() throws {
        var queue = DisseminationQueue(limit: 64)
        queue.add(claim(1, 1), about: key(1))
        _ = try take(&queue)
        queue.add(claim(1, 2), about: key(1))
        #expect(queue.count == 1)
        for _ in 0..<3 { #expect(try take(&queue) == [claim(1, 2)]) }
        #expect(try take(&queue) == [])
    }

    @Test("a packet never exceeds its limit, and what does not fit is not lost")
    func limited() throws {
        var queue = DisseminationQueue(limit: 64)
        for index in 1...20 { queue.add(claim(index), about: key(index)) }
        var seen: [GossipMessage] = []
        for _ in 0..<4 {
            var packet = GossipDatagram(sender: key(0), messages: []).encoded()
            queue.take(into: &packet, byteLimit: 9 + 13 * 5 + 12, transmitLimit: 1)
            #expect(packet.count == 9 + 13 * 5)
            seen += try GossipDatagram.decode(packet.span).messages
        }
        #expect(seen == (1...20).map { claim($0) })
        #expect(queue.isEmpty)
    }

    @Test("a full queue gives up what most have heard")
    func full() throws {
        var queue = DisseminationQueue(limit: 2)
        queue.add(claim(1), about: key(1))
        _ = try take(&queue)
        queue.add(claim(2), about: key(2))
        queue.add(claim(3), about: key(3))
        #expect(queue.droppedCount == 1)
        #expect(try take(&queue) == [claim(2), claim(3)])
    }
}

struct ProbeOrderTests {
    @Test("SWIM 4.3: each member is probed once in every traversal, in a new order each time")
    func roundRobin() {
        var generator = SeededGenerator(seed: 4)
        var order = ProbeOrder(slots: Array(0..<50), using: &generator)
        let first = (0..<50).compactMap { _ in order.next(using: &generator) }
        let second = (0..<50).compactMap { _ in order.next(using: &generator) }
        #expect(first.sorted() == Array(0..<50))
        #expect(second.sorted() == Array(0..<50))
        #expect(first != second)
    }

    @Test("SWIM 4.3: the time between two probes of a member is at most 2n - 1 periods, also when others come and go")
    func bounded() {
        var generator = SeededGenerator(seed: 5)
        var order = ProbeOrder(slots: Array(0..<20), using: &generator)
        var last = 0
        var longest = 0
        for step in 1...5_000 {
            if step % 50 == 10 { order.insert(UInt32(100 + step / 50), using: &generator) }
            if step % 50 == 30 { order.remove(UInt32(100 + step / 50)) }
            if order.next(using: &generator) == 7 {
                longest = max(longest, step - last)
                last = step
            }
        }
        #expect(longest <= 2 * 21 - 1 + 1)
    }

    @Test("a new member is put at a random place")
    func randomPlace() {
        var places: Set<Int> = []
        for seed in 0..<40 {
            var generator = SeededGenerator(seed: UInt64(seed))
            var order = ProbeOrder(slots: Array(0..<9), using: &generator)
            order.insert(99, using: &generator)
            places.insert((0..<10).first { _ in order.next(using: &generator) == 99 } ?? -1)
        }
        #expect(places.count > 5)
    }
}

struct TimerQueueTests {
    @Test("timers fire by time, and equal ones in the order in which they were set")
    func order() {
        var queue = TimerQueue<Int>()
        var generator = SeededGenerator(seed: 1)
        let moments = (0..<300).map { _ in Int64(generator.next() % 20) }
        for (index, moment) in moments.enumerated() { queue.add(index, at: moment) }
        let expected = moments.indices.sorted { (moments[$0], $0) < (moments[$1], $1) }
        #expect((0..<300).compactMap { _ in queue.popDue(at: 20) } == expected)
        #expect(queue.popDue(at: 100) == nil)
    }

    @Test("nothing fires early")
    func notEarly() {
        var queue = TimerQueue<Int>()
        queue.add(1, at: 10)
        #expect(queue.popDue(at: 9) == nil)
        #expect(queue.first == 10)
    }
}

struct MemberTableTests {
    private func table(_ count: Int) -> MemberTable {
        MemberTable((0..<count).map { Member(node: name($0), endpoint: endpoint($0), incarnation: incarnation(1)) })
    }

    @Test("a member is observed by exactly the next K in the ring, and both sides agree", arguments: [2, 3, 5, 40])
    func observers(count: Int) {
        let table = table(count)
        for subject in 0..<count {
            let observers = Set(table.observers(of: key(subject), count: 3).map(\.key))
            #expect(observers.count == min(3, count - 1))
            for observer in 0..<count where observer != subject {
                #expect(
                    table.subjects(of: key(observer), count: 3).contains(key(subject))
                        == observers.contains(key(observer))
                )
            }
        }
    }

    @Test("the views of two tables are equal exactly when their members are")
    func roots() {
        let forward = table(50)
        let backward = MemberTable(
            (0..<50).reversed().map { Member(node: name($0), endpoint: endpoint($0), incarnation: incarnation(1)) }
        )
        #expect(forward.root == backward.root)
        #expect(forward.root != table(49).root)
        var other = forward
        other.update(key(7)) { $0.incarnation = incarnation(2) }
        #expect(forward.root != other.root)
        other.update(key(7)) { $0.incarnation = incarnation(1) }
        #expect(forward.root == other.root)
    }

    @Test("random changes keep every count that a slow look would find")
    func model() {
        var generator = SeededGenerator(seed: 9)
        var table = MemberTable()
        var model: [MemberKey: MemberStatus] = [:]
        for _ in 0..<3_000 {
            let index = Int(generator.next() % 80)
            switch generator.next() % 4 {
            case 0 where model[key(index)] == nil:
                table.insert(Member(node: name(index), endpoint: endpoint(index), incarnation: incarnation(1)))
                model[key(index)] = .alive
            case 1:
                table.remove(key(index))
                model[key(index)] = nil
            default:
                let status = MemberStatus.allCases[Int(generator.next() % 4)]
                table.update(key(index)) { $0.status = status }
                if model[key(index)] != nil { model[key(index)] = status }
            }
            #expect(table.liveCount == model.values.filter(\.isLive).count)
        }
        #expect(table.ring == model.keys.sorted())
        #expect(table.deadKeys.sorted() == model.filter { $0.value == .dead }.map(\.key).sorted())
        for (key, status) in model { #expect(table[key]?.status == status) }
        let buckets = (0..<256).map { table.members(inBucket: $0).count }.reduce(0, +)
        #expect(buckets == model.count)
    }
}
