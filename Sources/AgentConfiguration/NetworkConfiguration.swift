package import ClusterModel

/// The network of containers that have an address of their own.
package struct NetworkConfiguration: Sendable, Equatable {
    /// A Linux bridge that is there already; nil means that this node takes no such jobs.
    package var bridge: String?
    /// By its first address.
    package var subnet: IPv4Prefix?
    /// nil means every address of the subnet that an interface can have, but the gateway's.
    package var range: IPv4Range?
    /// nil means no way out of the subnet.
    package var gateway: IPv4Address?
    /// Frames that are held for one frozen container.
    package var holdBuffer: ByteCount = .mebibytes(4)

    /// What the node offers to jobs; nil without a bridge, or when the keys contradict each other.
    package var offered: NodeNetwork? {
        guard bridge != nil, let subnet, problems.isEmpty else { return nil }
        return NodeNetwork(subnet: subnet, range: range ?? Self.whole(subnet), gateway: gateway)
    }

    private static func whole(_ subnet: IPv4Prefix) -> IPv4Range {
        IPv4Range(
            IPv4Address(rawValue: subnet.address.rawValue + 1),
            IPv4Address(rawValue: subnet.last.rawValue - 1)
        )
    }

    /// What the keys say against each other.
    var problems: [DocumentProblem] {
        func problem(_ key: String, _ message: String) -> DocumentProblem {
            DocumentProblem(place: DocumentPlace(line: 1, column: 1), path: "network.\(key)", message: message)
        }
        guard let subnet else {
            let missing = "is missing; write the network that the bridge is in, such as 10.42.0.0/16"
            let needing = [
                bridge.map { "network.bridge (\($0))" }, range.map { "network.range (\($0))" },
                gateway.map { "network.gateway (\($0))" },
            ].compactMap { $0 }
            return needing.isEmpty
                ? [] : [problem("subnet", "\(missing), because \(needing.joined(separator: " and ")) needs it")]
        }
        var problems: [DocumentProblem] = []
        if bridge == nil {
            problems.append(
                problem("bridge", "is missing; name the bridge that is in \(subnet), or remove network.subnet")
            )
        }
        if let range, !subnet.contains(range.first) || !subnet.contains(range.last) {
            problems.append(
                problem("range", "\(range) is not within network.subnet (\(subnet)); take addresses of that")
            )
        }
        if let gateway, !subnet.hasRoom(for: gateway) {
            problems.append(
                problem(
                    "gateway",
                    "\(gateway) cannot be an address in network.subnet (\(subnet)); name the router that is in it"
                )
            )
        }
        return problems
    }
}

/// Whether the kernel takes a text as an interface's name.
func isInterfaceName(_ text: String) -> Bool {
    (1...15).contains(text.utf8.count) && text != "." && text != ".."
        && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ":") }
}
