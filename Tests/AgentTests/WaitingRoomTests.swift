import Synchronization
import Testing
import Transport

@testable import Agent

/// Who waits is woken, gives up in time, and leaves no place behind.
@Suite(.timeLimit(.minutes(5)))
struct WaitingRoomTests {
    /// Longer than any test.
    private let room = WaitingRoom<String>(patience: .seconds(3600), limit: 3)

    /// Waits until so many wait.
    private func whenWaiting(_ count: Int, in room: WaitingRoom<String>) async {
        while room.count != count { await Task.yield() }
    }

    @Test func `Waking a key wakes all who wait for it, and nobody else`() async throws {
        let room = room
        let others = Task { try await room.wait(for: "b") { true } }
        async let one: Void = room.wait(for: "a") { true }
        async let two: Void = room.wait(for: "a") { true }
        await whenWaiting(3, in: room)
        room.wake("c")
        #expect(room.count == 3)
        room.wake("a")
        _ = try await (one, two)
        #expect(room.count == 1)
        room.wake("b")
        try await others.value
        #expect(room.count == 0)
    }

    @Test func `What came before somebody waits, or while he takes his place, is not missed`() async throws {
        try await room.wait(for: "a") { false }
        for arrival in 1...2 {
            let looks = Mutex(0)
            try await room.wait(for: "a") {
                let look = looks.withLock { looks in
                    looks += 1
                    return looks
                }
                // It comes between the two looks, or after the second and before the sleep.
                if look == arrival { room.wake("a") }
                return look <= arrival
            }
        }
        #expect(room.count == 0)
    }

    @Test func `Who has waited long enough goes, and his place is free`() async throws {
        let room = WaitingRoom<String>(patience: .milliseconds(5), limit: 1)
        for _ in 0..<3 { try await room.wait(for: "a") { true } }
        #expect(room.count == 0)
    }

    @Test func `Who is cancelled goes at once, and his place is free`() async throws {
        let room = room
        let waiting = Task { try await room.wait(for: "a") { true } }
        await whenWaiting(1, in: room)
        waiting.cancel()
        try await waiting.value
        #expect(room.count == 0)
    }

    @Test func `Who finds no place is told so, until one is free`() async throws {
        let room = WaitingRoom<String>(patience: .seconds(3600), limit: 1)
        let first = Task { try await room.wait(for: "a") { true } }
        await whenWaiting(1, in: room)
        await #expect {
            try await room.wait(for: "b") { true }
        } throws: {
            ($0 as? RPCFailure)?.code == .exhausted
        }
        room.wake("a")
        try await first.value
        try await room.wait(for: "b") { false }
    }
}
