import ArgumentParser
import ClusterModel
import ControlMessages
import TLS

/// `godwit ca trust`.
struct TrustGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trust",
        abstract: "Say which authorities the agents trust beside the one of their identity files.",
        subcommands: [TrustAdd.self, TrustList.self, TrustRemove.self]
    )
}

/// `godwit ca trust add`.
struct TrustAdd: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "add",
        abstract: "Trust another authority of this cluster, so that a site can keep its own.",
        discussion: """
            All agents take it over within seconds, without a restart. With --site it vouches for the nodes of that site and for nobody else. \
            Nodes and users of either authority must trust the other one before they first connect: issue them with 'ca issue --trust'. Needs \
            the right admin. JSON: AuthorityAddReply.
            """
    )

    @Argument(
        help: ArgumentHelp("The authority's certificate, as 'ca init' wrote it.", valueName: "ca.crt"),
        completion: .file(extensions: ["crt", "pem"])
    )
    var file: String

    @Option(
        help: ArgumentHelp("Only for nodes of this site. Default: nodes of every site, and users.", valueName: "name")
    )
    var site: String?

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        // Only the certificate travels, whatever else the file holds.
        let pem = try reporting { try loadCertificates(file).filter(\.isAuthority).map { try $0.pem }.joined() }
        var request = WireAuthorityAddRequest()
        (request.pem, request.site) = (pem, site ?? "")
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.authorityAdd(question) }
        try options.print(reply, in: surroundings) { _ in
            let scope = reply.authority.site.isEmpty ? "every site, and users" : "nodes of site \(reply.authority.site)"
            return ["\(printable(reply.authority.subject)) is trusted from now on for \(scope)"]
        }
        return .success
    }
}

/// `godwit ca trust list`.
struct TrustList: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "list",
        abstract: "List the authorities that are trusted, and which nodes live on them.",
        discussion: "Nodes are those that are connected to the agent that answers. JSON: AuthorityListReply."
    )

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let reply = try await options.withConnection(in: surroundings) {
            try await $0.authorityList(WireAuthorityListRequest())
        }
        try options.print(reply, in: surroundings) { $0.authorityTable(reply.authorities) }
        return .success
    }
}

/// `godwit ca trust remove`.
struct TrustRemove: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "remove",
        abstract: "Trust an authority no longer, and shut out whom it vouches for.",
        discussion: """
            Open connections end within seconds. Refused while nodes live on it, unless --force, and always for the authority of the agent \
            that leads. Needs the right admin. JSON: AuthorityRemoveReply.
            """
    )

    @Argument(
        help: ArgumentHelp(
            "The beginning of its fingerprint, as 'ca trust list' and 'ca show' print it.",
            valueName: "fingerprint"
        )
    )
    var fingerprint: String

    @Flag(help: "Shut out the nodes that live on it.")
    var force = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireAuthorityRemoveRequest()
        (request.fingerprint, request.force) = (fingerprint, force)
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.authorityRemove(question) }
        try options.print(reply, in: surroundings) { _ in
            let nodes = reply.authority.nodes.joined(separator: ", ")
            return [
                "\(printable(reply.authority.subject)) is not trusted any more"
                    + (nodes.isEmpty ? "" : "; shut out: \(printable(nodes))")
            ]
        }
        return .success
    }
}

/// `godwit ca delegate`.
struct AuthorityDelegate: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "delegate",
        abstract: "Make an authority below this one, with which an agent renews the certificates of nodes.",
        discussion: """
            It vouches for nodes only, of one site with --site. Copy the folder to one or two well-kept agents and name it there as \
            identity.issuer; from then on nodes get their next certificate half-way through the life of the present one. 'ca revoke' with \
            its serial number takes it back, with all that it has issued.
            """
    )

    @Option(help: ArgumentHelp("Only for nodes of this site. Default: nodes of every site.", valueName: "name"))
    var site: String?

    @Option(
        help: ArgumentHelp("How long it is valid. Default: 1825d.", valueName: "duration"),
        transform: parseDuration
    )
    var lifetime: Duration?

    @Option(
        help: ArgumentHelp("Write ca.crt and ca.key to this new folder.", valueName: "folder"),
        completion: .directory
    )
    var out: String

    @OptionGroup var place: AuthorityFolder
    @OptionGroup(title: "Global options") var options: OutputOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let folder = try place.path(in: surroundings)
        let now = Timestamp(seconds: surroundings.now())
        let delegate = try reporting {
            let delegate = try CertificateAuthority.load(from: folder).delegate(
                site: site.map { SiteID(rawValue: $0) },
                now: now,
                lifetime: lifetime ?? CertificateAuthority.defaultDelegateLifetime
            )
            try delegate.save(to: out)
            return delegate
        }
        try CertificateFacts(delegate.certificate, file: "\(out)/ca.crt").print(options, in: surroundings)
        return .success
    }
}
