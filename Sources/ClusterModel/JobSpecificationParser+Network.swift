// An address of the container's own.
extension JobSpecificationParser {
    mutating func network(_ node: DocumentNode) -> JobSpecification.Network? {
        guard let mapping = reader.mapping(node, path: "network", keys: ["address"]) else { return nil }
        var result = JobSpecification.Network()
        guard let node = mapping["address"] else {
            reader.report(
                mapping.place,
                "network.address",
                "the address is missing; write address: automatic, or one such as 10.42.0.7, or leave network out to use the node's"
            )
            return result
        }
        let expected = "automatic, or an IPv4 address such as 10.42.0.7 or 10.42.0.7/16"
        guard let text = reader.text(node, path: "network.address", expected: expected), text != "automatic" else {
            return result
        }
        let prefix = IPv4Prefix(text)
        guard let address = prefix?.address ?? IPv4Address(text) else {
            reader.report(node.place, "network.address", "'\(text)' is no address; write \(expected)")
            return result
        }
        guard address.isForInterfaces, prefix.map({ $0.hasRoom(for: address) && $0.length >= 8 }) ?? true else {
            let what =
                address.isForInterfaces ? "the address of a whole network, or of its broadcast" : "not for containers"
            reader.report(node.place, "network.address", "'\(text)' is \(what); take one of a node's network.subnet")
            return result
        }
        (result.address, result.prefixLength) = (address, prefix?.length)
        return result
    }
}
