import Transport

/// Where an agent answers.
package struct AgentAddress: Sendable, Hashable, CustomStringConvertible {
    /// The control plane's port unless told otherwise.
    package static let defaultPort = 7420

    /// A name or an address; an IPv6 address without brackets.
    package var host: String
    /// TCP port, 1 to 65,535.
    package var port: Int

    package init(host: String, port: Int = defaultPort) { (self.host, self.port) = (host, port) }

    /// Reads `HOST`, `HOST:PORT`, `[ADDRESS]:PORT` or a bare IPv6 address; `place` says where the text stands.
    ///
    /// - Throws: `RPCFailure` with code `invalid`.
    package init(_ text: some StringProtocol, place: String) throws {
        let problem = RPCFailure(
            .invalid,
            "\(place): \"\(text)\" is not an agent's address: write HOST, HOST:PORT or [IPV6]:PORT, for example 127.0.0.1:7420"
        )
        var host = text[...]
        var port = Substring(String(Self.defaultPort))
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw problem }
            let rest = text[text.index(after: end)...]
            host = text[text.index(after: text.startIndex)..<end]
            if !rest.isEmpty {
                guard rest.hasPrefix(":") else { throw problem }
                port = Substring(rest.dropFirst())
            }
        } else if text.filter({ $0 == ":" }).count == 1, let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = Substring(text[text.index(after: colon)...])
        }
        guard !host.isEmpty, host.allSatisfy({ $0.isASCII && !$0.isWhitespace }), let number = UInt16(port), number > 0
        else { throw problem }
        self.init(host: String(host), port: Int(number))
    }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
