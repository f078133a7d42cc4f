import ClusterModel
import Raft
import WireFormat

/// What the simulated members replicate: it counts proposals and mixes them into one number, so that two orders differ.
struct StateMachine: Equatable {
    private(set) var applied: LogIndex = 0
    /// How many proposals were applied: what a reader sees.
    private(set) var version: UInt64 = 0
    private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325

    /// Applies the next entry; false when it is not the next.
    mutating func apply(_ entry: Entry) -> Bool {
        guard entry.index == applied + 1 else { return false }
        applied = entry.index
        guard case .proposal(let bytes) = entry.payload else { return true }
        version += 1
        for byte in bytes.prefix(8) { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return true
    }

    /// The state, padded so that it takes several chunks.
    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendInteger(applied)
        bytes.appendInteger(version)
        bytes.appendInteger(digest)
        return bytes + [UInt8](repeating: 7, count: 200 + Int(version % 600))
    }

    init() {}

    init?(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        var offset = 0
        guard let applied: UInt64 = try? bytes.span.readInteger(at: &offset),
            let version: UInt64 = try? bytes.span.readInteger(at: &offset),
            let digest: UInt64 = try? bytes.span.readInteger(at: &offset)
        else { return nil }
        (self.applied, self.version, self.digest) = (applied, version, digest)
    }
}
