import ArgumentParser
import ControlMessages
import TLS

/// `godwit ca revoke`.
struct AuthorityRevoke: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "revoke",
        abstract: "Refuse an identity or one certificate from now on, on every agent.",
        discussion: """
            Open connections end within seconds. Of an identity every certificate is refused that was issued until now; issue a new one to \
            let its owner in again. A node loses its vote first, unless the others could not decide without it. A serial number, as 'ca show' prints it, refuses one certificate for ever. Needs the right admin. \
            JSON: CertificateRevokeReply.
            """
    )

    @Argument(
        help: ArgumentHelp("user/NAME, node/NAME, spiffe://..., or a serial number.", valueName: "identity|serial")
    )
    var subject: String

    @Option(help: ArgumentHelp("Why, for the audit.", valueName: "text"))
    var reason: String = ""

    @Flag(help: "Also when it is a voter's, and the others cannot decide without that vote.")
    var force = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        let isNamed = ["user/", "node/", "spiffe://"].contains { subject.hasPrefix($0) && subject.count > $0.count }
        // Ours have 31 or 32 digits; a short word such as `ada` is a name that somebody forgot to explain.
        guard isNamed || subject.count >= 16 && Revocation(serial: subject) != nil else {
            throw ValidationError(
                "'\(subject)' is neither an identity nor a serial number; write user/NAME, node/NAME, spiffe://... or the serial number "
                    + "that 'godwit ca show' prints"
            )
        }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let reply = try await options.withConnection(in: surroundings) { connection in
            var request = WireCertificateRevokeRequest()
            request.reason = reason
            request.force = force
            if let identity = try await identity(connection) {
                request.identity = identity
            } else if case .serial(let serial) = Revocation(serial: subject) {
                request.serial = serial
            }
            return try await connection.certificateRevoke(request)
        }
        try options.print(reply, in: surroundings) { style in
            let subject = printable(style.revocationSubject(reply.revocation))
            return [
                reply.revocation.identity.isEmpty
                    ? "\(subject) is refused from now on"
                    : "\(subject): what was issued until \(style.clock(reply.revocation.timeUnixSeconds)) is refused from now on"
            ]
        }
        return .success
    }

    /// The identity's full name; nil for a serial number.
    private func identity(_ connection: any AgentConnection) async throws -> String? {
        if subject.hasPrefix("spiffe://") { return subject }
        if subject.hasPrefix("user/") {
            return "spiffe://\(try await connection.status(WireStatusRequest()).cluster)/\(subject)"
        }
        guard subject.hasPrefix("node/") else { return nil }
        let name = subject.dropFirst("node/".count)
        let members = try await connection.clusterMembers(WireClusterMembersRequest()).members
        guard let member = members.first(where: { $0.node == name }) else {
            throw CommandFailure(
                .notFound,
                "there is no node '\(name)'; 'godwit cluster members' lists them, and spiffe://CLUSTER/site/SITE/node/NAME names one "
                    + "that has left"
            )
        }
        let cluster = try await connection.status(WireStatusRequest()).cluster
        return "spiffe://\(cluster)/site/\(member.site)/node/\(name)"
    }
}

/// `godwit ca revocations`.
struct AuthorityRevocations: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "revocations",
        abstract: "List what is refused although its authority vouches for it.",
        discussion: "JSON: RevocationListReply."
    )

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let reply = try await options.withConnection(in: surroundings) {
            try await $0.revocationList(WireRevocationListRequest())
        }
        try options.print(reply, in: surroundings) { $0.revocationTable(reply.revocations) }
        return .success
    }
}
