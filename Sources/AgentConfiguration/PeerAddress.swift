/// Where an agent can be reached, as people write it: `HOST`, `HOST:PORT`, `[IPV6]:PORT` or a bare IPv6 address.
package struct PeerAddress: Sendable, Hashable {
    /// The port of an agent unless told otherwise: the default of `listen.port`.
    package static let standardPort = 7420

    /// A DNS name or an address, an IPv6 address without brackets; never one that means every address of a machine.
    package let host: String
    /// TCP and UDP port, 1...65535; nil when none was written.
    package let port: Int?

    /// What is wrong with a text that is no address, one sentence with the remedy.
    package struct Problem: Error, Equatable {
        /// The text in quotation marks, why it is no address, and what to write instead.
        package let message: String
    }

    /// Reads an address.
    package init(_ text: String) throws(Problem) {
        let form = "write HOST, HOST:PORT or [IPV6]:PORT, for example 10.0.0.1:7420"
        let malformed = Problem(message: "'\(text)' is no address of an agent; \(form)")
        var host = text[...]
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw malformed }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard host.contains(":"), rest.isEmpty || rest.hasPrefix(":") else { throw malformed }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else if text.count(where: { $0 == ":" }) == 1, let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        guard Self.isName(host) || isAddress(String(host)) else { throw malformed }
        // `localhost` is allowed: a cluster on one machine is how people try it.
        guard host.contains(where: { !"0:.".contains($0) }) else {
            throw Problem(
                message: "'\(text)' means every address of a machine, and nobody can connect to that; write one of them"
            )
        }
        self.host = String(host)
        guard let port else {
            self.port = nil
            return
        }
        guard let number = UInt16(port), number > 0, port.allSatisfy(\.isNumber) else {
            throw Problem(message: "'\(port)' in '\(text)' is no port; write a number of 1...65535")
        }
        self.port = Int(number)
    }

    /// The address as agents tell it to each other, `HOST:PORT`, with the given port when none was written.
    package func text(port standard: Int = standardPort) -> String {
        "\(host.contains(":") ? "[\(host)]" : host):\(port ?? standard)"
    }

    /// The same host at another port, 1...65535.
    package func with(port: Int) -> PeerAddress { PeerAddress(host: host, port: port) }

    private init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// The address as it was written.
    package var description: String { port == nil ? host : text() }

    /// Whether a text may be a DNS name (RFC 1123, section 2.1), an IPv4 address included.
    private static func isName(_ text: Substring) -> Bool {
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        let isWellFormed = labels.allSatisfy { label in
            (1...63).contains(label.count) && label.first != "-" && label.last != "-"
                && label.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }
        }
        guard isWellFormed, text.count <= 253 else { return false }
        // Only digits in the last label: it must be an address then, and 10.0.0 is not one.
        return labels.last.map { !$0.allSatisfy(\.isNumber) } ?? false || isAddress(String(text))
    }
}
