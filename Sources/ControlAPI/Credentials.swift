import Glibc
package import TLS
import Transport

/// What a program needs to talk to a cluster: an identity and the addresses of some agents.
package struct Credentials: Sendable {
    package let identity: IdentityBundle
    /// Tried in this order.
    package let agents: [AgentAddress]

    package init(identity: IdentityBundle, agents: [AgentAddress]) { (self.identity, self.agents) = (identity, agents) }

    /// Loads what the caller names, and what it does not name from the usual places.
    ///
    /// Identity: `identityPath`, else `$GODWIT_IDENTITY`, else `~/.config/godwit/identity.pem`. Agents: `agents`, else `$GODWIT_AGENT`
    /// (separated by commas), else the lines of `~/.config/godwit/agent` (`#` begins a comment), else `127.0.0.1:7420`.
    ///
    /// - Throws: `TLSError` for the identity file, `RPCFailure` with code `invalid` for an address.
    package static func load(
        identityPath: String? = nil,
        agents: [String] = [],
        environment: (String) -> String? = environmentVariable
    ) throws -> Credentials {
        let folder = try folder(environment)
        let path = identityPath ?? environment("GODWIT_IDENTITY") ?? folder.map { "\($0)/identity.pem" }
        guard let path else {
            throw RPCFailure(
                .invalid,
                "no identity file: $HOME is not set; name the file with --identity or in $GODWIT_IDENTITY"
            )
        }
        return Credentials(
            identity: try IdentityBundle.load(path),
            agents: try addresses(agents, environment, folder)
        )
    }

    private static func folder(_ environment: (String) -> String?) throws -> String? {
        if let base = environment("XDG_CONFIG_HOME") { return "\(base)/godwit" }
        return environment("HOME").map { "\($0)/.config/godwit" }
    }

    private static func addresses(
        _ named: [String],
        _ environment: (String) -> String?,
        _ folder: String?
    ) throws -> [AgentAddress] {
        if !named.isEmpty { return try named.flatMap { try split($0, place: "--agent") } }
        if let text = environment("GODWIT_AGENT") { return try split(text, place: "$GODWIT_AGENT") }
        if let folder, let text = readText("\(folder)/agent") {
            let lines = text.split(separator: "\n").map { $0.prefix { $0 != "#" } }
            let addresses = try lines.flatMap { try split(String($0), place: "\(folder)/agent") }
            if !addresses.isEmpty { return addresses }
        }
        return [AgentAddress(host: "127.0.0.1")]
    }

    private static func split(_ text: String, place: String) throws -> [AgentAddress] {
        try text.split { $0 == "," || $0.isWhitespace }.map { try AgentAddress($0, place: place) }
    }

    /// The text of a small file; nil when it cannot be read.
    private static func readText(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { return nil }
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}

/// The value of an environment variable; nil when it is not set or empty.
package func environmentVariable(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
}
