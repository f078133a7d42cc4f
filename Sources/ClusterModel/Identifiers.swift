/// A string that names one thing of one kind.
///
/// The conforming types differ only in what they name, so that a job can never be passed where a node is expected.
package protocol Identifier: RawRepresentable<String>, Hashable, Comparable, Sendable, Codable, CustomStringConvertible
{
    /// Takes the text as it is; validation happens where text enters the program.
    init(rawValue: String)
}

extension Identifier {
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    package var description: String { rawValue }

    package init(from decoder: any Decoder) throws {
        self.init(rawValue: try decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

/// A job, for ever: twelve characters of lower-case base 32, made at submission and never used again.
package struct JobID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }

    /// Draws a new identity.
    package static func random(using generator: inout some RandomNumberGenerator) -> JobID {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567")
        return JobID(rawValue: String((0..<12).map { _ in alphabet[Int(generator.next() & 31)] }))
    }
}

/// A machine that runs one agent; at most 63 characters of `[a-z0-9-]`, as in a DNS label (RFC 1123, section 2.1).
package struct NodeID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

/// A place with its own network and its own certificate authority; a DNS label.
package struct SiteID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

/// A person or program that talks to the cluster; a DNS label.
package struct UserID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

/// The cluster that a certificate belongs to; a DNS label.
package struct ClusterID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

/// Counts the starts of one job's container.
///
/// Two incarnations of a job never run at once.
package struct Incarnation: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package var next: Incarnation { Incarnation(rawValue: rawValue + 1) }
    package var description: String { String(rawValue) }
}

/// Counts the checkpoints of one job, from 1; a generation that was retired is never used again.
package struct CheckpointGeneration: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible
{
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package var next: CheckpointGeneration { CheckpointGeneration(rawValue: rawValue + 1) }
    package var description: String { String(rawValue) }
}

/// A leader's reign (Raft, section 5.1).
///
/// A cluster of one is in term 1 for ever.
package struct Term: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package var description: String { String(rawValue) }
}

/// What a node is for.
package enum NodeRole: String, Sendable, Codable, CaseIterable {
    /// Runs containers.
    case worker
    /// Connects its site to others; runs containers only when told to.
    case gateway
}

/// Whether a text can name a node, site, user or cluster: a DNS label of 1 to 63 characters (RFC 1123, section 2.1).
package func isLabel(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard (1...63).contains(bytes.count), bytes.first != UInt8(ascii: "-"), bytes.last != UInt8(ascii: "-") else {
        return false
    }
    return bytes.allSatisfy {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
            || $0 == UInt8(ascii: "-")
    }
}
