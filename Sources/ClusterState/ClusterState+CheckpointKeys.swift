package import ClusterModel

/// A key that checkpoints are sealed under.
package struct CheckpointKey: Sendable, Codable, Equatable {
    /// Rises by one with each key, from 1.
    package var number: UInt64
    /// 32 random bytes.
    package var secret: SecretBytes
    /// The key that gossip was sent with when this one was made: the keys change together.
    package var gossipKey: UInt16
    package var time: Timestamp

    /// Takes the values as they are; `apply(_:)` checks them.
    package init(number: UInt64, secret: SecretBytes, gossipKey: UInt16, time: Timestamp) {
        (self.number, self.secret, self.gossipKey, self.time) = (number, secret, gossipKey, time)
    }
}

// The keys that checkpoints are sealed under. The newest seals; an older one stays for as long as a checkpoint needs it.
extension ClusterState {
    /// The bytes of a checkpoint key.
    package static let checkpointKeyByteCount = 32
    /// How long a key stays after it was followed by another, whether a checkpoint needs it or not: one may be under way.
    package static let checkpointKeyRetention: Duration = .seconds(86400)

    /// Every checkpoint key, by number.
    package var checkpointKeys: [CheckpointKey] { checkpointKeyList }

    /// The number of the key that is to be made: the first one, or one that follows because gossip is sent with another key than when the newest was made.
    package func nextCheckpointKey(gossipKey: UInt16) -> UInt64? {
        guard let newest = checkpointKeyList.last else { return 1 }
        return newest.gossipKey == gossipKey ? nil : newest.number + 1
    }

    /// Keys that no checkpoint needs, and none that is under way can need.
    package func surplusCheckpointKeys(at time: Timestamp) -> [UInt64] {
        let needed = Set(jobs.flatMap(\.catalog).compactMap(\.seal?.key))
        return zip(checkpointKeyList, checkpointKeyList.dropFirst()).filter { key, next in
            !needed.contains(key.number) && next.time + Self.checkpointKeyRetention <= time
        }.map(\.0.number)
    }

    mutating func addCheckpointKey(_ key: CheckpointKey) throws(Refusal) -> Acceptance {
        guard key.number == (checkpointKeyList.last?.number ?? 0) + 1 else {
            throw Refusal(.stale, "Checkpoint key \(key.number) does not follow the newest one.")
        }
        guard key.secret.bytes.count == Self.checkpointKeyByteCount else {
            throw Refusal(
                .invalid,
                "A checkpoint key has \(Self.checkpointKeyByteCount) bytes; this has \(key.secret.bytes.count)."
            )
        }
        checkpointKeyList.append(key)
        var acceptance = Acceptance()
        acceptance.changedTrust = true
        audit("New checkpoints are sealed under checkpoint key \(key.number).", by: "leader", at: key.time)
        return acceptance
    }

    mutating func dropCheckpointKeys(_ numbers: [UInt64], at time: Timestamp) throws(Refusal) -> Acceptance {
        let surplus = surplusCheckpointKeys(at: time)
        for number in numbers where !surplus.contains(number) {
            throw Refusal(.conflict, "Checkpoint key \(number) is needed, or is not there.")
        }
        checkpointKeyList.removeAll { numbers.contains($0.number) }
        var acceptance = Acceptance()
        acceptance.changedTrust = true
        for number in numbers {
            audit("Checkpoint key \(number) is destroyed: no checkpoint needs it.", by: "leader", at: time)
        }
        return acceptance
    }
}
