import ClusterModel
import struct Containers.HeldFrames
import ControlMessages
import FoundationEssentials
import SwiftProtobuf
import Synchronization
import Transport

/// Gives the destinations of moves what arrived here for the addresses of containers that leave.
///
/// What is given is kept until the move is over: a destination whose line broke may ask again, and if the job stays here after all, its container gets it.
final class FrameDesk: Sendable {
    /// Ends this node's part in a container's address, and returns what was held for it.
    typealias Giver = @Sendable () async throws -> HeldFrames

    private enum Offer {
        /// The job is this node's yet.
        case coming
        case open(to: NodeID, Giver)
        case given(to: NodeID, Task<HeldFrames, any Error>)
    }

    private let offers = Mutex<[MigrationDesk.Key: Offer]>([:])
    /// Who asks waits here for the hand-over, longer than it waits itself.
    private let waiting = WaitingRoom<MigrationDesk.Key>(patience: .seconds(5))

    /// Bytes of frames in one message, about.
    private static let partSize = 256 << 10

    /// Nothing is offered yet.
    init() {}

    /// Takes note that a container with an address is to leave, so that who asks for its frames waits.
    func expect(_ key: MigrationDesk.Key) { offers.withLock { if $0[key] == nil { $0[key] = .coming } } }

    /// Gives what is held to one node from now on; the first time counts.
    func offer(_ key: MigrationDesk.Key, to node: NodeID, _ give: @escaping Giver) {
        offers.withLock { offers in
            switch offers[key] {
            case .open, .given: break
            case .coming, nil: offers[key] = .open(to: node, give)
            }
        }
        waiting.wake(key)
    }

    /// Ends this node's part in an address that was offered, asked or not.
    func leave(_ key: MigrationDesk.Key) { _ = give(key, to: nil) }

    /// Gives nothing any more, and returns what was given.
    func withdraw(_ key: MigrationDesk.Key) async -> HeldFrames {
        let offer = offers.withLock { $0.removeValue(forKey: key) }
        waiting.wake(key)
        guard case .given(_, let frames) = offer else { return HeldFrames() }
        return (try? await frames.value) ?? HeldFrames()
    }

    /// Sends what was held, part by part.
    ///
    /// - Throws: `RPCFailure`; `notFound` when it is not that node's to have.
    func send(_ request: MigrationRequest, to node: NodeID, _ sink: (HeldFrames) async throws -> Void) async throws {
        let key = MigrationDesk.Key(job: request.job, number: request.number)
        try await waiting.wait(for: key) { isComing(key) }
        guard let frames = give(key, to: node) else {
            throw RPCFailure(.notFound, "this node holds nothing for job \(request.job) and node \(node)")
        }
        let held: HeldFrames
        do { held = try await frames.value } catch {
            throw RPCFailure(.unavailable, "the network of job \(request.job) cannot be handed over: \(error)")
        }
        var (part, size) = (HeldFrames(), 0)
        part.droppedCount = held.droppedCount
        for frame in held.frames {
            part.frames.append(frame)
            size += frame.count
            guard size >= Self.partSize else { continue }
            try await sink(part)
            (part, size) = (HeldFrames(), 0)
        }
        if !part.isEmpty { try await sink(part) }
    }

    private func give(_ key: MigrationDesk.Key, to node: NodeID?) -> Task<HeldFrames, any Error>? {
        offers.withLock { offers in
            switch offers[key] {
            case .open(let destination, let give) where node == nil || node == destination:
                let frames = Task(name: "migration.frames") { try await give() }
                offers[key] = .given(to: destination, frames)
                return frames
            case .given(let destination, let frames) where node == nil || node == destination: return frames
            default: return nil
            }
        }
    }

    private func isComing(_ key: MigrationDesk.Key) -> Bool {
        offers.withLock { if case .coming = $0[key] { true } else { false } }
    }
}

extension HeldFrames {
    /// The frames as they travel.
    var wire: WireMigrationFramesReply {
        .with { reply in
            reply.frames = frames.map { Data($0) }
            reply.dropped = UInt64(clamping: droppedCount)
        }
    }

    /// Reads what another agent has sent; throws `RPCFailure` when it cannot be frames.
    init(_ wire: WireMigrationFramesReply) throws {
        self.init()
        guard wire.frames.allSatisfy({ Self.lengths.contains($0.count) }) else {
            throw RPCFailure(.internal, "what the other agent sent is no frame of a network: upgrade the older agent")
        }
        frames = wire.frames.map { [UInt8]($0) }
        droppedCount = Int(clamping: wire.dropped)
    }
}
