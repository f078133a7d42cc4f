/// An IPv4 address.
package struct IPv4Address: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// In host order: 10.0.0.1 is 0x0A000001.
    package var rawValue: UInt32

    /// Takes the number as it is.
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Reads four decimal numbers with dots between them, without leading zeros, which some programs take as octal; nil for all else.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                part.utf8.count == 1 || part.first != "0", let number = UInt8(part)
            else { return nil }
            value = value << 8 | UInt32(number)
        }
        rawValue = value
    }

    /// The four bytes, first the one that is written first.
    package var bytes: [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: rawValue >> (24 - 8 * $0)) } }

    package var description: String { bytes.map { "\($0)" }.joined(separator: ".") }

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// Whether an interface can have it: neither 0.0.0.0/8, loopback, multicast nor what is above.
    package var isForInterfaces: Bool { (1...223).contains(rawValue >> 24) && rawValue >> 24 != 127 }
}

extension IPv4Address: Codable {
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let address = IPv4Address(text) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "'\(text)' is no IPv4 address")
            )
        }
        self = address
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// An IPv4 address within its network: `10.42.0.7/16`.
package struct IPv4Prefix: Sendable, Codable, Hashable, CustomStringConvertible {
    /// Of an interface, or the first of the network.
    package var address: IPv4Address
    /// Bits that all addresses of the network share, 0...32.
    package var length: Int

    /// Takes the values as they are.
    package init(_ address: IPv4Address, length: Int) { (self.address, self.length) = (address, length) }

    /// Reads `ADDRESS/LENGTH`; nil for all else.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPv4Address(parts[0]), parts[1].utf8.count <= 2,
            parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let length = Int(parts[1]),
            (0...32).contains(length)
        else { return nil }
        self.init(address, length: length)
    }

    private var mask: UInt32 { length == 0 ? 0 : ~UInt32(0) << (32 - UInt32(length)) }

    /// The network that the address is in, by its first address.
    package var network: IPv4Prefix { IPv4Prefix(IPv4Address(rawValue: address.rawValue & mask), length: length) }

    /// The last address, which of a network of more than two is the broadcast's.
    package var last: IPv4Address { IPv4Address(rawValue: address.rawValue | ~mask) }

    /// Whether an address is of the same network.
    package func contains(_ other: IPv4Address) -> Bool { other.rawValue & mask == address.rawValue & mask }

    /// Whether an address is of the same network and can be an interface's: not the network's own nor its broadcast's.
    package func hasRoom(for other: IPv4Address) -> Bool {
        contains(other) && (length > 30 || (other != network.address && other != last))
    }

    package var description: String { "\(address)/\(length)" }
}

/// The addresses from one to another, both included.
package struct IPv4Range: Sendable, Codable, Hashable, CustomStringConvertible {
    package var first: IPv4Address
    /// Not below `first`.
    package var last: IPv4Address

    /// Takes the values as they are.
    package init(_ first: IPv4Address, _ last: IPv4Address) { (self.first, self.last) = (first, last) }

    /// Reads `FIRST-LAST`; nil for all else, and when the last comes before the first.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let first = IPv4Address(parts[0]), let last = IPv4Address(parts[1]), first <= last
        else { return nil }
        self.init(first, last)
    }

    /// How many addresses there are.
    package var count: Int { Int(last.rawValue) - Int(first.rawValue) + 1 }

    /// Whether an address is one of them.
    package func contains(_ address: IPv4Address) -> Bool { (first...last).contains(address) }

    package var description: String { "\(first)-\(last)" }
}

/// What a node offers to containers with an address of their own: the network that its bridge is in.
package struct NodeNetwork: Sendable, Codable, Hashable {
    /// The network of the bridge, by its first address.
    package var subnet: IPv4Prefix
    /// Where addresses are taken from that the cluster chooses; within the subnet.
    package var range: IPv4Range
    /// The way to other networks; nil means none.
    package var gateway: IPv4Address?

    /// Takes the values as they are.
    package init(subnet: IPv4Prefix, range: IPv4Range, gateway: IPv4Address? = nil) {
        (self.subnet, self.range, self.gateway) = (subnet, range, gateway)
    }

    /// Whether a container may have an address here.
    package func hasRoom(for address: IPv4Address) -> Bool { subnet.hasRoom(for: address) && address != gateway }

    /// The lowest address of the range that is free; nil when none is.
    package func lowestFree(except used: Set<IPv4Address>) -> IPv4Address? {
        var candidate = range.first
        while candidate <= range.last {
            if hasRoom(for: candidate), !used.contains(candidate) { return candidate }
            guard candidate.rawValue < .max else { return nil }
            candidate.rawValue += 1
        }
        return nil
    }
}

/// The network of one container: its address, and its way out.
package struct ContainerNetwork: Sendable, Codable, Hashable {
    /// Its address within the network of the bridge.
    package var address: IPv4Prefix
    /// The way to other networks; nil means none.
    package var gateway: IPv4Address?

    /// Takes the values as they are.
    package init(address: IPv4Prefix, gateway: IPv4Address? = nil) { (self.address, self.gateway) = (address, gateway) }

    /// The hardware address, which follows from the address: peers on the same bridges need not learn another one after a move.
    ///
    /// Locally administered, for one interface (IEEE 802): `02:67:` and the four bytes.
    package var hardwareAddress: [UInt8] { [0x02, 0x67] + address.address.bytes }
}
