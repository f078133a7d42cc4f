package import ClusterModel

/// Names a member in eight bytes, so that datagrams stay small.
///
/// FNV-1a over the node's name, then the finaliser of SplitMix64, so that keys are spread evenly over the ring. Two of
/// 10,000 names share a key with a chance of 3 in 10^12; a name whose key is taken is refused.
package struct MemberKey: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package init(_ node: NodeID) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in node.rawValue.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        rawValue = mixed(hash)
    }

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    package var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `value`.
func mixed(_ value: UInt64) -> UInt64 {
    var word = value
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
}

/// The number that only a member itself raises, to refute what others say about it (SWIM, section 4.2).
///
/// A process starts with one that is above those of its earlier lives: seconds of wall time will do. Should the cluster
/// remember a higher one, the member passes it while joining.
package struct MemberIncarnation: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package var description: String { String(rawValue) }

    /// The next one; the last one stays, because a message from outside must never trap.
    var next: MemberIncarnation { MemberIncarnation(rawValue: rawValue == .max ? .max : rawValue + 1) }
}

/// Where a member receives datagrams and streams: an IPv4 or IPv6 address and a port, in 18 bytes.
package struct MemberEndpoint: Hashable, Sendable, CustomStringConvertible {
    /// The first eight bytes of the IPv6 address.
    package let high: UInt64
    /// The last eight; an IPv4 address is held mapped, as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
    package let low: UInt64
    /// For datagrams and streams alike.
    package let port: UInt16

    package init(ipv6High high: UInt64, low: UInt64, port: UInt16) {
        (self.high, self.low, self.port) = (high, low, port)
    }

    package init(ipv4 address: UInt32, port: UInt16) {
        self.init(ipv6High: 0, low: 0xFFFF_0000_0000 | UInt64(address), port: port)
    }

    /// The address as four bytes, if it is one of IPv4.
    package var ipv4: UInt32? {
        high == 0 && low >> 32 == 0xFFFF ? UInt32(truncatingIfNeeded: low) : nil
    }

    package var description: String {
        if let ipv4 {
            return [24, 16, 8, 0].map { String(ipv4 >> UInt32($0) & 0xFF) }.joined(separator: ".") + ":\(port)"
        }
        let groups = [high, low].flatMap { word in
            [48, 32, 16, 0].map { String(word >> UInt64($0) & 0xFFFF, radix: 16) }
        }
        return "[\(groups.joined(separator: ":"))]:\(port)"
    }
}
