import ClusterModel
import Containers
import Testing
import Transport

@testable import Agent

/// Who gets what was held for a container that moves, and when.
struct FrameDeskTests {
    private static let key = MigrationDesk.Key(job: JobID(rawValue: "job1aaaaaaaa"), number: 3)
    private static let request = MigrationRequest(job: key.job, number: key.number)
    private static let (here, there) = (NodeID(rawValue: "n2"), NodeID(rawValue: "n3"))

    /// Frames of a size that takes several messages.
    private static let held: HeldFrames = {
        var held = HeldFrames()
        held.frames = (0..<300).map { [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: 1514) }
        held.droppedCount = 7
        return held
    }()

    private actor Receiver {
        private(set) var all = HeldFrames()
        private(set) var count = 0
        func take(_ part: HeldFrames) {
            all.frames += part.frames
            all.droppedCount += part.droppedCount
            count += 1
        }
    }

    private func ask(_ desk: FrameDesk, as node: NodeID = here) async throws -> Receiver {
        let receiver = Receiver()
        try await desk.send(Self.request, to: node) { await receiver.take(try HeldFrames($0.wire)) }
        return receiver
    }

    private func code(_ body: () async throws -> Receiver) async -> RPCFailure.Code? {
        do {
            _ = try await body()
            return nil
        } catch { return (error as? RPCFailure)?.code }
    }

    @Test func `The destination gets all, in order, as often as it asks, and nobody else does`() async throws {
        let desk = FrameDesk()
        desk.expect(Self.key)
        desk.offer(Self.key, to: Self.here) { Self.held }
        #expect(await code { try await ask(desk, as: Self.there) } == .notFound)
        for _ in 0..<2 {
            let receiver = try await ask(desk)
            #expect(await receiver.all == Self.held)
            #expect(await receiver.count > 1)
        }
        #expect(await desk.withdraw(Self.key) == Self.held)
        #expect(await code { try await ask(desk) } == .notFound)
    }

    @Test func `Who asks before the hand-over waits for it`() async throws {
        let desk = FrameDesk()
        desk.expect(Self.key)
        async let receiver = ask(desk)
        async let refused = code { try await ask(desk, as: Self.there) }
        await Task.yield()
        desk.offer(Self.key, to: Self.here) { Self.held }
        #expect(try await receiver.all == Self.held)
        #expect(await refused == .notFound)
    }

    @Test func `A move that is over gives nothing, and one that gave nothing has nothing to take back`() async throws {
        let desk = FrameDesk()
        desk.expect(Self.key)
        async let refused = code { try await ask(desk) }
        await Task.yield()
        #expect(await desk.withdraw(Self.key).isEmpty)
        #expect(await refused == .notFound)
        desk.offer(Self.key, to: Self.here) { Self.held }
        #expect(await desk.withdraw(Self.key).isEmpty)
    }

    @Test func `The network is left once, whether the destination asks or not`() async throws {
        let (desk, calls) = (FrameDesk(), Receiver())
        desk.offer(Self.key, to: Self.here) {
            await calls.take(HeldFrames())
            return Self.held
        }
        desk.leave(Self.key)
        desk.leave(Self.key)
        #expect(try await ask(desk).all == Self.held)
        #expect(await desk.withdraw(Self.key) == Self.held)
        #expect(await calls.count == 1)
    }

    @Test func `A network that cannot be left is told, and what is no frame is not taken`() async throws {
        let desk = FrameDesk()
        desk.offer(Self.key, to: Self.here) { throw CancellationError() }
        #expect(await code { try await ask(desk) } == .unavailable)
        var short = HeldFrames()
        short.frames = [[1, 2, 3]]
        #expect(throws: RPCFailure.self) { try HeldFrames(short.wire) }
    }
}
